//! How a room's media flows: directly between everybody (mesh), or through the forwarding unit
//! (SFU). `Mesh ⇄ Sfu`: to the SFU at once when the mesh does not carry the room, back only after it
//! would have carried it for a while.
//!
//! A pair of members counts as relayed when *one* of them says so: a client knows its own candidate
//! for certain, while the other side may see a relayed address as an ordinary one. While the SFU is
//! used, the links in question do not exist, and no report can say that they would work by now; so a
//! relayed pair is remembered until one of the two leaves, and each return to the mesh that did not
//! last makes the next one wait twice as long.
//!
//! Deliberately not here: how clients move (make before break), and what they measure.

use std::time::{Duration, Instant};

use call_protocol::wire::TopologyMode;

/// How long the mesh must fit before a room returns to it, the first time. Shorter moves rooms to
/// and fro while people come and go.
const FIRST_HOLD: Duration = Duration::from_secs(10);
/// Doublings of [`FIRST_HOLD`]: at most some eleven minutes.
const MAX_RELAPSES: u32 = 6;

/// What the operator wants.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TopologyChoice {
    /// By members and reports.
    #[default]
    Auto,
    /// Never through the SFU; offers to it are refused.
    Mesh,
    /// Always through the SFU.
    Sfu,
}

impl std::str::FromStr for TopologyChoice {
    type Err = UnknownTopology;

    fn from_str(text: &str) -> Result<Self, UnknownTopology> {
        match text {
            "auto" => Ok(Self::Auto),
            "mesh" => Ok(Self::Mesh),
            "sfu" => Ok(Self::Sfu),
            _ => Err(UnknownTopology),
        }
    }
}

/// The text is none of `auto`, `mesh` and `sfu`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnknownTopology;

impl std::fmt::Display for UnknownTopology {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a topology is auto, mesh or sfu")
    }
}

impl std::error::Error for UnknownTopology {}

/// What a room looks like.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Situation {
    /// Seats, those waiting for a resume included.
    pub members: usize,
    /// Two of them reach each other only through a relay.
    pub is_relayed: bool,
    /// Somebody's uplink does not carry the mesh.
    pub uplink_short: bool,
    /// Somebody's machine does not.
    pub cpu_short: bool,
}

/// Why a room's topology is what it is: stable words for the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// More members than a mesh may have.
    Members,
    /// Somebody is reached only through a relay.
    Relay,
    /// Somebody's uplink is short.
    Uplink,
    /// Somebody's machine is too slow.
    Cpu,
    /// The mesh carries the room.
    Fits,
    /// The operator wants it so.
    Forced,
}

impl Why {
    /// The word on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Members => "members",
            Self::Relay => "relay",
            Self::Uplink => "uplink",
            Self::Cpu => "cpu",
            Self::Fits => "fits",
            Self::Forced => "forced",
        }
    }
}

/// The rule without time: what a situation asks for. Nobody is alone at the SFU.
pub fn demand(
    choice: TopologyChoice,
    mesh_limit: usize,
    situation: &Situation,
) -> (TopologyMode, Why) {
    let sfu = |why| (TopologyMode::Sfu, why);
    if choice == TopologyChoice::Mesh {
        (TopologyMode::Mesh, Why::Forced)
    } else if situation.members < 2 {
        (TopologyMode::Mesh, Why::Fits)
    } else if choice == TopologyChoice::Sfu {
        sfu(Why::Forced)
    } else if situation.members > mesh_limit {
        sfu(Why::Members)
    } else if situation.is_relayed {
        sfu(Why::Relay)
    } else if situation.uplink_short {
        sfu(Why::Uplink)
    } else if situation.cpu_short {
        sfu(Why::Cpu)
    } else {
        (TopologyMode::Mesh, Why::Fits)
    }
}

/// One room's topology over time.
#[derive(Clone, Debug)]
pub struct Topology {
    mode: TopologyMode,
    /// While the SFU is used: since when the mesh would do.
    fits_since: Option<Instant>,
    /// Returns to the mesh that did not last, since somebody left last.
    relapses: u32,
    has_returned: bool,
    members: usize,
}

impl Default for Topology {
    fn default() -> Self {
        Self {
            mode: TopologyMode::Mesh,
            fits_since: None,
            relapses: 0,
            has_returned: false,
            members: 0,
        }
    }
}

impl Topology {
    /// How media flows.
    pub fn mode(&self) -> TopologyMode {
        self.mode
    }

    /// When to call [`Self::update`] again, if nothing happens before.
    pub fn due(&self) -> Option<Instant> {
        self.fits_since.map(|since| since + self.hold())
    }

    fn hold(&self) -> Duration {
        FIRST_HOLD * 2_u32.pow(self.relapses.min(MAX_RELAPSES))
    }

    /// Looks at the room; what it is told when that changes its topology.
    pub fn update(
        &mut self,
        now: Instant,
        choice: TopologyChoice,
        mesh_limit: usize,
        situation: &Situation,
    ) -> Option<(TopologyMode, Why)> {
        if situation.members < self.members {
            self.relapses = 0;
            self.has_returned = false;
        }
        self.members = situation.members;
        let (mode, why) = demand(choice, mesh_limit, situation);
        if mode == TopologyMode::Sfu || mode == self.mode {
            self.fits_since = None;
        }
        if mode == self.mode {
            return None;
        }
        if mode == TopologyMode::Sfu {
            let is_measured = matches!(why, Why::Relay | Why::Uplink | Why::Cpu);
            if is_measured && self.has_returned {
                self.relapses = self.relapses.saturating_add(1);
            }
        } else if situation.members > 1 {
            let since = *self.fits_since.get_or_insert(now);
            if now < since + self.hold() {
                return None;
            }
            self.has_returned = true;
        }
        self.fits_since = None;
        self.mode = mode;
        Some((mode, why))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(members: usize) -> Situation {
        Situation {
            members,
            ..Situation::default()
        }
    }

    const RELAYED: Situation = Situation {
        members: 2,
        is_relayed: true,
        uplink_short: false,
        cpu_short: false,
    };

    #[test]
    fn situations_ask_for_a_topology() {
        use TopologyChoice::{Auto, Mesh, Sfu};
        let uplink = Situation {
            uplink_short: true,
            ..of(3)
        };
        let cpu = Situation {
            cpu_short: true,
            ..of(3)
        };
        let everything = Situation {
            uplink_short: true,
            cpu_short: true,
            is_relayed: true,
            ..of(9)
        };
        let alone = Situation {
            members: 1,
            ..everything
        };
        let cases = [
            (Auto, of(0), TopologyMode::Mesh, "fits"),
            (Auto, of(1), TopologyMode::Mesh, "fits"),
            (Auto, alone, TopologyMode::Mesh, "fits"),
            (Auto, of(4), TopologyMode::Mesh, "fits"),
            (Auto, of(5), TopologyMode::Sfu, "members"),
            (Auto, everything, TopologyMode::Sfu, "members"),
            (Auto, RELAYED, TopologyMode::Sfu, "relay"),
            (Auto, uplink, TopologyMode::Sfu, "uplink"),
            (Auto, cpu, TopologyMode::Sfu, "cpu"),
            (Mesh, everything, TopologyMode::Mesh, "forced"),
            (Sfu, of(1), TopologyMode::Mesh, "fits"),
            (Sfu, of(2), TopologyMode::Sfu, "forced"),
            (Sfu, RELAYED, TopologyMode::Sfu, "forced"),
        ];
        for (choice, situation, mode, why) in cases {
            let (got, got_why) = demand(choice, 4, &situation);
            assert_eq!(
                (got, got_why.as_str()),
                (mode, why),
                "{choice:?} {situation:?}"
            );
        }
        assert_eq!("sfu".parse(), Ok(Sfu));
        assert_eq!("SFU".parse::<TopologyChoice>(), Err(UnknownTopology));
    }

    /// Applies situations at times in seconds; the changes with their times, timeouts included.
    fn run(steps: &[(u64, Situation)]) -> Vec<(u64, TopologyMode)> {
        let start = Instant::now();
        let mut topology = Topology::default();
        let mut changes = Vec::new();
        let mut current = Situation::default();
        let mut update = |topology: &mut Topology, at: Instant, situation: &Situation| {
            if let Some((mode, _)) = topology.update(at, TopologyChoice::Auto, 4, situation) {
                assert_eq!(topology.mode(), mode);
                changes.push(((at - start).as_secs(), mode));
            }
        };
        for (at_s, situation) in steps {
            let at = start + Duration::from_secs(*at_s);
            while let Some(due) = topology.due().filter(|due| *due <= at) {
                update(&mut topology, due, &current);
            }
            current = *situation;
            update(&mut topology, at, &current);
        }
        changes
    }

    #[test]
    fn rooms_move_at_once_and_return_later() {
        use TopologyMode::{Mesh, Sfu};
        type Case<'a> = (&'a str, &'a [(u64, Situation)], &'a [(u64, TopologyMode)]);
        let cases: [Case<'_>; 5] = [
            (
                "grows and shrinks",
                &[(0, of(4)), (1, of(5)), (2, of(4)), (20, of(4))],
                &[(1, Sfu), (12, Mesh)],
            ),
            (
                "people come and go",
                &[
                    (0, of(5)),
                    (1, of(4)),
                    (9, of(5)),
                    (10, of(4)),
                    (19, of(5)),
                    (20, of(4)),
                    (40, of(4)),
                ],
                &[(0, Sfu), (30, Mesh)],
            ),
            (
                "everybody but one leaves",
                &[(0, of(5)), (5, of(1)), (6, of(2))],
                &[(0, Sfu), (5, Mesh)],
            ),
            (
                "a relay that stays is tried less and less often",
                &[
                    (0, RELAYED),
                    (1, of(2)),
                    (12, RELAYED),
                    (13, of(2)),
                    (34, RELAYED),
                    (35, of(2)),
                    (80, RELAYED),
                    (81, of(2)),
                    (170, of(2)),
                ],
                &[
                    (0, Sfu),
                    (11, Mesh),
                    (12, Sfu),
                    (33, Mesh),
                    (34, Sfu),
                    (75, Mesh),
                    (80, Sfu),
                    (161, Mesh),
                ],
            ),
            (
                "who leaves may have been the reason",
                &[
                    (
                        0,
                        Situation {
                            members: 3,
                            ..RELAYED
                        },
                    ),
                    (1, of(3)),
                    (
                        12,
                        Situation {
                            members: 3,
                            ..RELAYED
                        },
                    ),
                    (13, of(2)),
                    (24, of(2)),
                ],
                &[(0, Sfu), (11, Mesh), (12, Sfu), (23, Mesh)],
            ),
        ];
        for (what, steps, want) in cases {
            assert_eq!(run(steps), want, "{what}");
        }
    }
}
