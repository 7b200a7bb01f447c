//! Invites opened elsewhere: a link pressed in another program, a second start of the app.
//!
//! The page asks the person before anything is joined, for a link may stand on any web page. An
//! invite that comes before the page waits for it; of several the last counts.

use std::sync::{Arc, Mutex, PoisonError};

use call_client::UiSink;
use call_protocol::ui::UiEvent;

use crate::bridge::EventBridge;

/// Hands invites to the page.
pub(crate) struct Invites {
    events: Arc<EventBridge>,
    waiting: Mutex<Waiting>,
}

enum Waiting {
    /// No page is there yet.
    ForPage(Option<String>),
    ForNothing,
}

impl Invites {
    pub(crate) fn new(events: Arc<EventBridge>) -> Self {
        Self {
            events,
            waiting: Mutex::new(Waiting::ForPage(None)),
        }
    }

    /// Has the person asked whether they want to join.
    pub(crate) fn ask(&self, invite: String) {
        match &mut *self.waiting.lock().unwrap_or_else(PoisonError::into_inner) {
            Waiting::ForPage(last) => *last = Some(invite),
            Waiting::ForNothing => self.events.event(UiEvent::Invited { code: invite }),
        }
    }

    /// A page is there.
    pub(crate) fn handle_page(&self) {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let invite = std::mem::replace(&mut *waiting, Waiting::ForNothing);
        if let Waiting::ForPage(Some(code)) = invite {
            self.events.event(UiEvent::Invited { code });
        }
    }
}

/// Whether an argument is a link, as the system hands over what was pressed, and not a typed code.
pub(crate) fn is_link(invite: &str) -> bool {
    let scheme = invite.split_once(':').map(|(scheme, _)| scheme);
    scheme.is_some_and(|scheme| scheme.eq_ignore_ascii_case("visavis"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_system_hands_over_is_told_from_what_is_typed() {
        assert!(is_link("visavis://join/K7MQ-2X9D-RTB4"));
        assert!(is_link("VISAVIS:join/K7MQ-2X9D-RTB4"));
        assert!(!is_link("K7MQ-2X9D-RTB4"));
        assert!(!is_link("https://calls.example.org/join#K7MQ-2X9D-RTB4"));
    }
}
