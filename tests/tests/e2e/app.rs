//! Two real windows of the app on one machine, no server configured: one starts a call, the other
//! joins by the code, and each shows the other's moving picture. Judged by the pixels on the
//! canvases, which carry the sender's frame numbers.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use call_media::video::synthetic::{Mark, read_mark};
use visavis_tests::support::display::Display;
use visavis_tests::support::namespace::run_in_own_network;
use visavis_tests::support::window::{PATIENCE, Window, WindowOptions, binary};

#[test]
fn two_windows_see_each_other_by_code() {
    if let Some(missing) = missing_tool(&[]) {
        eprintln!("SKIPPED two_windows_see_each_other_by_code: no {missing} on this machine");
        return;
    }
    run_in_own_network("app::two_windows_see_each_other_by_code", || {
        tokio::runtime::Runtime::new()
            .expect("a runtime starts")
            .block_on(two_windows());
    });
}

async fn two_windows() {
    let binary = binary("visavis");
    let display = Display::start(1400, 900).expect("Xvfb starts");
    let homes = tempfile::tempdir().expect("a temporary directory can be made");
    let open = |home: &'static str, args: &'static [&'static str]| {
        let home = homes.path().join(home);
        let (binary, display) = (&binary, &display.name);
        async move {
            Window::open(&WindowOptions {
                binary,
                display,
                home: &home,
                args,
                programs: None,
            })
            .await
            .expect("the app opens its window")
        }
    };
    let anna = open(
        "anna",
        &[
            "--video",
            "pattern:1280x720@30",
            "--audio",
            "tone:440",
            "--speaker",
            "none",
        ],
    )
    .await;
    anna.fill("name-input", "Anna").await;
    anna.until("the preview", &drawn_frames("tile-self", 5))
        .await;
    look(&anna, "home").await;
    anna.click("start-call").await;
    let code = anna.until("the room code", &text_of("room-code")).await;
    let code = code.as_str().expect("a code is text").trim().to_owned();
    assert_eq!(code.len(), 14, "not a room code: {code}");
    anna.element("waiting").await;
    look(&anna, "waiting").await;

    let ben = open(
        "ben",
        &[
            "--profile",
            "second",
            "--video",
            "pattern:1280x720@30",
            "--audio",
            "tone:660",
            "--speaker",
            "none",
        ],
    )
    .await;
    ben.fill("name-input", "Ben").await;
    // As a person would type what was said: lower case, no dashes.
    ben.fill("code-input", &code.replace('-', "").to_lowercase())
        .await;
    ben.click("join-call").await;

    let at_ben = other_tile(&ben, "Anna").await;
    let at_anna = other_tile(&anna, "Ben").await;
    // Anna's source has counted for longer than Ben's: a window that showed its own picture in the
    // other's tile would be found out.
    let own = read_until_marked(&ben, "tile-canvas-self", "Ben at Ben's", |_| true).await;
    let others = read_until_marked(&ben, &tile_canvas(&at_ben), "Anna at Ben's", |_| true).await;
    assert!(
        others.frame > own.frame + 15,
        "Anna's tile is at {}, Ben's own at {}",
        others.frame,
        own.frame
    );
    watch_numbers_advance(&ben, &at_ben, "Anna at Ben's").await;
    watch_numbers_advance(&anna, &at_anna, "Ben at Anna's").await;

    ben.until("Anna's speaking mark", &described(&at_ben, "speaking"))
        .await;
    look(&ben, "call").await;

    anna.click("mute-button").await;
    ben.until("Anna's muted mark", &described(&at_ben, "muted"))
        .await;
    ben.click("camera-button").await;
    anna.until("Ben's camera off", &described(&at_anna, "camera off"))
        .await;
    ben.click("leave-button").await;
    ben.element("start-call").await;
    anna.until(
        "Ben to be gone",
        &format!("return !document.querySelector('{at_anna}')"),
    )
    .await;
}

/// Reads the mark in a tile twice, two seconds of pictures apart.
async fn watch_numbers_advance(window: &Window, tile: &str, whose: &str) {
    let canvas = tile_canvas(tile);
    let first = read_until_marked(window, &canvas, whose, |_| true).await;
    let seen = Instant::now();
    let later = read_until_marked(window, &canvas, whose, |mark| {
        mark.frame.wrapping_sub(first.frame) >= 30
    })
    .await;
    let frames = f64::from(later.frame.wrapping_sub(first.frame));
    let sender_s = later.captured_us.wrapping_sub(first.captured_us) as f64 / 1e6;
    let fps = frames / sender_s;
    assert!(
        (20.0..=40.0).contains(&fps),
        "{whose}: the sender's clock says {fps:.1} fps"
    );
    eprintln!(
        "{whose}: {frames} numbers in {:.1} s",
        seen.elapsed().as_secs_f64()
    );
}

pub(crate) async fn read_until_marked(
    window: &Window,
    canvas: &str,
    whose: &str,
    accept: impl Fn(&Mark) -> bool,
) -> Mark {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(mark) = read_mark(&window.picture(canvas).await).filter(|mark| accept(mark)) {
            return mark;
        }
        assert!(
            Instant::now() < deadline,
            "{whose}: no fitting mark in the tile's pixels"
        );
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// The selector of the tile that shows `name`, once 10 of its frames are drawn.
async fn other_tile(window: &Window, name: &str) -> String {
    let script = format!(
        "const t = document.querySelector('[data-testid^=\"tile-\"][data-name=\"{name}\"]:not([data-testid=\"tile-self\"])');
         return t && Number(t.dataset.drawnFrames) >= 10 ? t.dataset.testid : null;"
    );
    let id = window.until(&format!("{name}'s picture"), &script).await;
    format!(
        "[data-testid=\"{}\"]",
        id.as_str().expect("a test id is text")
    )
}

fn tile_canvas(tile: &str) -> String {
    tile.replace("[data-testid=\"", "")
        .replace("\"]", "")
        .replacen("tile-", "tile-canvas-", 1)
}

fn drawn_frames(id: &str, at_least: u32) -> String {
    format!(
        "const t = document.querySelector('[data-testid=\"{id}\"]');
         return t && Number(t.dataset.drawnFrames) >= {at_least};"
    )
}

pub(crate) fn text_of(id: &str) -> String {
    format!("return document.querySelector('[data-testid=\"{id}\"]')?.textContent ?? '';")
}

/// Whether a tile's accessible name says `what` of its person.
pub(crate) fn described(tile: &str, what: &str) -> String {
    format!("return document.querySelector('{tile}')?.ariaLabel.includes('{what}');")
}

/// Keeps a screenshot in `target/screenshots`, for whoever wants to see what the test saw.
pub(crate) async fn look(window: &Window, name: &str) {
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../target"),
        PathBuf::from,
    );
    let path = target.join("screenshots").join(format!("{name}.png"));
    window.screenshot(&path).await;
}

/// What a test in windows, with these tools besides, needs from the machine, if it is not there.
pub(crate) fn missing_tool(more: &[&'static str]) -> Option<&'static str> {
    if !cfg!(target_os = "linux") {
        return Some("WebKitGTK");
    }
    let on_path = |tool: &&str| {
        std::env::var_os("PATH")
            .is_some_and(|path| std::env::split_paths(&path).any(|dir| dir.join(tool).is_file()))
    };
    ["Xvfb", "WebKitWebDriver", "dbus-run-session"]
        .into_iter()
        .chain(more.iter().copied())
        .find(|tool| !on_path(tool))
}
