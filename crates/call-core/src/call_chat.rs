//! The chat of a call: what the person says, what is shown, and the messages between.

use call_protocol::ErrorCode;
use call_protocol::channel::PeerMessage;

use crate::call::Call;
use crate::chat::SayError;
use crate::context::Ctx;
use crate::output::{CallEvent, Output};

impl Call {
    /// The person says something.
    ///
    /// # Errors
    /// Nothing to say, too long, before there was a seat, or too much before the history came.
    pub(crate) fn say(
        &mut self,
        ctx: &Ctx<'_>,
        text: &str,
        sent_at_ms: u64,
    ) -> Result<(), ErrorCode> {
        if self.is_over() {
            return Err(ErrorCode::BadState);
        }
        let name = ctx.profile.name.clone();
        let said = self.chat.say(ctx.now, name, text, sent_at_ms);
        said.map_err(|error| match error {
            SayError::Text => ErrorCode::BadArgument,
            SayError::NotJoined => ErrorCode::BadState,
            SayError::Full => ErrorCode::RateLimited,
        })
    }

    /// Sends what is due.
    pub(crate) fn care_for_chat(&mut self, ctx: &mut Ctx<'_>) {
        let is_joined = self.is_joined();
        self.chat.care(ctx.now, is_joined);
        while let Some((to, signal)) = self.chat.poll_message() {
            self.send_message(ctx, to, &PeerMessage::Chat(signal));
        }
    }

    /// Shows what changed.
    pub(crate) fn report_chat(&mut self, ctx: &mut Ctx<'_>) {
        for (from, entry) in self.chat.poll_news() {
            let (name, text) = (entry.name, entry.text);
            ctx.event(CallEvent::Chat { from, name, text });
        }
        let views = self.chat.poll_views();
        ctx.out.extend(views.into_iter().map(Output::Ui));
    }
}
