//! Every bound on what crosses a boundary, with its unit. Raising one costs memory per connection
//! or per room; lowering one rejects what older clients may send.

/// Longest JSON message in either direction, in bytes.
pub const MESSAGE_BYTES: usize = 64 * 1024;
/// Longest sealed `signal` payload, in base64 characters. Fits the largest SDP we produce twice.
pub const SEALED_SIGNAL_CHARS: usize = 48 * 1024;
/// Longest sealed profile, in base64 characters.
pub const SEALED_PROFILE_CHARS: usize = 2 * 1024;
/// Most STUN servers a client takes from a server.
pub const STUN_SERVERS: usize = 4;
/// Longest address of a STUN server, in characters.
pub const STUN_URL_CHARS: usize = 256;
/// Longest display name, in Unicode scalar values.
pub const NAME_CHARS: usize = 64;
/// Most members of one room.
pub const ROOM_MEMBERS: usize = 50;
/// Interval of WebSocket pings from the server, in milliseconds.
pub const PING_INTERVAL_MS: u64 = 5_000;
/// A connection silent for this long is dropped, in milliseconds.
pub const PING_TIMEOUT_MS: u64 = 15_000;
/// A seat whose connection is gone stays resumable for this long, in milliseconds.
pub const RESUME_GRACE_MS: u64 = 30_000;
/// Longest SDP in bytes.
pub const SDP_BYTES: usize = 24 * 1024;
/// Longest ICE candidate line in bytes.
pub const CANDIDATE_BYTES: usize = 1_024;
/// Candidates kept for a description that has not arrived; more are dropped, oldest first.
pub const PENDING_CANDIDATES: usize = 64;
/// Largest data channel message, in bytes.
pub const CHANNEL_MESSAGE_BYTES: usize = 256 * 1024;
/// Bytes a data channel queues before it opens; further sends are refused.
pub const CHANNEL_PENDING_BYTES: usize = 1024 * 1024;
/// Largest encoded video frame accepted from a peer or passed to the UI, in bytes.
pub const ENCODED_FRAME_BYTES: usize = 4 * 1024 * 1024;
/// Largest picture width or height, in pixels.
pub const PICTURE_PX: u32 = 4_096;
/// Pictures one client may subscribe to at once.
pub const SUBSCRIPTIONS: usize = 2 * ROOM_MEMBERS;
/// Bytes of a description to or from the SFU; its sections outnumber those of a peer's.
pub const SFU_SDP_BYTES: usize = 56 * 1024;
/// Streams one client may send to the SFU.
pub const SFU_TRACKS: usize = 8;
/// Simulcast layers of one picture.
pub const SFU_LAYERS: usize = 3;
/// Sections a client offers for others' sound: the loudest are forwarded.
pub const SFU_AUDIO_SLOTS: usize = 5;
/// Sections a client offers for others' pictures.
pub const SFU_VIDEO_SLOTS: usize = 16;
/// Characters of a media id.
pub const MID_CHARS: usize = 64;
/// URLs of one relay grant.
pub const RELAY_URLS: usize = 4;
/// Characters of a relay's user name or password.
pub const RELAY_SECRET_CHARS: usize = 128;
