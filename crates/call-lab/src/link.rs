//! A link of two directions that follows a plan.
//!
//! A [`Plan`] is data: what both directions are like at first, and what they become after how
//! long. [`Link`] carries packets by it, each direction over a [`Path`] of its own.
//!
//! After the pure crates' contract: [`Link::handle_packet`] and [`Link::handle_timeout`], then
//! drain [`Link::poll_output`], then [`Link::poll_timeout`] says when to come again.
//!
//! Invariants: those of [`Path`], per direction; a change of the plan takes effect from the first
//! packet at or after its time on, packets under way keep the route they took.
//!
//! Deliberately not here: where packets come from and go to (see `tun`).

use std::time::{Duration, Instant};

use crate::network::{Input, Path, PathConfig, PathStats};

/// Where a packet goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// From the first end to the second.
    There,
    /// From the second end to the first.
    Back,
}

impl Direction {
    /// Both, in the order of everything that has one entry for each.
    pub const BOTH: [Self; 2] = [Self::There, Self::Back];
}

/// What both directions are like.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Conditions {
    /// From the first end to the second.
    pub there: PathConfig,
    /// From the second end to the first.
    pub back: PathConfig,
}

impl Conditions {
    /// The same both ways.
    pub fn symmetric(path: PathConfig) -> Self {
        Self {
            there: path,
            back: path,
        }
    }
}

/// What a link is like from when on. The default is a perfect one.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Plan {
    /// Of the chance in both directions.
    pub seed: u64,
    /// At first.
    pub conditions: Conditions,
    /// What comes later: after how long since the start, and what then holds. Ascending.
    pub changes: Vec<(Duration, Conditions)>,
}

impl Plan {
    /// The same both ways, for ever.
    pub fn constant(path: PathConfig, seed: u64) -> Self {
        Self {
            seed,
            conditions: Conditions::symmetric(path),
            changes: Vec::new(),
        }
    }
}

/// See the [module documentation](self).
#[derive(Debug)]
pub struct Link<P> {
    started: Instant,
    paths: [Path<P>; 2],
    changes: std::vec::IntoIter<(Duration, Conditions)>,
}

impl<P> Link<P> {
    /// An empty link whose plan starts `now`.
    pub fn new(now: Instant, plan: Plan) -> Self {
        let Conditions { there, back } = plan.conditions;
        Self {
            started: now,
            // Two directions with one sequence of chance would lose the same packets.
            paths: [
                Path::new(there, plan.seed),
                Path::new(back, plan.seed ^ 0x5555_5555),
            ],
            changes: plan.changes.into_iter(),
        }
    }

    /// Takes a packet of `bytes` bytes on the wire. `now` never goes back.
    pub fn handle_packet(&mut self, now: Instant, direction: Direction, packet: P, bytes: usize) {
        self.follow_plan(now);
        self.paths[direction as usize].handle_input(now, Input::Packet { packet, bytes });
    }

    /// Takes the time.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.follow_plan(now);
        for path in &mut self.paths {
            path.handle_input(now, Input::Timeout);
        }
    }

    /// Changes the link from the next packet on, until the plan's next change.
    pub fn set_conditions(&mut self, conditions: Conditions) {
        let Conditions { there, back } = conditions;
        for (path, config) in self.paths.iter_mut().zip([there, back]) {
            path.set_config(config);
        }
    }

    /// The next packet that has arrived by the time of the last input of its direction.
    pub fn poll_output(&mut self) -> Option<(Direction, P)> {
        Direction::BOTH
            .into_iter()
            .zip(&mut self.paths)
            .find_map(|(direction, path)| Some((direction, path.poll_output()?.1)))
    }

    /// When the next packet arrives.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.paths.iter().filter_map(Path::poll_timeout).min()
    }

    /// Counters of both directions.
    pub fn stats(&self) -> [PathStats; 2] {
        [self.paths[0].stats(), self.paths[1].stats()]
    }

    fn follow_plan(&mut self, now: Instant) {
        while let Some((after, conditions)) = self.changes.as_slice().first() {
            if now < self.started + *after {
                return;
            }
            let conditions = *conditions;
            self.changes.next();
            self.set_conditions(conditions);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::network::Loss;

    const MS: Duration = Duration::from_millis(1);

    fn slow(ms: u32) -> PathConfig {
        PathConfig {
            delay: MS * ms,
            ..PathConfig::default()
        }
    }

    /// Sends one packet each way at every time; returns direction, sending and arrival in ms.
    fn run(plan: Plan, times_ms: &[u32]) -> Vec<(Direction, u32, u128)> {
        let start = Instant::now();
        let mut link = Link::new(start, plan);
        let mut arrived = Vec::new();
        for &at in times_ms {
            for direction in Direction::BOTH {
                link.handle_packet(start + MS * at, direction, at, 100);
            }
        }
        while let Some(at) = link.poll_timeout() {
            link.handle_timeout(at);
            while let Some((direction, sent)) = link.poll_output() {
                arrived.push((direction, sent, (at - start).as_millis()));
            }
        }
        arrived
    }

    #[test]
    fn each_direction_has_a_path_of_its_own() {
        let plan = Plan {
            conditions: Conditions {
                there: slow(10),
                back: slow(30),
            },
            ..Plan::default()
        };
        assert_eq!(
            run(plan, &[0]),
            [(Direction::There, 0, 10), (Direction::Back, 0, 30)]
        );
    }

    #[test]
    fn changes_take_effect_in_their_time_and_leave_what_is_under_way() {
        let cut = PathConfig {
            loss: Loss::Random(1.0),
            ..PathConfig::default()
        };
        let plan = Plan {
            seed: 1,
            conditions: Conditions::symmetric(slow(50)),
            changes: vec![
                (MS * 100, Conditions::symmetric(cut)),
                (MS * 200, Conditions::symmetric(slow(5))),
                (MS * 200, Conditions::symmetric(slow(20))),
            ],
        };
        let there: Vec<(u32, u128)> = run(plan, &[99, 100, 199, 200])
            .into_iter()
            .filter(|(direction, ..)| *direction == Direction::There)
            .map(|(_, sent, at)| (sent, at))
            .collect();
        assert_eq!(there, [(99, 149), (200, 220)]);
    }

    #[test]
    fn the_directions_lose_different_packets() {
        let path = PathConfig {
            loss: Loss::Random(0.5),
            ..PathConfig::default()
        };
        let times: Vec<u32> = (0..200).collect();
        let arrived = run(Plan::constant(path, 3), &times);
        let of = |direction| -> Vec<u32> {
            let there = arrived.iter().filter(|(d, ..)| *d == direction);
            there.map(|(_, sent, _)| *sent).collect()
        };
        assert_ne!(of(Direction::There), of(Direction::Back));
    }
}
