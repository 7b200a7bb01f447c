//! Whether the machine keeps up with encoding. Pure.

use std::time::{Duration, Instant};

use super::lasting::{Patience, Stepped};

/// Above this share of the time spent encoding, pictures are left out sooner or later.
const BUSY: f64 = 0.9;
/// Below this there is room for the next rung, which has up to twice the pixels.
const IDLE: f64 = 0.4;
/// How long a machine must be busy. Shorter takes the start of another program for a slow machine.
const BUSY_FOR: Duration = Duration::from_secs(5);
/// How long it must be idle before more is tried.
const IDLE_FOR: Duration = Duration::from_secs(20);
/// Four rungs down, every machine keeps up.
const MOST: usize = 4;

const PATIENCE: Patience = Patience {
    most: MOST,
    bad_for: BUSY_FOR,
    good_for: IDLE_FOR,
};

/// How many of the best rungs are too much for the machine.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Load(Stepped);

impl Load {
    pub(crate) fn least_rung(&self) -> usize {
        self.0.steps()
    }

    /// `busy`: share of the last second that was spent encoding, 0 to 1.
    pub(crate) fn handle(&mut self, now: Instant, busy: f64) {
        self.0.handle(now, busy > BUSY, busy < IDLE, PATIENCE);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slow_machine_encodes_less_and_tries_again_later() {
        let start = Instant::now();
        let mut load = Load::default();
        let mut rungs = Vec::new();
        for second in 0..120 {
            let busy = if second < 30 { 0.95 } else { 0.3 };
            load.handle(start + Duration::from_secs(second), busy);
            if rungs
                .last()
                .is_none_or(|(_, known)| *known != load.least_rung())
            {
                rungs.push((second, load.least_rung()));
            }
        }
        let down = [(0, 0), (5, 1), (10, 2), (15, 3), (20, 4)];
        let up = [(50, 3), (70, 2), (90, 1), (110, 0)];
        assert_eq!(rungs, [&down[..], &up[..]].concat());
        let mut load = Load::default();
        for second in 0..60 {
            let busy = if second % 5 == 4 { 0.5 } else { 1.0 };
            load.handle(start + Duration::from_secs(second), busy);
            assert_eq!(load.least_rung(), 0, "a few seconds do not matter");
        }
    }
}
