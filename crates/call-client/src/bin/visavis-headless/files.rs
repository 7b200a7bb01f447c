//! `--send-file` and `--accept-files`: what a person would drop and accept.
//!
//! Files are offered [`GATHER`] after the first other member was seen, as one offer to everybody who
//! is there then, and to each who joins until [`LATE`] after that. Every offer is accepted.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use call_client::Engine;
use call_core::CallEvent;
use call_protocol::MemberId;
use call_protocol::ui::UiCommand;

/// Lets members who come together get the same offer.
const GATHER: Duration = Duration::from_secs(1);
/// Who comes later than this after the offer gets none.
const LATE: Duration = Duration::from_secs(15);

/// See the [module documentation](self).
pub(crate) struct Files {
    paths: Vec<String>,
    accepts: bool,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    engine: Option<Engine>,
    /// When the first other member was seen.
    met_at: Option<Instant>,
    waiting: Vec<UiCommand>,
}

impl Files {
    /// Must be called inside a tokio runtime.
    pub(crate) fn new(paths: &[PathBuf], accepts: bool) -> Arc<Self> {
        let absolute = |path: &PathBuf| {
            let path = std::path::absolute(path).unwrap_or_else(|_| path.clone());
            path.to_string_lossy().into_owned()
        };
        Arc::new(Self {
            paths: paths.iter().map(absolute).collect(),
            accepts,
            state: Mutex::default(),
        })
    }

    /// Says whom to tell.
    pub(crate) fn start(&self, engine: Engine) {
        let mut state = self.lock();
        for command in std::mem::take(&mut state.waiting) {
            dispatch(&engine, command);
        }
        state.engine = Some(engine);
    }

    /// Follows the call. Never waits.
    pub(crate) fn handle(self: &Arc<Self>, now: Instant, event: &CallEvent) {
        match event {
            CallEvent::MemberJoined { member, .. } if !self.paths.is_empty() => {
                self.meet(now, *member);
            }
            CallEvent::FileOffer { offer, from, .. } if self.accepts => {
                self.tell(UiCommand::AcceptFiles {
                    offer: offer.to_string(),
                    member: *from,
                    folder: None,
                });
            }
            // A handle kept here would keep the engine.
            CallEvent::Left { .. } => self.lock().engine = None,
            _ => {}
        }
    }

    fn meet(self: &Arc<Self>, now: Instant, member: MemberId) {
        let met_at = *self.lock().met_at.get_or_insert(now);
        if now == met_at {
            let files = Arc::clone(self);
            tokio::spawn(async move {
                tokio::time::sleep(GATHER).await;
                files.offer(None);
            });
        } else if (met_at + GATHER..met_at + LATE).contains(&now) {
            self.offer(Some(member));
        }
    }

    fn offer(&self, to: Option<MemberId>) {
        let paths = self.paths.clone();
        self.tell(UiCommand::OfferFiles { to, paths });
    }

    fn tell(&self, command: UiCommand) {
        let mut state = self.lock();
        match &state.engine {
            Some(engine) => dispatch(engine, command),
            None => state.waiting.push(command),
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn dispatch(engine: &Engine, command: UiCommand) {
    if let Err(code) = engine.dispatch(command) {
        tracing::warn!(?code, "files not offered or accepted");
    }
}

#[cfg(test)]
mod tests {
    use call_protocol::channel::file::OfferId;

    use super::*;

    fn joined(member: u32) -> CallEvent {
        let name = String::new();
        let member = MemberId(member);
        CallEvent::MemberJoined { member, name }
    }

    #[tokio::test(start_paused = true)]
    async fn files_go_to_those_who_come_together_and_to_those_a_little_late() {
        let files = Files::new(&[PathBuf::from("/a")], false);
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        files.handle(at(0), &joined(2));
        files.handle(at(500), &joined(3));
        tokio::time::sleep(GATHER * 2).await;
        files.handle(at(3_000), &joined(4));
        files.handle(at(60_000), &joined(5));
        let offer = |to: Option<u32>| UiCommand::OfferFiles {
            to: to.map(MemberId),
            paths: vec!["/a".to_owned()],
        };
        assert_eq!(files.lock().waiting, [offer(None), offer(Some(4))]);
    }

    #[tokio::test]
    async fn offers_are_accepted_only_if_asked_to() {
        let offered = CallEvent::FileOffer {
            offer: OfferId([1; 16]),
            from: MemberId(2),
            name: "a".to_owned(),
            size_bytes: 1,
        };
        for accepts in [false, true] {
            let files = Files::new(&[], accepts);
            files.handle(Instant::now(), &offered);
            files.handle(Instant::now(), &joined(2));
            assert_eq!(files.lock().waiting.len(), usize::from(accepts));
        }
    }
}
