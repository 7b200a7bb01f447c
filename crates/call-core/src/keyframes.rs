//! Answers keyframe requests, but not more often than an encoder can bear.

use std::time::{Duration, Instant};

use call_protocol::MediaSource;

/// Shortest time between two keyframes of one picture. A keyframe costs about ten times a delta
/// frame; raising this delays a newcomer's first picture, lowering it lets one bad link (or one
/// malicious member) degrade the picture for everybody.
const MIN_INTERVAL: Duration = Duration::from_millis(300);

/// Coalesces the requests of all members for each of one's own pictures.
#[derive(Debug, Default)]
pub(crate) struct Keyframes {
    camera: Limiter,
    screen: Limiter,
}

#[derive(Debug, Default)]
struct Limiter {
    last: Option<Instant>,
    due: Option<Instant>,
}

impl Keyframes {
    /// Notes a request; [`Keyframes::poll`] tells when to fulfil it. A microphone has none.
    pub(crate) fn request(&mut self, now: Instant, source: MediaSource) {
        let limiter = match source {
            MediaSource::Camera => &mut self.camera,
            MediaSource::Screen => &mut self.screen,
            MediaSource::Microphone => return,
        };
        let earliest = limiter
            .last
            .map_or(now, |last| now.max(last + MIN_INTERVAL));
        limiter.due.get_or_insert(earliest);
    }

    /// The next picture whose keyframe is due.
    pub(crate) fn poll(&mut self, now: Instant) -> Option<MediaSource> {
        let all = [
            (&mut self.camera, MediaSource::Camera),
            (&mut self.screen, MediaSource::Screen),
        ];
        for (limiter, source) in all {
            if limiter.due.is_some_and(|due| due <= now) {
                *limiter = Limiter {
                    last: Some(now),
                    due: None,
                };
                return Some(source);
            }
        }
        None
    }

    /// When the next one is due.
    pub(crate) fn timeout(&self) -> Option<Instant> {
        self.camera.due.into_iter().chain(self.screen.due).min()
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
            keyframes.request(now, MediaSource::Camera);
            keyframes.request(now, MediaSource::Microphone);
            forced.extend(keyframes.poll(now).map(|source| (ms, source)));
        }
        assert_eq!(forced, [(0, MediaSource::Camera)]);
        assert_eq!(keyframes.timeout(), Some(start + MIN_INTERVAL));
        assert_eq!(
            keyframes.poll(start + MIN_INTERVAL),
            Some(MediaSource::Camera)
        );
        assert_eq!(keyframes.timeout(), None);
        keyframes.request(start, MediaSource::Screen);
        assert_eq!(keyframes.poll(start), Some(MediaSource::Screen));
    }
}
