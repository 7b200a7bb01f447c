//! Compares received pictures with the sent ones of the same number, in luma.
//!
//! PSNR is what codec comparisons use; SSIM (Wang, Bovik, Sheikh, Simoncelli: "Image quality
//! assessment: from error visibility to structural similarity", IEEE TIP 13(4), 2004) follows what
//! eyes see more closely. Both over whole pictures; SSIM as the mean of 8×8 windows, 4 apart, with
//! equal weights.

/// Constants of SSIM for 8-bit samples: (0.01·255)² and (0.03·255)².
const C1: f64 = 6.5025;
const C2: f64 = 58.5225;
const WINDOW: usize = 8;
const STRIDE: usize = 4;
/// PSNR of equal pictures, where the formula has no value.
pub const PSNR_EQUAL_DB: f64 = 100.0;

/// A luma plane without padding.
#[derive(Clone, Copy, Debug)]
pub struct Luma<'a> {
    /// Rows from top to bottom, `width · height` samples.
    pub samples: &'a [u8],
    /// Width in pixels.
    pub width: usize,
    /// Height in pixels.
    pub height: usize,
}

impl Luma<'_> {
    fn is_whole(&self) -> bool {
        self.width > 0 && self.samples.len() == self.width * self.height
    }

    fn matches(&self, other: &Self) -> bool {
        self.is_whole()
            && other.is_whole()
            && self.width == other.width
            && self.height == other.height
    }
}

/// Peak signal-to-noise ratio in dB; `None` for planes of different or impossible sizes.
pub fn psnr_db(sent: &Luma<'_>, received: &Luma<'_>) -> Option<f64> {
    if !sent.matches(received) {
        return None;
    }
    let squares: u64 = sent
        .samples
        .iter()
        .zip(received.samples)
        .map(|(a, b)| u64::from(a.abs_diff(*b)).pow(2))
        .sum();
    let mean = squares as f64 / sent.samples.len() as f64;
    Some(if mean == 0.0 {
        PSNR_EQUAL_DB
    } else {
        10.0 * (255.0 * 255.0 / mean).log10()
    })
}

/// Structural similarity, 1 for equal planes; `None` as [`psnr_db`], or below 8 pixels a side.
pub fn ssim(sent: &Luma<'_>, received: &Luma<'_>) -> Option<f64> {
    if !sent.matches(received) || sent.width < WINDOW || sent.height < WINDOW {
        return None;
    }
    let (mut sum, mut windows) = (0.0, 0u32);
    for top in (0..=sent.height - WINDOW).step_by(STRIDE) {
        for left in (0..=sent.width - WINDOW).step_by(STRIDE) {
            sum += window_ssim(sent, received, left, top);
            windows += 1;
        }
    }
    Some(sum / f64::from(windows))
}

fn window_ssim(sent: &Luma<'_>, received: &Luma<'_>, left: usize, top: usize) -> f64 {
    let (mut a1, mut b1, mut a2, mut b2, mut ab) = (0u32, 0u32, 0u32, 0u32, 0u32);
    for row in top..top + WINDOW {
        let at = row * sent.width + left;
        let rows = sent.samples[at..at + WINDOW]
            .iter()
            .zip(&received.samples[at..at + WINDOW]);
        for (a, b) in rows {
            let (a, b) = (u32::from(*a), u32::from(*b));
            a1 += a;
            b1 += b;
            a2 += a * a;
            b2 += b * b;
            ab += a * b;
        }
    }
    let count = (WINDOW * WINDOW) as f64;
    let (mean_a, mean_b) = (f64::from(a1) / count, f64::from(b1) / count);
    let variance_a = f64::from(a2) / count - mean_a * mean_a;
    let variance_b = f64::from(b2) / count - mean_b * mean_b;
    let covariance = f64::from(ab) / count - mean_a * mean_b;
    (2.0 * mean_a * mean_b + C1) * (2.0 * covariance + C2)
        / ((mean_a * mean_a + mean_b * mean_b + C1) * (variance_a + variance_b + C2))
}

/// What came of a stream of numbered pictures.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct PictureScore {
    /// Pictures compared.
    pub compared: u32,
    /// Mean PSNR in dB.
    pub psnr_db: f64,
    /// PSNR of the worst picture in dB.
    pub worst_psnr_db: f64,
    /// Mean SSIM.
    pub ssim: f64,
    /// Numbers that came, each after a smaller one.
    pub in_order: u32,
    /// Numbers between the first and the last that never came.
    pub missing: u32,
    /// Pictures that came after a later one, or twice.
    pub out_of_order: u32,
}

/// Collects a [`PictureScore`] picture by picture.
#[derive(Clone, Debug, Default)]
pub struct PictureScorer {
    score: PictureScore,
    last: Option<u32>,
    psnr_sum: f64,
    ssim_sum: f64,
}

impl PictureScorer {
    /// Takes the number of the next received picture, in the order of arrival.
    pub fn handle_number(&mut self, number: u32) {
        match self.last {
            Some(last) if number <= last => self.score.out_of_order += 1,
            last => {
                self.score.missing += last.map_or(0, |last| number - last - 1);
                self.score.in_order += 1;
                self.last = Some(number);
            }
        }
    }

    /// Compares a received picture with the sent one of its number. Pictures of different sizes
    /// count as the worst there is.
    pub fn handle_pair(&mut self, sent: &Luma<'_>, received: &Luma<'_>) {
        let psnr_db = psnr_db(sent, received).unwrap_or(0.0);
        self.psnr_sum += psnr_db;
        self.ssim_sum += ssim(sent, received).unwrap_or(0.0);
        self.score.worst_psnr_db = if self.score.compared == 0 {
            psnr_db
        } else {
            self.score.worst_psnr_db.min(psnr_db)
        };
        self.score.compared += 1;
    }

    /// The score so far.
    pub fn score(&self) -> PictureScore {
        let count = f64::from(self.score.compared.max(1));
        PictureScore {
            psnr_db: self.psnr_sum / count,
            ssim: self.ssim_sum / count,
            ..self.score
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIDE: usize = 64;

    fn plane(sample: impl Fn(usize, usize) -> f64) -> Vec<u8> {
        let at = |index: usize| sample(index % SIDE, index / SIDE).clamp(0.0, 255.0) as u8;
        (0..SIDE * SIDE).map(at).collect()
    }

    fn texture(x: usize, y: usize) -> f64 {
        128.0 + 60.0 * (x as f64 * 0.4).sin() + 40.0 * (y as f64 * 0.3 + x as f64 * 0.1).cos()
    }

    fn luma(samples: &[u8]) -> Luma<'_> {
        Luma {
            samples,
            width: SIDE,
            height: SIDE,
        }
    }

    #[test]
    fn equal_planes_are_perfect_and_noise_is_worse_the_more_there_is() {
        let sent = plane(texture);
        let noisy = |strength: f64| {
            plane(|x, y| {
                let noise = ((x * 7_919 + y * 104_729) % 17) as f64 / 8.0 - 1.0;
                texture(x, y) + noise * strength
            })
        };
        let equal = luma(&sent);
        assert_eq!(psnr_db(&equal, &equal), Some(PSNR_EQUAL_DB));
        assert!((ssim(&equal, &equal).unwrap() - 1.0).abs() < 1e-9);
        let mut last = (PSNR_EQUAL_DB, 1.0);
        for strength in [2.0, 8.0, 32.0] {
            let received = noisy(strength);
            let now = (
                psnr_db(&equal, &luma(&received)).unwrap(),
                ssim(&equal, &luma(&received)).unwrap(),
            );
            assert!(now.0 < last.0 && now.1 < last.1, "{strength}: {now:?}");
            last = now;
        }
    }

    #[test]
    fn psnr_follows_its_formula_and_ssim_forgives_brightness_but_not_blur() {
        let sent = plane(texture);
        let brighter = plane(|x, y| texture(x, y) + 10.0);
        let blurred = plane(|x, y| {
            let near = (0..9).map(|n| texture(x + n % 3, y + n / 3));
            near.sum::<f64>() / 9.0
        });
        let sent = luma(&sent);
        // Every sample is off by ten: 10·log10(255² / 100).
        assert!((psnr_db(&sent, &luma(&brighter)).unwrap() - 28.13).abs() < 0.1);
        let (bright, blur) = (
            ssim(&sent, &luma(&brighter)).unwrap(),
            ssim(&sent, &luma(&blurred)).unwrap(),
        );
        assert!(bright > blur, "{bright} {blur}");
    }

    #[test]
    fn other_sizes_have_no_value() {
        let samples = [0; 100];
        let small = Luma {
            samples: &samples,
            width: 10,
            height: 10,
        };
        let other = Luma {
            samples: &samples,
            width: 20,
            height: 5,
        };
        let cut = Luma {
            samples: &samples[..99],
            ..small
        };
        assert_eq!(psnr_db(&small, &other), None);
        assert_eq!(psnr_db(&small, &cut), None);
        assert_eq!(ssim(&small, &other), None);
    }

    #[test]
    fn numbers_tell_what_is_missing_and_what_came_late() {
        let mut scorer = PictureScorer::default();
        for number in [5, 6, 9, 8, 9, 10] {
            scorer.handle_number(number);
        }
        let plane = plane(texture);
        scorer.handle_pair(&luma(&plane), &luma(&plane));
        let score = scorer.score();
        assert_eq!((score.missing, score.out_of_order), (2, 2));
        assert_eq!(score.in_order, 4);
        assert_eq!((score.compared, score.psnr_db), (1, PSNR_EQUAL_DB));
    }
}
