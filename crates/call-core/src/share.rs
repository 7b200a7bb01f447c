//! One's own share of a screen or window.
//!
//! ```text
//! nothing ──start──► starting ──► running ──stop, failure, end of the call──► nothing
//!                        └──the person chooses nothing in the system's dialog──────┘
//! ```
//!
//! Invariants: nothing but the person's command starts a share, and one that failed is not taken up
//! again by itself: what a window showed before is not what its successor shows. The others are told
//! of a share once there are pictures.

use call_protocol::ui::{DeviceState, ShareView};

use crate::output::MediaOp;

/// See the module's text.
#[derive(Debug, Default)]
pub(crate) struct Share(Option<ShareView>);

impl Share {
    /// The person chose something, perhaps in place of what is shared so far.
    pub(crate) fn start(&mut self, id: String) -> MediaOp {
        self.0 = Some(ShareView {
            id: id.clone(),
            state: DeviceState::Starting,
        });
        MediaOp::Share { id: Some(id) }
    }

    /// Ends what there is.
    pub(crate) fn stop(&mut self) -> Option<MediaOp> {
        self.0.take().map(|_| MediaOp::Share { id: None })
    }

    /// How the share with this id does; whether that is its end. News of another one are old.
    pub(crate) fn handle_state(&mut self, id: &str, state: DeviceState) -> bool {
        let Some(share) = self.0.as_mut().filter(|share| share.id == id) else {
            return false;
        };
        share.state = state;
        match state {
            DeviceState::Off | DeviceState::Failed { .. } => true,
            DeviceState::Starting | DeviceState::Running | DeviceState::Silent => false,
        }
    }

    /// Whether there is something for the others to see.
    pub(crate) fn is_running(&self) -> bool {
        let state = self.0.as_ref().map(|share| share.state);
        state == Some(DeviceState::Running)
    }

    /// What the person sees of it.
    pub(crate) fn view(&self) -> Option<ShareView> {
        self.0.clone()
    }
}

#[cfg(test)]
mod tests {
    use call_protocol::ErrorCode;

    use super::*;

    #[test]
    fn a_share_runs_from_the_command_to_its_end() {
        let mut share = Share::default();
        assert_eq!(share.stop(), None);
        let id = |id: &str| Some(id.to_owned());
        let op = share.start("screen:a".to_owned());
        assert_eq!(op, MediaOp::Share { id: id("screen:a") });
        assert!(!share.is_running(), "no pictures yet");
        assert!(!share.handle_state("screen:a", DeviceState::Running));
        assert!(share.is_running());
        share.start("window:b".to_owned());
        let code = ErrorCode::ShareLost;
        let failed = DeviceState::Failed { code };
        assert!(!share.handle_state("screen:a", failed), "replaced");
        assert_eq!(share.view().map(|view| view.id), id("window:b"));
        assert!(share.handle_state("window:b", failed));
        assert_eq!(share.stop(), Some(MediaOp::Share { id: None }));
        assert!(!share.handle_state("window:b", DeviceState::Running));
        assert_eq!(share.view(), None);
        share.start("chosen".to_owned());
        assert!(share.handle_state("chosen", DeviceState::Off), "not chosen");
    }
}
