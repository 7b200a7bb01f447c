//! A real window shows a shared screen, and shares the one it is on: what is drawn there is found in
//! the pictures another member decodes.

use call_media::frame::I420Frame;
use call_media::video::y4m::Y4mReader;
use visavis_tests::support::display::Display;
use visavis_tests::support::headless::{MemberOptions, Server, member_with};
use visavis_tests::support::paint::Swatch;
use visavis_tests::support::window::{Window, WindowOptions, binary};

use crate::app::{look, missing_tool, read_until_marked, text_of};

/// Of the display, in pixels; also that of the pictures, which fit into the box for screens.
const SIZE: (u32, u32) = (1_200, 800);
const SIDE: u16 = 80;
/// Two places, above anything else.
const PLACES: [(i16, i16); 2] = [(40, 300), (1_000, 300)];
/// A red that nothing in the window has, and what it is in BT.601: luma, U, V.
const RED: u32 = 0x00e0_1010;
const RED_YUV: [i32; 3] = [83, 97, 219];
/// What a lossy codec may change.
const NEAR: i32 = 12;

#[test]
fn a_window_shows_and_shares_screens() {
    if let Some(missing) = missing_tool(&[]) {
        eprintln!("SKIPPED a_window_shows_and_shares_screens: no {missing} on this machine");
        return;
    }
    tokio::runtime::Runtime::new()
        .expect("a runtime starts")
        .block_on(share());
}

async fn share() {
    let server = Server::start();
    let display = Display::start(SIZE.0, SIZE.1).expect("Xvfb starts");
    let home = tempfile::tempdir().expect("a temporary directory can be made");
    let quiet = ["--video", "none", "--audio", "none", "--speaker", "none"];
    let args = [&["--server", server.url.as_str()][..], &quiet].concat();
    let anna = Window::open(&WindowOptions {
        binary: &binary("visavis"),
        display: &display.name,
        home: &home.path().join("anna"),
        args: &args,
        programs: None,
    })
    .await
    .expect("the app opens its window");
    anna.fill("name-input", "Anna").await;
    anna.click("start-call").await;
    let code = anna.until("the room code", &text_of("room-code")).await;
    let code = code.as_str().expect("a code is text").trim().to_owned();
    let record = home.path().join("bo");
    let options = MemberOptions {
        name: "Bo",
        video: "none",
        audio: "none",
        record: Some(&record),
    };
    let theirs = ["--share", "pattern:640x360@15"];
    let mut bo = member_with(&server.url, Some(&code), &options, &theirs);
    let id = bo.event("joined")["member"].to_string();
    let canvas = format!("screen-canvas-{id}");
    anna.element(&canvas).await;
    read_until_marked(&anna, &canvas, "Bo's screen at Anna's", |_| true).await;
    look(&anna, "screen").await;
    let swatch = Swatch::show(&display.name, PLACES[0], SIDE, RED);

    anna.click("share-button").await;
    let thumbnail = "const i = document.querySelector('[data-testid=\"share-option\"] img');
        return i && i.naturalWidth > 0 && i.closest('[data-testid]').dataset.id";
    let id = anna.until("a screen with a thumbnail", thumbnail).await;
    assert!(id.as_str().is_some_and(|id| id.starts_with("screen:")));
    anna.click("share-option").await;
    anna.element("share-bar").await;
    bo.event("first_screen");
    let shows = |line: &serde_json::Value| line["event"] == "stats";
    let skipped = bo.seen.len();
    bo.until_from(skipped, "a second of it", shows);
    swatch.move_to(PLACES[1]);
    let skipped = bo.seen.len() + 1;
    bo.until_from(skipped, "two seconds after", shows);
    anna.click("share-stop").await;
    bo.until("the end of sharing", |line| {
        line["event"] == "sharing" && line["on"] == false
    });
    assert_eq!(bo.terminate().code, Some(0));

    let mut pictures = Y4mReader::open(&record.join("Anna-screen.y4m")).expect("it is recorded");
    assert_eq!(pictures.size(), SIZE);
    let mut seen = Vec::new();
    while let Ok(Some(picture)) = pictures.read_frame() {
        seen.extend(PLACES.iter().position(|place| is_red(&picture, *place)));
    }
    seen.dedup();
    assert_eq!(seen, [0, 1], "the square stood here, then there");
}

/// Whether the square is at this place: four of its pixels, away from its edges.
fn is_red(picture: &I420Frame, place: (i16, i16)) -> bool {
    let inset = SIDE as usize / 4;
    let corner = (place.0 as usize, place.1 as usize);
    let (width, chroma_width) = (picture.width() as usize, picture.chroma_width() as usize);
    [
        (inset, inset),
        (3 * inset, inset),
        (inset, 3 * inset),
        (3 * inset, 3 * inset),
    ]
    .into_iter()
    .all(|(dx, dy)| {
        let (x, y) = (corner.0 + dx, corner.1 + dy);
        let at = y / 2 * chroma_width + x / 2;
        let pixel = [picture.y()[y * width + x], picture.u()[at], picture.v()[at]];
        let mut pairs = pixel.into_iter().zip(RED_YUV);
        pairs.all(|(is, want)| (i32::from(is) - want).abs() <= NEAR)
    })
}
