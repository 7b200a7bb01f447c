//! Janus under load: its videoroom plugin by its JSON API over WebSockets.

use std::fs;
use std::net::{IpAddr, TcpListener};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::client::Client;
use super::load::Load;
use super::process::Server;
use super::run::Shape;
use super::websocket::Json;

const ROOM: u32 = 1_000;
const START_TIMEOUT: Duration = Duration::from_secs(20);
const PROTOCOL: Option<&str> = Some("janus-protocol");

/// Where Debian has it.
pub(crate) fn program() -> Option<&'static str> {
    let program = "/usr/bin/janus";
    Path::new(program).exists().then_some(program)
}

/// Starts it with a configuration of its own: the one plugin and transport, no log, no recording,
/// everything else as it comes.
pub(crate) async fn start(program: &str, ip: IpAddr) -> Result<(Server, String, TempDir)> {
    let directory = TempDir::new()?;
    let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
    let libraries = libraries()?;
    let list = |folder: &str, keep: &str| -> Result<String> {
        let mut others = Vec::new();
        for entry in fs::read_dir(libraries.join(folder))? {
            let name = entry?.file_name().to_string_lossy().into_owned();
            if name.ends_with(".so") && name != keep {
                others.push(name);
            }
        }
        Ok(others.join(","))
    };
    let general = format!(
        "general: {{ debug_level = 0, session_timeout = 0 }}\n\
         media: {{ rtp_port_range = \"20000-40000\" }}\n\
         nat: {{ ice_enforce_list = \"{ip}\" }}\n\
         plugins: {{ disable = \"{}\" }}\n\
         transports: {{ disable = \"{}\" }}\n\
         events: {{ broadcast = false }}\n",
        list("plugins", "libjanus_videoroom.so")?,
        list("transports", "libjanus_websockets.so")?,
    );
    let websockets = format!(
        "general: {{ json = \"plain\", ws = true, ws_ip = \"127.0.0.1\", ws_port = {port}, wss = false }}\n\
         admin: {{ admin_ws = false, admin_wss = false }}\n"
    );
    fs::write(directory.path().join("janus.jcfg"), general)?;
    fs::write(
        directory.path().join("janus.transport.websockets.jcfg"),
        websockets,
    )?;
    fs::write(
        directory.path().join("janus.plugin.videoroom.jcfg"),
        "general: { }\n",
    )?;
    let mut command = Command::new(program);
    command.arg(format!("--configs-folder={}", directory.path().display()));
    let mut server = Server::start(&mut command)?;
    let url = format!("ws://127.0.0.1:{port}/");
    let deadline = Instant::now() + START_TIMEOUT;
    while Json::connect(&url, PROTOCOL).await.is_err() {
        if server.child().try_wait()?.is_some() || Instant::now() > deadline {
            bail!("Janus did not start");
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    Ok((server, url, directory))
}

fn libraries() -> Result<std::path::PathBuf> {
    let machine = std::env::consts::ARCH;
    let path = Path::new("/usr/lib").join(format!("{machine}-linux-gnu/janus"));
    anyhow::ensure!(path.is_dir(), "no plugins of Janus in {}", path.display());
    Ok(path)
}

/// One connection with its session.
struct Session {
    socket: Json,
    id: u64,
    transactions: u32,
}

impl Session {
    async fn open(url: &str) -> Result<Self> {
        let mut session = Self {
            socket: Json::connect(url, PROTOCOL).await?,
            id: 0,
            transactions: 0,
        };
        let created = session.ask(json!({ "janus": "create" })).await?;
        session.id = id_of(&created)?;
        Ok(session)
    }

    /// A handle of the videoroom plugin.
    async fn attach(&mut self) -> Result<u64> {
        let attach = json!({
            "janus": "attach", "session_id": self.id, "plugin": "janus.plugin.videoroom",
        });
        id_of(&self.ask(attach).await?)
    }

    /// Sends a request and waits for what it leads to.
    async fn ask(&mut self, mut request: Value) -> Result<Value> {
        self.transactions += 1;
        let transaction = self.transactions.to_string();
        request["transaction"] = transaction.clone().into();
        self.socket.say(request.to_string()).await?;
        let answer = self
            .socket
            .hear_json(|message| {
                message["transaction"] == transaction.as_str() && message["janus"] != "ack"
            })
            .await?;
        let refusal = &answer["plugindata"]["data"]["error"];
        if answer["janus"] == "error" || refusal.is_string() {
            bail!("Janus refuses: {} {refusal}", answer["error"]);
        }
        Ok(answer)
    }

    async fn message(
        &mut self,
        handle: u64,
        body: Value,
        jsep: Option<(&str, String)>,
    ) -> Result<Value> {
        let mut message = json!({
            "janus": "message", "session_id": self.id, "handle_id": handle, "body": body,
        });
        if let Some((kind, sdp)) = jsep {
            message["jsep"] = json!({ "type": kind, "sdp": sdp, "trickle": false });
        }
        self.ask(message).await
    }
}

impl Session {
    /// Joins as a subscriber. A feed is there only once its link works.
    async fn watch(&mut self, handle: u64, join: &Value) -> Result<Value> {
        let deadline = Instant::now() + START_TIMEOUT;
        loop {
            match self.message(handle, join.clone(), None).await {
                Err(_) if Instant::now() < deadline => {
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
                result => return result,
            }
        }
    }
}

fn id_of(answer: &Value) -> Result<u64> {
    answer["data"]["id"].as_u64().context("no id in the answer")
}

/// Brings everybody in: publishers first, then a second link for each who watches, as clients of
/// Janus have it.
pub(crate) async fn fill(url: &str, ip: IpAddr, shape: Shape, load: &Load) -> Result<()> {
    let mut host = Session::open(url).await?;
    let handle = host.attach().await?;
    let room = json!({
        "request": "create", "room": ROOM, "publishers": shape.publishers, "videocodec": "vp8",
    });
    host.message(handle, room, None).await?;
    host.socket.keep();
    let mut feeds = Vec::new();
    let mut sessions = Vec::new();
    for index in 0..shape.members() {
        let mut session = Session::open(url).await?;
        let mut feed = None;
        if index < shape.publishers {
            let handle = session.attach().await?;
            let mut client = Client::new(ip)?;
            let (sdp, pending) = client.offer(true, 0)?;
            let join = json!({
                "request": "joinandconfigure", "room": ROOM, "ptype": "publisher",
            });
            let joined = session.message(handle, join, Some(("offer", sdp))).await?;
            let answer = joined["jsep"]["sdp"].as_str().context("no answer")?;
            client.take_answer(pending, answer)?;
            load.add(client)?;
            let id = joined["plugindata"]["data"]["id"].as_u64();
            feed = Some(id.context("no feed")?);
        }
        feeds.extend(feed);
        sessions.push((session, feed));
    }
    for (mut session, own) in sessions {
        let streams: Vec<Value> = feeds
            .iter()
            .filter(|feed| Some(**feed) != own)
            .map(|feed| json!({ "feed": feed }))
            .collect();
        if !streams.is_empty() {
            let handle = session.attach().await?;
            let mut client = Client::new(ip)?;
            let join = json!({
                "request": "join", "room": ROOM, "ptype": "subscriber", "streams": streams,
            });
            let attached = session.watch(handle, &join).await?;
            let offer = attached["jsep"]["sdp"].as_str().context("no offer")?;
            let answer = client.answer(offer)?;
            load.add(client)?;
            let start = json!({ "request": "start" });
            session
                .message(handle, start, Some(("answer", answer)))
                .await?;
        }
        session.socket.keep();
    }
    Ok(())
}
