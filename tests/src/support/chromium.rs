//! A headless Chromium as the other peer: serves it a page, and talks JSON with the page.
//!
//! The page (`chromium.html`) is one impolite `RTCPeerConnection` with the fake camera and
//! microphone, an echoing data channel, and commands to read its statistics and its picture.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use call_protocol::VideoCodec;
use call_protocol::peer::{PeerSignal, SdpKind};
use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::{Child, Command};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;

const PAGE: &str = include_str!("chromium.html");
/// A cold start on a busy machine takes seconds.
const START: Duration = Duration::from_secs(60);
const NAMES: [&str; 3] = [
    "/usr/bin/chromium",
    "/usr/bin/chromium-browser",
    "/usr/bin/google-chrome",
];
const FLAGS: [&str; 13] = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
    "--use-fake-device-for-media-stream",
    "--use-fake-ui-for-media-stream",
    "--autoplay-policy=no-user-gesture-required",
    // Plain host candidates: name resolution of mDNS ones needs a multicast-capable interface.
    "--disable-features=WebRtcHideLocalIpsWithMdns",
];

/// Where Chromium is, if it is.
pub fn find() -> Option<PathBuf> {
    NAMES.iter().map(PathBuf::from).find(|path| path.exists())
}

/// A running Chromium with the page open. Killed when dropped.
pub struct Chromium {
    child: Child,
    socket: WebSocketStream<TcpStream>,
    // Removed after the process is gone.
    _profile: TempDir,
}

impl Chromium {
    /// Starts Chromium and waits for the page.
    ///
    /// # Errors
    /// It cannot be started or its page does not call back within a minute.
    pub async fn start(program: &Path) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let profile = tempfile::tempdir()?;
        let child = Command::new(program)
            .args(FLAGS)
            .arg(format!("--user-data-dir={}", profile.path().display()))
            .arg(format!("http://{}/", listener.local_addr()?))
            .env("HOME", profile.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("starting {}", program.display()))?;
        let socket = tokio::time::timeout(START, serve(&listener))
            .await
            .map_err(|_| anyhow!("the page did not call back"))??;
        let mut chromium = Self {
            child,
            socket,
            _profile: profile,
        };
        let ready = chromium.receive().await?;
        if ready["type"] != "ready" {
            bail!("unexpected first message: {ready}");
        }
        Ok(chromium)
    }

    /// Sends a command to the page.
    ///
    /// # Errors
    /// The page is gone.
    pub async fn send(&mut self, command: &Value) -> Result<()> {
        Ok(self.socket.send(Message::text(command.to_string())).await?)
    }

    /// The page's next message. Cancel-safe.
    ///
    /// # Errors
    /// The page is gone or reports an error of its own.
    pub async fn receive(&mut self) -> Result<Value> {
        while let Some(message) = self.socket.next().await {
            if let Message::Text(text) = message? {
                let message: Value = serde_json::from_str(&text)?;
                if message["type"] == "error" {
                    bail!("the page failed: {}", message["text"]);
                }
                return Ok(message);
            }
        }
        bail!("the page is gone")
    }

    /// Tells the page to make its peer, sending and receiving only `codec`, and to offer if told.
    ///
    /// # Errors
    /// The page is gone.
    pub async fn start_peer(&mut self, codec: VideoCodec, offer: bool) -> Result<()> {
        let (mime, parameters) = format_of(codec);
        self.send(&json!({
            "type": "start", "mime": mime, "parameters": parameters, "offer": offer,
            "width": 640, "height": 480,
        }))
        .await
    }

    /// Tells the page to make a peer for an SFU and offer: section 0 is its sound, section 1 its
    /// 720p picture in three sizes told apart by `rid`, then `slots` pairs of receiving sections.
    ///
    /// # Errors
    /// The page is gone.
    pub async fn publish(&mut self, codec: VideoCodec, slots: u32) -> Result<()> {
        let (mime, parameters) = format_of(codec);
        self.send(&json!({
            "type": "publish", "mime": mime, "parameters": parameters, "slots": slots,
            "width": 1280, "height": 720,
        }))
        .await
    }

    /// Passes a signal of ours to the page.
    ///
    /// # Errors
    /// The page is gone.
    pub async fn signal(&mut self, signal: &PeerSignal) -> Result<()> {
        let message = match signal {
            PeerSignal::Description { kind, sdp } => {
                let kind = if *kind == SdpKind::Offer {
                    "offer"
                } else {
                    "answer"
                };
                json!({ "type": "description", "kind": kind, "sdp": sdp })
            }
            PeerSignal::Candidate {
                candidate,
                mid,
                mline_index,
            } => json!({
                "type": "candidate", "candidate": candidate, "mid": mid, "mline_index": mline_index,
            }),
            PeerSignal::Settled { .. }
            | PeerSignal::Shown { .. }
            | PeerSignal::AskMute
            | PeerSignal::Bye
            | PeerSignal::Data { .. }
            | PeerSignal::Need { .. } => return Ok(()),
        };
        self.send(&message).await
    }
}

/// MIME type of a codec, and the parameters its format must have.
fn format_of(codec: VideoCodec) -> (&'static str, &'static [&'static str]) {
    match codec {
        VideoCodec::Vp8 => ("video/VP8", &[]),
        VideoCodec::Vp9 => ("video/VP9", &["profile-id=0"]),
        VideoCodec::H264 => (
            "video/H264",
            &["packetization-mode=1", "profile-level-id=42e01f"],
        ),
    }
}

/// The signal in a message of the page, if it is one.
pub fn signal_of(message: &Value) -> Option<PeerSignal> {
    let text = |key: &str| message[key].as_str().map(str::to_owned);
    match message["type"].as_str()? {
        "description" => {
            let kind = if message["kind"] == "offer" {
                SdpKind::Offer
            } else {
                SdpKind::Answer
            };
            Some(PeerSignal::Description {
                kind,
                sdp: text("sdp")?,
            })
        }
        "candidate" => Some(PeerSignal::Candidate {
            candidate: text("candidate")?,
            mid: text("mid"),
            mline_index: message["mline_index"]
                .as_u64()
                .and_then(|index| index.try_into().ok()),
        }),
        _ => None,
    }
}

/// Width, height and luma of a `picture` message; `None` while nothing is shown.
pub fn picture_of(message: &Value) -> Option<(u32, u32, Vec<u8>)> {
    let size = |key: &str| u32::try_from(message[key].as_u64()?).ok();
    let (width, height) = (size("width")?, size("height")?);
    let luma = STANDARD.decode(message["luma"].as_str()?).ok()?;
    (width > 0 && luma.len() == (width * height) as usize).then_some((width, height, luma))
}

impl Drop for Chromium {
    fn drop(&mut self) {
        // Its helpers are in its process group; they would outlive the main process for a while.
        if let Some(group) = self.child.id() {
            let killed = std::process::Command::new("kill")
                .args(["-KILL", "--", &format!("-{group}")])
                .status();
            if killed.is_err() {
                let _ = self.child.start_kill();
            }
        }
    }
}

/// Serves the page until it opens its WebSocket.
async fn serve(listener: &TcpListener) -> Result<WebSocketStream<TcpStream>> {
    loop {
        let (mut stream, _) = listener.accept().await?;
        let mut head = [0; 2_048];
        let length = stream.peek(&mut head).await?;
        let head = String::from_utf8_lossy(&head[..length]);
        if head.starts_with("GET /ws ") {
            return Ok(tokio_tungstenite::accept_async(stream).await?);
        }
        let (status, body) = if head.starts_with("GET / ") {
            ("200 OK", PAGE)
        } else {
            ("404 Not Found", "")
        };
        let answer = format!(
            "HTTP/1.1 {status}\r\ncontent-type: text/html; charset=utf-8\r\ncontent-length: {}\r\n\
             connection: close\r\n\r\n{body}",
            body.len()
        );
        let length = head.len();
        stream.read_exact(&mut vec![0; length]).await?;
        stream.write_all(answer.as_bytes()).await?;
        stream.shutdown().await?;
    }
}
