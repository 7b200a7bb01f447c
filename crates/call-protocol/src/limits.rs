//! Every bound on what crosses a boundary, with its unit. Raising one costs memory per connection
//! or per room; lowering one rejects what older clients may send.

/// Rooms a person was in that are remembered; of more, those that were left longest ago are forgotten.
pub const RECENT_ROOMS: usize = 20;
/// Names remembered of each of them.
pub const RECENT_NAMES: usize = 8;
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
/// Colours a member may be shown in.
pub const TINTS: u8 = 8;
/// Most members of one room.
pub const ROOM_MEMBERS: usize = 50;
/// Most people who wait to be let into one room; more are sent away.
pub const WAITING: usize = 20;
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
/// Screens and windows offered for sharing at once; more are left out.
pub const SHARES: usize = 24;
/// Width and height a thumbnail of one fits into, in pixels.
pub const THUMBNAIL_PX: (u32, u32) = (256, 160);
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
/// Characters of one chat message.
pub const CHAT_CHARS: usize = 4_000;
/// Chat entries in one message. One of the longest takes 16 KiB of JSON at worst.
pub const CHAT_BATCH: usize = 8;
/// Authors of one room's chat that are known at once; every run of a client is one.
pub const CHAT_AUTHORS: usize = 512;
/// Chat entries a late joiner is given.
pub const CHAT_HISTORY: usize = 200;
/// Chat entries kept in a call; beyond it the oldest are forgotten.
pub const CHAT_ENTRIES: usize = 5_000;
/// Bytes of the entries kept in a call; beyond it the oldest are forgotten, too.
pub const CHAT_BYTES: usize = 16 * 1024 * 1024;
/// Bytes of a reaction: the longest emoji sequences have about 35.
pub const REACTION_BYTES: usize = 64;
/// Bytes of a sealed message on the control channel.
pub const SEALED_MESSAGE_BYTES: usize = 224 * 1024;
/// Files of one offer.
pub const OFFER_FILES: usize = 500;
/// Characters of a file's relative path.
pub const FILE_PATH_CHARS: usize = 300;
/// Bytes of one file, and of all files of an offer: 16 TiB.
pub const FILE_BYTES: u64 = 1 << 44;
/// Bytes of the smallest group of a file that is verified as one.
pub const GROUP_BYTES: u64 = 256 * 1024;
/// Groups of one file: their chaining values take 2 MiB at most.
pub const FILE_GROUPS: u32 = 65_536;
/// Ranges in one request for groups.
pub const WANT_RANGES: usize = 128;
/// Offers of one member that wait for an answer; more are declined unseen.
pub const PENDING_OFFERS: usize = 16;
/// Offers taken from one member per minute; more are declined unseen.
pub const OFFERS_PER_MINUTE: usize = 30;
/// Longest report about the connection: a minute of a room of 50 takes half of it.
pub const REPORT_BYTES: usize = 1024 * 1024;
