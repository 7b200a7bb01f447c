//! The icon in the system's tray, with a menu that shows the window, mutes, and leaves the call.
//!
//! It appears once the page has named its entries. Where there is no tray, or the library for it is
//! missing on Linux, the app does without: nothing depends on it.

use std::panic::{AssertUnwindSafe, catch_unwind};

use call_client::Engine;
use call_protocol::ui::UiCommand;
use tauri::menu::{Menu, MenuEvent, MenuItem};
use tauri::tray::{TrayIcon, TrayIconBuilder};
use tauri::{AppHandle, Manager, Wry};

use crate::notice::raise;

const SHOW: &str = "show";
const MUTE: &str = "mute";
const LEAVE: &str = "leave";

/// What the entries say.
#[derive(Clone, Debug)]
pub(crate) struct Names {
    pub(crate) show: String,
    pub(crate) mute: String,
    pub(crate) unmute: String,
    pub(crate) leave: String,
}

/// The icon, as long as it lives. Must be made, changed and dropped on the main thread.
pub(crate) struct Tray {
    _icon: TrayIcon,
    show: MenuItem<Wry>,
    mute: MenuItem<Wry>,
    leave: MenuItem<Wry>,
}

impl Tray {
    /// `None` where there is no tray.
    pub(crate) fn new(
        app: &AppHandle,
        engine: &Engine,
        is_muted: impl Fn() -> bool + Send + Sync + 'static,
    ) -> Option<Self> {
        let engine = engine.clone();
        let make = AssertUnwindSafe(|| Self::try_new(app, engine, is_muted));
        // The binding to the Linux library panics where that is not installed.
        let made = catch_unwind(make).unwrap_or_else(|_| Err(tauri::Error::FailedToReceiveMessage));
        made.inspect_err(|error| tracing::info!(%error, "no icon in the tray"))
            .ok()
    }

    fn try_new(
        app: &AppHandle,
        engine: Engine,
        is_muted: impl Fn() -> bool + Send + Sync + 'static,
    ) -> tauri::Result<Self> {
        let item = |id| MenuItem::with_id(app, id, "", true, None::<&str>);
        let (show, mute, leave) = (item(SHOW)?, item(MUTE)?, item(LEAVE)?);
        let menu = Menu::with_items(app, &[&show, &mute, &leave])?;
        let mut builder = TrayIconBuilder::with_id("main")
            .tooltip("Visavis")
            .menu(&menu)
            .on_menu_event(move |app, event| act(app, &event, &engine, &is_muted));
        if let Some(icon) = app.default_window_icon() {
            builder = builder.icon(icon.clone());
        }
        Ok(Self {
            _icon: builder.build(app)?,
            show,
            mute,
            leave,
        })
    }

    /// Says what the entries do now.
    pub(crate) fn update(&self, names: &Names, is_muted: bool, is_in_call: bool) {
        let mute = if is_muted { &names.unmute } else { &names.mute };
        let updated = self
            .show
            .set_text(&names.show)
            .and_then(|()| self.mute.set_text(mute))
            .and_then(|()| self.leave.set_text(&names.leave))
            .and_then(|()| self.leave.set_enabled(is_in_call));
        if let Err(error) = updated {
            tracing::debug!(%error, "the tray's menu is out of date");
        }
    }
}

fn act(app: &AppHandle, event: &MenuEvent, engine: &Engine, is_muted: &impl Fn() -> bool) {
    let command = match event.id().as_ref() {
        MUTE => UiCommand::SetMuted { muted: !is_muted() },
        LEAVE => UiCommand::LeaveCall,
        _ => {
            if let Some(window) = app.get_webview_window("main") {
                raise(&window);
            }
            return;
        }
    };
    if let Err(code) = engine.dispatch(command) {
        tracing::debug!(?code, "the tray's wish was refused");
    }
}
