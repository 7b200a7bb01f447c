//! What the desktop shows and does of the app beside its window: follows the engine's events on their
//! way to the page, and keeps tray, screen and shortcut as they have to be.
//!
//! Also decides what closing the window means: in a call the person is asked first, by the page, and
//! closing it once more closes it, whatever the page does.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use call_client::{Engine, UiSink};
use call_protocol::ui::{AppView, CallPhase, UiCommand, UiEvent};
use tauri::{AppHandle, Manager};
use tokio::sync::watch;

use crate::App;
use crate::awake::Awake;
use crate::bridge::EventBridge;
use crate::shortcut::{self, Shortcut};
use crate::tray::{Names, Tray};

/// What the app is doing, as far as the desktop is concerned.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Doing {
    pub(crate) is_muted: bool,
    pub(crate) is_in_call: bool,
    wants_shortcut: bool,
}

impl Doing {
    fn after(self, event: &UiEvent) -> Self {
        match event {
            UiEvent::View { view } => Self {
                is_muted: view.muted,
                is_in_call: is_in_call(view),
                ..self
            },
            UiEvent::Choices { choices } => Self {
                wants_shortcut: choices.global_mute,
                ..self
            },
            _ => self,
        }
    }
}

fn is_in_call(view: &AppView) -> bool {
    (view.call.as_ref()).is_some_and(|call| !matches!(call.phase, CallPhase::Ended { .. }))
}

/// Passes events on to the page and notes what they say.
pub(crate) struct Followed {
    bridge: Arc<EventBridge>,
    doing: watch::Sender<Doing>,
}

impl Followed {
    pub(crate) fn new(bridge: Arc<EventBridge>) -> Self {
        Self {
            bridge,
            doing: watch::Sender::new(Doing::default()),
        }
    }

    pub(crate) fn doing(&self) -> watch::Receiver<Doing> {
        self.doing.subscribe()
    }
}

impl UiSink for Followed {
    fn event(&self, event: UiEvent) {
        self.doing.send_if_modified(|doing| {
            let after = doing.after(&event);
            std::mem::replace(doing, after) != after
        });
        self.bridge.event(event);
    }
}

/// Beside the window. All but [`Presence::start`] belongs to the main thread.
pub(crate) struct Presence {
    doing: watch::Receiver<Doing>,
    engine: Engine,
    awake: Option<Awake>,
    is_asked: AtomicBool,
    shown: Mutex<Shown>,
}

#[derive(Default)]
struct Shown {
    names: Option<Names>,
    tray: Option<Tray>,
    shortcut: Option<Shortcut>,
}

impl Presence {
    pub(crate) fn new(doing: watch::Receiver<Doing>, engine: Engine) -> Self {
        let awake = Awake::start()
            .inspect_err(|error| tracing::warn!(%error, "the screen is not kept on"))
            .ok();
        Self {
            doing,
            engine,
            awake,
            is_asked: AtomicBool::new(false),
            shown: Mutex::default(),
        }
    }

    /// Follows from now on, as long as the app lives. Must be called once [`App`] is managed.
    pub(crate) fn start(app: &AppHandle) {
        let presence = &app.state::<App>().presence;
        let (mut doing, engine) = (presence.doing.clone(), presence.engine.clone());
        let muted = doing.clone();
        shortcut::listen(move || {
            let muted = !muted.borrow().is_muted;
            if let Err(code) = engine.dispatch(UiCommand::SetMuted { muted }) {
                tracing::debug!(?code, "the shortcut was refused");
            }
        });
        let app = app.clone();
        tauri::async_runtime::spawn(async move {
            doing.mark_changed();
            while doing.changed().await.is_ok() {
                doing.borrow_and_update();
                let main = app.clone();
                let update = move || main.state::<App>().presence.update();
                if app.run_on_main_thread(update).is_err() {
                    return;
                }
            }
        });
    }

    /// What the tray's entries say from now on; the first time it appears.
    pub(crate) fn name_tray(&self, app: &AppHandle, names: Names) {
        let mut shown = self.shown();
        if shown.names.is_none() {
            let doing = self.doing.clone();
            shown.tray = Tray::new(app, &self.engine, move || doing.borrow().is_muted);
        }
        shown.names = Some(names);
        drop(shown);
        self.update();
    }

    fn update(&self) {
        let doing = *self.doing.borrow();
        if let Some(awake) = &self.awake {
            awake.set(doing.is_in_call);
        }
        if !doing.is_in_call {
            self.is_asked.store(false, Ordering::Relaxed);
        }
        let mut shown = self.shown();
        if let (Some(tray), Some(names)) = (&shown.tray, &shown.names) {
            tray.update(names, doing.is_muted, doing.is_in_call);
        }
        if doing.wants_shortcut != shown.shortcut.is_some() {
            shown.shortcut = doing.wants_shortcut.then(Shortcut::register).flatten();
        }
    }

    /// The person wants to close the window: whether they are to be asked first.
    pub(crate) fn asks_to_close(&self) -> bool {
        self.doing.borrow().is_in_call && !self.is_asked.swap(true, Ordering::Relaxed)
    }

    /// The person thought better of closing.
    pub(crate) fn handle_stay(&self) {
        self.is_asked.store(false, Ordering::Relaxed);
    }

    fn shown(&self) -> std::sync::MutexGuard<'_, Shown> {
        self.shown.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
