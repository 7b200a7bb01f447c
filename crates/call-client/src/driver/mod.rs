//! The driver: one task that owns the session and everything it acts on.
//!
//! It waits in one `select!` for the closed set of [`Wake`]s, hands each to its part, and drains
//! the session's and the frame pump's outputs until both are quiet. Nothing in here waits for
//! anything else: work that takes time runs elsewhere and comes back as an [`Answer`] or a
//! [`Report`].
//!
//! * `apply`: what each output does; `chosen`: which devices it begins with.
//! * `listing`: lists of devices, and the watcher that keeps them current.
//! * `network`: server connections, finding and hosting rooms, keys.
//! * `links`: peer connections, members, their frames; `encoder`: one's own picture; `files`: which
//!   link leads to whom for contents of files.
//! * `kept`: choices and rooms that outlive the app.
//! * `share`: what is shared of the screen.
//! * `report`: levels ten times and figures once a second; `quality`: what the quality controller is
//!   told four times a second, and what it wants done.

mod apply;
mod chosen;
mod encoder;
mod files;
mod kept;
mod links;
mod listing;
mod network;
mod quality;
mod report;
mod share;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use call_core::{
    ActiveSpeaker, AttemptId, CallEvent, FileEvent, Input, LinkId, PicturePlan, Session,
    SessionConfig, SocketId,
};
use call_e2ee::RoomKeys;
use call_media::audio::{AudioSourceConfig, Mixer};
use call_media::frame::{I420Frame, LatestSlot};
use call_media::video::layers::LAYERS;
use call_media::video::send::VideoSender;
use call_media::watch::{DeviceChange, DeviceEntry, DeviceWatcher};
use call_protocol::ui::frame::SELF_MEMBER;
use call_protocol::ui::{Delivery, DeviceKind, DeviceState, UiCommand, UiEvent, VoiceView};
use call_protocol::wire::RelayGrant;
use call_protocol::{ErrorCode, MediaSource, MemberId, VideoCodec};
use call_transport::{Link, LinkStats, ServerEvent, ServerSender};
use tokio::sync::{mpsc, watch};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::sleep_until;

use crate::config::{
    CallObserver, EngineConfig, Observed, RoomHost, UiSink, pattern_seed, voice_options, voice_view,
};
use crate::devices::{DeviceStates, Devices, Wiring};
use crate::files::{self as disk, BulkSink, Disk};
use crate::frames::FrameSink;
use crate::frames::pump::{FramePump, PumpOutput};
use crate::inbound::{Hub, Report};
use crate::interfaces::{Addresses, InterfaceWatch};
use crate::keep::Saver;
use crate::lan::Announcement;
use crate::outbound::Outlet;
use crate::pictures::Pictures;
use crate::recent_rooms::RecentRooms;
use crate::settings::Settings;
use crate::sleep::SleepWatch;
use crate::sound_test::{SoundTest, SoundTestReport};

/// Answers of background work waiting for the driver; the work waits when it is full.
const ANSWERS: usize = 256;
/// Reports of links and hub waiting for the driver; their tasks wait when it is full.
const REPORTS: usize = 256;
/// What the disk tells that waits for the driver; the disk waits when it is full.
const FILE_EVENTS: usize = 256;
/// How long the engine waits at its end for goodbyes to leave.
const GOODBYE: Duration = Duration::from_millis(1_500);

/// What a handle asks of the driver.
pub(crate) enum Request {
    Command(UiCommand),
    Attach(Arc<dyn FrameSink>),
    Shutdown,
}

/// Everything the driver wakes up for.
enum Wake {
    /// `None`: every handle is gone.
    Request(Option<Request>),
    Answer(Answer),
    Report(Report),
    File(FileEvent),
    DeviceStates,
    Pictures,
    Addresses(Addresses),
    Timeout,
}

/// What background work came to.
enum Answer {
    Keys {
        attempt: AttemptId,
        keys: RoomKeys,
    },
    Located {
        attempt: AttemptId,
        result: Result<network::Located, ErrorCode>,
    },
    SocketOpened {
        socket: SocketId,
        sender: ServerSender,
    },
    Socket {
        socket: SocketId,
        event: ServerEvent,
    },
    DeviceList {
        kind: DeviceKind,
        listed: Vec<DeviceEntry>,
    },
    DeviceChange(DeviceChange),
    LinkStats(Vec<(LinkId, LinkStats)>),
    SoundTest(SoundTestReport),
    Share(share::ShareReport),
}

struct Driver {
    ui: Arc<dyn UiSink>,
    observer: Option<Arc<dyn CallObserver>>,
    host: Option<Arc<dyn RoomHost>>,

    settings: Settings,
    /// Given for this run and never saved.
    server_override: Option<String>,
    name_override: Option<String>,
    voice_override: Option<VoiceView>,
    saver: Option<Saver<Settings>>,
    rooms: kept::Rooms,

    session: Session,
    in_call: bool,

    pump: FramePump,
    sink: Option<Arc<dyn FrameSink>>,
    pictures: Pictures,

    devices: Devices,
    device_states: watch::Receiver<DeviceStates>,
    reported: DeviceStates,
    devices_listed: bool,
    /// While any device of the machine is in use.
    watcher: Option<DeviceWatcher>,
    sound_test: Option<SoundTest>,
    active_speaker: ActiveSpeaker,
    mixer: Arc<Mutex<Mixer>>,
    hub: Hub,
    outlet: Outlet,
    camera_out: LatestSlot<I420Frame>,
    encoder: Option<VideoSender>,
    encoder_codec: VideoCodec,
    /// Of each layer.
    sent_frames: Arc<Mutex<[crate::stats::FrameMeter; LAYERS]>>,
    /// Which layers of the camera anybody wants.
    layers_wanted: [bool; LAYERS],
    /// What is encoded of the camera, as the session last said.
    picture_plan: Option<PicturePlan>,
    sharing: share::Sharing,
    shortage: encoder::Shortage,
    /// What leaves of the camera's layers.
    sent_pictures: quality::SentRate,
    /// What files may take, as the session last said.
    files_limit_bps: Option<u64>,
    timestamp_offset: u32,

    disk: Disk<Link>,
    bulk: BulkSink,

    /// The run whose keys count, and they themselves.
    deriving: Option<AttemptId>,
    keys: Option<(AttemptId, RoomKeys)>,
    /// What the present sealer was made from.
    sealed_as: Option<(MemberId, [u8; 16])>,

    members: BTreeMap<MemberId, links::MemberFigures>,
    links: BTreeMap<LinkId, links::LinkSlot>,
    sockets: BTreeMap<SocketId, network::Connection>,
    locating: Option<AbortHandle>,
    announcement: Option<Announcement>,
    hosted_tags: BTreeSet<String>,
    include_loopback: bool,
    stun: Vec<String>,
    relay: Option<RelayGrant>,
    relay_only: bool,

    answers: mpsc::Sender<Answer>,
    reports: mpsc::Sender<Report>,
    /// Work the engine waits for at its end, for a moment.
    goodbyes: JoinSet<()>,
    /// One per link; each ends with its link.
    link_tasks: JoinSet<()>,
    /// Everything else in the background; aborted at the end.
    background: JoinSet<()>,
    ticks: report::Ticks,
    sleep: SleepWatch,
    /// This machine's, as last told.
    addresses: Option<Addresses>,
}

/// Runs an engine until it is shut down.
pub(crate) async fn run(config: EngineConfig, mut requests: mpsc::Receiver<Request>) {
    let (answers, mut answered) = mpsc::channel(ANSWERS);
    let (reports, mut reported) = mpsc::channel(REPORTS);
    let (file_events, mut disk_events) = mpsc::channel(FILE_EVENTS);
    let (states, mut states_changed) = watch::channel(DeviceStates::new());
    let profile = config.profile_dir.clone();
    let (settings, recent) = match profile {
        None => Default::default(),
        Some(profile) => {
            let load = move || (Settings::load(&profile), RecentRooms::load(&profile));
            tokio::task::spawn_blocking(load).await.unwrap_or_default()
        }
    };
    let mut driver = Driver::new(
        config,
        (settings, recent),
        states,
        answers,
        reports,
        file_events,
    );
    let pictures_ready = driver.pictures.ready();
    let mut interfaces = InterfaceWatch::start();
    driver.drain(Instant::now());
    loop {
        let deadline = driver.deadline().into();
        let wake = tokio::select! {
            request = requests.recv() => Wake::Request(request),
            Some(answer) = answered.recv() => Wake::Answer(answer),
            Some(report) = reported.recv() => Wake::Report(report),
            Some(event) = disk_events.recv() => Wake::File(event),
            Ok(()) = states_changed.changed() => Wake::DeviceStates,
            () = pictures_ready.notified() => Wake::Pictures,
            addresses = interfaces.changed() => Wake::Addresses(addresses),
            () = sleep_until(deadline) => Wake::Timeout,
        };
        if driver.handle(Instant::now(), wake) == Flow::End {
            break;
        }
    }
    // What is still to be reported finds nobody, and links being opened are dropped.
    drop((answered, reported, disk_events));
    driver.finish().await;
}

#[derive(PartialEq, Eq)]
enum Flow {
    Continue,
    End,
}

/// Random bytes for seeds. The engine does not start without them: keys depend on them.
fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).expect("invariant: the system's random generator works");
    bytes
}

/// The wall clock, in milliseconds since 1970; 0 where it is set before that.
fn unix_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| {
        u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
    })
}

impl Driver {
    fn new(
        config: EngineConfig,
        (settings, recent): (Settings, RecentRooms),
        states: watch::Sender<DeviceStates>,
        answers: mpsc::Sender<Answer>,
        reports: mpsc::Sender<Report>,
        file_events: mpsc::Sender<FileEvent>,
    ) -> Self {
        let now = Instant::now();
        let name = config.name.clone().unwrap_or_else(|| settings.name.clone());
        let seed = pattern_seed(&name);
        let voice_override = config.voice.map(voice_view);
        let voice = voice_override.unwrap_or_else(|| settings.voice());
        let session = Session::new(
            SessionConfig {
                unix_ms: unix_ms(),
                seed: random(),
                name,
                server: config
                    .server
                    .clone()
                    .unwrap_or_else(|| settings.server.clone()),
                voice,
                low_data: settings.low_data,
                tint: settings.tint,
                muted: settings.start_muted || config.audio == AudioSourceConfig::None,
                camera_on: !settings.start_camera_off && !config.video.is_none(),
                sealed_media: config.sealed_media,
                topology_wish: config.topology,
            },
            now,
        );
        let pictures = Pictures::new(config.observer.clone());
        let outlet = Outlet::new(u16::from_le_bytes(random()), config.sealed_media);
        let mixer = Arc::new(Mutex::new(Mixer::new()));
        let (hub, packets) = Hub::new(Arc::clone(&mixer), config.sealed_media);
        let mut background = JoinSet::new();
        background.spawn(hub.clone().run(packets, reports.clone()));
        let (bulk, received) = mpsc::channel(disk::DATA);
        let disk = Disk::start(config.downloads.clone(), received, file_events);
        let camera_out = LatestSlot::new();
        let self_view = pictures.self_view();
        if let Err(error) = &self_view {
            tracing::error!(%error, "no self view");
        }
        let device_states = states.subscribe();
        let plan = chosen::plan(&config, &settings);
        let devices = Devices::new(
            Wiring {
                states,
                outlet: outlet.clone(),
                mixer: Arc::clone(&mixer),
                camera_out: camera_out.clone(),
                self_view: self_view.ok(),
                own_wanted: pictures.own_wanted(),
                observer: config.observer.clone(),
                voice: voice_options(voice),
                seed,
            },
            plan,
        );
        let mut pump = FramePump::new();
        pump.set_delivery(now, (SELF_MEMBER, MediaSource::Camera), Delivery::I420);
        let mut driver = Self {
            ui: config.ui,
            observer: config.observer,
            host: config.host,
            rooms: kept::Rooms::new(recent, config.profile_dir.clone(), &settings),
            saver: (config.profile_dir).map(|profile| Saver::new(profile, Settings::save)),
            settings,
            server_override: config.server,
            name_override: config.name,
            voice_override,
            session,
            in_call: false,
            pump,
            sink: None,
            pictures,
            devices,
            device_states,
            reported: DeviceStates::new(),
            devices_listed: false,
            watcher: None,
            sound_test: None,
            active_speaker: ActiveSpeaker::new(),
            mixer,
            hub,
            encoder_codec: outlet.codec(),
            outlet,
            camera_out,
            encoder: None,
            sent_frames: Arc::default(),
            layers_wanted: [false; LAYERS],
            picture_plan: None,
            sharing: share::Sharing::new(now, u32::from_le_bytes(random()), seed),
            shortage: encoder::Shortage::default(),
            sent_pictures: quality::SentRate::default(),
            files_limit_bps: None,
            timestamp_offset: u32::from_le_bytes(random()),
            disk,
            bulk,
            deriving: None,
            keys: None,
            sealed_as: None,
            members: BTreeMap::new(),
            links: BTreeMap::new(),
            sockets: BTreeMap::new(),
            locating: None,
            announcement: None,
            hosted_tags: BTreeSet::new(),
            include_loopback: false,
            stun: Vec::new(),
            relay: None,
            relay_only: config.relay_only,
            answers,
            reports,
            goodbyes: JoinSet::new(),
            link_tasks: JoinSet::new(),
            background,
            ticks: report::Ticks::new(now),
            sleep: SleepWatch::new(now, unix_ms()),
            addresses: None,
        };
        if let Some(sink) = config.frames {
            driver.attach(now, sink);
        }
        driver
    }

    fn handle(&mut self, now: Instant, wake: Wake) -> Flow {
        match wake {
            Wake::Request(None | Some(Request::Shutdown)) => return Flow::End,
            Wake::Request(Some(Request::Attach(sink))) => self.attach(now, sink),
            Wake::Request(Some(Request::Command(command))) => self.command(now, command),
            Wake::Answer(answer) => self.handle_answer(now, answer),
            Wake::Report(report) => self.handle_report(now, report),
            Wake::File(event) => self.session.handle_input(now, Input::File(event)),
            Wake::DeviceStates => self.handle_device_states(now),
            Wake::Pictures => {
                for (key, picture) in self.pictures.poll() {
                    self.pump.handle_picture(now, key, picture);
                }
            }
            Wake::Addresses(addresses) => self.handle_addresses(now, &addresses),
            Wake::Timeout => {}
        }
        self.notice_sleep(now);
        self.pump.handle_timeout(now);
        if self.session.poll_timeout().is_some_and(|(at, _)| at <= now) {
            self.session.handle_input(now, Input::Timeout);
        }
        self.tick(now);
        self.drain(now);
        // Ended work is taken out, or the sets would grow for the life of the app.
        while self.goodbyes.try_join_next().is_some() {}
        while self.link_tasks.try_join_next().is_some() {}
        while self.background.try_join_next().is_some() {}
        Flow::Continue
    }

    fn command(&mut self, now: Instant, command: UiCommand) {
        // Listing devices wakes the sound system, so a client without a UI never does it.
        if command == UiCommand::Refresh && !self.devices_listed {
            self.list_devices();
        }
        self.note_start(&command);
        let Some(command) = self.take_kept(command) else {
            return;
        };
        if matches!(command, UiCommand::SendChat { .. }) {
            // The person's clock may have been set since the last message.
            let unix_ms = unix_ms();
            self.session.handle_input(now, Input::WallClock { unix_ms });
        }
        self.session.handle_input(now, Input::Command(command));
    }

    fn attach(&mut self, now: Instant, sink: Arc<dyn FrameSink>) {
        self.sink = Some(sink);
        let epoch = self.pump.attach(now);
        self.ui.event(UiEvent::FrameEpoch { epoch });
        self.update_own_picture();
    }

    /// Does all that session and pump want done.
    fn drain(&mut self, now: Instant) {
        loop {
            if let Some(output) = self.session.poll_output() {
                self.apply(now, output);
            } else if let Some(output) = self.pump.poll_output() {
                match output {
                    PumpOutput::Message(message) => {
                        if let Some(sink) = &self.sink {
                            sink.send(message);
                        }
                    }
                    PumpOutput::NeedKeyframe((member, source)) => {
                        self.hub.request_keyframe(now, member, source);
                    }
                }
            } else {
                return;
            }
        }
    }

    fn deadline(&self) -> Instant {
        let session = self.session.poll_timeout().map(|(at, _)| at);
        let own = self
            .ticks
            .next(!self.links.is_empty(), self.levels_wanted());
        [session, self.pump.poll_timeout(), own, self.sleep.due()]
            .into_iter()
            .flatten()
            .min()
            .unwrap_or_else(|| Instant::now() + Duration::from_secs(3_600))
    }

    fn handle_device_states(&mut self, now: Instant) {
        let states = *self.device_states.borrow_and_update();
        let before = std::mem::replace(&mut self.reported, states);
        let changes = [
            (DeviceKind::Camera, before.camera, states.camera),
            (DeviceKind::Microphone, before.microphone, states.microphone),
            (DeviceKind::Speaker, before.speaker, states.speaker),
        ];
        for (kind, before, state) in changes {
            if before == state {
                continue;
            }
            self.session
                .handle_input(now, Input::Device { kind, state });
            if let DeviceState::Failed { code } = state {
                self.observe(Observed::DeviceFailed(code));
            }
        }
    }

    fn observe(&self, observed: Observed) {
        if let Some(observer) = &self.observer {
            observer.observe(observed);
        }
    }

    async fn finish(mut self) {
        if self.in_call {
            let now = Instant::now();
            self.session
                .handle_input(now, Input::Command(UiCommand::LeaveCall));
            self.drain(now);
        }
        self.links.clear();
        let goodbyes = async {
            while self.goodbyes.join_next().await.is_some() {}
            while self.link_tasks.join_next().await.is_some() {}
        };
        if tokio::time::timeout(GOODBYE, goodbyes).await.is_err() {
            tracing::debug!("some goodbyes did not leave in time");
        }
        let Self {
            devices,
            disk,
            pictures,
            encoder,
            links,
            sockets,
            mut background,
            saver,
            rooms,
            watcher,
            sound_test,
            mut sharing,
            ..
        } = self;
        drop((links, sockets, watcher));
        tokio::join!(background.shutdown(), disk.finish());
        let stop = devices.stop();
        let joined = tokio::task::spawn_blocking(move || {
            if let Some(test) = sound_test {
                test.finish();
            }
            stop();
            drop((encoder, sharing.end(), pictures));
            if let Some(saver) = saver {
                saver.finish();
            }
            rooms.finish();
        });
        if joined.await.is_err() {
            tracing::error!("a device thread panicked at the end");
        }
    }

    fn end_of_call(&mut self, event: &CallEvent) {
        match event {
            CallEvent::Room { .. } => self.in_call = true,
            CallEvent::Left { .. } => {
                self.in_call = false;
                self.picture_plan = None;
                (self.deriving, self.keys) = (None, None);
                if let Some(encoder) = self.encoder.take() {
                    // Its thread is joined when it is dropped.
                    tokio::task::spawn_blocking(move || drop(encoder));
                }
            }
            _ => {}
        }
    }
}
