//! Inputs by the dice.

use std::time::Duration;

use call_core::{
    Input, LinkEvent, LinkFigures, LinkId, LinkPeer, LinkState, MediaOp, Output, PictureFigures,
    QualityReport, Session, SessionConfig, SocketId, TopologyWish,
};
use call_e2ee::SeedStream;
use call_protocol::care::Door;
use call_protocol::ui::{DeviceKind, DeviceState, TileSize, UiCommand, VoiceView};
use call_protocol::wire::{
    LeaveReason, RelayGrant, RosterEntry, ServerMessage, SfuSlot, TopologyMode,
};
use call_protocol::{ErrorCode, MediaSource, MemberId, VideoCodec};

struct Dice(SeedStream);

impl Dice {
    fn below(&mut self, count: u32) -> u32 {
        u32::from_be_bytes(self.0.draw()) % count
    }

    fn member(&mut self) -> MemberId {
        MemberId(self.below(5))
    }

    fn mode(&mut self) -> TopologyMode {
        [TopologyMode::Mesh, TopologyMode::Sfu][self.below(2) as usize]
    }

    fn text(&mut self) -> String {
        ["", "AAAA", "ws://a:1", "%%%", "K7MQ-2X9D-RTB4"][self.below(5) as usize].to_owned()
    }
}

fn random_code(dice: &mut Dice) -> ErrorCode {
    use ErrorCode as E;
    let codes = [
        E::ResumeFailed,
        E::RoomFull,
        E::UnknownMember,
        E::ServerClosing,
        E::Internal,
    ];
    codes[dice.below(5) as usize]
}

fn random_message(dice: &mut Dice) -> ServerMessage {
    let member = dice.member();
    match dice.below(16) {
        9 | 10 => ServerMessage::Topology {
            mode: dice.mode(),
            reason: dice.text(),
        },
        11 => ServerMessage::SfuAnswer {
            link: dice.below(6),
            sdp: dice.text(),
        },
        12 => ServerMessage::SfuClosed {
            link: dice.below(6),
            code: random_code(dice),
        },
        13 => ServerMessage::SfuLayers {
            source: MediaSource::Camera,
            wanted: [0; 3].map(|_| dice.below(2) == 0),
        },
        14 => ServerMessage::SfuSlots {
            link: dice.below(6),
            slots: vec![SfuSlot {
                mid: dice.text(),
                member,
                source: MediaSource::Screen,
            }],
        },
        15 => ServerMessage::Relay {
            relay: RelayGrant {
                urls: vec!["turn:a".into(), dice.text()],
                username: dice.text(),
                credential: dice.text(),
                ttl_s: dice.below(3),
            },
        },
        0 | 1 => ServerMessage::Hello {
            version: 1 + dice.below(40) / 39,
        },
        2 | 3 => ServerMessage::Joined {
            member,
            resume: dice.text(),
            resumed: dice.below(2) == 0,
            members: (0..dice.below(4))
                .map(|_| RosterEntry {
                    member: dice.member(),
                    profile: dice.text(),
                })
                .collect(),
            topology: dice.mode(),
            host: Some(dice.member()),
            door: Door::Open,
            relay: None,
            stun: vec![
                "stun:203.0.113.5:3478".into(),
                "turn:x".into(),
                "s".repeat(500),
            ],
        },
        4 => ServerMessage::MemberJoined {
            member,
            profile: dice.text(),
        },
        5 => ServerMessage::MemberLeft {
            member,
            reason: LeaveReason::TimedOut,
        },
        6 => ServerMessage::MemberUpdated {
            member,
            profile: dice.text(),
        },
        7 => ServerMessage::Signal {
            from: member,
            sealed: dice.text(),
        },
        _ => {
            let (code, detail, fatal) = (random_code(dice), dice.text(), dice.below(4) == 0);
            ServerMessage::Error {
                code,
                detail,
                fatal,
            }
        }
    }
}

fn random_command(dice: &mut Dice) -> UiCommand {
    let (member, source) = (dice.member(), MediaSource::Screen);
    match dice.below(20) {
        18 => UiCommand::StartShare { id: dice.text() },
        19 => UiCommand::StopShare,
        15 => UiCommand::SendChat { text: dice.text() },
        16 => UiCommand::SendReaction { emoji: dice.text() },
        17 => UiCommand::SetHandRaised {
            raised: dice.below(2) == 0,
        },
        13 => UiCommand::SetVisibleTiles {
            tiles: vec![
                TileSize {
                    member,
                    source,
                    width_px: dice.below(9_000),
                    height_px: dice.below(3),
                };
                200
            ],
        },
        0 => UiCommand::StartCall,
        1 => UiCommand::JoinCall { code: dice.text() },
        2 if dice.below(4) == 0 => UiCommand::LeaveCall,
        3 => UiCommand::SetMuted {
            muted: dice.below(2) == 0,
        },
        4 => UiCommand::SetCamera {
            on: dice.below(2) == 0,
        },
        5 => UiCommand::SetName { name: dice.text() },
        6 => UiCommand::SetServer { url: dice.text() },
        7 => UiCommand::SetPreview {
            on: dice.below(2) == 0,
        },
        8 => UiCommand::NeedKeyframe { member, source },
        9 => UiCommand::SelectDevice {
            kind: DeviceKind::Speaker,
            id: None,
        },
        10 => UiCommand::SetMemberVolume {
            member,
            volume_percent: 150,
        },
        11 => UiCommand::SetMemberMutedHere {
            member,
            muted: dice.below(2) == 0,
        },
        12 => UiCommand::StartSoundTest,
        _ => UiCommand::Refresh,
    }
}

fn random_report(dice: &mut Dice, link: LinkId) -> QualityReport {
    let figures = LinkFigures {
        link,
        target_bps: u64::from(dice.below(3_000)) * 1_000,
        loss: f64::from(dice.below(12)) / 10.0 - 0.1,
        rtt_ms: Some(f64::NAN).filter(|_| dice.below(2) == 0),
        jitter_ms: [f64::NAN, f64::INFINITY, -1.0][dice.below(3) as usize],
        loss_in: f64::INFINITY,
        received_bps: u64::MAX,
    };
    let picture = PictureFigures {
        layer_sizes: [Some((u32::MAX, dice.below(9))), None, Some((16, 16))],
        fps: dice.below(90),
        sent_bps: u64::MAX,
    };
    QualityReport {
        links: vec![figures; 40],
        camera: Some(picture),
        screen: Some(picture).filter(|_| dice.below(2) == 0),
        encoder_busy: f64::NAN,
    }
}

fn random_input(dice: &mut Dice, seen: &Seen) -> Input {
    let socket = seen.socket.unwrap_or(SocketId(1));
    let member = dice.member();
    let peer = match dice.below(3) {
        0 => LinkPeer::Sfu,
        1 => LinkPeer::Data(member),
        _ => LinkPeer::Member(member),
    };
    let generation = dice.below(6);
    let link = LinkId { peer, generation };
    let wanted = dice.below(2) == 0;
    match dice.below(18) {
        16 | 17 => Input::Quality(random_report(dice, link)),
        15 => Input::Channel {
            from: member,
            data: dice.text().into_bytes(),
        },
        12 => Input::MediaFlows {
            link,
            member,
            source: MediaSource::Camera,
        },
        13 => Input::PathReport {
            relayed: vec![member; 100],
            uplink_short: wanted,
            cpu_short: !wanted,
        },
        14 => Input::WantData { member, wanted },
        0 | 1 => Input::Command(random_command(dice)),
        2 => match seen.attempt.clone() {
            Some((attempt, keys)) => Input::KeysReady { attempt, keys },
            None => Input::Timeout,
        },
        3 => match seen.attempt.clone() {
            Some((attempt, _)) => Input::ServerLocated {
                attempt,
                url: dice.text(),
            },
            None => Input::Timeout,
        },
        4 => Input::SocketOpened { socket },
        5 if dice.below(5) == 0 => Input::SocketClosed {
            socket,
            code: Some(random_code(dice)),
        },
        6 => {
            let states = [
                LinkState::Connected,
                LinkState::Reconnecting,
                LinkState::Failed,
            ];
            Input::Link {
                link,
                event: LinkEvent::State(states[dice.below(3) as usize]),
            }
        }
        7 => Input::Link {
            link,
            event: LinkEvent::Codec(VideoCodec::Vp8),
        },
        8 => Input::Device {
            kind: DeviceKind::Microphone,
            state: DeviceState::Silent,
        },
        9 => Input::Timeout,
        _ => Input::Server {
            socket,
            message: random_message(dice),
        },
    }
}

#[derive(Default)]
struct Seen {
    socket: Option<SocketId>,
    attempt: Option<(call_core::AttemptId, call_e2ee::RoomKeys)>,
}

/// Whatever comes in, whenever: no panic, and only the person unmutes.
#[test]
fn random_input_never_panics_and_never_unmutes() {
    let mut most_joined = 0;
    for run in 0..150_u8 {
        let mut dice = Dice(SeedStream::new([run; 32]));
        let mut now = std::time::Instant::now();
        let config = SessionConfig {
            unix_ms: 0,
            seed: [run; 32],
            name: String::new(),
            server: if run % 2 == 0 {
                "ws://a:1".into()
            } else {
                String::new()
            },
            voice: VoiceView::default(),
            low_data: run % 3 == 0,
            tint: None,
            muted: true,
            camera_on: false,
            sealed_media: true,
            topology_wish: TopologyWish::Auto,
        };
        let mut session = Session::new(config, now);
        while session.poll_output().is_some() {}
        let (mut seen, mut wish, mut joined) = (Seen::default(), true, 0);
        for _ in 0..400 {
            now += Duration::from_millis(u64::from(dice.below(400)));
            let input = random_input(&mut dice, &seen);
            if let Input::Command(UiCommand::SetMuted { muted }) = input {
                wish = muted;
            }
            session.handle_input(now, input);
            let mut outputs = 0;
            while let Some(output) = session.poll_output() {
                outputs += 1;
                match output {
                    Output::Media(MediaOp::SetMuted { muted }) => {
                        assert_eq!(muted, wish, "run {run}");
                    }
                    Output::Socket(call_core::SocketOp::Connect { socket, .. }) => {
                        seen.socket = Some(socket);
                    }
                    Output::DeriveKeys { attempt, .. } => {
                        let keys = call_e2ee::RoomKeys::from_root([run; 32]);
                        seen.attempt = Some((attempt, keys));
                    }
                    Output::Call(call_core::CallEvent::Joined { .. }) => joined += 1,
                    _ => {}
                }
            }
            assert!(outputs < 2_000, "run {run}: {outputs} outputs");
        }
        most_joined = most_joined.max(joined);
    }
    assert!(most_joined > 0, "the dice reach a room");
}
