//! What a picture is worth in bits, by its size and rate. Pure.

/// Pixels per second and what they are worth in bit/s as one of several layers, to be interpolated.
const LAYER_WORTH: [(u64, u64); 4] = [
    (0, 0),
    (320 * 180 * 30, 130_000),
    (640 * 360 * 30, 450_000),
    (1_280 * 720 * 30, 1_700_000),
];
/// Larger pictures than 720p30 get no more than this, in bit/s.
const MOST_BPS: u32 = 2_500_000;
const LEAST_LAYER_BPS: u32 = 60_000;
const LEAST_SINGLE_BPS: u32 = 150_000;

/// Bits per second a layer of this size and rate is worth in real time, beside other layers: at 30
/// frames per second 1.7 Mbit/s for 1280x720, 450 kbit/s for 640x360, 130 kbit/s for 320x180, in
/// between and beyond in proportion.
pub fn layer_picture_bps(size: (u32, u32), fps: u32) -> u32 {
    let pixels = pixels_per_second(size, fps);
    let at = LAYER_WORTH
        .iter()
        .position(|(known, _)| *known >= pixels)
        .unwrap_or(LAYER_WORTH.len() - 1)
        .max(1);
    let ((from, low), (to, high)) = (LAYER_WORTH[at - 1], LAYER_WORTH[at]);
    let worth = low + (pixels - from) * (high - low) / (to - from);
    u32::try_from(worth)
        .unwrap_or(MOST_BPS)
        .clamp(LEAST_LAYER_BPS, MOST_BPS)
}

/// Bits per second a picture of this size and rate is worth alone, with VP8 or VP9 in real time:
/// about 0.07 bit per pixel. More wastes the uplink, less shows blocks on movement.
pub fn single_picture_bps(size: (u32, u32), fps: u32) -> u32 {
    u32::try_from(pixels_per_second(size, fps) * 7 / 100)
        .unwrap_or(u32::MAX)
        .clamp(LEAST_SINGLE_BPS, MOST_BPS)
}

fn pixels_per_second(size: (u32, u32), fps: u32) -> u64 {
    u64::from(size.0.min(1 << 14)) * u64::from(size.1.min(1 << 14)) * u64::from(fps.clamp(1, 60))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pictures_are_worth_what_their_size_and_rate_are() {
        let cases = [
            ((1_280, 720), 30, 1_700_000, 1_935_360),
            ((640, 360), 30, 450_000, 483_840),
            ((320, 180), 30, 130_000, 150_000),
            ((640, 360), 15, 236_666, 241_920),
            ((1_920, 1_080), 30, 2_500_000, 2_500_000),
            ((16, 16), 1, 60_000, 150_000),
            ((u32::MAX, u32::MAX), u32::MAX, 2_500_000, 2_500_000),
        ];
        for (size, fps, layer, single) in cases {
            assert_eq!(layer_picture_bps(size, fps), layer, "{size:?} at {fps}");
            assert_eq!(single_picture_bps(size, fps), single, "{size:?} at {fps}");
        }
    }
}
