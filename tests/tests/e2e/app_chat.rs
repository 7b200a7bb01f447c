//! Chat and files between two real windows: what is typed in one is read in the other, and a file
//! dropped on one with a real pointer lies on the other's disk.

use std::path::{Path, PathBuf};
use std::time::Instant;

use serde_json::json;
use tempfile::TempDir;
use visavis_tests::support::display::Display;
use visavis_tests::support::drag::DragSource;
use visavis_tests::support::namespace::run_in_own_network;
use visavis_tests::support::window::{PATIENCE, Window, WindowOptions, binary};

use crate::app::{described, look, missing_tool, save, text_of};

#[test]
fn messages_reactions_and_hands_reach_the_other_window() {
    in_two_windows(
        "messages_reactions_and_hands_reach_the_other_window",
        &[],
        |call| Box::pin(async move { talk(&call).await }),
    );
}

#[test]
fn a_dropped_file_lands_on_the_other_disk() {
    in_two_windows(
        "a_dropped_file_lands_on_the_other_disk",
        &["xdotool"],
        |call| Box::pin(async move { drop_a_file(&call).await }),
    );
}

/// Anna and Ben in a call, each with a screen and a home of their own.
struct Call {
    anna: Window,
    ben: Window,
    displays: [Display; 2],
    homes: TempDir,
}

type Scenario = std::pin::Pin<Box<dyn std::future::Future<Output = ()>>>;

fn in_two_windows(name: &str, tools: &[&'static str], scenario: fn(Call) -> Scenario) {
    if let Some(missing) = missing_tool(tools) {
        eprintln!("SKIPPED {name}: no {missing} on this machine");
        return;
    }
    run_in_own_network(&format!("app_chat::{name}"), || {
        tokio::runtime::Runtime::new()
            .expect("a runtime starts")
            .block_on(async { scenario(Call::begin().await).await });
    });
}

impl Call {
    async fn begin() -> Self {
        let binary = binary("visavis");
        let homes = tempfile::tempdir().expect("a temporary directory can be made");
        let displays = [(); 2].map(|()| Display::start(1400, 900).expect("Xvfb starts"));
        let args = |profile| {
            let video = "pattern:640x360@15";
            let sound = ["--audio", "none", "--speaker", "none"];
            [&["--profile", profile, "--video", video], &sound[..]].concat()
        };
        let open = |at: usize, name: &'static str| {
            let (binary, display) = (&binary, &displays[at].name);
            let (home, args) = (homes.path().join(name), args(name));
            async move {
                let window = Window::open(&WindowOptions {
                    binary,
                    display,
                    home: &home,
                    args: &args,
                })
                .await
                .expect("the app opens its window");
                window.fill("name-input", name).await;
                window
            }
        };
        let anna = open(0, "Anna").await;
        anna.click("start-call").await;
        let code = anna.until("the room code", &text_of("room-code")).await;
        let ben = open(1, "Ben").await;
        ben.fill("code-input", code.as_str().expect("a code is text"))
            .await;
        ben.click("join-call").await;
        for (window, other) in [(&anna, "Ben"), (&ben, "Anna")] {
            let linked = format!(
                "return !!document.querySelector('[data-name=\"{other}\"][data-link=\"connected\"]');"
            );
            window.until(&format!("the link to {other}"), &linked).await;
        }
        Self {
            anna,
            ben,
            displays,
            homes,
        }
    }
}

async fn talk(call: &Call) {
    let Call { anna, ben, .. } = call;
    anna.click("chat-button").await;
    anna.element("chat-empty").await;
    // As a person types: Shift+Enter begins a line, Enter sends.
    let typed =
        format!("Hello Ben,{SHIFT}{ENTER}{SHIFT}have you seen https://example.org/plan?{ENTER}");
    anna.element("chat-input")
        .await
        .send_keys(&typed)
        .await
        .expect("a field takes keys");
    ben.until("an unread message", &unread(1)).await;
    look(ben, "chat-unread").await;
    ben.click("chat-button").await;
    let text = ben.until("Anna's message", &text_of("chat-message")).await;
    assert_eq!(
        text.as_str().map(str::trim),
        Some("Hello Ben,\nhave you seen https://example.org/plan?")
    );
    let link = ben.until("the link in it", &text_of("chat-link")).await;
    assert_eq!(link, json!("https://example.org/plan"));
    ben.until("nothing unread", &unread(0)).await;
    anna.until("the delivery", &delivered()).await;

    let answer = format!("Yes! 🌿 <b>Not bold.</b>{ENTER}");
    ben.element("chat-input")
        .await
        .send_keys(&answer)
        .await
        .expect("a field takes keys");
    anna.until("Ben's answer", &message("Yes! 🌿 <b>Not bold.</b>"))
        .await;

    ben.click("hand-button").await;
    anna.until("Ben's hand", &described_member("Ben", "hand raised"))
        .await;
    anna.click("reaction-menu").await;
    anna.click("react-🎉").await;
    ben.until("Anna's reaction", &reaction("Anna", "🎉")).await;
    save(ben, "chat").await;
    look(anna, "chat-hand").await;
}

async fn drop_a_file(call: &Call) {
    let Call {
        anna,
        ben,
        displays,
        homes,
    } = call;
    let name = "Plan of the house, größer.bin";
    let content: Vec<u8> = (0..3_000_000_u32)
        .flat_map(|at| at.wrapping_mul(2_654_435_761).to_le_bytes()[..1].to_vec())
        .collect();
    let file = homes.path().join(name);
    std::fs::write(&file, &content).expect("a file can be written");

    let source = DragSource::open(&displays[1].name, &[&file]);
    source.grab();
    // A drag begins when two programs have agreed to it, some movements later.
    let deadline = Instant::now() + PATIENCE;
    while !is_there(ben, "drop-overlay").await {
        source.hover(700, 400);
        assert!(Instant::now() < deadline, "the window never saw the drag");
    }
    look(ben, "drop").await;
    source.drop_here();

    anna.element("offer").await;
    let offered = anna.until("the offered name", &text_of("offer-name")).await;
    assert_eq!(offered, json!(name));
    let size = anna.until("the size", &text_of("offer-content")).await;
    assert_eq!(size, json!("3.0\u{a0}MB"));
    save(anna, "offer").await;
    ben.until("the offer in Ben's list", &transfer("offered", true))
        .await;
    anna.click("offer-accept").await;
    anna.click("chat-button").await;
    anna.until("the file at Anna's", &transfer("done", false))
        .await;
    ben.until("Ben to know", &transfer("done", true)).await;
    look(anna, "transfer-done").await;

    let arrived = downloads(&homes.path().join("Anna")).join(name);
    let read = std::fs::read(&arrived).expect("the file is in the downloads");
    assert!(read == content, "the file came out changed");
    anna.click("transfer-dismiss").await;
    anna.until(
        "an empty list",
        "return !document.querySelector('[data-testid=\"transfers\"]');",
    )
    .await;
}

/// WebDriver's codes of keys; a modifier stays down until it comes again.
const SHIFT: char = '\u{e008}';
const ENTER: char = '\u{e007}';

/// Where an app with this home puts files.
fn downloads(home: &Path) -> PathBuf {
    home.join("Downloads")
}

async fn is_there(window: &Window, id: &str) -> bool {
    let script = format!("return !!document.querySelector('[data-testid=\"{id}\"]');");
    window.client.execute(&script, vec![]).await.ok() == Some(json!(true))
}

fn unread(count: u32) -> String {
    format!(
        "return document.querySelector('[data-testid=\"chat-button\"]')?.dataset.unread === '{count}';"
    )
}

fn delivered() -> String {
    "const all = [...document.querySelectorAll('[data-testid=\"chat-message\"]')];
     return all.length > 0 && all.every((one) => one.dataset.delivery === 'delivered');"
        .to_owned()
}

fn message(text: &str) -> String {
    format!(
        "return [...document.querySelectorAll('[data-testid=\"chat-message\"]')]
           .some((one) => one.textContent.trim() === {});",
        json!(text)
    )
}

fn described_member(name: &str, what: &str) -> String {
    described(&format!("[data-name=\"{name}\"]"), what)
}

fn reaction(name: &str, emoji: &str) -> String {
    format!(
        "return document.querySelector('[data-name=\"{name}\"] [data-testid=\"reaction\"]')
           ?.textContent === '{emoji}';"
    )
}

fn transfer(state: &str, outgoing: bool) -> String {
    format!(
        "return !!document.querySelector(
           '[data-testid=\"transfer\"][data-state=\"{state}\"][data-outgoing=\"{outgoing}\"]');"
    )
}
