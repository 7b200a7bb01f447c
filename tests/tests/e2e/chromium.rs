//! Plain WebRTC with Chromium as the other peer: our transport and codecs against its own, every
//! codec in both directions, as offerer and as answerer; judged by decoded pictures and sound.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use bytes::Bytes;
use call_media::audio::{
    AudioDecoder, AudioEncoder, AudioEncoderConfig, FRAME_SAMPLES, OpusDecoder, OpusEncoder,
    tone_strength,
};
use call_media::frame::I420Frame;
use call_media::video::codec::{
    EncoderConfig, VideoDecoder, VideoEncoder, new_decoder, new_encoder,
};
use call_media::video::rtp::{RtpVideoPacket, VideoAssembler, VideoPacketizer};
use call_media::video::synthetic::Pattern;
use call_protocol::VideoCodec;
use call_transport::{ChannelLabel, Codec, Link, LinkConfig, LinkEvent, LinkState, RtpIn, RtpOut};
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::time::MissedTickBehavior;
use visavis_tests::support::{self, chromium};

/// One call must be through by then.
const DEADLINE: Duration = Duration::from_secs(60);
const WIDTH: u32 = 640;
const HEIGHT: u32 = 360;
const FPS: u32 = 30;
/// Pictures each side must have decoded, and seconds of sound.
const PICTURES: u64 = 60;
const SOUND_SAMPLES: usize = 3 * 48_000;
const TONE_HZ: f32 = 440.0;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn vp8() {
    both_roles(VideoCodec::Vp8).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn vp9() {
    both_roles(VideoCodec::Vp9).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn h264() {
    both_roles(VideoCodec::H264).await;
}

// The guard keeps other real-time tests waiting, which block their threads; ours goes on.
#[allow(clippy::await_holding_lock, clippy::print_stderr)]
async fn both_roles(codec: VideoCodec) {
    let Some(program) = chromium::find() else {
        eprintln!("SKIPPED: no Chromium is installed (Debian package \"chromium\")");
        return;
    };
    let _machine = support::real_time();
    for we_offer in [true, false] {
        let call = Call::start(&program, codec, we_offer);
        let outcome = match call.await {
            Ok(mut call) => {
                let outcome = tokio::time::timeout(DEADLINE, call.run()).await;
                let summary = call.summary();
                call.link.close().await;
                eprintln!("{codec:?}, we offer: {we_offer}: {summary}");
                outcome
                    .with_context(|| format!("not through in time: {summary}"))
                    .and_then(|inner| inner)
            }
            Err(error) => Err(error),
        };
        if let Err(error) = outcome {
            panic!("{codec:?}, we offer: {we_offer}: {error:#}");
        }
    }
}

struct Call {
    chromium: chromium::Chromium,
    link: Link,
    events: mpsc::Receiver<LinkEvent>,
    media: mpsc::Receiver<RtpIn>,
    codec: VideoCodec,
    sent: Sent,
    received: Received,
    seen: Seen,
}

/// What we send: a pattern whose pictures carry their number, and a tone.
struct Sent {
    pattern: Pattern,
    encoder: Box<dyn VideoEncoder>,
    packetizer: VideoPacketizer,
    opus: OpusEncoder,
    pictures: u32,
    sounds: u32,
    is_keyframe_due: bool,
    keyframe_requests: u32,
}

/// What we decoded of Chromium's fake camera and microphone.
struct Received {
    assembler: VideoAssembler,
    decoder: Box<dyn VideoDecoder>,
    opus: OpusDecoder,
    pictures: u64,
    changed: u64,
    last: Option<I420Frame>,
    asked_at: Option<Instant>,
    sound: Vec<f32>,
    echo: Option<Bytes>,
}

/// What the page says it decoded of ours.
#[derive(Default)]
struct Seen {
    stats: Value,
    marks: Vec<u32>,
}

impl Call {
    async fn start(program: &std::path::Path, codec: VideoCodec, we_offer: bool) -> Result<Self> {
        let mut chromium = chromium::Chromium::start(program).await?;
        let (event_sender, events) = mpsc::channel(256);
        let (media_sender, media) = mpsc::channel(4_096);
        // Chromium as answerer sends the first codec of the offer, also if its answer leaves it out.
        let mut video_codecs = vec![codec];
        video_codecs.extend(
            LinkConfig::default()
                .video_codecs
                .into_iter()
                .filter(|other| *other != codec),
        );
        let config = LinkConfig {
            video_codecs,
            polite: true,
            initiator: we_offer,
            include_loopback: true,
            ..LinkConfig::default()
        };
        chromium.start_peer(codec, !we_offer).await?;
        while chromium.receive().await?["type"] != "started" {}
        let link = Link::open(config, event_sender, media_sender).await?;
        let encoder = EncoderConfig {
            width: WIDTH,
            height: HEIGHT,
            fps: FPS,
            bitrate_bps: 800_000,
            ..EncoderConfig::default()
        };
        let sent = Sent {
            pattern: Pattern::new(WIDTH, HEIGHT, 7),
            encoder: new_encoder(codec, encoder)?,
            packetizer: VideoPacketizer::new(1),
            opus: OpusEncoder::new(AudioEncoderConfig {
                bitrate_bps: 32_000,
                dtx: false,
                packet_loss_perc: 0,
            })?,
            pictures: 0,
            sounds: 0,
            is_keyframe_due: true,
            keyframe_requests: 0,
        };
        let received = Received {
            assembler: VideoAssembler::new(codec),
            decoder: new_decoder(codec)?,
            opus: OpusDecoder::new()?,
            pictures: 0,
            changed: 0,
            last: None,
            asked_at: None,
            sound: Vec::new(),
            echo: None,
        };
        let seen = Seen::default();
        Ok(Self {
            chromium,
            link,
            events,
            media,
            codec,
            sent,
            received,
            seen,
        })
    }

    fn summary(&self) -> String {
        let video = &self.seen.stats["video_in"];
        let cipher = self.seen.stats["transport"]["srtpCipher"]
            .as_str()
            .unwrap_or("no cipher");
        format!(
            "{cipher}; page decoded {} pictures ({}), marks {:?}, {} audio samples; it sent {} packets ({}), {} \
             keyframes for {} PLI; we decoded {} pictures ({} changed), {} samples, {} keyframe \
             requests answered; assembler {:?}",
            video["framesDecoded"],
            video["mime"],
            self.seen.marks.last(),
            self.seen.stats["audio_in"]["totalSamplesReceived"],
            self.seen.stats["video_out"]["packetsSent"],
            self.seen.stats["video_out"]["mime"],
            self.seen.stats["video_out"]["keyFramesEncoded"],
            self.seen.stats["video_out"]["pliCount"],
            self.received.pictures,
            self.received.changed,
            self.received.sound.len(),
            self.sent.keyframe_requests,
            self.received.assembler.stats(),
        )
    }

    async fn run(&mut self) -> Result<()> {
        let ping = Bytes::from_static(b"ping");
        self.link
            .send_channel(ChannelLabel::Control, ping.clone())?;
        let mut picture = tokio::time::interval(Duration::from_secs(1) / FPS);
        let mut sound = tokio::time::interval(Duration::from_millis(20));
        let mut look = tokio::time::interval(Duration::from_millis(500));
        picture.set_missed_tick_behavior(MissedTickBehavior::Skip);
        sound.set_missed_tick_behavior(MissedTickBehavior::Burst);
        let mut is_connected = false;
        loop {
            tokio::select! {
                Some(event) = self.events.recv() => match event {
                    LinkEvent::Signal(signal) => self.chromium.signal(&signal).await?,
                    LinkEvent::State(LinkState::Connected { .. }) => is_connected = true,
                    LinkEvent::State(LinkState::Failed | LinkState::Closed) => bail!("the link ended"),
                    LinkEvent::KeyframeRequested { .. } => {
                        self.sent.is_keyframe_due = true;
                        self.sent.keyframe_requests += 1;
                    }
                    LinkEvent::Codecs { video, audio } => {
                        assert_eq!((video, audio), (vec![self.codec], true), "what the page allows");
                    }
                    LinkEvent::ChannelMessage { data, .. } => self.received.echo = Some(data),
                    _ => {}
                },
                message = self.chromium.receive() => {
                    let message = message?;
                    if let Some(signal) = chromium::signal_of(&message) {
                        self.link.handle_signal(signal);
                    } else {
                        self.handle_report(&message);
                    }
                }
                Some(packet) = self.media.recv() => self.handle_media(packet)?,
                _ = picture.tick(), if is_connected => self.send_picture()?,
                _ = sound.tick(), if is_connected => self.send_sound()?,
                _ = look.tick(), if is_connected => {
                    if self.is_through(&ping) {
                        return self.judge();
                    }
                    self.chromium.send(&json!({ "type": "stats" })).await?;
                    self.chromium.send(&json!({ "type": "grab" })).await?;
                }
            }
        }
    }

    fn send_picture(&mut self) -> Result<()> {
        let sent = &mut self.sent;
        let frame = sent.pattern.draw(sent.pictures, FPS, 0, Instant::now());
        sent.pictures += 1;
        let is_keyframe_due = std::mem::take(&mut sent.is_keyframe_due);
        let Some(encoded) = sent.encoder.encode(&frame, is_keyframe_due)? else {
            return Ok(());
        };
        let payloads = sent.packetizer.packetize(&encoded);
        let last = payloads.len().saturating_sub(1);
        for (index, payload) in payloads.enumerate() {
            let timestamp = sent.pictures.wrapping_mul(90_000 / FPS);
            let packet = RtpOut {
                timestamp,
                marker: index == last,
                starts_keyframe: encoded.keyframe && index == 0,
                payload,
                level_dbov: None,
                captured_at: None,
                descriptor: None,
            };
            self.link.send_video(0, self.codec, packet);
        }
        Ok(())
    }

    fn send_sound(&mut self) -> Result<()> {
        let sent = &mut self.sent;
        let first = sent.sounds as usize * FRAME_SAMPLES;
        let sample = |index: usize| {
            let turns = (first + index) as f64 * f64::from(TONE_HZ) / 48_000.0;
            0.3 * (turns * std::f64::consts::TAU).sin() as f32
        };
        let samples: [f32; FRAME_SAMPLES] = std::array::from_fn(sample);
        let timestamp = sent.sounds.wrapping_mul(FRAME_SAMPLES as u32);
        sent.sounds += 1;
        if let Some(payload) = sent.opus.encode(&samples)? {
            let marker = sent.sounds == 1;
            self.link.send_audio(RtpOut {
                timestamp,
                marker,
                starts_keyframe: false,
                payload,
                level_dbov: Some(13),
                captured_at: None,
                descriptor: None,
            });
        }
        Ok(())
    }

    fn handle_media(&mut self, packet: RtpIn) -> Result<()> {
        let received = &mut self.received;
        match packet.codec {
            Codec::Opus => {
                let mut samples = [0.0; FRAME_SAMPLES];
                received.opus.decode(&packet.payload, &mut samples)?;
                received.sound.extend_from_slice(&samples);
            }
            Codec::Video(codec) => {
                assert_eq!(codec, self.codec, "the page sends only this");
                received.assembler.handle_packet(
                    packet.arrived_at,
                    RtpVideoPacket {
                        sequence: packet.sequence,
                        timestamp: packet.timestamp,
                        marker: packet.marker,
                        payload: packet.payload,
                    },
                );
                received.assembler.handle_timeout(Instant::now());
                while let Some(frame) = received.assembler.poll_frame() {
                    let Ok(Some(picture)) = received.decoder.decode(&frame.data) else {
                        continue;
                    };
                    received.pictures += 1;
                    let is_same = received
                        .last
                        .as_ref()
                        .is_some_and(|last| last.y() == picture.y());
                    received.changed += u64::from(!is_same);
                    received.last = Some(picture);
                    // One request in the midst of things, to see it answered.
                    if received.pictures == PICTURES / 2 {
                        self.link.request_keyframe(None);
                    }
                }
                let is_early = received
                    .asked_at
                    .is_some_and(|at| at.elapsed() < Duration::from_millis(300));
                if received.assembler.needs_keyframe() && !is_early {
                    received.asked_at = Some(Instant::now());
                    self.link.request_keyframe(None);
                }
            }
        }
        Ok(())
    }

    fn handle_report(&mut self, message: &Value) {
        match message["type"].as_str() {
            Some("stats") => self.seen.stats = message.clone(),
            Some("picture") => {
                let Some((width, height, luma)) = chromium::picture_of(message) else {
                    return;
                };
                let mut data = luma;
                data.resize(I420Frame::data_len(width, height), 128);
                let mark = I420Frame::new(width, height, data, Instant::now())
                    .and_then(|frame| call_media::video::synthetic::read_mark(&frame));
                if let Some(mark) = mark {
                    self.seen.marks.push(mark.frame);
                }
            }
            _ => {}
        }
    }

    fn is_through(&self, ping: &Bytes) -> bool {
        let count = |section: &str, key: &str| self.seen.stats[section][key].as_u64().unwrap_or(0);
        self.received.pictures >= PICTURES
            && self.received.sound.len() >= SOUND_SAMPLES
            && self.received.echo.as_ref() == Some(ping)
            && self.seen.marks.len() >= 3
            && count("video_out", "pliCount") >= 1
            && count("video_out", "keyFramesEncoded") >= 2
            && count("video_in", "framesDecoded") >= PICTURES
            && count("audio_in", "totalSamplesReceived") >= SOUND_SAMPLES as u64
            && self.seen.stats["audio_in"]["totalAudioEnergy"]
                .as_f64()
                .unwrap_or(0.0)
                > 0.01
    }

    /// Everything arrived; is it right?
    fn judge(&self) -> Result<()> {
        let mime = format!(
            "video/{}",
            match self.codec {
                VideoCodec::Vp8 => "VP8",
                VideoCodec::Vp9 => "VP9",
                VideoCodec::H264 => "H264",
            }
        );
        for section in ["video_in", "video_out"] {
            assert_eq!(self.seen.stats[section]["mime"], json!(mime), "{section}");
        }
        assert_eq!(self.seen.stats["video_in"]["frameWidth"], json!(WIDTH));
        assert!(
            self.seen.marks.is_sorted(),
            "our pictures in order: {:?}",
            self.seen.marks
        );
        let last = self.seen.marks.last().copied().unwrap_or(0);
        assert!(
            last <= self.sent.pictures && last + 60 > self.sent.pictures,
            "{last} is not recent"
        );
        // The stack takes the DTLS client's order, and Chromium's starts with the last of these.
        let cipher = self.seen.stats["transport"]["srtpCipher"]
            .as_str()
            .unwrap_or("none");
        let known = [
            "AEAD_AES_128_GCM",
            "AEAD_AES_256_GCM",
            "AES128_CM_HMAC_SHA1_80",
        ];
        assert!(
            known.iter().any(|known| cipher.ends_with(known)),
            "{cipher}"
        );
        // The fake camera draws a moving clock on a coloured ground.
        assert!(
            self.received.changed * 2 > self.received.pictures,
            "{} changed",
            self.received.changed
        );
        let picture = self.received.last.as_ref().context("no picture")?;
        assert!(picture.width() >= 320, "{} wide", picture.width());
        let (least, most) = picture.y().iter().fold((255, 0), |(least, most), luma| {
            (least.min(*luma), most.max(*luma))
        });
        assert!(most - least > 60, "a flat picture, {least} to {most}");
        // The fake microphone beeps once a second.
        let loudest = self
            .received
            .sound
            .iter()
            .fold(0.0_f32, |loudest, sample| loudest.max(sample.abs()));
        assert!(loudest > 0.05, "silence, {loudest}");
        let spread = tone_strength(&self.received.sound, TONE_HZ);
        assert!(spread < 0.9, "our own tone came back");
        Ok(())
    }
}
