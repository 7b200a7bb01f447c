//! The client's transport: peer connections to other members and the WebSocket to the server. The
//! only crate of the client that names the WebRTC stack (`webrtc` 0.21).
//!
//! A [`Link`] is one peer connection, to a member or to the server's SFU ([`LinkShape`]): sound and
//! pictures, three data channels ([`ChannelLabel`]), and an own task that negotiates, notices lost
//! paths and reports [`LinkEvent`]s. The pure parts are [`negotiation`] and [`recovery`], and inside
//! loss detection, keyframe requests, bandwidth estimation, pacing, metering, and all but the shell of
//! the tunnel. [`ServerConnection`] is the signalling WebSocket.
//!
//! Bounded everywhere: media drops the newest packet and counts it, data channels refuse, events
//! hold the peer back. A peer's nonsense is logged at DEBUG and changes nothing.
//!
//! Not here: which members to connect to, sealing of signals and media, packetizing and decoding.
//! Not yet: IPv6 host candidates, simulcast by rid.
//!
//! # Congestion control
//!
//! One budget per link (`budget`) for sound, layers, retransmissions and probes. The `estimator`
//! makes it from the peer's transport-wide feedback, which our own ends send every 50 ms: it starts at
//! 600 kbit/s, goes from 50 kbit/s to 8 Mbit/s, and measures the queue rather than its growth.
//! The `pacer` spreads pictures at 1.1 times of it, never sound, and sends the estimator's
//! probes, padded with retransmissions nobody asked for. [`Link::target_bitrate_bps`] is the budget
//! less retransmissions and what is late already; whoever encodes takes 50 kbit/s off for the sound.
//! Every tunable stands in its module with its unit and source; docs/quality.md has the figures.
//!
//! # Bulk data
//!
//! A [`LinkShape::Data`] link to a peer of ours carries its data through a tunnel below DTLS
//! (`tunnel`; frames in docs/protocol.md), because the stack's SCTP halves its window for every
//! loss and has no setting for that. It is offered in band and costs 13 bytes a packet. Through a
//! TURN relay, or to a peer that does not answer, transfers are plain SCTP and lose their rate with
//! the first losses; [`BulkStats::is_tunnelled`] tells. With [`LinkConfig::large_packets`] SCTP and
//! DTLS make packets of 8.6 KB, which the tunnel takes apart: the stack's time per packet, not the
//! tunnel's, is what a gigabyte costs. Such a link is of no use without the tunnel and then fails with
//! [`LinkEvent::PathNarrow`], for the owner to open another one. It sends as fast as packets arrive, whatever
//! gets lost, but backs off from queueing delay beyond 5 ms, whoever causes it: a transfer that
//! shares its path with something that keeps queues full gets 128 kbit/s and what that leaves.
//! [`Link::set_bulk_limit_bps`] bounds it besides.
//!
//! Whoever sends waits for [`Link::channel_writable`] before each message: what waits below then
//! stays at about what the path carries in its round trip and 200 ms (256 KiB at least, 8 MiB at
//! most). More would be under way for so long after the path got slower that SCTP sends it again.
//!
//! # What an SFU has to do for our links
//!
//! Measured against `str0m` 0.25 in RTP mode (`tests/sfu_peer.rs` is such a server):
//!
//! * **It never offers.** It answers every offer, ICE restarts included (new credentials, same
//!   sections). ICE-lite or full both work. It may put its candidates into the answer only.
//! * **Its answer announces the SSRC of every slot**, with `a=ssrc-group:FID` for pictures, and the
//!   SSRCs stay the same over renegotiations: the stack refuses an answer with a sending section
//!   without SSRC and finds retransmissions by the group only. `str0m` does both by itself. Media
//!   ids in packets are not read.
//! * **Sequence numbers of a slot start below 65536** (the roll-over counter of SRTP begins at 0) and
//!   have no gaps but losses: a gap is asked for again up to ten times within a second.
//! * **The source is the first CSRC**, also in retransmissions.
//! * Layers come with their SSRC and RTX in the offer and carry no media id. Every packet of theirs
//!   carries what [`RtpOut::descriptor`] was, retransmissions too. A descriptor beyond 16 bytes makes
//!   all extensions of its packet two-byte ones (RFC 8285), which offer and answer have to allow
//!   with `a=extmap-allow-mixed`; in `str0m` the descriptor is an `ExtensionSerializer` whose
//!   `requires_two_byte_form` says so when it is written.
//! * PLI and FIR name a layer or a slot by its SSRC.
//! * **Retransmissions it did not ask for** are padding of our probes: it reports them in its feedback
//!   and drops them, as `str0m` does.
//! * **Data channels** are negotiated: streams 99 (ready, reliable), 100 (reliable), 101 (reliable,
//!   unordered), 102 (unordered, no retransmits), created right after the first answer. On 99 the
//!   client repeats the byte 0 every 100 ms; answer each with the byte 1, and send nothing on any
//!   channel before the first 0: the stack loses messages that arrive with the end of the SCTP
//!   handshake. A server that does not answer gets the client's messages 2 s late.
//! * `str0m` asks for a lost packet five times at its own round trip plus 5 ms, follows a stream 100
//!   packets back, and then never asks again; our end answers each packet once per 0.9 round trips
//!   or 10 ms. A server that does not read its socket for 100 packets loses repairs.
//!
//! # What the stack gets wrong or leaves to us, and where that is handled
//!
//! Measured with `webrtc` 0.21.1; each is a reason for the exact version pin.
//!
//! | Trap | Here | Test |
//! |---|---|---|
//! | Its NACK generator does not see repairs on the RTX stream and asks for ever | `nack`, `loss` | `five_percent_loss_is_repaired_without_a_storm`, `loss::tests` |
//! | Its NACK responder fixes the RTX payload type when the stream is bound | `responder` | `rtx_carries_the_payload_type_of_the_codec_that_was_sent` |
//! | Its bandwidth estimator keeps the queue full, its pacer delays sound | `estimator`, `pacer` | their tests |
//! | Statistics of RTP are zero: RTT, loss, jitter, rates | `tap`, `meter` | `sound_carries_its_level_and_figures_are_plausible` |
//! | PLI and FIR behind another part of a compound packet get lost | `tap` | `keyframe_requests_arrive_coalesced`, Chromium |
//! | An answer may turn the DTLS role around; browsers refuse | `setup`: answering role is server | `both_sides_renegotiate_in_turn_and_at_once`, Chromium |
//! | No implicit rollback | [`negotiation`] | `crossing_first_offers_converge`, table |
//! | Extension ids by order of registration collide in glare | `setup`: Chromium's order | Chromium |
//! | An ICE restart keeps candidates of a network that is gone | `setup`: discarded, sockets bound anew | `a_lost_path_is_replaced` |
//! | With that, a restart gives the old path up before there is a new one | only dead paths are restarted: [`recovery`] | `a_path_that_comes_back_needs_no_restart` |
//! | It forgets all candidates when it gives a path up | `setup`: never | the same |
//! | Payload types before negotiation, or by name only, are wrong | `formats`: from the answer, by parameters | `formats_are_told_apart_by_their_parameters`, Chromium |
//! | A track with a codec offers that codec only | `task`: preferences set after adding | `codecs_are_what_both_have_in_our_order` |
//! | `replace_track` leaves a dead sender | never called; a track lives as long as its link | – |
//! | Retransmission probes reach the application as duplicates | `dedup` | `dedup::tests`, loss test |
//! | `OnOpen` of a track repeats, `OnEnded` may be lost | `incoming`: neither is used | renegotiation test |
//! | A channel's `poll` does not end after `OnClose` | `channels` | `sixty_cycles_leave_no_task_and_no_socket` |
//! | Messages that arrive together with the end of the SCTP handshake are lost | `channels`: a ready signal first | `messages_queue_before_open_and_keep_their_order` |
//! | Remote tracks queue 256 events and drop | `incoming`: a reader each | – |
//! | Handlers run on the driver and stop media while they wait | `handler`: forwards only | – |
//! | Sends of a data channel are unbounded | `setup`: limit; `channels`: queue | `a_full_queue_refuses_and_then_drains` |
//! | Small socket buffers lose SCTP bursts | `runtime` | – |
//! | SCTP halves its window for every loss, whatever the channel's reliability | `tunnel` | `losses_below_are_repaired_below`, virtual time |
//! | Dropping without `close` leaks; `close` tells the peer nothing | `task`: always closed, `Bye` signalled | `lifecycle` |
//! | Wildcard binds skip loopback, and yield `0.0.0.0` where nothing else is | `setup`, `task` | all tests |
//! | The DTLS client's order decides the SRTP profile, ours only between our own ends | `setup`: AES-128-GCM first | `aead_is_negotiated_between_ours` |
//! | Chromium as answerer sends the offer's first codec, even one its answer leaves out | [`LinkConfig::video_codecs`] order matters | Chromium |
//! | Refused packets and negotiation are logged per packet | [`LOG_DIRECTIVES`] | – |

#![cfg_attr(test, allow(clippy::unwrap_used))]

mod arrivals;
mod budget;
mod channels;
mod config;
mod dedup;
mod estimator;
mod event;
mod formats;
mod handler;
mod history;
mod incoming;
mod keyframes;
mod link;
mod loss;
mod meter;
mod nack;
#[cfg(test)]
mod nat_tests;
pub mod negotiation;
mod open;
mod outgoing;
mod pacer;
mod progress;
pub mod recovery;
mod responder;
#[cfg(test)]
mod rmcat_tests;
mod runtime;
mod setup;
mod shared;
mod stats;
mod tap;
mod task;
mod tracks;
mod tunnel;
mod turn_shim;
mod ws;

pub use channels::ChannelError;
pub use config::{IceServer, LinkConfig, LinkShape};
pub use event::{
    ChannelLabel, Codec, LinkEvent, LinkState, MediaKind, PathKind, RtpIn, RtpOut, SenderClock,
};
pub use link::{Link, LinkError};
pub use stats::{BulkStats, InStats, LinkStats, OutStats};
pub use ws::{ConnectError, SendError, ServerConnection, ServerEvent, ServerSender};

/// Filter directives (`tracing_subscriber::EnvFilter`) that silence what the WebRTC stack logs per
/// packet and per refused candidate.
pub const LOG_DIRECTIVES: &[&str] = &[
    "webrtc=error",
    // Each packet while there is no network, with both addresses.
    "webrtc::peer_connection::driver=off",
    // Each candidate a relay refuses, as it should with private ones.
    "webrtc::peer_connection::transport::turn_relayer=off",
    "rtc=off",
    "rtc_dtls=error",
    "rtc_ice=error",
    "rtc_interceptor=error",
    "rtc_mdns=error",
    "rtc_sctp=error",
    "rtc_srtp=error",
    "rtc_turn=error",
];
