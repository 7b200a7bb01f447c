//! Chromium as a member of a room that uses our SFU: it publishes simulcast to headless members and
//! receives what they send. The room is unsealed, because a browser cannot seal as we do.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use call_e2ee::{RoomCode, RoomKeys, SignalSealer};
use call_media::audio::read_wav;
use call_media::frame::I420Frame;
use call_media::video::synthetic::read_mark;
use call_media::video::y4m::Y4mReader;
use call_protocol::peer::{PeerSignal, Profile, SdpKind};
use call_protocol::wire::{
    ClientMessage, PROTOCOL_VERSION, ServerMessage, SfuSlot, SfuTrack, Subscription, TopologyMode,
};
use call_protocol::{MediaSource, MemberId, VideoCodec};
use call_transport::{ServerConnection, ServerEvent, ServerSender};
use serde_json::{Value, json};
use tokio::sync::mpsc;
use visavis_tests::support::headless::{MemberOptions, Server, code_of, member_with};
use visavis_tests::support::{chromium, in_real_time};

/// All of it must be through by then.
const DEADLINE: Duration = Duration::from_secs(90);
/// Pictures the page must have decoded.
const PICTURES: u64 = 60;
/// The link number of the page's one link.
const LINK: u32 = 1;

/// Chromium's half of the call: the page, and the seat held for it.
struct Browser {
    page: chromium::Chromium,
    sender: ServerSender,
    events: mpsc::Receiver<ServerEvent>,
    others: Vec<MemberId>,
    slots: Vec<SfuSlot>,
    streams: Value,
    marks: Vec<u32>,
}

#[test]
fn chromium_publishes_simulcast_through_our_sfu_and_sees_the_others() {
    let Some(program) = chromium::find() else {
        eprintln!("SKIPPED: no Chromium is installed (Debian package \"chromium\")");
        return;
    };
    in_real_time(async move {
        let server = Server::start_with(&[
            "--http",
            "127.0.0.1:0",
            "--media",
            "127.0.0.1:0",
            "--topology",
            "sfu",
        ]);
        let directory = tempfile::tempdir().expect("a temporary directory can be made");
        let (at_ann, at_bo) = (directory.path().join("ann"), directory.path().join("bo"));
        let options = |name, video, record| MemberOptions {
            name,
            video,
            audio: "tone:440",
            record: Some(record),
        };
        let ann_options = options("Ann", "pattern:640x360@15", &at_ann);
        let flags = |tile| ["--unsealed", "--tile", tile];
        let mut ann = member_with(&server.url, None, &ann_options, &flags("1280x720"));
        let code = code_of(&mut ann);
        let bo_options = options("Bo", "none", &at_bo);
        let mut bo = member_with(&server.url, Some(&code), &bo_options, &flags("300x160"));
        let mut ids = [&mut ann, &mut bo].map(|client| client.event("joined")["member"].clone());

        let browser = tokio::time::timeout(DEADLINE, async {
            let mut browser = Browser::join(&program, &server.url, &code).await?;
            browser.run().await?;
            anyhow::Ok(browser)
        });
        let browser = browser
            .await
            .expect("the browser's half is through in time")
            .unwrap_or_else(|error| panic!("{error:#}"));
        ids.sort_by_key(|id| id.as_u64());
        let others: Vec<Value> = browser.others.iter().map(|id| json!(id)).collect();
        assert_eq!(others, ids, "the page's seat is in the same room");
        let ann_id = browser.others[0];
        assert!(
            browser
                .slots
                .iter()
                .any(|slot| slot.member == ann_id && slot.source == MediaSource::Camera),
            "{:?}",
            browser.slots
        );
        assert!(browser.marks.is_sorted() && browser.marks.len() >= 3);

        // Layers: who shows it large gets 720p, who shows it small a quarter.
        for (client, width) in [(&mut ann, 1_280), (&mut bo, 320)] {
            client.until("the layer of the tile", |line| {
                let members = line["members"].as_array();
                line["event"] == "stats"
                    && members.into_iter().flatten().any(|member| {
                        member["video"]["width"] == width
                            && member["video"]["fps"].as_f64() > Some(10.0)
                    })
            });
        }
        drop(browser);
        for client in [ann, bo] {
            assert_eq!(client.terminate().code, Some(0));
        }
        for record in [at_ann, at_bo] {
            judge(&record.join("Chromium.y4m"), &record.join("Chromium.wav"));
        }
    });
}

/// Chromium's fake camera draws a moving clock on a coloured ground, its microphone beeps.
fn judge(pictures: &Path, sound: &Path) {
    let mut file = Y4mReader::open(pictures)
        .unwrap_or_else(|error| panic!("{} is a recording: {error}", pictures.display()));
    let (mut count, mut changed) = (0, 0);
    let mut last: Option<I420Frame> = None;
    while let Some(picture) = file.read_frame().expect("a recorded picture is whole") {
        count += 1;
        changed += u32::from(last.as_ref().is_none_or(|last| last.y() != picture.y()));
        last = Some(picture);
    }
    let last = last.expect("there are pictures");
    let least = last.y().iter().min().copied().unwrap_or(0);
    let most = last.y().iter().max().copied().unwrap_or(0);
    let sound = read_wav(sound).unwrap_or_else(|error| panic!("{}: {error}", sound.display()));
    let loudest = sound
        .samples
        .iter()
        .fold(0.0_f32, |loudest, s| loudest.max(s.abs()));
    println!(
        "{}: {count} pictures, {changed} changed, luma {least} to {most}, loudest {loudest:.2}",
        pictures.display()
    );
    assert!(count > 60 && changed * 2 > count);
    assert!(most - least > 60, "a flat picture");
    assert!(loudest > 0.05, "silence");
}

impl Browser {
    /// Takes a seat in the room for the page, and has it offer.
    async fn join(program: &Path, url: &str, code: &str) -> Result<Self> {
        let code = RoomCode::parse(code)?;
        let keys = tokio::task::spawn_blocking(move || RoomKeys::derive(&code)).await?;
        let mut sealer = SignalSealer::new(&keys, rand_session());
        let profile = Profile {
            host: None,
            name: "Chromium".to_owned(),
            muted: false,
            camera_on: true,
            media_salt: String::new(),
            hand_raised: false,
            sharing: false,
            sound_only: false,
            sound_only_for: Vec::new(),
            tint: None,
            sound_copies: 0,
        };
        let profile = sealer.seal_profile(&serde_json::to_vec(&profile)?)?;
        let (sender, mut events) = ServerConnection::connect(url, Duration::from_secs(10)).await?;
        sender.send(&ClientMessage::Hello {
            version: PROTOCOL_VERSION,
        })?;
        sender.send(&ClientMessage::Join {
            room: keys.room_id(),
            auth: keys.auth(),
            profile,
            resume: None,
        })?;
        let others = loop {
            match events.recv().await.context("the server is gone")? {
                ServerEvent::Message(ServerMessage::Joined {
                    members, topology, ..
                }) => {
                    assert_eq!(topology, TopologyMode::Sfu, "what the server was told");
                    break members.into_iter().map(|entry| entry.member).collect();
                }
                ServerEvent::Message(ServerMessage::Hello { .. }) => {}
                other => bail!("instead of a seat: {other:?}"),
            }
        };
        let mut page = chromium::Chromium::start(program).await?;
        page.publish(VideoCodec::Vp8, 2).await?;
        Ok(Self {
            page,
            sender,
            events,
            others,
            slots: Vec::new(),
            streams: Value::Null,
            marks: Vec::new(),
        })
    }

    /// Carries signals until the page sent and received enough.
    async fn run(&mut self) -> Result<()> {
        let started = Instant::now();
        let mut look = tokio::time::interval(Duration::from_millis(500));
        loop {
            tokio::select! {
                event = self.events.recv() => match event.context("the server is gone")? {
                    ServerEvent::Message(message) => self.handle_message(message).await?,
                    ServerEvent::Alive => {}
                    ServerEvent::Closed { code } => bail!("the server closed: {code:?}"),
                },
                message = self.page.receive() => self.handle_page(&message?)?,
                _ = look.tick() => {
                    if self.is_through() {
                        println!("through after {:.1} s", started.elapsed().as_secs_f64());
                        return Ok(());
                    }
                    self.page.send(&json!({ "type": "streams" })).await?;
                    self.page.send(&json!({ "type": "grab" })).await?;
                }
            }
        }
    }

    async fn handle_message(&mut self, message: ServerMessage) -> Result<()> {
        match message {
            ServerMessage::SfuAnswer { link: LINK, sdp } => {
                let kind = SdpKind::Answer;
                self.page
                    .signal(&PeerSignal::Description { kind, sdp })
                    .await?;
                let tiles = self.others.iter().map(|member| Subscription {
                    member: *member,
                    source: MediaSource::Camera,
                    width_px: 640,
                    height_px: 360,
                });
                self.sender.send(&ClientMessage::Subscribe {
                    tiles: tiles.collect(),
                })?;
            }
            ServerMessage::SfuSlots { link: LINK, slots } => self.slots = slots,
            ServerMessage::SfuClosed { code, .. } => bail!("the SFU closed the link: {code:?}"),
            ServerMessage::Error { code, detail, .. } => bail!("{code:?}: {detail}"),
            _ => {}
        }
        Ok(())
    }

    fn handle_page(&mut self, message: &Value) -> Result<()> {
        match chromium::signal_of(message) {
            Some(PeerSignal::Description { sdp, .. }) => {
                let track = |mline, source| SfuTrack {
                    mline,
                    source,
                    layer: None,
                };
                let tracks = vec![
                    track(0, MediaSource::Microphone),
                    track(1, MediaSource::Camera),
                ];
                self.sender.send(&ClientMessage::SfuOffer {
                    link: LINK,
                    sdp,
                    tracks,
                })?;
            }
            Some(PeerSignal::Candidate {
                candidate,
                mid,
                mline_index,
            }) => self.sender.send(&ClientMessage::SfuCandidate {
                link: LINK,
                candidate,
                mid,
                mline_index,
            })?,
            _ => match message["type"].as_str() {
                Some("streams") => self.streams = message.clone(),
                Some("picture") => self.read(message),
                _ => {}
            },
        }
        Ok(())
    }

    /// The frame number in what the page shows.
    fn read(&mut self, message: &Value) {
        let Some((width, height, luma)) = chromium::picture_of(message) else {
            return;
        };
        let mut data = luma;
        data.resize(I420Frame::data_len(width, height), 128);
        let mark =
            I420Frame::new(width, height, data, Instant::now()).and_then(|frame| read_mark(&frame));
        if let Some(mark) = mark {
            self.marks.push(mark.frame);
        }
    }

    /// Three sizes left the page, and Ann's picture and sound came.
    fn is_through(&self) -> bool {
        let list = |key: &str| self.streams[key].as_array().cloned().unwrap_or_default();
        let sizes = list("outgoing");
        let sizes = sizes
            .iter()
            .filter(|stream| stream["kind"] == "video" && stream["framesSent"].as_u64() > Some(30));
        let incoming = list("incoming");
        let decoded = incoming
            .iter()
            .any(|stream| stream["framesDecoded"].as_u64() >= Some(PICTURES));
        let heard = incoming.iter().any(|stream| {
            stream["totalSamplesReceived"].as_u64() >= Some(3 * 48_000)
                && stream["totalAudioEnergy"].as_f64() > Some(0.01)
        });
        sizes.count() >= 2 && decoded && heard && self.marks.len() >= 3
    }
}

/// Sixteen bytes nobody guesses; a test needs no more than their being different each time.
fn rand_session() -> [u8; 16] {
    let now = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap_or_default();
    now.as_nanos().to_le_bytes()
}
