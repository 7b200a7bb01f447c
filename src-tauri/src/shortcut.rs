//! A shortcut that mutes and unmutes while another program has the keyboard: Ctrl+Shift+M, on macOS
//! with the command key.
//!
//! Wayland lets no program listen to the keyboard of others, so there is none there; where another
//! program has the shortcut already, there is none either.

use global_hotkey::hotkey::{CMD_OR_CTRL, Code, HotKey, Modifiers};
use global_hotkey::{GlobalHotKeyEvent, GlobalHotKeyManager, HotKeyState};

/// Listens as long as it lives. Must be made and dropped on the main thread.
pub(crate) struct Shortcut {
    manager: GlobalHotKeyManager,
    key: HotKey,
}

impl Shortcut {
    /// `None` where the system allows none.
    pub(crate) fn register() -> Option<Self> {
        if is_wayland() {
            tracing::info!("no shortcut outside the window: Wayland has none");
            return None;
        }
        let key = HotKey::new(Some(CMD_OR_CTRL | Modifiers::SHIFT), Code::KeyM);
        let manager = GlobalHotKeyManager::new()
            .and_then(|manager| manager.register(key).map(|()| manager))
            .inspect_err(|error| tracing::warn!(%error, "no shortcut outside the window"))
            .ok()?;
        Some(Self { manager, key })
    }
}

impl Drop for Shortcut {
    fn drop(&mut self) {
        if let Err(error) = self.manager.unregister(self.key) {
            tracing::debug!(%error, "the shortcut stays registered");
        }
    }
}

/// Calls `on_press` for every press, from a thread of the system's. Only the first call counts.
pub(crate) fn listen(on_press: impl Fn() + Send + Sync + 'static) {
    GlobalHotKeyEvent::set_event_handler(Some(move |event: GlobalHotKeyEvent| {
        if event.state == HotKeyState::Pressed {
            on_press();
        }
    }));
}

fn is_wayland() -> bool {
    cfg!(target_os = "linux") && std::env::var_os("WAYLAND_DISPLAY").is_some()
}
