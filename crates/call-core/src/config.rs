//! What a session is configured with.

use call_protocol::ui::VoiceView;

/// What a session starts with.
#[derive(Clone)]
pub struct SessionConfig {
    /// 32 bytes of the operating system's randomness, fresh for every session: room codes, nonces,
    /// media salts and jitter come from it. The simulator gives fixed ones.
    pub seed: [u8; 32],
    /// Display name, cleaned inside.
    pub name: String,
    /// The configured server as typed; empty to host and to look on the local network.
    pub server: String,
    /// What is done to the microphone's sound.
    pub voice: VoiceView,
    /// Whether pictures are kept small to save data.
    pub low_data: bool,
    /// The colour to be shown in.
    pub tint: Option<u8>,
    /// What the wall clock says, in milliseconds since 1970, for display only.
    pub unix_ms: u64,
    /// Whether to start muted.
    pub muted: bool,
    /// Whether to start with the camera wanted on.
    pub camera_on: bool,
    /// Whether media is sealed from end to end. Always, except in tests of what a server could see:
    /// without it no salt is told and no [`crate::MediaOp::SealAs`] or
    /// [`crate::MediaOp::OpenMember`] comes.
    pub sealed_media: bool,
    /// What the server is told about the topology.
    pub topology_wish: TopologyWish,
}

/// How a client bears on the choice of topology, which is the server's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TopologyWish {
    /// Reports how the links do, as they do.
    #[default]
    Auto,
    /// Never reports anything that speaks against a mesh.
    Mesh,
    /// Always reports that the uplink is too narrow for a mesh.
    Sfu,
}
