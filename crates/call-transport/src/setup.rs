//! Builds what a peer connection is made of: codecs, header extensions, settings, interceptors.
//!
//! The choices here are answers to measured behaviour of the stack; the crate's text lists them.

use std::sync::Arc;
use std::time::Duration;

use call_protocol::{VideoCodec, limits};
use rtc::ice::mdns::MulticastDnsMode;
use rtc::interceptor::{
    CongestionControlBuilder, ReceiverReportBuilder, Registry, SenderReportBuilder, Slot,
    TwccReceiverBuilder, TwccSenderBuilder,
};
use rtc::mdns::MulticastSocket;
use rtc::peer_connection::configuration::RTCIceTransportPolicy;
use rtc::peer_connection::configuration::media_engine::{
    MIME_TYPE_H264, MIME_TYPE_OPUS, MIME_TYPE_RTX, MIME_TYPE_VP8, MIME_TYPE_VP9, MediaEngine,
};
use rtc::peer_connection::configuration::setting_engine::SctpMaxMessageSize;
use rtc::peer_connection::transport::RTCDtlsRole;
use rtc::rtp_transceiver::PayloadType;
use rtc::rtp_transceiver::rtp_sender::{
    RTCPFeedback, RTCRtpCodec, RTCRtpCodecParameters, RTCRtpHeaderExtensionCapability, RtpCodecKind,
};
use webrtc::error::Result;
use webrtc::peer_connection::{
    RTCConfiguration, RTCConfigurationBuilder, RTCIceServer, SettingEngine, SettingEngineBuilder,
    SrtpProtectionProfile,
};

use crate::config::{LinkConfig, LinkShape};
use crate::estimator::Estimator;
use crate::estimator::probe::Probes;
use crate::event::MediaKind;
use crate::nack::NackGenerator;
use crate::pacer::{Pacer, Padding};
use crate::responder::NackResponder;
use crate::shared::Shared;
use crate::tap::Tap;
use crate::tunnel::frame::PIECE_BYTES;

/// Silence after which the path counts as disconnected; the stack looks every 0.2 s. People are to be
/// told within 2.5 s. Lower flaps on Wi-Fi roaming and with bursts of loss, higher leaves them guessing.
const ICE_DISCONNECTED_AFTER: Duration = Duration::from_secs(2);
/// Silence after which the stack itself gives a path up: never, see [`crate::recovery`].
const ICE_FAILED_AFTER: Duration = Duration::ZERO;
/// Between consent checks (RFC 7675 asks for 5 s at most). Everybody muted with the camera off, they
/// are all there is to hear: eight packets, four each way, must be lost for a false alarm. Costs
/// 2 kbit/s.
const ICE_KEEPALIVE_EVERY: Duration = Duration::from_millis(500);
/// TURN candidates wait this long for a better path; the stack's 2 s are felt by everybody who
/// needs a relay.
const RELAY_WAIT: Duration = Duration::from_millis(800);
/// Candidates that a NAT or the peer made up wait this long for a better path, of which a network both
/// share is found within milliseconds. A path that is known by the other end's checks alone, as most after
/// a change of address, would wait for 1 s in the stack, one that STUN told for 0.5 s. Less than the stack's
/// 0.2 s between checks, so that the second round decides.
pub(crate) const REFLEXIVE_WAIT: Duration = Duration::from_millis(100);
/// Bytes a data channel may have unacknowledged before its sender waits.
pub(crate) const CHANNEL_SEND_BYTES: usize = 1024 * 1024;
/// The same for a link of data only, and SCTP's window there: what 100 Mbit/s need at 150 ms and
/// 2 % loss, where repetitions more than double the round trip SCTP sees. The tunnel's control
/// keeps to what the path needs.
pub(crate) const BULK_SEND_BYTES: usize = 8 * 1024 * 1024;

/// SCTP's packets where the tunnel takes them apart: with DTLS's 37 bytes seven pieces. The stack's time
/// per packet is what limits fast paths. More pieces gain little, and one that is lost holds up the rest.
const LARGE_PACKET_BYTES: usize = 7 * PIECE_BYTES - 37;

/// Bytes a data channel of this link may have unacknowledged.
pub(crate) fn channel_send_bytes(config: &LinkConfig) -> usize {
    match config.shape {
        LinkShape::Data => BULK_SEND_BYTES,
        LinkShape::Peer { .. } | LinkShape::Sfu { .. } => CHANNEL_SEND_BYTES,
    }
}

/// RTCP reports once a second: round-trip time and loss are read from them.
const REPORT_EVERY: Duration = Duration::from_secs(1);

/// Between reports of what arrived. Shorter lets the peer react sooner to a path that got slower,
/// for 20 packets a second (libwebrtc: 50 to 250 ms; the stack: 100).
pub(crate) const FEEDBACK_EVERY: Duration = Duration::from_millis(50);

/// The audio level extension, RFC 6464.
pub(crate) const AUDIO_LEVEL_URI: &str = "urn:ietf:params:rtp-hdrext:ssrc-audio-level";

/// The dependency descriptor of a frame (AV1 RTP specification, appendix A).
pub(crate) const DESCRIPTOR_URI: &str =
    "https://aomediacodec.github.io/av1-rtp-spec/#dependency-descriptor-rtp-header-extension";
/// Transport-wide sequence numbers, which the bandwidth estimators of both ends need.
const TWCC_URI: &str = "http://www.ietf.org/id/draft-holmer-rmcat-transport-wide-cc-extensions-01";
/// Media ids: a bundled description is not well-formed without them (RFC 8843).
const MID_URI: &str = "urn:ietf:params:rtp-hdrext:sdes:mid";

/// What of [`HEADER_EXTENSIONS`] an SFU link offers; each costs bytes in 25 sections. Only our own
/// server answers, so the numbering does not matter.
const SFU_EXTENSIONS: [&str; 4] = [AUDIO_LEVEL_URI, TWCC_URI, MID_URI, DESCRIPTOR_URI];

/// Header extensions in the order Chromium numbers them, and whether (audio, video) use them.
///
/// The stack numbers by order of registration. When two offers cross and the polite side rolls
/// back, both numberings meet in one session; a URI under two ids, or an id with two URIs, makes
/// Chromium refuse the description.
const HEADER_EXTENSIONS: [(&str, bool, bool); 14] = [
    (AUDIO_LEVEL_URI, true, false),
    (
        "http://www.webrtc.org/experiments/rtp-hdrext/abs-send-time",
        true,
        true,
    ),
    (TWCC_URI, true, true),
    (MID_URI, true, true),
    (
        "http://www.webrtc.org/experiments/rtp-hdrext/playout-delay",
        false,
        true,
    ),
    (
        "http://www.webrtc.org/experiments/rtp-hdrext/video-content-type",
        false,
        true,
    ),
    (
        "http://www.webrtc.org/experiments/rtp-hdrext/video-timing",
        false,
        true,
    ),
    (
        "http://www.webrtc.org/experiments/rtp-hdrext/color-space",
        false,
        true,
    ),
    (DESCRIPTOR_URI, false, true),
    ("urn:ietf:params:rtp-hdrext:sdes:rtp-stream-id", false, true),
    (
        "urn:ietf:params:rtp-hdrext:sdes:repaired-rtp-stream-id",
        false,
        true,
    ),
    (
        "http://www.webrtc.org/experiments/rtp-hdrext/abs-capture-time",
        true,
        true,
    ),
    ("urn:3gpp:video-orientation", false, true),
    ("urn:ietf:params:rtp-hdrext:toffset", false, true),
];

/// Payload types we offer; the answerer keeps the offerer's. 42e01f, the constrained baseline
/// profile at level 3.1, is what every H.264 implementation has (RFC 7742).
const OPUS_PT: PayloadType = 111;
const VIDEO_PTS: [(VideoCodec, PayloadType, PayloadType); 3] = [
    (VideoCodec::Vp8, 96, 97),
    (VideoCodec::Vp9, 98, 99),
    (VideoCodec::H264, 125, 107),
];

/// Opus as we negotiate it.
pub(crate) fn opus() -> RTCRtpCodec {
    RTCRtpCodec {
        mime_type: MIME_TYPE_OPUS.to_owned(),
        clock_rate: 48_000,
        channels: 2,
        sdp_fmtp_line: "minptime=10;useinbandfec=1".to_owned(),
        rtcp_feedback: vec![feedback("transport-cc", "")],
    }
}

/// A video codec as we negotiate it.
pub(crate) fn video(codec: VideoCodec) -> RTCRtpCodec {
    let (mime_type, fmtp) = match codec {
        VideoCodec::Vp8 => (MIME_TYPE_VP8, ""),
        VideoCodec::Vp9 => (MIME_TYPE_VP9, "profile-id=0"),
        VideoCodec::H264 => (
            MIME_TYPE_H264,
            "level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=42e01f",
        ),
    };
    RTCRtpCodec {
        mime_type: mime_type.to_owned(),
        clock_rate: 90_000,
        channels: 0,
        sdp_fmtp_line: fmtp.to_owned(),
        rtcp_feedback: vec![
            feedback("transport-cc", ""),
            feedback("ccm", "fir"),
            feedback("nack", ""),
            feedback("nack", "pli"),
        ],
    }
}

fn feedback(typ: &str, parameter: &str) -> RTCPFeedback {
    RTCPFeedback {
        typ: typ.to_owned(),
        parameter: parameter.to_owned(),
    }
}

/// Video codecs in the caller's order, each with its retransmission format.
pub(crate) fn video_parameters(codecs: &[VideoCodec]) -> Vec<RTCRtpCodecParameters> {
    let mut parameters: Vec<RTCRtpCodecParameters> = Vec::new();
    for codec in codecs {
        let known = VIDEO_PTS.iter().find(|(known, ..)| known == codec);
        let Some(&(codec, payload_type, rtx)) = known else {
            continue;
        };
        if parameters
            .iter()
            .any(|known| known.payload_type == payload_type)
        {
            continue;
        }
        let repair = RTCRtpCodec {
            mime_type: MIME_TYPE_RTX.to_owned(),
            clock_rate: 90_000,
            channels: 0,
            sdp_fmtp_line: format!("apt={payload_type}"),
            rtcp_feedback: Vec::new(),
        };
        parameters.push(RTCRtpCodecParameters {
            rtp_codec: video(codec),
            payload_type,
        });
        parameters.push(RTCRtpCodecParameters {
            rtp_codec: repair,
            payload_type: rtx,
        });
    }
    parameters
}

/// The codecs and extensions of one connection.
pub(crate) fn media_engine(config: &LinkConfig) -> Result<MediaEngine> {
    let mut engine = MediaEngine::default();
    engine.register_codec(
        RTCRtpCodecParameters {
            rtp_codec: opus(),
            payload_type: OPUS_PT,
        },
        RtpCodecKind::Audio,
    )?;
    for parameters in video_parameters(&config.video_codecs) {
        engine.register_codec(parameters, RtpCodecKind::Video)?;
    }
    let is_sfu = matches!(config.shape, LinkShape::Sfu { .. });
    for (uri, audio, video) in HEADER_EXTENSIONS {
        if is_sfu && !SFU_EXTENSIONS.contains(&uri) {
            continue;
        }
        for (wanted, kind) in [(audio, RtpCodecKind::Audio), (video, RtpCodecKind::Video)] {
            if wanted {
                let extension = RTCRtpHeaderExtensionCapability {
                    uri: uri.to_owned(),
                };
                engine.register_header_extension(extension, kind, None)?;
            }
        }
    }
    Ok(engine)
}

/// See the crate's text for why each is set.
pub(crate) fn setting_engine(config: &LinkConfig) -> SettingEngine {
    let builder = match config.shape {
        LinkShape::Data => {
            let builder = SettingEngineBuilder::new()
                .with_sctp_max_receive_buffer_size(BULK_SEND_BYTES as u32);
            if config.large_packets {
                builder.with_sctp_mtu(LARGE_PACKET_BYTES as u32)
            } else {
                builder
            }
        }
        LinkShape::Peer { .. } | LinkShape::Sfu { .. } => SettingEngineBuilder::new(),
    };
    builder
        .with_answering_dtls_role(RTCDtlsRole::Server)
        .with_discard_local_candidates_during_ice_restart(true)
        .with_include_loopback_candidate(config.include_loopback)
        .with_ice_timeouts(
            Some(ICE_DISCONNECTED_AFTER),
            Some(ICE_FAILED_AFTER),
            Some(ICE_KEEPALIVE_EVERY),
        )
        .with_multicast_dns_mode(multicast_dns_mode())
        .with_srflx_acceptance_min_wait(Some(REFLEXIVE_WAIT))
        .with_prflx_acceptance_min_wait(Some(REFLEXIVE_WAIT))
        .with_relay_acceptance_min_wait(Some(RELAY_WAIT))
        .with_srtp_protection_profiles(vec![
            SrtpProtectionProfile::Srtp_Aead_Aes_128_Gcm,
            SrtpProtectionProfile::Srtp_Aead_Aes_256_Gcm,
            SrtpProtectionProfile::Srtp_Aes128_Cm_Hmac_Sha1_80,
        ])
        .with_sctp_max_message_size(SctpMaxMessageSize::Bounded(
            limits::CHANNEL_MESSAGE_BYTES as u32,
        ))
        .build()
}

/// Others' `.local` candidates are resolved wherever the host can take part in multicast; where it
/// cannot (no interface but loopback), the stack would refuse to open at all.
fn multicast_dns_mode() -> MulticastDnsMode {
    match MulticastSocket::new().into_std() {
        Ok(_) => MulticastDnsMode::QueryOnly,
        Err(error) => {
            tracing::debug!(%error, "no multicast here: .local candidates stay unresolved");
            MulticastDnsMode::Disabled
        }
    }
}

/// The ICE servers, and which candidates count.
pub(crate) fn configuration(config: &LinkConfig) -> RTCConfiguration {
    let servers = config.ice_servers.iter().map(|server| RTCIceServer {
        urls: server.urls.clone(),
        username: server.username.clone(),
        credential: server.credential.clone(),
    });
    let policy = if config.relay_only {
        RTCIceTransportPolicy::Relay
    } else {
        RTCIceTransportPolicy::All
    };
    RTCConfigurationBuilder::new()
        .with_ice_servers(servers.collect())
        .with_ice_transport_policy(policy)
        .build()
}

/// Kinds of media sections every description of ours has, once for each at least.
pub(crate) fn sections(config: &LinkConfig) -> Vec<&'static str> {
    let kinds = [(MediaKind::Audio, "audio"), (MediaKind::Video, "video")];
    kinds
        .into_iter()
        .filter(|(kind, _)| config.sends(*kind) || config.receiving_sections(*kind) > 0)
        .map(|(_, name)| name)
        .chain(config.has_screen().then_some("video"))
        .chain(["application"])
        .collect()
}

/// Local addresses to bind: every interface there is, plus loopback where wanted.
pub(crate) fn udp_addresses(config: &LinkConfig) -> Vec<&'static str> {
    if config.include_loopback {
        vec!["0.0.0.0:0", "127.0.0.1:0"]
    } else {
        vec!["0.0.0.0:0"]
    }
}

/// The interceptor chain, listed from the wire to the application.
pub(crate) fn interceptors(shared: &Arc<Shared>) -> Registry {
    let probes = Probes::default();
    let estimator = Estimator::new(Arc::clone(&shared.budget), probes.clone());
    let padding: Padding = {
        let shared = Arc::clone(shared);
        Box::new(move || shared.histories().pad(&shared.formats()))
    };
    let pacer = Pacer::new(
        shared.streams.clone(),
        Arc::clone(&shared.budget),
        probes,
        padding,
    );
    Registry::new()
        .with(Slot::from(500), Tap::new(Arc::clone(shared)))
        .with(
            Slot::CongestionControl,
            CongestionControlBuilder::new(estimator).build(),
        )
        .with(Slot::TwccSender, TwccSenderBuilder::new().build())
        .with(Slot::Pacer, pacer)
        .with(Slot::NackResponder, NackResponder::new(Arc::clone(shared)))
        .with(Slot::NackGenerator, NackGenerator::new(Arc::clone(shared)))
        .with(
            Slot::TwccReceiver,
            TwccReceiverBuilder::new()
                .with_interval(FEEDBACK_EVERY)
                .build(),
        )
        .with(
            Slot::ReceiverReport,
            ReceiverReportBuilder::new()
                .with_interval(REPORT_EVERY)
                .build(),
        )
        .with(
            Slot::SenderReport,
            SenderReportBuilder::new()
                .with_interval(REPORT_EVERY)
                .build(),
        )
}
