//! Seeded random runs. Whatever happens on the way, when the network is well again everything that was
//! accepted is there, every group verified, or ended in a state that both sides show.
//!
//! Anna sends; Ben receives; Cleo is offered what goes to everybody, and lies.

use std::time::Duration;

use call_protocol::channel::file::{Digest, FileSignal, GroupRange, OfferId};
use call_protocol::limits::GROUP_BYTES;
use call_protocol::ui::{TransferState, TransferView, UiCommand};
use call_protocol::{ErrorCode, MemberId};

use super::world::{World, entry, ms, secs};
use super::{FileEvent, KEPT};

const A: usize = 0;
const B: usize = 1;
const C: usize = 2;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Manner {
    /// Messages keep their order and come once, as they do on a link that lives.
    Orderly,
    /// They overtake each other and come twice.
    Wild,
    /// And persons change their minds, and disks and sources fail.
    Rough,
}

struct Model {
    world: World,
    manner: Manner,
    offers: Vec<(OfferId, Vec<String>)>,
    /// What may have sent groups twice.
    interruptions: u64,
    log: Vec<String>,
}

impl Model {
    fn new(seed: u8, manner: Manner) -> Self {
        let mut bytes = [seed; 32];
        bytes[0] = manner as u8;
        Self {
            world: World::new(bytes, &["Anna", "Ben", "Cleo"]),
            manner,
            offers: Vec::new(),
            interruptions: 0,
            log: Vec::new(),
        }
    }

    fn below(&mut self, count: usize) -> usize {
        self.world.below(count)
    }

    fn step(&mut self) {
        let choices = if self.manner == Manner::Rough { 17 } else { 13 };
        let choice = self.below(choices);
        self.log.push(choice.to_string());
        match choice {
            0 | 1 if self.offers.len() < 8 => self.offer(),
            0..=2 => self.world.accept_all(B),
            3 => self.pause(true),
            4 => self.pause(false),
            5 => self.set_path(false),
            6 | 7 => self.set_path(true),
            8 => {
                let (node, lingers) = (self.below(3), self.below(20_000) as u64);
                self.interruptions += 1;
                self.world.take_seat(node, ms(lingers));
            }
            9 => {
                let lingers = [10, 3_000, 29_000][self.below(3)];
                self.interruptions += 1;
                self.world.crash(B, ms(lingers));
                let away = self.below(5_000) as u64;
                self.world.run(ms(away));
                self.world.take_seat(B, ms(10));
            }
            10 => self.trouble(),
            11 => self.lie(),
            12 => self.world.loss_percent = 0,
            13 => self.end_one(),
            14 => {
                self.interruptions += 1;
                self.world.corrupt_percent = [0, 5][self.below(2)];
            }
            15 => self.fail(),
            _ => self.world.nodes[B].disk.is_full = self.below(4) == 0,
        }
        let pause_ms = [0, 20, 300, 2_000, 7_000, 40_000][self.below(6)];
        self.world.run(ms(pause_ms));
        for node in &self.world.nodes {
            assert!(node.files.incoming.len() <= KEPT && node.files.outgoing.len() <= KEPT);
        }
    }

    fn offer(&mut self) {
        let count = 1 + self.below(4);
        let number = self.offers.len();
        let paths: Vec<String> = (0..count)
            .map(|file| {
                let groups = [0, 1, 3, 40, 120][self.below(5)];
                let odd = self.below(2) as u64 * 7;
                format!("d{number}/f{file}#{}", groups * GROUP_BYTES + odd)
            })
            .collect();
        let to = (self.below(4) > 0).then_some(B);
        let ben = self.world.nodes[B].seat;
        if !self.world.nodes[A].files.peers.contains_key(&ben) {
            return;
        }
        let names: Vec<&str> = paths.iter().map(String::as_str).collect();
        let offer = self.world.offer(A, to, &names);
        self.offers.push((offer, paths));
    }

    fn some_view(&mut self) -> Option<(usize, TransferView)> {
        let node = self.below(2);
        let count = self.world.nodes[node].views.len();
        let at = (count > 0).then(|| self.below(count))?;
        Some((node, self.world.nodes[node].views[at].clone()))
    }

    fn pause(&mut self, paused: bool) {
        if let Some((node, view)) = self.some_view()
            && let Some(member) = view.member
        {
            self.interruptions += 1;
            let offer = view.offer;
            // What is over, or not begun, is refused.
            let _ = self.world.command(
                node,
                UiCommand::PauseTransfer {
                    offer,
                    member,
                    paused,
                },
            );
        }
    }

    fn set_path(&mut self, is_up: bool) {
        self.interruptions += 1;
        let other = 1 + self.below(2);
        self.world.set_path(A, other, is_up);
    }

    fn trouble(&mut self) {
        self.interruptions += 1;
        self.world.loss_percent = [0, 10, 40, 100][self.below(4)];
        if self.manner != Manner::Orderly {
            self.world.double_percent = [0, 20][self.below(2)];
            self.world.jitter_ms = [0, 50, 800][self.below(3)];
        }
    }

    fn end_one(&mut self) {
        let Some((node, view)) = self.some_view() else {
            return;
        };
        let (offer, member) = (view.offer, view.member);
        let command = match (member, view.state) {
            (Some(member), TransferState::Asking) => UiCommand::DeclineFiles { offer, member },
            _ => UiCommand::CancelTransfer { offer, member },
        };
        // What is over is refused.
        let _ = self.world.command(node, command);
    }

    fn fail(&mut self) {
        let Some((node, view)) = self.some_view() else {
            return;
        };
        let offer = OfferId::try_from(view.offer).unwrap();
        let event = match node {
            A => FileEvent::SourceFailed {
                offer,
                code: ErrorCode::FileChanged,
            },
            _ => FileEvent::ReceiveFailed {
                offer,
                code: ErrorCode::DiskFull,
            },
        };
        self.world.disk_event(node, event);
    }

    /// Somebody says anything about anything, but offers nothing under ids that are not hers: only who
    /// was offered the same could.
    fn lie(&mut self) {
        for _ in 0..20 {
            let known = &self.offers;
            let count = known.len() + 1;
            let at = self.world.below(count);
            let offer = self.offers.get(at).map_or(OfferId([7; 16]), |it| it.0);
            let mut signal = random_signal(&mut self.world, offer);
            if let FileSignal::Offer { offer, .. } = &mut signal {
                *offer = OfferId([7; 16]);
            }
            let (to, now, cleo) = (self.below(2), self.world.now, self.world.nodes[C].seat);
            self.world.nodes[to].files.handle_signal(now, cleo, signal);
        }
    }

    /// All is well again, and everybody goes on with everything.
    fn heal(&mut self) {
        self.world.loss_percent = 0;
        self.world.double_percent = 0;
        self.world.jitter_ms = 0;
        self.world.corrupt_percent = 0;
        self.world.nodes[B].disk.is_full = false;
        self.world.set_path(A, B, true);
        self.world.set_path(A, C, true);
        for _ in 0..20 {
            self.world.accept_all(B);
            for node in [A, B] {
                for view in self.world.nodes[node].views.clone() {
                    if let (Some(member), TransferState::Paused { by_me: true }) =
                        (view.member, view.state)
                    {
                        let (offer, paused) = (view.offer, false);
                        let resume = UiCommand::PauseTransfer {
                            offer,
                            member,
                            paused,
                        };
                        self.world.command(node, resume).unwrap();
                    }
                }
            }
            self.world.run(secs(30));
        }
    }

    fn check(&self) -> usize {
        let (anna, ben) = (&self.world.nodes[A], &self.world.nodes[B]);
        let code = ErrorCode::ReceiverGone;
        let gone = TransferState::Failed { code };
        let mut done = 0;
        for (offer, paths) in &self.offers {
            let id = offer.to_string();
            let views = anna.views.iter().filter(|it| it.offer == id);
            let sent: Vec<_> = views
                .filter(|it| it.member_name == "Ben" || it.member.is_none())
                .map(|it| it.state)
                .collect();
            let got = self.world.state(B, *offer);
            let is_final = |state: &TransferState| {
                use TransferState::{Cancelled, Declined, Done, Failed};
                matches!(state, Done | Declined | Cancelled { .. } | Failed { .. })
            };
            let told = format!("{offer} Anna {sent:?} Ben {got:?}");
            assert!(got.as_ref().is_none_or(is_final), "{told}");
            let is_lost = got.is_none();
            assert!(sent.iter().all(|it| is_final(it) || is_lost), "{told}");
            let is_done = sent.contains(&TransferState::Done);
            if self.manner != Manner::Rough {
                let ends = [TransferState::Done, gone];
                // Who crashes with everything in its place has nothing left to say.
                let is_there =
                    |path: &String| ben.disk.placed.iter().any(|it| it.1 == entry(path).root);
                let is_silent = is_lost && paths.iter().all(is_there);
                assert!(
                    is_silent || sent.iter().all(|it| ends.contains(it)),
                    "{told}"
                );
                assert!(got.as_ref().is_none_or(|it| ends.contains(it)), "{told}");
                assert!(got != Some(TransferState::Done) || is_done, "{told}");
            }
            if is_done {
                done += 1;
                for path in paths {
                    let want = entry(path);
                    let placed = ben
                        .disk
                        .placed
                        .iter()
                        .filter(|it| it.1 == want.root)
                        .count();
                    assert_eq!(placed, 1, "{told} {path}");
                }
            }
        }
        if self.manner != Manner::Rough {
            let mut saved = ben.disk.saved.keys();
            assert!(
                saved.all(|it| *it == OfferId([7; 16])),
                "{:?}",
                ben.disk.saved
            );
        }
        if self.manner == Manner::Orderly {
            let most = 5 * self.interruptions + 5;
            assert!(ben.disk.wasted <= most, "{} of {most}", ben.disk.wasted);
        }
        done
    }
}

fn random_signal(world: &mut World, offer: OfferId) -> FileSignal {
    let number = world.below(200) as u32;
    let done_bytes = [0, 1, u64::MAX][world.below(3)];
    let paused = world.below(2) == 0;
    let code = [None, Some(ErrorCode::DiskFull), Some(ErrorCode::CameraLost)][world.below(3)];
    match world.below(9) {
        0 => FileSignal::Offer {
            offer,
            files: vec![entry(&format!("lie{number}#{number}"))],
        },
        1 => FileSignal::Received { offer },
        2 => FileSignal::Decline { offer },
        3 => {
            let first = [0, number, u32::MAX - 1][world.below(3)];
            FileSignal::Want {
                offer,
                file: world.below(3) as u32,
                groups: vec![GroupRange { first, count: 1 }],
                hashes: paused,
                done_bytes,
                paused,
            }
        }
        4 => FileSignal::Progress { offer, done_bytes },
        5 => FileSignal::Done { offer },
        6 => FileSignal::Pause { offer, paused },
        7 => FileSignal::Cancel { offer, code },
        _ => FileSignal::Resume {
            proof: Digest([number as u8; 32]),
        },
    }
}

fn run(manner: Manner, seeds: u8) {
    let mut done = 0;
    for seed in 0..seeds {
        let mut model = Model::new(seed, manner);
        let run = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            for _ in 0..40 {
                model.step();
            }
            model.heal();
            model.check()
        }));
        let Ok(count) = run else {
            panic!("seed {seed} failed after {:?}", model.log)
        };
        done += count;
    }
    let least = if manner == Manner::Rough { 1 } else { 2 };
    assert!(
        done > least * usize::from(seeds),
        "too little was sent to tell anything: {done}"
    );
}

#[test]
fn orderly_runs_end_with_everything_there() {
    run(Manner::Orderly, 30);
}

#[test]
fn wild_runs_end_with_everything_there() {
    run(Manner::Wild, 30);
}

#[test]
fn rough_runs_end_in_states_that_fit() {
    run(Manner::Rough, 30);
}

/// The other end itself says anything at any time: nothing breaks, nothing grows, and others are not
/// touched.
#[test]
fn an_end_that_lies_harms_itself_only() {
    for seed in 0..20 {
        let mut world = World::new([seed; 32], &["Anna", "Ben", "Cleo"]);
        let path = format!("a#{}", 60 * GROUP_BYTES);
        let to_all = world.offer(A, None, &[&path]);
        let back = world.offer(C, Some(A), &[&path]);
        for step in 0..200 {
            world.accept_all(B);
            if step == 50 {
                world.accept_all(A);
            }
            let offer = [to_all, back, OfferId([9; 16])][world.below(3)];
            let signal = random_signal(&mut world, offer);
            let (now, cleo) = (world.now, world.nodes[C].seat);
            world.nodes[A].files.handle_signal(now, cleo, signal);
            world.run(ms(37));
            assert!(world.nodes[A].files.incoming.len() <= KEPT);
            assert!(world.nodes[A].disk.served.len() < 2_000);
        }
        world.run(Duration::from_secs(60));
        assert_eq!(
            world.state(B, to_all),
            Some(TransferState::Done),
            "seed {seed}"
        );
        let ben = world.nodes[B].seat;
        let is_bens = |it: &&TransferView| it.member == Some(ben);
        let view = world.nodes[A].views.iter().find(is_bens).unwrap();
        assert_eq!(view.state, TransferState::Done, "seed {seed}");
    }
}

/// Who is not known says nothing that counts.
#[test]
fn strangers_are_not_heard() {
    let mut world = World::new([1; 32], &["Anna", "Ben"]);
    let offer = world.offer(A, Some(B), &["a#5"]);
    world.run(secs(1));
    for _ in 0..500 {
        let signal = random_signal(&mut world, offer);
        let now = world.now;
        world.nodes[A]
            .files
            .handle_signal(now, MemberId(77), signal.clone());
        world.nodes[B]
            .files
            .handle_signal(now, MemberId(77), signal);
    }
    world.accept_all(B);
    world.run(secs(3));
    assert_eq!(world.state(A, offer), Some(TransferState::Done));
}
