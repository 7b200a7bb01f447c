//! `--say`: what is said once somebody else is in the room, in the order given.

use std::sync::{Arc, Mutex, PoisonError};

use call_client::Engine;
use call_core::CallEvent;
use call_protocol::ui::UiCommand;

use crate::lines::{Line, Lines};

/// See the [module documentation](self).
pub(crate) struct Sayings {
    lines: Arc<Lines>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    texts: Vec<String>,
    engine: Option<Engine>,
    is_heard: bool,
}

impl Sayings {
    pub(crate) fn new(texts: Vec<String>, lines: Arc<Lines>) -> Self {
        let state = State {
            texts,
            ..State::default()
        };
        Self {
            lines,
            state: Mutex::new(state),
        }
    }

    /// Says whom to tell. If somebody is there already, all is said now.
    pub(crate) fn start(&self, engine: Engine) {
        self.change(|state| state.engine = Some(engine));
    }

    /// Waits for the first other member. Never blocks.
    pub(crate) fn handle(&self, event: &CallEvent) {
        match event {
            CallEvent::MemberJoined { .. } => self.change(|state| state.is_heard = true),
            // A handle kept here would keep the engine.
            CallEvent::Left { .. } => self.change(|state| state.engine = None),
            _ => {}
        }
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        change(&mut state);
        let Some(engine) = state.engine.clone().filter(|_| state.is_heard) else {
            return;
        };
        for text in std::mem::take(&mut state.texts) {
            if let Err(code) = engine.dispatch(UiCommand::SendChat { text }) {
                let detail = "--say was refused".to_owned();
                self.lines.print(&Line::Error { code, detail });
            }
        }
    }
}
