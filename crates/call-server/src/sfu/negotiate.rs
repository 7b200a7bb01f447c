//! Offers: which of their sections are tracks and slots of a link, and in which codings.

use call_protocol::MediaSource;
use call_protocol::wire::SfuTrack;
use call_room::sfu::{SlotId, SlotKind, SlotSpec, TrackId, TrackSpec};
use str0m::change::SdpOffer;
use str0m::format::{Codec, PayloadParams};
use str0m::media::{Mid, Pt, Rid};
use tracing::debug;

use super::link::{CACHE_AGE, CACHE_PACKETS, Link, RTX_SHARE, Slot, Track};
use super::offer::{Section, SectionKind, sections};

/// A coding both ends of a forwarded stream must agree on, whatever its payload types.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Format {
    codec: Codec,
    /// Profile of VP9; profile and constraints of H.264.
    profile: u32,
    packetization_mode: u8,
}

impl Format {
    pub(super) fn of(params: &PayloadParams) -> Self {
        let spec = params.spec();
        let (profile, packetization_mode) = match spec.codec {
            Codec::H264 => (
                spec.format.profile_level_id.unwrap_or(0x42_000a) >> 8,
                spec.format.packetization_mode.unwrap_or(0),
            ),
            Codec::Vp9 => (spec.format.profile_id.unwrap_or(0), 0),
            _ => (0, 0),
        };
        Self {
            codec: spec.codec,
            profile,
            packetization_mode,
        }
    }
}

/// The numbers a room gives out.
pub(super) trait Names {
    fn track(&mut self) -> TrackId;
    fn slot(&mut self) -> SlotId;
}

/// Why an offer was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct BadOffer;

impl Link {
    /// Takes an offer, the first or a later one, and returns the answer. Afterwards [`Self::specs`]
    /// tells what is there.
    pub(super) fn negotiate(
        &mut self,
        sdp: &str,
        tracks: &[SfuTrack],
        names: &mut dyn Names,
    ) -> Result<String, BadOffer> {
        let offer = SdpOffer::from_sdp_string(sdp).map_err(|error| {
            debug!(%error, "offer not read");
            BadOffer
        })?;
        let answer = self
            .guarded(|link| link.rtc.sdp_api().accept_offer(offer))
            .ok_or(BadOffer)?
            .map_err(|error| {
                debug!(%error, "offer refused");
                BadOffer
            })?;
        self.fragment = self.rtc.direct_api().local_ice_credentials().ufrag;
        let sections = sections(sdp);
        self.map_tracks(&sections, tracks, names);
        self.map_slots(&sections, tracks, names);
        if sections
            .iter()
            .any(|section| section.kind == SectionKind::Other && !section.is_rejected)
        {
            self.channels.create(&mut self.rtc);
        }
        self.rtx_types = 0;
        for params in self.rtc.codec_config().params() {
            if let Some(rtx) = params.resend() {
                self.rtx_types |= 1 << (*rtx & 0x7f);
            }
        }
        Ok(answer.to_sdp_string())
    }

    fn map_tracks(&mut self, sections: &[Section], tracks: &[SfuTrack], names: &mut dyn Names) {
        let mut former = std::mem::take(&mut self.tracks);
        for track in tracks {
            let Some(section) = sections.get(usize::from(track.mline)) else {
                continue;
            };
            let is_sound = track.source == MediaSource::Microphone;
            let fits = match section.kind {
                SectionKind::Audio => is_sound,
                SectionKind::Video => !is_sound,
                SectionKind::Other => false,
            };
            if section.is_rejected || !section.sends || !fits {
                continue;
            }
            let mid = Mid::from(section.mid.as_str());
            let rids: Vec<Option<Rid>> = if section.rids.is_empty() {
                vec![None]
            } else {
                let rids = section.rids.iter();
                rids.map(|rid| Some(Rid::from(rid.as_str()))).collect()
            };
            for rid in rids {
                let known = former
                    .iter()
                    .position(|known| known.mid == mid && known.rid == rid);
                let layer = track.layer.filter(|_| rid.is_none() && !is_sound);
                match known.map(|at| former.swap_remove(at)) {
                    Some(known) if known.spec.source == track.source => self.tracks.push(Track {
                        spec: TrackSpec {
                            layer,
                            ..known.spec
                        },
                        ..known
                    }),
                    _ => self.tracks.push(Track {
                        spec: TrackSpec {
                            track: names.track(),
                            source: track.source,
                            layer,
                        },
                        mid,
                        rid,
                        ssrc: None,
                        format: None,
                    }),
                }
            }
        }
    }

    fn map_slots(&mut self, sections: &[Section], tracks: &[SfuTrack], names: &mut dyn Names) {
        let mut former = std::mem::take(&mut self.slots);
        for (index, section) in sections.iter().enumerate() {
            let kind = match section.kind {
                SectionKind::Audio => SlotKind::Audio,
                SectionKind::Video => SlotKind::Video,
                SectionKind::Other => continue,
            };
            let is_track = tracks.iter().any(|track| usize::from(track.mline) == index);
            if is_track || section.is_rejected || !section.receives {
                continue;
            }
            let mid = Mid::from(section.mid.as_str());
            let formats = self.formats(mid);
            let Some(stream) = self
                .rtc
                .direct_api()
                .stream_tx_by_mid(mid, None)
                .map(|stream| stream.ssrc())
            else {
                continue;
            };
            let known = former.iter().position(|known| known.mid == mid);
            match known.map(|at| former.swap_remove(at)) {
                Some(known) => self.slots.push(Slot {
                    ssrc: stream,
                    formats,
                    ..known
                }),
                None => {
                    if kind == SlotKind::Video
                        && let Some(stream) = self.rtc.direct_api().stream_tx(&stream)
                    {
                        stream.set_rtx_cache(CACHE_PACKETS, CACHE_AGE, Some(RTX_SHARE));
                    }
                    self.slots.push(Slot {
                        spec: SlotSpec {
                            slot: names.slot(),
                            kind,
                        },
                        mid,
                        mid_text: section.mid.clone(),
                        ssrc: stream,
                        formats,
                    });
                }
            }
        }
    }

    /// What the member receives in a section.
    fn formats(&self, mid: Mid) -> Vec<(Format, Pt)> {
        let Some(media) = self.rtc.media(mid) else {
            return Vec::new();
        };
        let accepted = media.remote_pts();
        let params = self.rtc.codec_config().params().iter();
        params
            .filter(|params| accepted.contains(&params.pt()))
            .map(|params| (Format::of(params), params.pt()))
            .collect()
    }
}
