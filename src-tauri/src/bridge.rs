//! The engine's two outlets, carried by Tauri channels.
//!
//! A channel has no backpressure and no bound: what it is handed waits in memory until the page
//! fetches it. Frames are therefore sent on credit (the engine's frame pump counts the messages in
//! flight); events are few and small.

use std::sync::{Mutex, PoisonError};

use call_client::{FrameSink, UiSink};
use call_protocol::ui::UiEvent;
use tauri::ipc::{Channel, InvokeResponseBody};

/// Forwards events to the page attached last; without one they are dropped, since a page that
/// attaches asks for the whole state.
#[derive(Default)]
pub(crate) struct EventBridge {
    channel: Mutex<Option<Channel<UiEvent>>>,
}

impl EventBridge {
    pub(crate) fn attach(&self, channel: Channel<UiEvent>) {
        *self.channel.lock().unwrap_or_else(PoisonError::into_inner) = Some(channel);
    }
}

impl UiSink for EventBridge {
    fn event(&self, event: UiEvent) {
        let channel = self
            .channel
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        if let Some(channel) = channel
            && let Err(error) = channel.send(event)
        {
            tracing::debug!(%error, "the page is gone");
        }
    }
}

/// Forwards frame messages as raw bodies: the page gets an `ArrayBuffer`.
pub(crate) struct FrameBridge {
    channel: Channel<InvokeResponseBody>,
}

impl FrameBridge {
    pub(crate) fn new(channel: Channel<InvokeResponseBody>) -> Self {
        Self { channel }
    }
}

impl FrameSink for FrameBridge {
    fn send(&self, message: Vec<u8>) {
        if let Err(error) = self.channel.send(InvokeResponseBody::Raw(message)) {
            tracing::debug!(%error, "the page is gone");
        }
    }
}
