//! Two windows in the same call: ours with a server and members without windows, and a Chromium with one
//! connection to another Chromium that sends it all the others.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use call_media::video::synthetic::Pattern;
use call_media::video::y4m::Y4mWriter;
use serde_json::{Value, json};
use tempfile::TempDir;
use visavis_tests::support::cpu_seconds;
use visavis_tests::support::display::Display;
use visavis_tests::support::headless::{Lines, MemberOptions, Server, member_with};
use visavis_tests::support::usage::{family, family_cpu_seconds, family_memory_bytes};
use visavis_tests::support::window::{Window, WindowOptions, binary};

const PEER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/window/peer.mjs");
const WINDOW: (u32, u32) = (1280, 800);
const CAMERA: &str = "pattern:1280x720@30";
const FPS: u32 = 30;
/// Estimates find their level, encoders their size.
const SETTLE: Duration = Duration::from_secs(15);
const MEASURED: Duration = Duration::from_secs(20);
/// Two seconds, over and over.
const PICTURES: u32 = 60;

/// A call.
pub(crate) struct Room {
    /// With the window's own person.
    pub(crate) people: usize,
    /// Size of each other's picture.
    pub(crate) others: (u32, u32),
}

/// What a window used of the machine.
pub(crate) struct Cost {
    /// Of the window's processes, in cores.
    pub(crate) processor: f64,
    /// Of the X server the window is on, in cores.
    pub(crate) x_server: f64,
    /// Of the window's processes, what they share counted in shares.
    pub(crate) memory_bytes: u64,
    /// Pictures drawn of each other person.
    pub(crate) drawn_per_s: Vec<f64>,
}

/// Measures while the call goes on; `drawn` counts each person's pictures so far.
struct Meter {
    pid: u32,
    display: u32,
    at: Instant,
    processor_s: f64,
    x_server_s: f64,
    drawn: Vec<f64>,
}

impl Meter {
    fn start(pid: u32, display: &Display, drawn: Vec<f64>) -> Self {
        Self {
            pid,
            display: display.pid(),
            at: Instant::now(),
            processor_s: family_cpu_seconds(pid),
            x_server_s: cpu_seconds(display.pid()),
            drawn,
        }
    }

    fn end(self, drawn: &[f64]) -> Cost {
        let passed = self.at.elapsed().as_secs_f64();
        let grown = drawn.iter().zip(&self.drawn);
        Cost {
            processor: (family_cpu_seconds(self.pid) - self.processor_s) / passed,
            x_server: (cpu_seconds(self.display) - self.x_server_s) / passed,
            memory_bytes: family_memory_bytes(self.pid),
            drawn_per_s: grown.map(|(now, then)| (now - then) / passed).collect(),
        }
    }
}

/// The app in a room of our server.
pub(crate) async fn ours(room: &Room) -> Cost {
    let server = Server::start();
    let display = Display::start(WINDOW.0, WINDOW.1).expect("Xvfb starts");
    let home = tempfile::tempdir().expect("a temporary directory can be made");
    let media = [
        "--video",
        CAMERA,
        "--audio",
        "tone:440",
        "--speaker",
        "none",
    ];
    let args = [&["--server", server.url.as_str()][..], &media].concat();
    let window = Window::open(&WindowOptions {
        binary: &binary("visavis"),
        display: &display.name,
        home: home.path(),
        args: &args,
        programs: None,
    })
    .await
    .expect("the app opens its window");
    let app = app_of(window.pid()).expect("the driver has started the app");
    window.client.set_window_size(WINDOW.0, WINDOW.1).await.ok();
    window.fill("name-input", "Anna").await;
    window.click("start-call").await;
    let code = "return document.querySelector('[data-testid=\"room-code\"]')?.textContent ?? '';";
    let code = window.until("the room code", code).await;
    let code = code.as_str().expect("a code is text").trim();
    let video = format!("pattern:{}x{}@{FPS}", room.others.0, room.others.1);
    let _others: Vec<Lines> = (1..room.people)
        .map(|number| {
            let options = MemberOptions {
                name: &format!("Member {number}"),
                video: &video,
                audio: "none",
                record: None,
            };
            // They look at the window's person alone, and one of them as large as can be: nobody's
            // machine is in question but this one's.
            let anna = if number == 1 {
                "Anna=1280x720"
            } else {
                "Anna=320x180"
            };
            member_with(
                &server.url,
                Some(code),
                &options,
                &["--tile", "none", "--tile", anna],
            )
        })
        .collect();
    let drawn =
        "const all = [...document.querySelectorAll('[data-testid^=\"tile-\"][data-drawn-frames]')]
        .filter((one) => one.dataset.testid !== 'tile-self');
        return all.map((one) => Number(one.dataset.drawnFrames));";
    let everybody = format!(
        "const drawn = (() => {{ {drawn} }})();
         return drawn.length === {} && drawn.every((one) => one > 0);",
        room.people - 1
    );
    window.until("everybody's picture", &everybody).await;
    tokio::time::sleep(SETTLE).await;
    let read = async || {
        figures(
            &window
                .client
                .execute(drawn, vec![])
                .await
                .expect("tiles count"),
        )
    };
    let meter = Meter::start(app, &display, read().await);
    tokio::time::sleep(MEASURED).await;
    let cost = meter.end(&read().await);
    let shot = std::env::var_os("VISAVIS_BENCH_SHOTS").map(PathBuf::from);
    if let Some(folder) = shot {
        let path = folder.join(format!("window-{}.png", room.people));
        window.screenshot(&path).await;
    }
    cost
}

/// The app below the driver that started it.
fn app_of(driver: u32) -> Option<u32> {
    let is_app = |pid: &u32| {
        std::fs::read_link(format!("/proc/{pid}/exe"))
            .is_ok_and(|path| path.file_name().is_some_and(|name| name == "visavis"))
    };
    family(driver).into_iter().find(is_app)
}

fn figures(value: &Value) -> Vec<f64> {
    let all = value.as_array().into_iter().flatten();
    all.filter_map(Value::as_f64).collect()
}

/// A Chromium window, and a Chromium without one that sends it the others.
pub(crate) fn browser(room: &Room, program: &Path) -> Cost {
    let display = Display::start(WINDOW.0, WINDOW.1).expect("Xvfb starts");
    let folder = tempfile::tempdir().expect("a temporary directory can be made");
    let start = |size: (u32, u32), display: Option<&str>| {
        let clip = clip(&folder, size);
        let (width, height) = (size.0.to_string(), size.1.to_string());
        let clip = clip.to_str().expect("test paths are text");
        let mut args = vec![PEER, clip, &width, &height];
        args.extend(display.map(|_| "shown"));
        let mut environment = vec![("CHROMIUM", program.to_owned())];
        environment.extend(display.map(|name| ("DISPLAY", PathBuf::from(name))));
        let mut end = Lines::start_commanded(None, "node".as_ref(), &args, &environment);
        end.reported("ready");
        end
    };
    let mut window = start((1280, 720), Some(&display.name));
    let mut others = start(room.others, None);
    others.say(&json!({ "type": "offer", "cameras": room.people - 1 }));
    window.say(&others.reported("description"));
    others.say(&window.reported("description"));
    window.say(&json!({ "type": "wait", "cameras": room.people - 1 }));
    window.reported("shown");
    window.watch(SETTLE);
    let count = |window: &mut Lines| {
        let from = window.seen.len();
        window.say(&json!({ "type": "count" }));
        let line = window.until_from(from, "counts", |line| line["type"] == "drawn");
        figures(&line["drawn"])
    };
    // The process itself only passes on what is said.
    let browser = family(window.pid())[1];
    let meter = Meter::start(browser, &display, count(&mut window));
    window.watch(MEASURED);
    let drawn = count(&mut window);
    meter.end(&drawn)
}

/// A file of moving pictures.
fn clip(folder: &TempDir, (width, height): (u32, u32)) -> PathBuf {
    let path = folder.path().join(format!("{width}.y4m"));
    let file = std::fs::File::create(&path).expect("a file can be made");
    let mut y4m = Y4mWriter::new(file, width, height, FPS).expect("a header can be written");
    let pattern = Pattern::new(width, height, 7);
    for number in 0..PICTURES {
        let captured_us = u64::from(number) * 1_000_000 / u64::from(FPS);
        let picture = pattern.draw(number, FPS, captured_us, Instant::now());
        y4m.write(&picture).expect("a picture can be written");
    }
    y4m.flush().expect("pictures can be written");
    path
}
