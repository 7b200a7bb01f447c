//! How long to wait before trying again.

use std::time::Duration;

/// Longest wait before connecting to the server again. Raising it spares a server that is down,
/// lowering it brings people back sooner.
const RECONNECT_MAX: Duration = Duration::from_secs(7);
/// Waits before links are opened anew. The first is short, because a fresh pair of peer connections
/// usually succeeds where a restart did not; the last repeats as long as both are in the room.
const REOPEN: [Duration; 5] = [
    Duration::from_secs(1),
    Duration::from_secs(3),
    Duration::from_secs(7),
    Duration::from_secs(15),
    Duration::from_secs(30),
];
/// Waits after an ICE restart. A restart that works takes about a second plus a round trip through
/// the server (measured 0.3 s on loopback).
const RESTART: [Duration; 4] = [
    Duration::from_secs(3),
    Duration::from_secs(4),
    Duration::from_secs(6),
    Duration::from_secs(8),
];
/// ICE restarts before a link is opened anew instead.
pub(crate) const RESTARTS_MAX: u32 = RESTART.len() as u32;

/// Wait before connection attempt number `tries` (0 = the first after a stable connection):
/// 0.3 s × tries², capped, then stretched or shortened by up to a fifth so that a room full of
/// clients does not return in one instant. `jitter` is a random byte.
pub(crate) fn reconnect_delay(tries: u32, jitter: u8) -> Duration {
    let base = Duration::from_millis(300)
        .saturating_mul(tries.saturating_mul(tries))
        .min(RECONNECT_MAX);
    base.mul_f64(0.8 + 0.4 * f64::from(jitter) / 255.0)
}

/// Wait before a link is opened anew after `failures` (from 1) failures in a row.
pub(crate) fn reopen_delay(failures: u32) -> Duration {
    let index = (failures.max(1) - 1) as usize;
    REOPEN[index.min(REOPEN.len() - 1)]
}

/// Wait after ICE restart number `restart` (from 0) for its effect.
pub(crate) fn restart_delay(restart: u32) -> Duration {
    RESTART[(restart as usize).min(RESTART.len() - 1)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reconnect_delays_follow_the_table() {
        let want_ms = [0, 300, 1_200, 2_700, 4_800, 7_000, 7_000];
        for (tries, want) in want_ms.into_iter().enumerate() {
            let got = |jitter| reconnect_delay(tries as u32, jitter).as_secs_f64() * 1_000.0;
            let want = f64::from(want);
            assert!((got(127) - want).abs() <= want * 0.001, "{tries}");
            assert!((got(0) - want * 0.8).abs() < 1.0 && (got(255) - want * 1.2).abs() < 1.0);
        }
        assert_eq!(reconnect_delay(u32::MAX, 0), RECONNECT_MAX.mul_f64(0.8));
    }

    #[test]
    fn link_delays_grow_to_their_last() {
        assert_eq!(reopen_delay(0), REOPEN[0]);
        assert_eq!(reopen_delay(1), REOPEN[0]);
        assert_eq!(reopen_delay(3), REOPEN[2]);
        assert_eq!(reopen_delay(u32::MAX), REOPEN[4]);
        assert_eq!(restart_delay(0), RESTART[0]);
        assert_eq!(restart_delay(u32::MAX), RESTART[3]);
    }
}
