//! Which payload types and header extension ids an answer settled: pure reading of its SDP.
//!
//! Payload types mean something only after negotiation, because the answerer takes over the
//! offerer's. The format parameters matter as much as the name: another H.264 profile's payload
//! type would send retransmissions that name the wrong stream.

use std::collections::BTreeMap;

use call_protocol::{VideoCodec, limits};

use crate::event::Codec;
use crate::setup;

/// More formats in one description are not read.
const MAX_FORMATS: usize = 128;
/// More streams in one description are not read; an SFU announces 21 and 16 for repairs.
const MAX_STREAMS: usize = 64;

/// Payload types and extension ids as negotiated. Empty before the first answer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Formats {
    /// Payload type to codec, both directions.
    pub(crate) codecs: BTreeMap<u8, Codec>,
    /// Payload type to the payload type of its retransmissions.
    pub(crate) rtx: BTreeMap<u8, u8>,
    /// Id of the audio level extension (RFC 6464) in sections of sound.
    pub(crate) audio_level_id: Option<u8>,
    /// Id of the dependency descriptor in sections of pictures.
    pub(crate) descriptor_id: Option<u8>,
}

impl Formats {
    /// Reads an answer. What cannot be read is left out.
    pub(crate) fn from_answer(sdp: &str) -> Self {
        let mut formats = Self::default();
        let mut names: Vec<(u8, &str)> = Vec::new();
        let mut parameters: BTreeMap<u8, &str> = BTreeMap::new();
        let mut is_rejected = false;
        let mut kind = "";
        for line in sdp.lines() {
            if let Some(media) = line.strip_prefix("m=") {
                formats.add(&names, &parameters);
                names.clear();
                parameters.clear();
                let mut words = media.split(' ');
                kind = words.next().unwrap_or_default();
                is_rejected = words.next() == Some("0");
            } else if is_rejected || names.len() >= MAX_FORMATS {
            } else if let Some((payload_type, name)) = attribute(line, "a=rtpmap:") {
                names.push((payload_type, name.split('/').next().unwrap_or(name)));
            } else if let Some((payload_type, text)) = attribute(line, "a=fmtp:") {
                parameters.insert(payload_type, text);
            } else if let Some(extension) = line.strip_prefix("a=extmap:")
                && let Some((id, uri)) = extension.trim().split_once(' ')
            {
                let id = id.split('/').next().unwrap_or(id);
                let id = id.parse().ok().filter(|id| (1..=14).contains(id));
                match (kind, uri.trim()) {
                    ("audio", setup::AUDIO_LEVEL_URI) => formats.audio_level_id = id,
                    ("video", setup::DESCRIPTOR_URI) => formats.descriptor_id = id,
                    _ => {}
                }
            }
        }
        formats.add(&names, &parameters);
        formats
    }

    /// The payload type to send a codec with.
    pub(crate) fn payload_type(&self, codec: Codec) -> Option<u8> {
        let mut known = self.codecs.iter();
        known
            .find(|(_, known)| **known == codec)
            .map(|(payload_type, _)| *payload_type)
    }

    fn add(&mut self, names: &[(u8, &str)], parameters: &BTreeMap<u8, &str>) {
        for (payload_type, name) in names {
            let fmtp = parameters.get(payload_type).copied().unwrap_or_default();
            let codec = match name.to_ascii_lowercase().as_str() {
                "opus" => Codec::Opus,
                "vp8" => Codec::Video(VideoCodec::Vp8),
                "vp9" if parameter(fmtp, "profile-id").unwrap_or("0") == "0" => {
                    Codec::Video(VideoCodec::Vp9)
                }
                "h264" if is_constrained_baseline(fmtp) => Codec::Video(VideoCodec::H264),
                "rtx" => {
                    let primary = parameter(fmtp, "apt").and_then(|text| text.parse().ok());
                    if let Some(primary) = primary {
                        self.rtx.insert(primary, *payload_type);
                    }
                    continue;
                }
                _ => continue,
            };
            if self.payload_type(codec).is_none() {
                self.codecs.insert(*payload_type, codec);
            }
        }
    }
}

/// The media id of every stream a description announces, by SSRC.
pub(crate) fn media_ids(sdp: &str) -> BTreeMap<u32, String> {
    let mut ids = BTreeMap::new();
    for section in sdp.split("\nm=").skip(1) {
        let value = |name: &str| section.lines().find_map(|line| line.strip_prefix(name));
        let Some(id) = value("a=mid:").map(str::trim) else {
            continue;
        };
        if id.len() > limits::MID_CHARS {
            continue;
        }
        let streams = section
            .lines()
            .filter_map(|line| line.strip_prefix("a=ssrc:")?.split(' ').next());
        for ssrc in streams.filter_map(|ssrc| ssrc.trim().parse().ok()) {
            if ids.len() < MAX_STREAMS {
                ids.insert(ssrc, id.to_owned());
            }
        }
    }
    ids
}

/// Splits `a=name:<payload type> <rest>`.
fn attribute<'a>(line: &'a str, name: &str) -> Option<(u8, &'a str)> {
    let (payload_type, rest) = line.strip_prefix(name)?.split_once(' ')?;
    Some((payload_type.parse().ok()?, rest.trim()))
}

fn parameter<'a>(fmtp: &'a str, name: &str) -> Option<&'a str> {
    let mut pairs = fmtp
        .split(';')
        .filter_map(|pair| pair.trim().split_once('='));
    pairs
        .find(|(key, _)| key.eq_ignore_ascii_case(name))
        .map(|(_, value)| value.trim())
}

/// Packetization mode 1 and profile 42e0xx, any level (RFC 6184, section 8.1).
fn is_constrained_baseline(fmtp: &str) -> bool {
    parameter(fmtp, "packetization-mode") == Some("1")
        && parameter(fmtp, "profile-level-id")
            .is_some_and(|profile| profile.to_ascii_lowercase().starts_with("42e0"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ANSWER: &str = "v=0\r\n\
        m=audio 9 UDP/TLS/RTP/SAVPF 111 0\r\n\
        a=extmap:1/sendrecv urn:ietf:params:rtp-hdrext:ssrc-audio-level\r\n\
        a=rtpmap:111 opus/48000/2\r\n\
        a=fmtp:111 minptime=10;useinbandfec=1\r\n\
        a=rtpmap:0 PCMU/8000\r\n\
        a=extmap:7 https://aomediacodec.github.io/av1-rtp-spec/#dependency-descriptor-rtp-header-extension\r\n\
        m=video 9 UDP/TLS/RTP/SAVPF 100 98 96 97 108 102 103 125 107 99\r\n\
        a=extmap:2 urn:ietf:params:rtp-hdrext:ssrc-audio-level\r\n\
        a=extmap:9 https://aomediacodec.github.io/av1-rtp-spec/#dependency-descriptor-rtp-header-extension\r\n\
        a=fmtp:125 packetization-mode=1; profile-level-id=42E034\r\n\
        a=rtpmap:96 VP8/90000\r\n\
        a=rtpmap:97 rtx/90000\r\n\
        a=fmtp:97 apt=96\r\n\
        a=rtpmap:100 VP9/90000\r\n\
        a=fmtp:100 profile-id=2\r\n\
        a=rtpmap:98 VP9/90000\r\n\
        a=rtpmap:108 H264/90000\r\n\
        a=fmtp:108 packetization-mode=0;profile-level-id=42e01f\r\n\
        a=rtpmap:102 H264/90000\r\n\
        a=fmtp:102 packetization-mode=1;profile-level-id=42001f\r\n\
        a=rtpmap:103 rtx/90000\r\n\
        a=fmtp:103 apt=102\r\n\
        a=rtpmap:125 H264/90000\r\n\
        a=rtpmap:107 rtx/90000\r\n\
        a=fmtp:107 apt=125\r\n\
        a=rtpmap:99 rtx/90000\r\n\
        a=fmtp:99 apt=nonsense\r\n\
        m=application 9 UDP/DTLS/SCTP webrtc-datachannel\r\n";

    #[test]
    fn formats_are_told_apart_by_their_parameters() {
        let formats = Formats::from_answer(ANSWER);
        let want = [
            (96, Codec::Video(VideoCodec::Vp8)),
            (98, Codec::Video(VideoCodec::Vp9)),
            (111, Codec::Opus),
            (125, Codec::Video(VideoCodec::H264)),
        ];
        assert_eq!(formats.codecs, BTreeMap::from(want));
        assert_eq!(
            formats.rtx,
            BTreeMap::from([(96, 97), (102, 103), (125, 107)])
        );
        assert_eq!(
            formats.payload_type(Codec::Video(VideoCodec::H264)),
            Some(125)
        );
        assert_eq!(formats.audio_level_id, Some(1));
        assert_eq!(formats.descriptor_id, Some(9));
    }

    #[test]
    fn streams_are_found_in_their_sections() {
        let sdp = "v=0\r\na=mid:no\r\nm=audio 9 X 111\r\na=ssrc:7 cname:x\r\na=mid:4\r\n\
            m=video 9 X 96\r\na=mid:9\r\na=ssrc:8 cname:x\r\na=ssrc:8 msid:a b\r\n\
            a=ssrc:9\r\na=ssrc:nonsense x\r\nm=video 9 X 96\r\na=ssrc:10 x\r\n";
        let want = [(7, "4"), (8, "9"), (9, "9")].map(|(ssrc, id)| (ssrc, id.to_owned()));
        assert_eq!(media_ids(sdp), BTreeMap::from(want));
        assert!(media_ids("").is_empty());
        let many: String = (0..200)
            .map(|ssrc| format!("a=ssrc:{ssrc} x\r\n"))
            .collect();
        let ids = media_ids(&format!("v=0\r\nm=audio 9 X 1\r\na=mid:0\r\n{many}"));
        assert_eq!(ids.len(), MAX_STREAMS);
    }

    #[test]
    fn rejected_sections_and_nonsense_give_nothing() {
        let rejected = ANSWER.replace("m=video 9", "m=video 0");
        assert_eq!(
            Formats::from_answer(&rejected).codecs,
            BTreeMap::from([(111, Codec::Opus)])
        );
        for text in [
            "",
            "m=",
            "m=video 9\na=rtpmap:999 VP8/90000\na=fmtp:\na=extmap:0 x",
        ] {
            assert_eq!(Formats::from_answer(text), Formats::default(), "{text}");
        }
    }
}
