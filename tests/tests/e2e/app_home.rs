//! The settings in a real window: the language is switched, and the call speaks it.

use visavis_tests::support::display::Display;
use visavis_tests::support::namespace::run_in_own_network;
use visavis_tests::support::window::{Window, WindowOptions, binary};

use crate::app::{missing_tool, text_of};

#[test]
fn settings_switch_the_language() {
    if let Some(missing) = missing_tool(&[]) {
        eprintln!("SKIPPED settings_switch_the_language: no {missing} on this machine");
        return;
    }
    run_in_own_network("app_home::settings_switch_the_language", || {
        tokio::runtime::Runtime::new()
            .expect("a runtime starts")
            .block_on(switch_language());
    });
}

async fn switch_language() {
    let binary = binary("visavis");
    let display = Display::start(1400, 900).expect("Xvfb starts");
    let home = tempfile::tempdir().expect("a temporary directory can be made");
    let anna = Window::open(&WindowOptions {
        binary: &binary,
        display: &display.name,
        home: home.path(),
        args: &["--video", "none", "--audio", "none", "--speaker", "none"],
        programs: None,
    })
    .await
    .expect("the app opens its window");

    anna.click("settings-button").await;
    anna.element("language-select").await;
    let choose = "const list = document.querySelector('[data-testid=\"language-select\"]');
        list.value = 'de';
        list.dispatchEvent(new Event('change', { bubbles: true }));
        return list.value;";
    anna.until("German to be chosen", choose).await;
    let says = |id: &str, what: &str| {
        let text = text_of(id);
        let text = text.trim_start_matches("return ").trim_end_matches(';');
        format!("return ({text}).includes('{what}');")
    };
    anna.until("German words", &says("start-call", "Anruf starten"))
        .await;
    // No picture is taken here: where nothing on the page moves WebKit's driver may wait for ever for
    // the next frame.
    anna.click("close-dialog").await;
    anna.click("start-call").await;
    anna.until(
        "a call in German",
        &says("waiting", "Sag der anderen Person"),
    )
    .await;
}
