//! An offer that is received as the person sees it.

use std::time::Instant;

use call_protocol::ui::{LinkView, TransferState, TransferView};

use super::super::is_broken;
use super::{Incoming, Phase};

impl Incoming {
    /// What the person sees; `None`: nothing. `link` is the data link to the sender.
    pub(crate) fn view(&self, now: Instant, link: Option<LinkView>) -> Option<TransferView> {
        if self.is_hidden {
            return None;
        }
        let is_interrupted = !self.is_present || is_broken(link);
        let state = match self.phase {
            Phase::Ended(state) => state,
            Phase::Asking => TransferState::Asking,
            _ if is_interrupted && !(self.is_present && self.is_paused()) => {
                TransferState::Interrupted
            }
            _ if self.is_paused() => TransferState::Paused {
                by_me: self.paused_here,
            },
            _ => TransferState::Running,
        };
        let is_running = state == TransferState::Running;
        let rate = self.meter.rate_bytes_per_s(now);
        let path = self.path.as_ref().filter(|_| state == TransferState::Done);
        Some(TransferView {
            offer: self.offer.to_string(),
            outgoing: false,
            member: self.member,
            member_name: self.member_name.clone(),
            name: self.label.name.clone(),
            files: self.label.files,
            is_folder: self.label.is_folder,
            size_bytes: self.label.size_bytes,
            done_bytes: self.meter.done_bytes(),
            rate_bytes_per_s: if is_running { rate } else { 0 },
            remaining_s: self
                .meter
                .remaining_s(now, self.label.size_bytes)
                .filter(|_| is_running),
            state,
            path: path.and_then(|path| path.to_str()).map(str::to_owned),
        })
    }

    fn is_paused(&self) -> bool {
        self.paused_here || self.paused_there
    }
}
