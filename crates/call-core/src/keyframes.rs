//! Answers keyframe requests, but not more often than an encoder can bear.

use std::time::{Duration, Instant};

use call_protocol::MediaSource;
use call_protocol::limits::SFU_LAYERS;

/// Shortest time between two keyframes of one layer. A keyframe costs about ten times a delta
/// frame; raising this delays a newcomer's first picture, lowering it lets one bad link (or one
/// malicious member) degrade the picture for everybody.
const MIN_INTERVAL: Duration = Duration::from_millis(300);

/// Coalesces the requests of all receivers for each layer of each of one's own pictures.
#[derive(Debug, Default)]
pub(crate) struct Keyframes {
    camera: [Limiter; SFU_LAYERS],
    screen: [Limiter; SFU_LAYERS],
}

#[derive(Debug, Default)]
struct Limiter {
    last: Option<Instant>,
    due: Option<Instant>,
}

impl Keyframes {
    /// Notes a request; [`Keyframes::poll`] tells when to fulfil it. A microphone has none, nor has
    /// a layer beyond the last.
    pub(crate) fn request(&mut self, now: Instant, source: MediaSource, layer: u8) {
        let layers = match source {
            MediaSource::Camera => &mut self.camera,
            MediaSource::Screen => &mut self.screen,
            MediaSource::Microphone => return,
        };
        let Some(limiter) = layers.get_mut(usize::from(layer)) else {
            return;
        };
        let earliest = limiter
            .last
            .map_or(now, |last| now.max(last + MIN_INTERVAL));
        limiter.due.get_or_insert(earliest);
    }

    /// The next layer whose keyframe is due.
    pub(crate) fn poll(&mut self, now: Instant) -> Option<(MediaSource, u8)> {
        let all = [
            (&mut self.camera, MediaSource::Camera),
            (&mut self.screen, MediaSource::Screen),
        ];
        for (layers, source) in all {
            for (limiter, layer) in layers.iter_mut().zip(0..) {
                if limiter.due.is_some_and(|due| due <= now) {
                    *limiter = Limiter {
                        last: Some(now),
                        due: None,
                    };
                    return Some((source, layer));
                }
            }
        }
        None
    }

    /// When the next one is due.
    pub(crate) fn timeout(&self) -> Option<Instant> {
        let all = self.camera.iter().chain(&self.screen);
        all.filter_map(|limiter| limiter.due).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_of_requests_costs_one_keyframe_now_and_one_later() {
        let start = Instant::now();
        let mut keyframes = Keyframes::default();
        let mut forced = Vec::new();
        for ms in 0..300 {
            let now = start + Duration::from_millis(ms);
            keyframes.request(now, MediaSource::Camera, 1);
            keyframes.request(now, MediaSource::Microphone, 0);
            forced.extend(keyframes.poll(now).map(|picture| (ms, picture)));
        }
        assert_eq!(forced, [(0, (MediaSource::Camera, 1))]);
        assert_eq!(keyframes.timeout(), Some(start + MIN_INTERVAL));
        assert_eq!(
            keyframes.poll(start + MIN_INTERVAL),
            Some((MediaSource::Camera, 1))
        );
        assert_eq!(keyframes.timeout(), None);
    }

    #[test]
    fn layers_and_pictures_do_not_wait_for_each_other() {
        let now = Instant::now();
        let mut keyframes = Keyframes::default();
        let pictures = [MediaSource::Camera, MediaSource::Screen];
        let all = pictures.map(|source| [0, 1, 2, 3, 255].map(|layer| (source, layer)));
        for (source, layer) in all.into_iter().flatten() {
            keyframes.request(now, source, layer);
        }
        let forced: Vec<_> = std::iter::from_fn(|| keyframes.poll(now)).collect();
        let want = pictures.map(|source| [0, 1, 2].map(|layer| (source, layer)));
        assert_eq!(forced, want.concat());
    }
}
