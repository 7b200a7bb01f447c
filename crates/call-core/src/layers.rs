//! Which simulcast layers of one's own pictures are encoded: what the SFU's receivers want, and
//! the largest for whoever has a direct link.

use call_protocol::MediaSource;
use call_protocol::limits::SFU_LAYERS;

use crate::output::MediaOp;

type Wanted = [bool; SFU_LAYERS];

/// What the SFU wants, and what the encoders were told; nothing at first.
#[derive(Debug, Default)]
pub(crate) struct Layers {
    camera: Picture,
    screen: Picture,
}

#[derive(Debug, Default)]
struct Picture {
    sfu: Wanted,
    told: Wanted,
}

impl Layers {
    /// The SFU says what is received of a picture. A microphone has no layers.
    pub(crate) fn handle_wanted(&mut self, source: MediaSource, wanted: Wanted) {
        match source {
            MediaSource::Camera => self.camera.sfu = wanted,
            MediaSource::Screen => self.screen.sfu = wanted,
            MediaSource::Microphone => tracing::debug!("layers of a sound"),
        }
    }

    /// A new seat: nobody receives anything yet. A link that is merely opened anew keeps what was
    /// wanted, since the SFU speaks up only when it changes.
    pub(crate) fn forget_wanted(&mut self) {
        self.camera.sfu = Wanted::default();
        self.screen.sfu = Wanted::default();
    }

    /// What is wanted now, as last told by [`Layers::poll`].
    pub(crate) fn wanted(&self) -> crate::quality::Wanted {
        crate::quality::Wanted {
            camera: self.camera.told,
            screen: self.screen.told,
            ..crate::quality::Wanted::default()
        }
    }

    /// The next change. `direct`: there is a direct link for the call; `sfu`: there is one to the
    /// SFU.
    pub(crate) fn poll(&mut self, direct: bool, sfu: bool) -> Option<MediaOp> {
        let all = [
            (&mut self.camera, MediaSource::Camera, direct),
            (&mut self.screen, MediaSource::Screen, direct),
        ];
        for (picture, source, direct) in all {
            let mut wanted = if sfu { picture.sfu } else { Wanted::default() };
            wanted[0] |= direct;
            if wanted != picture.told {
                picture.told = wanted;
                return Some(MediaOp::SetLayers { source, wanted });
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn direct_links_need_the_largest_and_the_sfu_what_it_says() {
        let [none, first, small] = [[false; 3], [true, false, false], [false, true, true]];
        // (what the SFU wants, direct, sfu) and what is encoded.
        let cases = [
            (none, false, false, none),
            (none, true, false, first),
            (small, true, false, first),
            (small, true, true, [true; 3]),
            (small, false, true, small),
            (none, false, true, none),
            (small, false, false, none),
        ];
        for source in [MediaSource::Camera, MediaSource::Screen] {
            for (sfu_wants, direct, sfu, want) in cases {
                let mut layers = Layers::default();
                layers.handle_wanted(source, sfu_wants);
                layers.handle_wanted(MediaSource::Microphone, [true; 3]);
                let mut told = none;
                while let Some(MediaOp::SetLayers { source: of, wanted }) = layers.poll(direct, sfu)
                {
                    if of == source {
                        told = wanted;
                    }
                }
                assert_eq!(told, want, "{sfu_wants:?} {direct} {sfu}");
                assert_eq!(layers.poll(direct, sfu), None, "told once");
            }
        }
    }

    #[test]
    fn a_new_seat_begins_without_receivers() {
        let mut layers = Layers::default();
        layers.handle_wanted(MediaSource::Camera, [true; 3]);
        assert!(layers.poll(false, true).is_some());
        layers.forget_wanted();
        let wanted = [false; 3];
        let source = MediaSource::Camera;
        assert_eq!(
            layers.poll(false, true),
            Some(MediaOp::SetLayers { source, wanted })
        );
    }
}
