//! The test cases for congestion control of interactive media (RFC 8867, sections 5.1 to 5.8), and
//! a few of ours in the same form, as data. Whoever runs them brings the sender.
//!
//! Common to all (RFC 8867, section 4): a drop-tail queue of 300 ms, jitter of at most 15 ms either
//! way that does not reorder, 50 ms of propagation each way unless a flow says otherwise.
//!
//! What differs from the RFC: its cameras end at 1.5 Mbit/s and its capacity does not, so that
//! nothing could be said about utilisation; whoever runs these has a camera without end. Its queues
//! are a time at the reference capacity, these at the capacity of the moment.
//!
//! Deliberately not here: sections 5.9 and later (priority, ECN, two bottlenecks).

use std::time::Duration;

use crate::link::Direction;
use crate::network::{Jitter, Loss, PathConfig};

/// Of the packets of all cases but ours about jitter (RFC 8868, section 4.5.2).
const JITTER: Jitter = Jitter::Bounded(Duration::from_millis(5));
/// Capacity of all cases of ours but one.
const STEADY: [(u32, u64); 1] = [(0, 2_000_000)];
/// What hardly carries a picture, for half a minute.
const NARROW: [(u32, u64); 3] = [(0, 2_000_000), (15, 200_000), (45, 2_000_000)];
/// Longest wait at the bottleneck (RFC 8867, section 4).
const QUEUE: Duration = Duration::from_millis(300);

/// A flow of sound and pictures.
#[derive(Clone, Debug, PartialEq)]
pub struct Flow {
    /// Which way its media goes.
    pub direction: Direction,
    /// Propagation each way.
    pub delay: Duration,
    /// First and last second.
    pub seconds: (u32, u32),
    /// Without pictures from the first to before the second of these seconds.
    pub pause: Option<(u32, u32)>,
    /// Most bits per second of its pictures, if there is a limit.
    pub most_bps: Option<u64>,
}

/// What else wants the bottleneck, in the direction of the first flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tcp {
    /// Nothing.
    None,
    /// A transfer without end, from the first second on.
    Long,
    /// So many senders of short files: 30 000 to 50 000 bytes, then a pause that is exponentially
    /// distributed around 10 s.
    Short(usize),
}

/// What a path is like from a second on.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Reroute {
    /// When it changes.
    pub second: u32,
    /// Propagation of every flow, each way.
    pub delay: Duration,
    /// As in [`Case`].
    pub jitter: Jitter,
    /// As in [`Case`].
    pub loss: Loss,
}

/// One test case.
#[derive(Clone, Debug, PartialEq)]
pub struct Case {
    /// Section of the RFC, or a name of ours.
    pub section: &'static str,
    /// What it is about.
    pub title: &'static str,
    /// Length in seconds.
    pub seconds: u32,
    /// Capacity from when on, [there, back]: second and bits per second, ascending from 0.
    pub capacity: [Vec<(u32, u64)>; 2],
    /// Longest wait at the bottleneck.
    pub queue: Duration,
    /// The flows.
    pub flows: Vec<Flow>,
    /// Competition.
    pub tcp: Tcp,
    /// Chance of losing a packet on the way, both ways.
    pub loss: Loss,
    /// Of every packet, both ways; none overtakes another.
    pub jitter: Jitter,
    /// What becomes of that and of the propagation.
    pub reroute: Option<Reroute>,
}

impl Case {
    /// Capacity of a direction in a second.
    pub fn capacity_bps(&self, direction: Direction, second: u32) -> u64 {
        let steps = &self.capacity[direction as usize];
        let current = steps.iter().rev().find(|(from, _)| *from <= second);
        current.map_or(0, |(_, bps)| *bps)
    }

    /// The access path of a flow in a second.
    pub fn access(&self, flow: usize, second: u32) -> PathConfig {
        let now = self.reroute.filter(|reroute| reroute.second <= second);
        PathConfig {
            delay: now.map_or(self.flows[flow].delay, |now| now.delay),
            jitter: now.map_or(self.jitter, |now| now.jitter),
            loss: now.map_or(self.loss, |now| now.loss),
            ..PathConfig::default()
        }
    }
}

fn case(section: &'static str, title: &'static str, seconds: u32, capacity: &[(u32, u64)]) -> Case {
    Case {
        section,
        title,
        seconds,
        capacity: [capacity.to_vec(), vec![(0, 10_000_000)]],
        queue: QUEUE,
        flows: Vec::new(),
        tcp: Tcp::None,
        loss: Loss::None,
        jitter: JITTER,
        reroute: None,
    }
}

fn flow(from: u32, to: u32) -> Flow {
    Flow {
        direction: Direction::There,
        delay: Duration::from_millis(50),
        seconds: (from, to),
        pause: None,
        most_bps: None,
    }
}

fn slower(flow: Flow, ms: u64) -> Flow {
    Flow {
        delay: Duration::from_millis(ms),
        ..flow
    }
}

/// Sections 5.1 to 5.8.
pub fn rfc8867() -> Vec<Case> {
    let single = [
        (0, 1_000_000),
        (40, 2_500_000),
        (60, 600_000),
        (80, 1_000_000),
    ];
    vec![
        Case {
            flows: vec![flow(0, 100)],
            ..case("5.1", "variable capacity, one flow", 100, &single)
        },
        Case {
            flows: vec![slower(flow(0, 100), 100)],
            ..case("5.1 far", "the same at 200 ms round trip", 100, &single)
        },
        Case {
            flows: vec![flow(0, 125); 2],
            ..case(
                "5.2",
                "variable capacity, two flows",
                125,
                &[
                    (0, 4_000_000),
                    (25, 2_000_000),
                    (50, 3_500_000),
                    (75, 1_000_000),
                    (100, 2_000_000),
                ],
            )
        },
        Case {
            capacity: [
                vec![
                    (0, 2_000_000),
                    (20, 1_000_000),
                    (40, 500_000),
                    (60, 2_000_000),
                ],
                vec![(0, 2_000_000), (35, 800_000), (70, 2_000_000)],
            ],
            flows: vec![
                flow(0, 100),
                Flow {
                    direction: Direction::Back,
                    ..flow(0, 100)
                },
            ],
            ..case("5.3", "congested feedback, a flow each way", 100, &[])
        },
        Case {
            flows: vec![flow(0, 120), flow(20, 120), flow(40, 120)],
            ..case("5.4", "three flows come one by one", 120, &[(0, 3_500_000)])
        },
        Case {
            flows: (0..)
                .zip([10, 25, 50, 100, 150])
                .map(|(index, ms)| slower(flow(index * 10, 300), ms))
                .collect(),
            ..case(
                "5.5",
                "five flows, 20 to 300 ms round trip",
                300,
                &[(0, 4_000_000)],
            )
        },
        Case {
            flows: vec![flow(5, 120)],
            tcp: Tcp::Long,
            ..case("5.6", "beside a long TCP transfer", 120, &[(0, 2_000_000)])
        },
        Case {
            flows: vec![flow(5, 300); 2],
            tcp: Tcp::Short(10),
            ..case(
                "5.7",
                "beside ten senders of short files",
                300,
                &[(0, 2_000_000)],
            )
        },
        Case {
            flows: vec![
                Flow {
                    pause: Some((40, 60)),
                    ..flow(0, 120)
                },
                flow(0, 120),
                flow(0, 120),
            ],
            ..case("5.8", "three flows, one pauses", 120, &[(0, 3_500_000)])
        },
    ]
}

/// Propagation and the deviation of its jitter, each way in milliseconds; jitter and losses begin within the
/// call.
fn jittery(
    section: &'static str,
    title: &'static str,
    (delay_ms, deviation_ms): (u64, u64),
    loss: Loss,
    (second, most_bps): (u32, Option<u64>),
) -> Case {
    Case {
        flows: vec![Flow {
            most_bps,
            ..slower(flow(0, 60), delay_ms)
        }],
        reroute: Some(Reroute {
            second,
            delay: Duration::from_millis(delay_ms),
            jitter: Jitter::Normal(Duration::from_millis(deviation_ms)),
            loss,
        }),
        ..case(section, title, 60, &STEADY)
    }
}

/// What the RFC leaves out and calls meet.
pub fn ours() -> Vec<Case> {
    vec![
        Case {
            flows: vec![flow(0, 60)],
            loss: Loss::Random(0.05),
            ..case("loss 5 %", "random loss", 60, &STEADY)
        },
        Case {
            flows: vec![flow(0, 60)],
            loss: Loss::bursts(0.05, 4.0),
            ..case("bursts 5 %", "losses four in a row", 60, &STEADY)
        },
        Case {
            flows: vec![flow(0, 60)],
            loss: Loss::Random(0.10),
            ..case("loss 10 %", "random loss", 60, &STEADY)
        },
        Case {
            flows: vec![flow(0, 60)],
            queue: Duration::from_millis(20),
            ..case("short queue", "a queue of 20 ms", 60, &STEADY)
        },
        Case {
            flows: vec![flow(0, 60)],
            reroute: Some(Reroute {
                second: 30,
                delay: Duration::from_millis(90),
                jitter: JITTER,
                loss: Loss::None,
            }),
            ..case("route", "40 ms longer each way from 30 s on", 60, &STEADY)
        },
        Case {
            capacity: [NARROW.to_vec(), NARROW.to_vec()],
            flows: vec![
                slower(flow(0, 70), 20),
                Flow {
                    direction: Direction::Back,
                    ..slower(flow(0, 70), 20)
                },
            ],
            ..case(
                "narrow",
                "2 Mbit/s, 200 kbit/s from 15 to 45 s, both ways",
                70,
                &[],
            )
        },
        jittery(
            "moderate",
            "100 ± 25 ms each way, 5 % lost from 10 s on",
            (100, 25),
            Loss::Random(0.05),
            (10, None),
        ),
        jittery(
            "international",
            "250 ± 100 ms each way, 10 % lost in bursts from 10 s on",
            (250, 100),
            Loss::bursts(0.10, 3.0),
            (10, None),
        ),
        jittery(
            "small",
            "the same from 3 s on, and a picture that wants 900 kbit/s",
            (250, 100),
            Loss::bursts(0.10, 3.0),
            (3, Some(900_000)),
        ),
        Case {
            flows: vec![Flow {
                most_bps: Some(400_000),
                ..flow(0, 60)
            }],
            ..case("quiet", "a picture that wants 400 kbit/s", 60, &STEADY)
        },
        Case {
            flows: vec![flow(0, 30)],
            ..case("fast", "a faster line", 30, &[(0, 6_000_000)])
        },
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cases_are_well_formed() {
        for case in rfc8867().into_iter().chain(ours()) {
            for steps in &case.capacity {
                assert_eq!(steps[0].0, 0, "{}", case.section);
                assert!(steps.is_sorted_by_key(|step| step.0));
                assert!(steps.iter().all(|step| step.1 > 0));
            }
            assert!(!case.flows.is_empty());
            for flow in &case.flows {
                assert!(flow.seconds.0 < flow.seconds.1 && flow.seconds.1 <= case.seconds);
                let (from, to) = flow.pause.unwrap_or(flow.seconds);
                assert!(flow.seconds.0 <= from && from < to && to <= flow.seconds.1);
            }
        }
    }

    #[test]
    fn capacity_is_that_of_the_last_step() {
        let case = &rfc8867()[0];
        let at = |second| case.capacity_bps(Direction::There, second);
        assert_eq!(
            [at(0), at(39), at(40), at(79), at(80)],
            [1_000_000, 1_000_000, 2_500_000, 600_000, 1_000_000]
        );
    }
}
