//! The desktop shell: one window, two commands, and the bridges between the engine and the web UI.
//!
//! Flow: the UI calls `attach` with two channels (events, frames) and from then on `dispatch` with
//! a [`call_protocol::ui::UiCommand`] for every wish of the person. The engine answers through the
//! channels only. A page that reloads simply attaches again. What is the desktop's rather than the
//! engine's (dialogs, links, dragged files) is done here, in [`desk`].
//!
//! Deliberately not here: any call logic. Whatever decides something lives in `call-client` or
//! below, where the headless client uses it too.

#![cfg_attr(not(debug_assertions), windows_subsystem = "windows")]

mod args;
mod bridge;
mod desk;
mod host;
mod mini;
mod platform;
mod reveal;

use std::sync::Arc;

use call_client::{Engine, EngineConfig};
use call_protocol::ui::{UiCommand, UiEvent};
use clap::Parser;
use serde::Serialize;
use tauri::ipc::{Channel, InvokeResponseBody};
use tauri::{
    Manager, RunEvent, State, WebviewUrl, WebviewWindow, WebviewWindowBuilder, WindowEvent,
};

use crate::args::Args;
use crate::bridge::{EventBridge, FrameBridge};
use crate::desk::Desk;
use crate::host::EmbeddedServer;

/// What the commands share.
struct App {
    engine: Engine,
    events: Arc<EventBridge>,
    desk: Desk,
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
            let events = Arc::new(EventBridge::default());
            let config = EngineConfig {
                profile_dir: Some(profile_dir.clone()),
                server: args.server.clone(),
                video: args.video.clone(),
                audio: args.audio.clone(),
                speaker: args.speaker.clone(),
                host: Some(Arc::new(EmbeddedServer::default())),
                ..EngineConfig::new(events.clone())
            };
            let engine = tauri::async_runtime::block_on(async { Engine::start(config) });
            if let Some(invite) = args.invite.clone() {
                // The session answers a malformed invite with `code_invalid`, as for a typed one.
                let _ = engine.dispatch(UiCommand::JoinCall { code: invite });
            }
            let desk = Desk::new(engine.clone(), events.clone());
            app.manage(App {
                engine,
                events,
                desk,
            });
            WebviewWindowBuilder::new(app, "main", WebviewUrl::default())
                .title("Visavis")
                .inner_size(1280.0, 800.0)
                .min_inner_size(mini::LEAST_SIZE.width, mini::LEAST_SIZE.height)
                .center()
                // Each profile keeps its own web data, so that two windows never share a lock.
                .data_directory(profile_dir.join("web"))
                .build()?;
            Ok(())
        })
        .build(tauri::generate_context!())?;
    app.run(|app, event| match event {
        RunEvent::WindowEvent {
            event: WindowEvent::DragDrop(event),
            ..
        } => app.state::<App>().desk.handle_drag(&event),
        RunEvent::Exit => {
            let engine = app.state::<App>().engine.clone();
            tauri::async_runtime::block_on(async move { engine.shutdown().await });
        }
        _ => {}
    });
    Ok(())
}
