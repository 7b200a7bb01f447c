//! What an engine is given: sources, where its outputs go, and who hosts rooms for it.

use std::future::Future;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;

use call_core::{CallEvent, LinkPeer, TopologyWish};
use call_media::audio::{AudioSourceConfig, SpeakerConfig, VoiceOptions};
use call_media::frame::I420Frame;
use call_media::video::source_config::VideoSourceConfig;
use call_protocol::ui::{UiEvent, VoiceView};
use call_protocol::{ErrorCode, MediaSource, MemberId};
use call_transport::LinkState;

use crate::frames::FrameSink;
use crate::stats::CallStats;

/// Takes the engine's events for the UI, in order.
///
/// Called on the driver task: must neither block nor wait.
pub trait UiSink: Send + Sync + 'static {
    /// Hands one event over.
    fn event(&self, event: UiEvent);
}

/// A [`UiSink`] for engines without a UI.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoUi;

impl UiSink for NoUi {
    fn event(&self, _event: UiEvent) {}
}

/// The answer of [`RoomHost::start`].
pub type HostFuture = Pin<Box<dyn Future<Output = Result<HostedServer, ErrorCode>> + Send>>;

/// Runs the embedded signalling server for calls without a configured one.
pub trait RoomHost: Send + Sync + 'static {
    /// Starts the server, or returns the one already running. It must outlive the call; how much
    /// longer it lives is the host's choice.
    fn start(&self) -> HostFuture;
}

/// A running embedded server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostedServer {
    /// Its address for this very process, for example `ws://127.0.0.1:4711`.
    pub url: String,
    /// Its port, reachable from the local network on every address of this host.
    pub port: u16,
}

/// Something a headless client reports.
#[derive(Clone, Debug, PartialEq)]
pub enum Observed {
    /// A semantic event of the session.
    Call(CallEvent),
    /// The transport's own view of a link, with the path it takes.
    Link {
        /// Who is at the other end.
        peer: LinkPeer,
        /// State and path.
        state: LinkState,
        /// Round trip time in milliseconds, once measured.
        rtt_ms: Option<f64>,
    },
    /// The first decoded picture of a member's camera since they joined, or of what they share since
    /// they share it.
    FirstFrame(MemberId, MediaSource),
    /// The first decoded sound of a member since they joined.
    FirstAudio(MemberId),
    /// The state of a device changed for the worse.
    DeviceFailed(ErrorCode),
    /// The second's figures.
    Stats(Box<CallStats>),
}

/// Watches a call from inside: for the headless client and tests. With an observer every member's
/// picture is decoded by the engine.
///
/// The methods are called on the driver task, decoder threads and the playout thread: none may
/// block or wait.
pub trait CallObserver: Send + Sync + 'static {
    /// Something happened.
    fn observe(&self, observed: Observed);
    /// A picture of a member's camera or screen was decoded.
    fn picture(&self, member: MemberId, source: MediaSource, picture: &I420Frame);
    /// 10 ms of a member's sound were decoded: 48 kHz mono, full scale ±1.
    fn sound(&self, member: MemberId, samples: &[f32]);
    /// 10 ms are about to be played: all members together, with the volumes chosen here, or a
    /// sound test.
    fn playout(&self, samples: &[f32]) {
        let _ = samples;
    }
}

/// What [`crate::Engine::start`] needs.
#[derive(Clone)]
pub struct EngineConfig {
    /// Directory of `settings.json`; `None` reads and writes nothing.
    pub profile_dir: Option<PathBuf>,
    /// Signalling server for this run, in place of the setting and never saved. `Some("")` finds
    /// and hosts rooms on the local network.
    pub server: Option<String>,
    /// Display name for this run, in place of the setting and never saved.
    pub name: Option<String>,
    /// Where the picture comes from. A camera without id follows the setting.
    pub video: VideoSourceConfig,
    /// Where the sound comes from. A microphone without id follows the setting.
    pub audio: AudioSourceConfig,
    /// What happens to a microphone's sound before it is sent, for this run, in place of the
    /// setting and never saved.
    pub voice: Option<VoiceOptions>,
    /// Where the others are heard. A device without id follows the setting.
    pub speaker: SpeakerConfig,
    /// Hosts rooms when no server is configured; `None`: starting a call then fails with
    /// [`ErrorCode::HostFailed`].
    pub host: Option<Arc<dyn RoomHost>>,
    /// Takes the events for the UI.
    pub ui: Arc<dyn UiSink>,
    /// Takes the frames for the UI; may also be attached later.
    pub frames: Option<Arc<dyn FrameSink>>,
    /// Watches the call.
    pub observer: Option<Arc<dyn CallObserver>>,
    /// How this client bears on the choice between mesh and SFU.
    pub topology: TopologyWish,
    /// Whether only paths through the server's relay are used.
    pub relay_only: bool,
    /// Where received files go unless the person chooses a folder, made if it is missing; `None`: the
    /// system's downloads folder.
    pub downloads: Option<PathBuf>,
    /// Whether media is sealed from end to end. Off only in tests of interoperability: members who
    /// differ in it neither hear nor see each other.
    pub sealed_media: bool,
}

impl EngineConfig {
    /// Real devices as the settings choose them, no profile, no host, no frames; sealed media over
    /// any path.
    pub fn new(ui: Arc<dyn UiSink>) -> Self {
        Self {
            profile_dir: None,
            server: None,
            name: None,
            video: VideoSourceConfig::camera(None),
            audio: AudioSourceConfig::Microphone { id: None },
            voice: None,
            speaker: SpeakerConfig::Device { id: None },
            host: None,
            ui,
            frames: None,
            observer: None,
            topology: TopologyWish::default(),
            relay_only: false,
            downloads: None,
            sealed_media: true,
        }
    }
}

/// The colours of a member's synthetic picture follow from their name, so that a picture tells
/// whose it is (see `call_media::video::synthetic::Pattern::new`).
pub fn pattern_seed(name: &str) -> u64 {
    // FNV-1a: stable everywhere, and no secret is at stake.
    name.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

/// The settings' switches as the microphone takes them.
pub(crate) fn voice_options(voice: VoiceView) -> VoiceOptions {
    VoiceOptions {
        echo_cancellation: voice.echo_cancellation,
        noise_suppression: voice.noise_suppression,
        gain_control: voice.gain_control,
    }
}

/// The other way round.
pub(crate) fn voice_view(voice: VoiceOptions) -> VoiceView {
    VoiceView {
        echo_cancellation: voice.echo_cancellation,
        noise_suppression: voice.noise_suppression,
        gain_control: voice.gain_control,
    }
}
