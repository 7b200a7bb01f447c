//! Our server under load: its signalling, as `docs/protocol.md` has it.

use std::io::{BufRead, BufReader};
use std::net::IpAddr;
use std::process::Command;

use anyhow::{Context, Result, bail};
use call_protocol::wire::{ClientMessage, PROTOCOL_VERSION, ServerMessage, SfuTrack, Subscription};
use call_protocol::{MediaSource, MemberId, RoomId};

use super::client::Client;
use super::load::Load;
use super::process::Server;
use super::run::Shape;
use super::websocket::Json;

/// Base64 of 32 bytes of 7: the server compares, it does not look.
const AUTH: &str = "BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc=";

pub(crate) fn start(ip: IpAddr) -> Result<(Server, String)> {
    let program = env!("CARGO_BIN_EXE_visavis-server");
    let media = format!("{ip}:0");
    let mut server = Server::start(Command::new(program).args([
        "--http",
        "127.0.0.1:0",
        "--media",
        &media,
        "--media-threads",
        "1",
        "--topology",
        "sfu",
    ]))?;
    let stdout = server.child().stdout.take().context("no output")?;
    let mut line = String::new();
    BufReader::new(stdout).read_line(&mut line)?;
    let line: serde_json::Value =
        serde_json::from_str(&line).context("the server did not start")?;
    let http = line["http"].as_str().context("no address")?;
    Ok((server, format!("ws://{http}/v1/ws")))
}

/// Brings everybody in.
pub(crate) async fn fill(url: &str, ip: IpAddr, shape: Shape, load: &Load) -> Result<()> {
    let mut seats = Vec::new();
    for index in 0..shape.members() {
        let publishes = index < shape.publishers;
        let mut socket = Json::connect(url, None).await?;
        say(
            &mut socket,
            &ClientMessage::Hello {
                version: PROTOCOL_VERSION,
            },
        )
        .await?;
        say(
            &mut socket,
            &ClientMessage::Join {
                room: RoomId::from_bytes([7; 16]),
                auth: AUTH.to_owned(),
                profile: "Yg==".to_owned(),
                resume: None,
            },
        )
        .await?;
        let joined = hear(&mut socket, |message| match message {
            ServerMessage::Joined { member, .. } => Some(member),
            _ => None,
        });
        let member = joined.await?;
        let mut client = Client::new(ip)?;
        let (sdp, pending) = client.offer(publishes, shape.seen_by(publishes))?;
        let track = SfuTrack {
            mline: 0,
            source: MediaSource::Camera,
            layer: Some(0),
        };
        let offer = ClientMessage::SfuOffer {
            link: 1,
            sdp,
            tracks: Vec::from_iter(publishes.then_some(track)),
        };
        say(&mut socket, &offer).await?;
        let answer = hear(&mut socket, |message| match message {
            ServerMessage::SfuAnswer { sdp, .. } => Some(sdp),
            _ => None,
        });
        client.take_answer(pending, &answer.await?)?;
        load.add(client)?;
        seats.push((member, socket));
    }
    let publishers: Vec<MemberId> = seats
        .iter()
        .take(shape.publishers)
        .map(|(member, _)| *member)
        .collect();
    for (member, mut socket) in seats {
        let tiles = publishers.iter().filter(|publisher| **publisher != member);
        let tiles = tiles.map(|publisher| Subscription {
            member: *publisher,
            source: MediaSource::Camera,
            width_px: 1280,
            height_px: 720,
        });
        let tiles = tiles.collect();
        say(&mut socket, &ClientMessage::Subscribe { tiles }).await?;
        socket.keep();
    }
    Ok(())
}

async fn say(socket: &mut Json, message: &ClientMessage) -> Result<()> {
    socket.say(serde_json::to_string(message)?).await
}

async fn hear<T>(socket: &mut Json, pick: impl Fn(ServerMessage) -> Option<T>) -> Result<T> {
    loop {
        let message = ServerMessage::parse(&socket.hear().await?)?;
        if let ServerMessage::Error { code, .. } | ServerMessage::SfuClosed { code, .. } = &message
        {
            bail!("the server refuses: {code:?}");
        }
        if let Some(picked) = pick(message) {
            return Ok(picked);
        }
    }
}
