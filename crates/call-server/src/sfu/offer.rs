//! What a shell must know of an offer besides what str0m reads: pure reading of its SDP.
//!
//! str0m answers an offer but does not tell which section has which index, and `sfu_offer` names
//! sections by index. Deliberately not here: judging the offer; str0m refuses what it cannot use.

/// More sections in one offer are not read. A client offers at most
/// 1 + 2 × 3 streams, 21 slots and the data channels.
pub(super) const MAX_SECTIONS: usize = 64;
/// More simulcast layers of one section are not read.
const MAX_RIDS: usize = 4;

/// What a section carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SectionKind {
    Audio,
    Video,
    /// Data channels, or something unknown.
    Other,
}

/// One media section, from the offerer's point of view.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Section {
    pub(super) kind: SectionKind,
    pub(super) mid: String,
    pub(super) is_rejected: bool,
    pub(super) sends: bool,
    pub(super) receives: bool,
    /// Simulcast layers it sends, in the order of the offer.
    pub(super) rids: Vec<String>,
}

/// The sections in the order of the offer. What cannot be read keeps its default.
pub(super) fn sections(sdp: &str) -> Vec<Section> {
    let mut bundle: Vec<&str> = Vec::new();
    let mut sections: Vec<Section> = Vec::new();
    let mut has_port: Vec<bool> = Vec::new();
    for line in sdp.lines() {
        let line = line.trim_end();
        if let Some(media) = line.strip_prefix("m=") {
            if sections.len() == MAX_SECTIONS {
                break;
            }
            let mut words = media.split(' ');
            let kind = match words.next() {
                Some("audio") => SectionKind::Audio,
                Some("video") => SectionKind::Video,
                _ => SectionKind::Other,
            };
            has_port.push(words.next() != Some("0"));
            sections.push(Section {
                kind,
                mid: String::new(),
                is_rejected: false,
                sends: true,
                receives: true,
                rids: Vec::new(),
            });
        } else if let Some(group) = line.strip_prefix("a=group:BUNDLE ") {
            bundle = group.split(' ').collect();
        } else if let Some(section) = sections.last_mut() {
            read_attribute(section, line);
        }
    }
    for (section, has_port) in sections.iter_mut().zip(has_port) {
        // RFC 8843: a bundled section may have port 0 without being rejected.
        section.is_rejected = !has_port && !bundle.contains(&section.mid.as_str());
    }
    sections
}

fn read_attribute(section: &mut Section, line: &str) {
    match line {
        "a=sendrecv" => (section.sends, section.receives) = (true, true),
        "a=sendonly" => (section.sends, section.receives) = (true, false),
        "a=recvonly" => (section.sends, section.receives) = (false, true),
        "a=inactive" => (section.sends, section.receives) = (false, false),
        _ => {
            if let Some(mid) = line.strip_prefix("a=mid:") {
                section.mid = mid.to_owned();
            } else if let Some((rid, direction)) = line
                .strip_prefix("a=rid:")
                .and_then(|rid| rid.split_once(' '))
                && direction.split(' ').next() == Some("send")
                && section.rids.len() < MAX_RIDS
            {
                section.rids.push(rid.to_owned());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sections_are_read_in_order() {
        let sdp = "v=0\r\na=group:BUNDLE 0 1 3\r\n\
            m=audio 9 UDP/TLS/RTP/SAVPF 111\r\na=mid:0\r\na=sendonly\r\n\
            m=video 0 UDP/TLS/RTP/SAVPF 96\r\na=mid:1\r\na=sendonly\r\n\
            a=rid:q send\r\na=rid:h send pt=96\r\na=rid:x recv\r\na=rid:bad\r\n\
            m=video 0 UDP/TLS/RTP/SAVPF 96\r\na=mid:2\r\na=recvonly\r\n\
            m=application 9 UDP/DTLS/SCTP webrtc-datachannel\r\na=mid:3\r\n";
        let section = |kind, mid: &str, is_rejected, sends, receives, rids: &[&str]| Section {
            kind,
            mid: mid.into(),
            is_rejected,
            sends,
            receives,
            rids: rids.iter().map(|&rid| rid.into()).collect(),
        };
        assert_eq!(
            sections(sdp),
            [
                section(SectionKind::Audio, "0", false, true, false, &[]),
                section(SectionKind::Video, "1", false, true, false, &["q", "h"]),
                section(SectionKind::Video, "2", true, false, true, &[]),
                section(SectionKind::Other, "3", false, true, true, &[]),
            ]
        );
    }

    #[test]
    fn nonsense_gives_few_sections() {
        assert_eq!(sections(""), []);
        assert_eq!(sections("a=mid:0\r\na=sendonly"), []);
        assert_eq!(sections(&"m=\r\n".repeat(1_000)).len(), MAX_SECTIONS);
        let rids = format!("m=video 9\r\n{}", "a=rid:a send\r\n".repeat(100));
        assert_eq!(sections(&rids)[0].rids.len(), MAX_RIDS);
    }
}
