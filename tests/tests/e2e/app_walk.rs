//! A whole call between two real windows, from the first click to the last: start, join by the code,
//! chat, a file, a shared screen, pin, mute, leave.

use visavis_tests::support::headless::Lines;
use visavis_tests::support::paint::Swatch;
use visavis_tests::support::window::Window;

use crate::app::look;
use crate::app_chat::{Call, described_member, drop_a_file, in_two_windows, talk};

/// Of the square on Ben's screen, above his window.
const SIDE: u16 = 160;
const PLACES: [(i16, i16); 2] = [(100, 200), (1_100, 600)];
/// A red that nothing in the window has.
const RED: u32 = 0x00e0_1010;

#[test]
fn two_people_do_everything_in_one_call() {
    in_two_windows(
        "app_walk::two_people_do_everything_in_one_call",
        &["xdotool"],
        |call| Box::pin(async move { walk(&call).await }),
    );
}

async fn walk(call: &Call) {
    talk(call).await;
    drop_a_file(call).await;
    share_a_screen(call).await;
    let Call { anna, ben, .. } = call;
    // Of what was pasted.
    anna.click("offer-decline").await;

    // Of two there is nobody to choose between.
    let cleo = ["--code", call.code.as_str(), "--name", "Cleo"];
    let media = ["--video", "pattern:320x180@15", "--audio", "none"];
    let mut cleo = Lines::start("visavis-headless", &[cleo, media].concat());
    cleo.event("first_frame");
    anna.click("people-button").await;
    let tile = "return document.querySelector('[data-name=\"Ben\"]').dataset.testid;";
    let tile = anna.until("Ben's tile", tile).await;
    let id = tile.as_str().and_then(|id| id.strip_prefix("tile-"));
    let button = format!("list-pin-button-{}", id.expect("a tile has an id"));
    let pinned = "return !!document.querySelector('[data-name=\"Ben\"][data-pinned=\"true\"]');";
    anna.click(&button).await;
    anna.until("Ben to be pinned", pinned).await;
    look(anna, "pinned").await;
    anna.click(&button).await;
    anna.until("Ben to be loose", &not(pinned)).await;

    let muted = described_member("Anna", "muted");
    anna.click("mute-button").await;
    ben.until("Anna's muted mark", &muted).await;
    anna.click("mute-button").await;
    ben.until("Anna's voice", &not(&muted)).await;

    ben.click("leave-button").await;
    ben.element("start-call").await;
    let gone = "return !document.querySelector('[data-name=\"Ben\"]');";
    anna.until("Ben to be gone", gone).await;
}

/// Ben shares his screen, and what is drawn on it is found on Anna's canvas, where it is drawn.
async fn share_a_screen(call: &Call) {
    let Call {
        anna,
        ben,
        displays,
        ..
    } = call;
    let swatch = Swatch::show(&displays[1].name, PLACES[0], SIDE, RED);
    ben.click("share-button").await;
    let thumbnail = "const i = document.querySelector('[data-testid=\"share-option\"] img');
        return i && i.naturalWidth > 0;";
    ben.until("a screen with a thumbnail", thumbnail).await;
    ben.click("share-option").await;
    ben.element("share-bar").await;
    let first = until_red(anna, |_| true).await;
    look(anna, "shared").await;
    swatch.move_to(PLACES[1]);
    let second = until_red(anna, |(x, y)| x > first.0 + 0.4 && y > first.1 + 0.2).await;
    eprintln!("the square was seen at {first:?}, then at {second:?}");
    ben.click("share-stop").await;
    let gone = "return !document.querySelector('[data-testid^=\"screen-canvas-\"]');";
    anna.until("the end of sharing", gone).await;
}

/// Where the square is on the canvas of the shared screen, in shares of its size, once that is right.
async fn until_red(window: &Window, is_right: impl Fn((f64, f64)) -> bool) -> (f64, f64) {
    let script = "const c = document.querySelector('[data-testid^=\"screen-canvas-\"]');
        if (!c || c.width === 0) return null;
        const d = c.getContext('2d').getImageData(0, 0, c.width, c.height).data;
        let n = 0, x = 0, y = 0;
        for (let i = 0; i < d.length; i += 4) {
          if (d[i] > 190 && d[i + 1] < 60 && d[i + 2] < 60) {
            n += 1; x += (i / 4) % c.width; y += Math.floor(i / 4 / c.width);
          }
        }
        return n < 100 ? null : [x / n / c.width, y / n / c.height];";
    for _ in 0..100 {
        let place = window.until("the square's red", script).await;
        let at = |axis: usize| place[axis].as_f64().expect("a place has two numbers");
        if is_right((at(0), at(1))) {
            return (at(0), at(1));
        }
    }
    panic!("the square never came to its place");
}

fn not(script: &str) -> String {
    let value = format!("(() => {{ {script} }})()");
    format!("return !{value};")
}
