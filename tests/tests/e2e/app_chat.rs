//! Chat and files between two real windows: what is typed in one is read in the other, and a file
//! dropped on one with a real pointer lies on the other's disk. [`crate::app_walk`] goes through a whole
//! call with them.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde_json::json;
use tempfile::TempDir;
use visavis_tests::support::display::Display;
use visavis_tests::support::drag::{DragSource, xdotool};
use visavis_tests::support::namespace::run_in_own_network;
use visavis_tests::support::window::{PATIENCE, Window, WindowOptions, binary};

use crate::app::{described, look, missing_tool, text_of};

#[test]
fn a_chosen_file_lands_in_a_chosen_folder() {
    in_two_windows(
        "app_chat::a_chosen_file_lands_in_a_chosen_folder",
        &["xdotool"],
        |call| Box::pin(async move { choose_a_file(&call).await }),
    );
}

/// Anna and Ben in a call, each with a screen and a home of their own.
pub(crate) struct Call {
    pub(crate) anna: Window,
    pub(crate) ben: Window,
    pub(crate) displays: [Display; 2],
    pub(crate) code: String,
    homes: TempDir,
    /// What the apps asked the desktop to open, a line each.
    opened: PathBuf,
}

pub(crate) type Scenario = std::pin::Pin<Box<dyn std::future::Future<Output = ()>>>;

/// Runs a scenario by the name of its test.
pub(crate) fn in_two_windows(name: &str, tools: &[&'static str], scenario: fn(Call) -> Scenario) {
    if let Some(missing) = missing_tool(tools) {
        eprintln!("SKIPPED {name}: no {missing} on this machine");
        return;
    }
    run_in_own_network(name, || {
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
        let opened = homes.path().join("opened");
        let programs = stand_in_for_xdg_open(&homes.path().join("bin"), &opened);
        let args = |profile| {
            let video = "pattern:640x360@15";
            let sound = ["--audio", "tone:440", "--speaker", "none"];
            [&["--profile", profile, "--video", video], &sound[..]].concat()
        };
        let open = |at: usize, name: &'static str| {
            let (binary, display, programs) = (&binary, &displays[at].name, &programs);
            let (home, args) = (homes.path().join(name), args(name));
            hide_file_manager(&home);
            async move {
                let window = Window::open(&WindowOptions {
                    binary,
                    display,
                    home: &home,
                    args: &args,
                    programs: Some(programs),
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
        let code = code.as_str().expect("a code is text").trim().to_owned();
        let ben = open(1, "Ben").await;
        ben.fill("code-input", &code).await;
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
            code,
            homes,
            opened,
        }
    }

    /// Waits until the desktop was asked to open something of this kind.
    async fn until_opened(&self, what: &str) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let all = std::fs::read_to_string(&self.opened).unwrap_or_default();
            if all.lines().any(|line| line == what) {
                return;
            }
            assert!(Instant::now() < deadline, "{what} was not opened: {all:?}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Types a path into the file chooser on a screen, until that has taken it: keys that come
    /// before its field is there are lost.
    async fn choose(&self, at: usize, path: &Path) {
        let display = &self.displays[at].name;
        let path = path.to_str().expect("a path of a test is text");
        // The chooser's own title.
        let find = [
            "search",
            "--onlyvisible",
            "--name",
            "^(Open File|Select Folder)$",
        ];
        let find_and = |more: &[&str]| xdotool(display, &[&find[..], more].concat());
        let deadline = Instant::now() + PATIENCE;
        while !find_and(&["windowfocus"]) {
            assert!(Instant::now() < deadline, "no file chooser came up");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        while find_and(&["windowfocus", "key", "ctrl+l"]) {
            assert!(Instant::now() < deadline, "the file chooser stays");
            tokio::time::sleep(Duration::from_millis(500)).await;
            xdotool(display, &["key", "ctrl+a"]);
            xdotool(display, &["type", "--delay", "30", path]);
            xdotool(display, &["key", "Return"]);
            tokio::time::sleep(Duration::from_millis(1_000)).await;
        }
    }
}

/// Messages, a link, a hand and a reaction.
pub(crate) async fn talk(call: &Call) {
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
    ben.click("chat-link").await;
    call.until_opened("https://example.org/plan").await;
    ben.until("nothing unread", &unread(0)).await;
    anna.until("the delivery", &delivered()).await;

    let answer = "Yes! 🌿 <b>Not bold.</b>";
    let field = ben.element("chat-input").await;
    ben.until("the answer in the field", &pasted("chat-input", answer))
        .await;
    let enter = ENTER.to_string();
    field.send_keys(&enter).await.expect("a field takes keys");
    anna.until("Ben's answer", &message(answer)).await;

    ben.click("hand-button").await;
    anna.until("Ben's hand", &described_member("Ben", "hand raised"))
        .await;
    anna.click("reaction-menu").await;
    anna.click("react-🎉").await;
    ben.until("Anna's reaction", &reaction("Anna", "🎉")).await;
    look(ben, "chat").await;
    look(anna, "chat-hand").await;
}

/// A file is dropped on Ben's window, accepted at Anna's, and pasted at Ben's. Both look at the chat.
pub(crate) async fn drop_a_file(call: &Call) {
    let Call {
        anna,
        ben,
        displays,
        homes,
        ..
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
    look(anna, "offer").await;
    ben.until("the offer in Ben's list", &transfer("offered", true))
        .await;
    anna.click("offer-accept").await;
    anna.until("the file at Anna's", &transfer("done", false))
        .await;
    ben.until("Ben to know", &transfer("done", true)).await;
    look(anna, "transfer-done").await;

    let arrived = downloads(&homes.path().join("Anna")).join(name);
    let read = std::fs::read(&arrived).expect("the file is in the downloads");
    assert!(read == content, "the file came out changed");
    anna.click("transfer-dismiss").await;
    ben.click("transfer-dismiss").await;
    anna.until(
        "an empty list",
        "return !document.querySelector('[data-testid=\"transfers\"]');",
    )
    .await;

    // The program they were dragged out of has copied them as well.
    let keys = format!("{CONTROL}v{CONTROL}");
    let field = ben.element("chat-input").await;
    field.send_keys(&keys).await.expect("a field takes keys");
    ben.until("the pasted file's offer", &transfer("offered", true))
        .await;
    let offered = anna.until("the pasted name", &text_of("offer-name")).await;
    assert_eq!(offered, json!(name));
    let typed = field.prop("value").await.expect("a field has a value");
    assert_eq!(typed.as_deref(), Some(""), "the file's name was typed");
}

/// The other way to send and to save: through the desktop's own choosers.
async fn choose_a_file(call: &Call) {
    let Call {
        anna, ben, homes, ..
    } = call;
    let file = homes.path().join("list.txt");
    std::fs::write(&file, "milk\nbread\n").expect("a file can be written");
    let folder = homes.path().join("elsewhere");
    std::fs::create_dir(&folder).expect("a folder can be made");
    anna.click("chat-button").await;
    anna.click("attach").await;
    call.choose(0, &file).await;
    ben.click("offer-accept_to").await;
    call.choose(1, &folder).await;
    ben.click("chat-button").await;
    ben.until("the file at Ben's", &transfer("done", false))
        .await;
    let read = std::fs::read(folder.join("list.txt")).expect("the file is in the folder");
    assert_eq!(read, b"milk\nbread\n");
}

/// Puts a program into `dir` that writes down what it is asked to open.
fn stand_in_for_xdg_open(dir: &Path, opened: &Path) -> PathBuf {
    std::fs::create_dir(dir).expect("a folder can be made");
    let program = dir.join("xdg-open");
    let script = format!(
        "#!/bin/sh\nprintf '%s\\n' \"$1\" >> '{}'\n",
        opened.display()
    );
    std::fs::write(&program, script).expect("a program can be written");
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755))
        .expect("a program can be made one");
    dir.to_owned()
}

/// Lets no file manager start on the app's message bus, so that what is shown goes to `xdg-open`.
fn hide_file_manager(home: &Path) {
    let services = home.join("data/dbus-1/services");
    std::fs::create_dir_all(&services).expect("a folder can be made");
    let name = "org.freedesktop.FileManager1";
    std::fs::write(
        services.join(format!("{name}.service")),
        format!("[D-BUS Service]\nName={name}\nExec=/bin/false\n"),
    )
    .expect("a file can be written");
}

/// WebDriver's codes of keys; a modifier stays down until it comes again.
const SHIFT: char = '\u{e008}';
const CONTROL: char = '\u{e009}';
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

/// Puts text into a field as pasting does: no keyboard has keys for emoji.
fn pasted(id: &str, text: &str) -> String {
    format!(
        "document.querySelector('[data-testid=\"{id}\"]').focus();
         return document.execCommand('insertText', false, {});",
        json!(text)
    )
}

pub(crate) fn described_member(name: &str, what: &str) -> String {
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
