//! The desktop shell: one window, two commands, and the bridges between the engine and the web UI.
//!
//! Flow: the UI calls `attach` with two channels (events, frames) and from then on `dispatch` with
//! a [`call_protocol::ui::UiCommand`] for every wish of the person. The engine answers through the
//! channels only. A page that reloads simply attaches again. What is the desktop's rather than the
//! engine's is done here: what the page asks for (dialogs, links, files, notices) in [`desk`]; what
//! follows from what the engine does (tray, screen, shortcut, closing) in [`presence`].
//!
//! Deliberately not here: any call logic. Whatever decides something lives in `call-client` or
//! below, where the headless client uses it too.

#![cfg_attr(not(debug_assertions), windows_subsystem = "windows")]

mod args;
mod awake;
mod bridge;
mod desk;
mod host;
mod instance;
mod invite;
mod mini;
mod notice;
mod placement;
mod platform;
mod presence;
mod reveal;
mod shortcut;
mod tray;

use std::path::Path;
use std::sync::Arc;

use call_client::{Engine, EngineConfig, UiSink};
use call_protocol::ui::{UiCommand, UiEvent};
use clap::Parser;
use serde::Serialize;
use tauri::ipc::{Channel, InvokeResponseBody};
use tauri::{
    AppHandle, Manager, RunEvent, State, WebviewUrl, WebviewWindow, WebviewWindowBuilder,
    WindowEvent,
};

use crate::args::Args;
use crate::bridge::{EventBridge, FrameBridge};
use crate::desk::Desk;
use crate::host::EmbeddedServer;
use crate::instance::{Claim, Instance};
use crate::invite::Invites;
use crate::placement::Placement;
use crate::presence::{Followed, Presence};

/// What the commands share.
struct App {
    engine: Engine,
    events: Arc<EventBridge>,
    desk: Desk,
    invites: Invites,
    presence: Presence,
    placement: Placement,
}

/// Why a command was refused. The UI owns the words.
#[derive(Serialize)]
struct UiError {
    code: call_protocol::ErrorCode,
}

/// Connects a page: state and events through `events`, pictures through `frames`. A second call
/// replaces the channels of the first.
#[tauri::command]
fn attach(app: State<'_, App>, events: Channel<UiEvent>, frames: Channel<InvokeResponseBody>) {
    app.events.attach(events);
    app.engine.attach_frames(Arc::new(FrameBridge::new(frames)));
    app.invites.handle_page();
}

/// Hands a wish of the person to the desktop or the engine; never waits for its effect.
#[tauri::command]
fn dispatch(app: State<'_, App>, window: WebviewWindow, command: UiCommand) -> Result<(), UiError> {
    app.desk
        .take(command, &window)
        .and_then(|left| left.map_or(Ok(()), |command| app.engine.dispatch(command)))
        .map_err(|code| UiError { code })
}

fn main() -> anyhow::Result<()> {
    call_client::memory::share_one_arena();
    let args = Args::parse();
    call_client::logging::start("VISAVIS_LOG", "info");
    platform::prepare();
    let app = tauri::Builder::default()
        .invoke_handler(tauri::generate_handler![attach, dispatch])
        .setup(move |app| {
            let profile_dir = app.path().app_data_dir()?.join(args.profile_dir());
            std::fs::create_dir_all(&profile_dir)?;
            match instance::claim(&profile_dir, args.invite.as_deref())? {
                Claim::HandedOver => std::process::exit(0),
                Claim::First(instance) => open(app, &args, &profile_dir, instance)?,
            }
            Ok(())
        })
        .build(tauri::generate_context!())?;
    app.run(handle_event);
    Ok(())
}

/// Starts the engine and opens the window.
fn open(
    app: &mut tauri::App,
    args: &Args,
    profile_dir: &Path,
    instance: Instance,
) -> anyhow::Result<()> {
    let events = Arc::new(EventBridge::default());
    let followed = Arc::new(Followed::new(events.clone()));
    let doing = followed.doing();
    let config = EngineConfig {
        profile_dir: Some(profile_dir.to_owned()),
        server: args.server.clone(),
        video: args.video.clone(),
        audio: args.audio.clone(),
        speaker: args.speaker.clone(),
        host: Some(Arc::new(EmbeddedServer::default())),
        ..EngineConfig::new(followed)
    };
    let engine = tauri::async_runtime::block_on(async { Engine::start(config) });
    let invites = Invites::new(events.clone());
    match &args.invite {
        Some(invite) if invite::is_link(invite) => invites.ask(invite.clone()),
        // The session answers a malformed code with `code_invalid`, as for a typed one.
        Some(code) => engine
            .dispatch(UiCommand::JoinCall { code: code.clone() })
            .unwrap_or_default(),
        None => {}
    }
    app.manage(App {
        desk: Desk::new(engine.clone(), events.clone()),
        presence: Presence::new(doing, engine.clone()),
        placement: Placement::new(profile_dir),
        engine,
        events,
        invites,
    });
    let window = WebviewWindowBuilder::new(app, "main", WebviewUrl::default())
        .title("Visavis")
        .inner_size(1280.0, 800.0)
        .min_inner_size(mini::LEAST_SIZE.width, mini::LEAST_SIZE.height)
        .center()
        // Each profile keeps its own web data, so that two windows never share a lock.
        .data_directory(profile_dir.join("web"))
        .build()?;
    if let Err(error) = app.state::<App>().placement.restore(&window) {
        tracing::warn!(%error, "the window is not where it was");
    }
    Presence::start(app.handle());
    let handle = app.handle().clone();
    instance.listen(move |invite| {
        let (started, window) = (handle.clone(), window.clone());
        let show = move || {
            notice::raise(&window);
            if let Some(invite) = invite {
                started.state::<App>().invites.ask(invite);
            }
        };
        if let Err(error) = handle.run_on_main_thread(show) {
            tracing::debug!(%error, "a start that came too late");
        }
    })?;
    Ok(())
}

fn handle_event(app: &AppHandle, event: RunEvent) {
    match event {
        RunEvent::WindowEvent { label, event, .. } => handle_window_event(app, &label, &event),
        #[cfg(target_os = "macos")]
        RunEvent::Opened { urls } => {
            if let Some(url) = urls.first() {
                app.state::<App>().invites.ask(url.to_string());
            }
        }
        RunEvent::Exit => {
            let state = app.state::<App>();
            state.placement.save();
            let engine = state.engine.clone();
            tauri::async_runtime::block_on(async move { engine.shutdown().await });
        }
        _ => {}
    }
}

fn handle_window_event(app: &AppHandle, label: &str, event: &WindowEvent) {
    let state = app.state::<App>();
    match event {
        WindowEvent::DragDrop(event) => state.desk.handle_drag(event),
        WindowEvent::CloseRequested { api, .. } if state.presence.asks_to_close() => {
            api.prevent_close();
            state.events.event(UiEvent::Closing);
        }
        WindowEvent::Resized(_) | WindowEvent::Moved(_) if !state.desk.is_mini() => {
            let changed = app
                .get_webview_window(label)
                .map(|window| state.placement.handle_change(&window));
            if let Some(Err(error)) = changed {
                tracing::debug!(%error, "where the window is cannot be told");
            }
        }
        _ => {}
    }
}
