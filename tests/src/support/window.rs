//! A real window of the app, driven through WebKitWebDriver.

use std::ffi::OsString;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use base64::Engine as _;
use call_media::frame::I420Frame;
use fantoccini::{Client, ClientBuilder, Locator};
use hyper_util::client::legacy::connect::HttpConnector;
use serde_json::{Value, json};

/// How long anything in a window may take before the test fails.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// One app process with its driver. Both end with this value.
pub struct Window {
    driver: Driver,
    /// The WebDriver session.
    pub client: Client,
}

/// What a window is started with.
pub struct WindowOptions<'a> {
    /// The app's binary.
    pub binary: &'a Path,
    /// `DISPLAY`.
    pub display: &'a str,
    /// Where profile, cache and runtime directories go.
    pub home: &'a Path,
    /// The app's arguments.
    pub args: &'a [&'a str],
    /// A directory whose programs the app finds before the system's.
    pub programs: Option<&'a Path>,
}

impl Window {
    /// Opens the app.
    ///
    /// # Errors
    /// The driver is missing or the app did not open its window.
    pub async fn open(options: &WindowOptions<'_>) -> Result<Self, String> {
        // The driver finds a port for the app, which another program may take meanwhile; it waits for ever
        // then.
        for _ in 0..2 {
            let port = free_port();
            let driver = Driver::start(options, port)?;
            // What fails instead of waiting has its say before.
            let most = PATIENCE + Duration::from_secs(5);
            if let Ok(client) = tokio::time::timeout(most, connect(options, port)).await {
                return client.map(|client| Self { driver, client });
            }
        }
        Err("the app does not answer its driver".to_owned())
    }

    /// Of what started the driver, which started the app.
    pub fn pid(&self) -> u32 {
        self.driver.0.id()
    }

    /// Waits for the element with this `data-testid`.
    ///
    /// # Panics
    /// When it does not appear in [`PATIENCE`].
    pub async fn element(&self, id: &str) -> fantoccini::elements::Element {
        let selector = format!("[data-testid=\"{id}\"]");
        match self
            .client
            .wait()
            .at_most(PATIENCE)
            .for_element(Locator::Css(&selector))
            .await
        {
            Ok(element) => element,
            Err(error) => panic!("no {id}: {error}"),
        }
    }

    /// Clicks the element with this `data-testid`.
    pub async fn click(&self, id: &str) {
        let element = self.element(id).await;
        if let Err(error) = element.click().await {
            panic!("cannot click {id}: {error}");
        }
    }

    /// Replaces the text of an input field.
    pub async fn fill(&self, id: &str, text: &str) {
        let element = self.element(id).await;
        element.clear().await.expect("a field can be cleared");
        element.send_keys(text).await.expect("a field takes keys");
    }

    /// Runs `script` (with `return`) until it gives something other than null, false or "".
    ///
    /// # Panics
    /// When it does not in [`PATIENCE`]; the message holds `what`.
    pub async fn until(&self, what: &str, script: &str) -> Value {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let value = self
                .client
                .execute(script, vec![])
                .await
                .unwrap_or(Value::Null);
            if !matches!(&value, Value::Null | Value::Bool(false)) && value != json!("") {
                return value;
            }
            assert!(Instant::now() < deadline, "waited in vain for {what}");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// The picture drawn on a tile's canvas, cut to the 16:9 area the picture covers. Chroma is
    /// left grey: marks live in the luma.
    pub async fn picture(&self, canvas: &str) -> I420Frame {
        let script = format!(
            "const c = document.querySelector('[data-testid=\"{canvas}\"]');
             const w = c.width, h = c.height;
             const d = c.getContext('2d').getImageData(0, 0, w, h).data;
             let s = '';
             for (let i = 0; i < w * h; i++) {{
               s += String.fromCharCode(Math.round(16 + 0.257 * d[4*i] + 0.504 * d[4*i+1] + 0.098 * d[4*i+2]));
             }}
             return [w, h, btoa(s)];"
        );
        let value = self
            .client
            .execute(&script, vec![])
            .await
            .expect("the canvas is readable");
        let size = |at: usize| value[at].as_u64().expect("a canvas has a size") as usize;
        let luma = base64::engine::general_purpose::STANDARD
            .decode(value[2].as_str().expect("luma comes as text"))
            .expect("btoa makes base64");
        contained_picture(&luma, size(0), size(1))
    }

    /// Writes what the window shows.
    pub async fn screenshot(&self, path: &Path) {
        let png = self
            .client
            .screenshot()
            .await
            .expect("a window has a picture");
        std::fs::create_dir_all(path.parent().expect("a file has a directory"))
            .and_then(|()| std::fs::write(path, png))
            .expect("the screenshot can be written");
    }
}

/// WebKitWebDriver on a message bus of its own. It ends with this value.
struct Driver(Child);

impl Driver {
    fn start(options: &WindowOptions<'_>, port: u16) -> Result<Self, String> {
        let runtime_dir = options.home.join("run");
        std::fs::create_dir_all(&runtime_dir).map_err(|error| error.to_string())?;
        let driver = Command::new("dbus-run-session")
            .args(["--", "WebKitWebDriver", &format!("--port={port}")])
            .env("DISPLAY", options.display)
            .env("HOME", options.home)
            .env("XDG_RUNTIME_DIR", &runtime_dir)
            .env("XDG_DATA_HOME", options.home.join("data"))
            .env("XDG_CONFIG_HOME", options.home.join("config"))
            .env("XDG_CACHE_HOME", options.home.join("cache"))
            .env("PATH", search_path(options.programs))
            .env_remove("BROWSER")
            .env("TAURI_WEBVIEW_AUTOMATION", "true")
            .env("NO_AT_BRIDGE", "1")
            .env_remove("WAYLAND_DISPLAY")
            .stdin(Stdio::null())
            // What services of its bus print is no part of what a benchmark prints.
            .stdout(Stdio::null())
            .spawn();
        driver
            .map(Self)
            .map_err(|error| format!("WebKitWebDriver: {error}"))
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        // dbus-run-session passes nothing on, so the driver and the app are found as its children.
        let _ = Command::new("pkill")
            .args(["-TERM", "-P", &self.0.id().to_string()])
            .status();
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Has the driver start the app, once it listens.
async fn connect(options: &WindowOptions<'_>, port: u16) -> Result<Client, String> {
    let capabilities = json!({
        "webkitgtk:browserOptions": { "binary": options.binary, "args": options.args }
    });
    let Value::Object(capabilities) = capabilities else {
        unreachable!("built as an object")
    };
    let mut builder = ClientBuilder::new(HttpConnector::new());
    builder.capabilities(capabilities);
    let address = format!("http://127.0.0.1:{port}");
    let deadline = Instant::now() + PATIENCE;
    loop {
        match builder.connect(&address).await {
            Ok(client) => return Ok(client),
            // The driver needs a moment before it listens.
            Err(error) if Instant::now() > deadline => return Err(error.to_string()),
            Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
        }
    }
}

/// Cuts the area a 16:9 picture covers out of a canvas it is centred in.
fn contained_picture(luma: &[u8], width: usize, height: usize) -> I420Frame {
    let (w, h) = if width * 9 <= height * 16 {
        (width, width * 9 / 16)
    } else {
        (height * 16 / 9, height)
    };
    let (left, top) = ((width - w) / 2, (height - h) / 2);
    let (w, h) = (w & !1, h & !1);
    let y: Vec<u8> = (top..top + h)
        .flat_map(|row| &luma[row * width + left..][..w])
        .copied()
        .collect();
    gray_frame(w as u32, h as u32, y)
}

/// A frame with this luma and no colour.
fn gray_frame(width_px: u32, height_px: u32, y: Vec<u8>) -> I420Frame {
    let chroma = (width_px as usize).div_ceil(2) * (height_px as usize).div_ceil(2);
    let mut data = y;
    data.resize(data.len() + 2 * chroma, 128);
    I420Frame::new(width_px, height_px, data, Instant::now()).expect("the buffer fits the size")
}

fn search_path(first: Option<&Path>) -> OsString {
    let system = std::env::var_os("PATH").unwrap_or_default();
    let dirs = first
        .map(Path::to_owned)
        .into_iter()
        .chain(std::env::split_paths(&system));
    std::env::join_paths(dirs).expect("a directory's name fits into PATH")
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0")
        .and_then(|listener| listener.local_addr())
        .expect("loopback has a free port")
        .port()
}

/// Where a binary of this workspace was built: `VISAVIS_BIN_DIR`, else beside the test binary.
///
/// # Panics
/// When it is not there; the message says how to build it.
pub fn binary(name: &str) -> PathBuf {
    let dir = std::env::var_os("VISAVIS_BIN_DIR").map_or_else(
        || {
            let test = std::env::current_exe().expect("the test binary has a path");
            test.parent()
                .and_then(Path::parent)
                .expect("it lies in target/PROFILE/deps")
                .to_owned()
        },
        PathBuf::from,
    );
    let path = dir.join(format!("{name}{}", std::env::consts::EXE_SUFFIX));
    assert!(
        path.is_file(),
        "{name} is not built: run `cargo xtask test`, which builds it first"
    );
    path
}
