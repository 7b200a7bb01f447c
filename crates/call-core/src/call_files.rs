//! Files of a call: hands what happens to [`crate::files`], and carries out what it wants.

use call_protocol::ErrorCode;
use call_protocol::channel::PeerMessage;
use call_protocol::ui::UiCommand;

use crate::call::Call;
use crate::context::Ctx;
use crate::files::Action;
use crate::output::Output;

impl Call {
    /// The person wants something of files.
    ///
    /// # Errors
    /// As [`crate::files::Files::handle_command`], and [`ErrorCode::BadState`] after the call's end.
    pub(crate) fn handle_file_command(
        &mut self,
        ctx: &mut Ctx<'_>,
        command: UiCommand,
    ) -> Result<(), ErrorCode> {
        if self.is_over() {
            return Err(ErrorCode::BadState);
        }
        let seed = &mut ctx.seed;
        self.files.handle_command(ctx.now, command, || seed.draw())
    }

    /// Does what is due about files; follows every input.
    pub(crate) fn care_for_files(&mut self, ctx: &mut Ctx<'_>) {
        if let Some(me) = self.me {
            self.files.handle_seat(me, &self.folders);
        }
        let known = self.roster.iter().filter(|(_, member)| member.is_known);
        let members = known.map(|(id, member)| {
            let link = (!member.direct.is_absent()).then(|| member.direct.view());
            (id, member.name.as_str(), link)
        });
        self.files.handle_members(ctx.now, members);
        self.carry_out(ctx);
    }

    /// Withdraws what is offered, and lets the disk keep what is unfinished.
    pub(crate) fn end_files(&mut self, ctx: &mut Ctx<'_>) {
        self.files.end();
        self.carry_out(ctx);
    }

    fn carry_out(&mut self, ctx: &mut Ctx<'_>) {
        while let Some(action) = self.files.poll_action() {
            match action {
                Action::Send { to, signal } => {
                    self.send_message(ctx, to, &PeerMessage::File(signal));
                }
                Action::Op(op) => ctx.out.push_back(Output::File(op)),
                Action::Event(event) => ctx.event(event),
                Action::Link { member, wanted } => self.want_direct(ctx, member, wanted),
            }
        }
    }
}
