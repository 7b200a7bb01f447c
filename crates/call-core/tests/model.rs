//! Seeded random runs: whatever happens on the way, when the network is well again everybody in
//! the call sees everybody else, as they are and in the room's topology, all have the same chat, and
//! whoever left left nothing behind. While no path is broken, no pair that has one ever loses it.

use std::collections::BTreeSet;
use std::time::Duration;

use call_e2ee::SeedStream;
use call_protocol::ErrorCode;
use call_protocol::ui::{CallPhase, DeviceKind, DeviceState, UiCommand};
use call_protocol::wire::TopologyMode;

use crate::world::{SERVER, SETTLE, SFU, World};

const CLIENTS: usize = 4;

struct Model {
    world: World,
    dice: SeedStream,
    code: Option<String>,
    /// Nothing breaks but connections to the server.
    calm: bool,
    /// What each person last wished.
    muted: [bool; CLIENTS],
    said: usize,
    log: Vec<String>,
}

impl Model {
    fn below(&mut self, count: usize) -> usize {
        u32::from_be_bytes(self.dice.draw()) as usize % count
    }

    fn step(&mut self) {
        let client = self.below(CLIENTS);
        let other = (client + 1 + self.below(CLIENTS - 1)) % CLIENTS;
        // Without the steps that break a path, or forget seats and thereby the SFU's links.
        let choice = match self.calm {
            true => [0, 1, 3, 4, 5, 6, 7, 14, 14, 14, 17, 18, 21, 21, 21][self.below(15)],
            false => self.below(25),
        };
        self.log.push(format!("{choice} {client} {other}"));
        match choice {
            0..=2 => self.enter(client),
            3 => self.world.command(client, UiCommand::LeaveCall),
            4 | 5 => {
                self.muted[client] = !self.muted[client];
                let muted = self.muted[client];
                self.world.command(client, UiCommand::SetMuted { muted });
            }
            6 => {
                let on = self.below(2) == 0;
                self.world.command(client, UiCommand::SetCamera { on });
            }
            7 => self.world.cut_socket(client, None),
            8 => self.world.cut_server(self.dice.draw::<1>()[0] < 128),
            9 => self.world.server_up = true,
            10 => self.world.set_path(client, other, false),
            11 => self.world.set_path(client, other, true),
            12 => {
                let state = DeviceState::Failed {
                    code: ErrorCode::MicrophoneLost,
                };
                let kind = DeviceKind::Microphone;
                self.world
                    .input(client, call_core::Input::Device { kind, state });
            }
            13 => {
                if self.below(4) == 0 {
                    self.world.restart_server();
                }
            }
            14 => {
                let mode = [TopologyMode::Mesh, TopologyMode::Sfu][self.below(2)];
                self.world.set_mode(mode);
            }
            15 => self.world.set_path(client, SFU, false),
            16 => self.world.set_path(client, SFU, true),
            17 => {
                let wanted = self.below(3) > 0;
                self.want_direct(client, other, wanted);
            }
            18 => {
                if !self.world.quiet.remove(&client) {
                    self.world.quiet.insert(client);
                }
            }
            19 => {
                let refuses = self.below(3) == 0;
                self.world.set_sfu_refuses(refuses);
            }
            21.. => self.say(client),
            _ => {
                if !self.world.clients[client].sockets.is_empty() {
                    self.world.close_sfu_link(client);
                }
            }
        }
        let pause_ms = [0, 5, 60, 700, 4_000, 20_000][self.below(6)];
        self.world.run(Duration::from_millis(pause_ms));
        for client in 0..CLIENTS {
            assert_eq!(
                self.world.clients[client].muted,
                Some(self.muted[client]),
                "mute"
            );
        }
    }

    fn say(&mut self, client: usize) {
        let call = self.world.view(client).call.as_ref();
        if call.is_some_and(|call| call.me.is_some()) {
            self.said += 1;
            let text = format!("{}", self.said);
            self.world.command(client, UiCommand::SendChat { text });
        }
    }

    fn want_direct(&mut self, client: usize, other: usize, wanted: bool) {
        let call = self.world.view(other).call.as_ref();
        if let Some(member) = call.and_then(|call| call.me) {
            let input = call_core::Input::WantDirect { member, wanted };
            self.world.input(client, input);
        }
    }

    fn enter(&mut self, client: usize) {
        match self.code.clone() {
            Some(code) => self.world.command(client, UiCommand::JoinCall { code }),
            None => {
                self.world.command(client, UiCommand::StartCall);
                self.code = Some(self.world.call(client).code.clone());
            }
        }
    }

    /// Gives the number of people in the call.
    fn heal_and_check(&mut self) -> usize {
        self.world.server_up = true;
        self.world.set_sfu_refuses(false);
        for a in 0..CLIENTS {
            for b in (0..CLIENTS).filter(|b| *b != a) {
                self.world.set_path(a, b, true);
                self.want_direct(a, b, false);
            }
            self.world.set_path(a, SFU, true);
        }
        self.world.run(SETTLE);
        let joined: Vec<usize> = (0..CLIENTS)
            .filter(|client| self.world.phase(*client) == Some(CallPhase::Joined))
            .collect();
        match self.world.mode() {
            TopologyMode::Mesh => self.world.assert_full_mesh(&joined),
            TopologyMode::Sfu => self.world.assert_on_sfu(&joined),
        }
        for client in &joined {
            let texts = self.world.texts(*client);
            assert_eq!(texts, self.world.texts(joined[0]), "one log for all");
            let unique: BTreeSet<_> = texts.iter().collect();
            assert_eq!(unique.len(), texts.len(), "everything once");
        }
        for client in 0..CLIENTS {
            if !joined.contains(&client) {
                let phase = self.world.phase(client);
                assert!(
                    matches!(phase, None | Some(CallPhase::Ended { .. })),
                    "{phase:?}"
                );
                self.world.assert_idle(client);
            }
        }
        joined.len()
    }
}

/// Gives how often how many people were in the call at the end.
fn run(seeds: u8, calm: bool) -> [u32; CLIENTS + 1] {
    let mut sizes = [0; CLIENTS + 1];
    for seed in 0..seeds {
        let mut model = Model {
            world: World::with_server(CLIENTS, SERVER, seed),
            dice: SeedStream::new([seed; 32]),
            code: None,
            calm,
            muted: [false; CLIENTS],
            said: 0,
            log: Vec::new(),
        };
        model.world.strict = calm;
        model.world.channels.lost = 5;
        model.world.channels.jitter_ms = 50;
        let run = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            for _ in 0..60 {
                model.step();
            }
            let joined = model.heal_and_check();
            for client in 0..CLIENTS {
                if model.world.view(client).call.is_some() {
                    model.world.command(client, UiCommand::LeaveCall);
                }
                model.world.assert_idle(client);
            }
            joined
        }));
        let Ok(joined) = run else {
            panic!("seed {seed} failed after {:?}", model.log)
        };
        sizes[joined] += 1;
    }
    sizes
}

#[test]
fn random_runs_end_well() {
    let sizes = run(96, false);
    assert!(
        sizes[3] + sizes[4] > 20,
        "too few large calls to tell anything: {sizes:?}"
    );
}

#[test]
fn random_switches_never_take_a_path_away() {
    let sizes = run(64, true);
    assert!(
        sizes[3] + sizes[4] > 10,
        "too few large calls to tell anything: {sizes:?}"
    );
}
