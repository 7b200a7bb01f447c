//! How what one path carries is shared. Pure.
//!
//! In this order: a fixed reserve for the sound, which nothing else ever takes; what repeating lost
//! packets will cost; a shared screen; the camera; files. Files are not sent on these links, but share
//! the bottleneck: they yield by its delay, and what is left here is what they may count on.

/// What sound takes at most of a path, with its headers: 40 kbit/s of Opus with in-band FEC would
/// need 58, but is chosen only where there is plenty; 32 kbit/s in 50 packets a second, with 40 bytes
/// of RTP header, extensions and seal in each, make 48. More starves the picture on narrow paths,
/// less lets it push the sound into the queue.
pub const SOUND_RESERVE_BPS: u64 = 50_000;
/// Of what sound leaves, a screen beside a camera gets this many percent first: what is shared is
/// what people look at.
const SCREEN_PERCENT: u64 = 70;
/// Beyond this share of loss repeating does not help any more, and the estimate has fallen anyway.
const MOST_REPAIR: f64 = 0.3;

/// The shares, in bit/s. Their sum never exceeds what the path carries, unless that is less than the
/// reserve.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Budget {
    /// Always [`SOUND_RESERVE_BPS`].
    pub(crate) sound_bps: u64,
    /// For retransmissions (RFC 4588) of pictures.
    pub(crate) repair_bps: u64,
    /// For the shared screen.
    pub(crate) screen_bps: u64,
    /// For all layers of the camera.
    pub(crate) camera_bps: u64,
    /// For files.
    pub(crate) files_bps: u64,
}

/// What pictures could use, in bit/s; `None` where there is none.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Worth {
    pub(crate) screen_bps: Option<u64>,
    pub(crate) camera_bps: Option<u64>,
}

/// Shares `target_bps`. `loss` is the share of packets lost, 0 to 1.
pub(crate) fn split(target_bps: u64, loss: f64, worth: Worth) -> Budget {
    let left_bps = target_bps.saturating_sub(SOUND_RESERVE_BPS);
    // The cast is safe: a share of what fits into 64 bits, and NaN becomes 0.
    let repair_bps = (left_bps as f64 * loss.clamp(0.0, MOST_REPAIR)) as u64;
    let left_bps = left_bps - repair_bps;
    let (screen_bps, camera_bps) = match (worth.screen_bps, worth.camera_bps) {
        (None, None) => (0, 0),
        (Some(screen), None) => (screen.min(left_bps), 0),
        (None, Some(camera)) => (0, camera.min(left_bps)),
        (Some(screen), Some(camera)) => {
            let first = left_bps * SCREEN_PERCENT / 100;
            let screen_bps = screen.min(first.max(left_bps.saturating_sub(camera)));
            (screen_bps, camera.min(left_bps - screen_bps))
        }
    };
    Budget {
        sound_bps: SOUND_RESERVE_BPS,
        repair_bps,
        screen_bps,
        camera_bps,
        files_bps: left_bps - screen_bps - camera_bps,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sound_is_never_touched_and_files_come_last() {
        let (none, some) = (None, Some(1_000_000));
        // Target in kbit/s, loss in percent, worth of screen and camera; shares in kbit/s: repair,
        // screen, camera, files.
        #[allow(clippy::type_complexity, reason = "a table")]
        let cases: [(u64, f64, Option<u64>, Option<u64>, [u64; 4]); 10] = [
            (0, 0.0, none, some, [0, 0, 0, 0]),
            (50, 0.5, some, some, [0, 0, 0, 0]),
            (51, 0.0, none, some, [0, 0, 1, 0]),
            (1_050, 0.1, none, some, [100, 0, 900, 0]),
            (1_050, 0.9, none, some, [300, 0, 700, 0]),
            (2_050, 0.0, none, some, [0, 0, 1_000, 1_000]),
            (2_050, 0.0, none, none, [0, 0, 0, 2_000]),
            (1_050, 0.0, some, none, [0, 1_000, 0, 0]),
            (550, 0.0, some, some, [0, 350, 150, 0]),
            (1_850, 0.0, some, some, [0, 1_000, 800, 0]),
        ];
        for (target, loss, screen_bps, camera_bps, [repair, screen, camera, files]) in cases {
            let worth = Worth {
                screen_bps,
                camera_bps,
            };
            let want = Budget {
                sound_bps: SOUND_RESERVE_BPS,
                repair_bps: repair * 1_000,
                screen_bps: screen * 1_000,
                camera_bps: camera * 1_000,
                files_bps: files * 1_000,
            };
            assert_eq!(split(target * 1_000, loss, worth), want, "{target} {loss}");
        }
        for loss in [f64::NAN, -1.0, f64::INFINITY] {
            let budget = split(u64::MAX, loss, Worth::default());
            assert!(budget.files_bps > 0, "figures of others are not trusted");
        }
    }

    #[test]
    fn shares_never_exceed_what_there_is() {
        let mut dice = 7_u64;
        let mut draw = |below: u64| {
            dice = dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (dice >> 33) % below
        };
        for _ in 0..20_000 {
            let target_bps = draw(5_000_000);
            let worth = Worth {
                screen_bps: (draw(2) == 0).then(|| draw(3_000_000)),
                camera_bps: (draw(2) == 0).then(|| draw(3_000_000)),
            };
            let budget = split(target_bps, draw(100) as f64 / 100.0, worth);
            let others =
                budget.repair_bps + budget.screen_bps + budget.camera_bps + budget.files_bps;
            let left_bps = target_bps.saturating_sub(SOUND_RESERVE_BPS);
            assert!(others <= left_bps, "{budget:?} of {target_bps}");
            assert_eq!(budget.sound_bps, SOUND_RESERVE_BPS);
        }
    }
}
