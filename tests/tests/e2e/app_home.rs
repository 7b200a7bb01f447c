//! Before and after a call in a real window: the language is switched in the settings, a call is left
//! and joined again from the list of recent ones, and a second start hands its invite to the window
//! that is there.

use std::process::Command;

use visavis_tests::support::display::Display;
use visavis_tests::support::namespace::run_in_own_network;
use visavis_tests::support::window::{Window, WindowOptions, binary};

use crate::app::{look, missing_tool, text_of};

const NO_DEVICES: &[&str] = &["--video", "none", "--audio", "none", "--speaker", "none"];

#[test]
fn a_room_is_joined_again_in_german() {
    if let Some(missing) = missing_tool(&[]) {
        eprintln!("SKIPPED a_room_is_joined_again_in_german: no {missing} on this machine");
        return;
    }
    run_in_own_network("app_home::a_room_is_joined_again_in_german", || {
        tokio::runtime::Runtime::new()
            .expect("a runtime starts")
            .block_on(join_again());
    });
}

async fn join_again() {
    let binary = binary("visavis");
    let display = Display::start(1400, 900).expect("Xvfb starts");
    let home = tempfile::tempdir().expect("a temporary directory can be made");
    let anna = Window::open(&WindowOptions {
        binary: &binary,
        display: &display.name,
        home: home.path(),
        args: NO_DEVICES,
        programs: None,
    })
    .await
    .expect("the app opens its window");

    anna.click("settings-button").await;
    let languages = anna.element("language-select").await;
    languages
        .select_by_value("de")
        .await
        .expect("German can be chosen");
    anna.until("German words", &says("start-call", "Anruf starten"))
        .await;
    look(&anna, "settings-german").await;
    anna.click("close-dialog").await;
    anna.click("start-call").await;
    let code = anna.until("the room code", &text_of("room-code")).await;
    let code = code.as_str().expect("a code is text").trim().to_owned();
    anna.click("leave-button").await;
    anna.click(&format!("room-{code}")).await;
    anna.until("the same room", &says("room-code", &code)).await;

    // The profile is taken, so this hands its invite over and ends.
    let second = Command::new(&binary)
        .args(NO_DEVICES)
        .arg("visavis://join/0000-0000-0001")
        .env("DISPLAY", &display.name)
        .env("HOME", home.path())
        .env("XDG_RUNTIME_DIR", home.path().join("run"))
        .env("XDG_DATA_HOME", home.path().join("data"))
        .env("XDG_CONFIG_HOME", home.path().join("config"))
        .env("XDG_CACHE_HOME", home.path().join("cache"))
        .env_remove("WAYLAND_DISPLAY")
        .status()
        .expect("the app starts once more");
    assert!(second.success(), "{second}");
    anna.until("the invite", &says("invited", "0000-0000-0001"))
        .await;
    anna.until(
        "a question in German",
        &says("invited", "verlässt den Anruf"),
    )
    .await;
    anna.click("invited-no").await;
    anna.until("the call going on", &says("room-code", &code))
        .await;
}

fn says(id: &str, what: &str) -> String {
    let text = text_of(id);
    let text = text.trim_start_matches("return ").trim_end_matches(';');
    format!("return ({text}).includes('{what}');")
}
