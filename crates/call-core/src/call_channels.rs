//! Messages on data channels: sealing, opening, and handing them to chat and files.
//!
//! What does not open, does not parse or exceeds its limits is dropped and logged. Any message may be
//! lost; the parts repeat what matters.

use call_protocol::MemberId;
use call_protocol::channel::PeerMessage;
use call_protocol::ui::UiEvent;

use crate::call::Call;
use crate::context::Ctx;
use crate::output::Output;

impl Call {
    /// Sends a message to one member, or to everybody. Without a seat nothing is sent.
    pub(crate) fn send_message(
        &mut self,
        ctx: &mut Ctx<'_>,
        to: Option<MemberId>,
        message: &PeerMessage,
    ) {
        let (Some(me), Some(secured)) = (self.me, &mut self.secured) else {
            return;
        };
        let plain = serde_json::to_vec(message).unwrap_or_default();
        match secured.sealer.seal_message(me, to, &plain) {
            Ok(data) => ctx.out.push_back(Output::Channel { to, data }),
            Err(error) => tracing::warn!(%error, "own message cannot be sealed"),
        }
    }

    /// A member's message arrived.
    pub(crate) fn handle_channel(&mut self, ctx: &mut Ctx<'_>, from: MemberId, data: &[u8]) {
        let (Some(me), Some(secured)) = (self.me, &mut self.secured) else {
            return;
        };
        if !self.roster.contains(from) {
            return tracing::debug!(%from, "message of somebody who is not there");
        }
        let plain = match secured.sealer.open_message(from, me, data) {
            Ok(plain) => plain,
            Err(error) => return tracing::debug!(%from, %error, "message dropped"),
        };
        match PeerMessage::parse(&plain) {
            Some(PeerMessage::File(signal)) => self.files.handle_signal(ctx.now, from, signal),
            Some(PeerMessage::Reaction { emoji }) => {
                let reaction = UiEvent::Reaction {
                    member: from,
                    emoji,
                };
                ctx.out.push_back(Output::Ui(reaction));
            }
            Some(message) => tracing::debug!(%from, ?message, "message for nobody"),
            None => tracing::debug!(%from, "message malformed"),
        }
    }
}
