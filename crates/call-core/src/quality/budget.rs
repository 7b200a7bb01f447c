//! How what one path carries is shared. Pure.
//!
//! In this order: a reserve for the sound, which nothing else ever takes; a shared screen; the
//! camera; files. Files are not sent on these links, but share the bottleneck: they yield by its delay,
//! and what is left here is what they may count on.
//!
//! Deliberately not here: what repeating lost packets costs. The transport takes off what it really
//! repeats before it says what there is.

/// What sound takes at most of a path while each frame is sent once, with its headers: 32 kbit/s in
/// 50 packets a second, with 40 bytes of RTP header, extensions and seal in each, make 48. More
/// starves the picture on narrow paths, less lets it push the sound into the queue.
pub const SOUND_RESERVE_BPS: u64 = 50_000;
/// What each copy of all frames takes, with its headers.
pub(crate) const SOUND_COPY_BPS: u64 = 34_000;
/// Of what sound leaves, a screen beside a camera gets this many percent first: what is shared is
/// what people look at.
const SCREEN_PERCENT: u64 = 70;

/// The shares, in bit/s. Their sum never exceeds what the path carries, unless that is less than the
/// reserve.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Budget {
    /// At least [`SOUND_RESERVE_BPS`].
    pub(crate) sound_bps: u64,
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

/// Shares `target_bps`, what sound with this many copies of each frame and new pictures may have.
pub(crate) fn split(target_bps: u64, sound_copies: u8, worth: Worth) -> Budget {
    let sound_bps = SOUND_RESERVE_BPS + u64::from(sound_copies) * SOUND_COPY_BPS;
    let left_bps = target_bps.saturating_sub(sound_bps);
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
        sound_bps,
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
        // Target in kbit/s, worth of screen and camera; shares in kbit/s: screen, camera, files.
        let cases = [
            (0, none, some, [0, 0, 0]),
            (50, some, some, [0, 0, 0]),
            (51, none, some, [0, 1, 0]),
            (2_050, none, some, [0, 1_000, 1_000]),
            (2_050, none, none, [0, 0, 2_000]),
            (1_050, some, none, [1_000, 0, 0]),
            (550, some, some, [350, 150, 0]),
            (1_850, some, some, [1_000, 800, 0]),
        ];
        for (target, screen_bps, camera_bps, [screen, camera, files]) in cases {
            let worth = Worth {
                screen_bps,
                camera_bps,
            };
            let want = Budget {
                sound_bps: SOUND_RESERVE_BPS,
                screen_bps: screen * 1_000,
                camera_bps: camera * 1_000,
                files_bps: files * 1_000,
            };
            assert_eq!(split(target * 1_000, 0, worth), want, "{target}");
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
            let copies = draw(4);
            let budget = split(target_bps, copies as u8, worth);
            let others = budget.screen_bps + budget.camera_bps + budget.files_bps;
            let sound_bps = SOUND_RESERVE_BPS + copies * SOUND_COPY_BPS;
            let left_bps = target_bps.saturating_sub(sound_bps);
            assert!(others <= left_bps, "{budget:?} of {target_bps}");
            assert_eq!(budget.sound_bps, sound_bps);
        }
    }
}
