//! One's own share of a screen or window.
//!
//! ```text
//! nothing ──start──► starting ──► running ──stop, failure, end of the call──► nothing
//! ```
//!
//! Invariants: nothing but the person's command starts a share, and one that failed is not taken up
//! again by itself: what a window showed before is not what its successor shows. The others are told
//! of a share once there are pictures.

use call_protocol::ErrorCode;
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

    /// How the share with this id does; gives why it is over, if it is. News of another one are old.
    pub(crate) fn handle_state(&mut self, id: &str, state: DeviceState) -> Option<ErrorCode> {
        let share = self.0.as_mut().filter(|share| share.id == id)?;
        share.state = state;
        match state {
            DeviceState::Failed { code } => Some(code),
            DeviceState::Off
            | DeviceState::Starting
            | DeviceState::Running
            | DeviceState::Silent => None,
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
    use super::*;

    #[test]
    fn a_share_runs_from_the_command_to_its_end() {
        let mut share = Share::default();
        assert_eq!(share.stop(), None);
        let id = |id: &str| Some(id.to_owned());
        let op = share.start("screen:a".to_owned());
        assert_eq!(op, MediaOp::Share { id: id("screen:a") });
        assert!(!share.is_running(), "no pictures yet");
        assert_eq!(share.handle_state("screen:a", DeviceState::Running), None);
        assert!(share.is_running());
        share.start("window:b".to_owned());
        let code = ErrorCode::ShareLost;
        let failed = DeviceState::Failed { code };
        assert_eq!(share.handle_state("screen:a", failed), None, "replaced");
        assert_eq!(share.view().map(|view| view.id), id("window:b"));
        assert_eq!(share.handle_state("window:b", failed), Some(code));
        assert_eq!(share.stop(), Some(MediaOp::Share { id: None }));
        assert_eq!(share.handle_state("window:b", DeviceState::Running), None);
        assert_eq!(share.view(), None);
    }
}
