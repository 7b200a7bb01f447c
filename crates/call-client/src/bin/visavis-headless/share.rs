//! `--share`: what is shared from joining on.

use std::sync::{Mutex, PoisonError};

use call_client::Engine;
use call_core::CallEvent;
use call_protocol::ui::UiCommand;

/// See the [module documentation](self).
pub(crate) struct Share {
    id: Option<String>,
    /// From the start to the end of the call; a handle kept longer would keep the engine.
    engine: Mutex<Option<Engine>>,
}

impl Share {
    pub(crate) fn new(id: Option<String>) -> Self {
        Self {
            id,
            engine: Mutex::default(),
        }
    }

    /// Says whom to tell, before the call begins.
    pub(crate) fn start(&self, engine: Engine) {
        *self.engine.lock().unwrap_or_else(PoisonError::into_inner) = Some(engine);
    }

    /// Follows the call. Never waits.
    pub(crate) fn handle(&self, event: &CallEvent) {
        let mut engine = self.engine.lock().unwrap_or_else(PoisonError::into_inner);
        match event {
            CallEvent::Joined { .. } => {
                if let (Some(engine), Some(id)) = (&*engine, self.id.clone())
                    && let Err(code) = engine.dispatch(UiCommand::StartShare { id })
                {
                    tracing::warn!(?code, "nothing is shared");
                }
            }
            CallEvent::Left { .. } => *engine = None,
            _ => {}
        }
    }
}
