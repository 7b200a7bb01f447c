//! Seeded random runs: whatever happens on the way, when the network is well again everybody in
//! the call sees everybody else, as they are, and whoever left left nothing behind.

use std::time::Duration;

use call_e2ee::SeedStream;
use call_protocol::ErrorCode;
use call_protocol::ui::{CallPhase, DeviceKind, DeviceState, UiCommand};

use crate::world::{SERVER, SETTLE, World};

const CLIENTS: usize = 4;

struct Model {
    world: World,
    dice: SeedStream,
    code: Option<String>,
    /// What each person last wished.
    muted: [bool; CLIENTS],
    log: Vec<String>,
}

impl Model {
    fn below(&mut self, count: usize) -> usize {
        u32::from_be_bytes(self.dice.draw()) as usize % count
    }

    fn step(&mut self) {
        let client = self.below(CLIENTS);
        let other = (client + 1 + self.below(CLIENTS - 1)) % CLIENTS;
        let choice = self.below(14);
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
            _ if self.below(4) == 0 => self.world.restart_server(),
            _ => {}
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
        for a in 0..CLIENTS {
            for b in a + 1..CLIENTS {
                self.world.set_path(a, b, true);
            }
        }
        self.world.run(SETTLE);
        let joined: Vec<usize> = (0..CLIENTS)
            .filter(|client| self.world.phase(*client) == Some(CallPhase::Joined))
            .collect();
        self.world.assert_full_mesh(&joined);
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

#[test]
fn random_runs_end_well() {
    let mut sizes = [0; CLIENTS + 1];
    for seed in 0..64_u8 {
        let mut model = Model {
            world: World::with_server(CLIENTS, SERVER, seed),
            dice: SeedStream::new([seed; 32]),
            code: None,
            muted: [false; CLIENTS],
            log: Vec::new(),
        };
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
    assert!(
        sizes[3] + sizes[4] > 15,
        "too few large calls to tell anything: {sizes:?}"
    );
}
