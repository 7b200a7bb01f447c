//! Care for the room: the host and what they ask, who waits, and what follows from a removal.
//!
//! Invariants: the server's word alone makes nobody host whom members know another host beside; a
//! question to mute is shown when the host sealed it, and answered by nobody but the person; after a
//! removal everybody seals with keys that the removed one was not told.

use std::time::Duration;

use call_protocol::care::{Door, Moderation};
use call_protocol::peer::{PeerSignal, Profile, clean_name};
use call_protocol::ui::{CallPhase, CareCommand};
use call_protocol::wire::ClientMessage;
use call_protocol::{ErrorCode, MemberId};

use crate::call::Call;
use crate::care::{QUESTIONS, Standing};
use crate::context::Ctx;
use crate::output::{CallEvent, MediaOp};

/// How long after announcing new keys they are used. Everybody who is there has heard of them by
/// then, over any path to the server that is fit for a call; lower may cost a moment of sound.
const RESEAL_AFTER: Duration = Duration::from_secs(1);

impl Call {
    /// The person cares for the room.
    ///
    /// # Errors
    /// There is no seat, no such member, or one is not host.
    pub(crate) fn handle_care_command(
        &mut self,
        ctx: &mut Ctx<'_>,
        command: CareCommand,
    ) -> Result<(), ErrorCode> {
        let standing = match self.me.filter(|_| self.is_joined()) {
            None => Err(ErrorCode::BadState),
            Some(me) if self.care.host() != Some(me) => Err(ErrorCode::NotHost),
            Some(_) => Ok(()),
        };
        let is_member = |member| match self.roster.contains(member) {
            true => Ok(()),
            false => Err(ErrorCode::UnknownMember),
        };
        let action = match command {
            CareCommand::KeepMicrophone => {
                self.care.asked_to_mute = false;
                return Ok(());
            }
            _ if standing.is_err() => return standing,
            CareCommand::SetDoor { door } => Moderation::Door { door },
            CareCommand::Admit { knock } => Moderation::Admit { knock },
            CareCommand::Refuse { knock } => Moderation::Refuse { knock },
            CareCommand::Remove { member } => {
                is_member(member)?;
                Moderation::Remove { member }
            }
            CareCommand::EndForAll => Moderation::End,
            CareCommand::AskToMute { member } => {
                member.map_or(Ok(()), is_member)?;
                let asked = member.map_or_else(|| self.roster.ids(), |member| vec![member]);
                for member in asked {
                    self.ask_to_mute(ctx, member);
                }
                return Ok(());
            }
            CareCommand::MakeHost { member } => {
                is_member(member)?;
                // The server hears of it once the members do.
                self.care.hand_on(member);
                return Ok(());
            }
        };
        self.send(ctx, ClientMessage::Moderate { action });
        Ok(())
    }

    fn ask_to_mute(&mut self, ctx: &mut Ctx<'_>, member: MemberId) {
        let is_heard = |it: &crate::roster::Member| it.is_known && !it.muted;
        if self.roster.get(member).is_some_and(is_heard) {
            self.send_signal(ctx, member, &PeerSignal::AskMute);
        }
    }

    /// Somebody asks one to mute.
    pub(crate) fn handle_ask_mute(&mut self, ctx: &mut Ctx<'_>, from: MemberId) {
        if self.care.host() != Some(from) {
            return tracing::debug!(member = %from, "only the host asks to mute");
        }
        let is_new = !self.care.asked_to_mute && !ctx.profile.muted;
        if is_new && self.questions.take(ctx.now, QUESTIONS, 1) {
            self.care.asked_to_mute = true;
            ctx.event(CallEvent::AskedToMute { member: from });
        }
    }

    /// The server lets one wait. Whatever seat there was is given up.
    pub(crate) fn handle_waiting(&mut self, ctx: &mut Ctx<'_>) {
        self.drop_everybody(ctx);
        self.me = None;
        self.phase = CallPhase::Knocking;
        tracing::info!("waiting to be let in");
        ctx.event(CallEvent::Waiting);
    }

    /// Somebody wants to be let in.
    pub(crate) fn handle_knock(&mut self, ctx: &mut Ctx<'_>, knock: u32, sealed: &str) {
        let plain = self
            .secured
            .as_ref()
            .and_then(|secured| secured.sealer.read_profile(sealed).ok());
        let profile = plain.and_then(|plain| serde_json::from_slice::<Profile>(&plain).ok());
        // Who does not hold the code has nothing to show, and is shown to be nobody one knows.
        let name = clean_name(&profile.map(|profile| profile.name).unwrap_or_default());
        if self.care.add_knock(knock, name.clone()) {
            ctx.event(CallEvent::Knock { knock, name });
        }
    }

    /// The server says who may come in.
    pub(crate) fn handle_door(&mut self, ctx: &mut Ctx<'_>, door: Door) {
        if std::mem::replace(&mut self.care.door, door) != door {
            ctx.event(CallEvent::Door { door });
        }
    }

    /// Takes a new host where they are to be believed, and has the role follow the person's wish.
    pub(crate) fn care_for_host(&mut self, ctx: &mut Ctx<'_>) {
        let Some(me) = self.me else { return };
        let standing = |member| {
            let member = self.roster.get(member);
            member.map_or_else(Standing::default, |member| Standing {
                is_present: member.away_until.is_none(),
                says: member.says_host,
            })
        };
        if let Some(host) = self.care.settle(me, standing) {
            ctx.event(CallEvent::Host { member: host });
        }
        self.care.asked_to_mute &= !ctx.profile.muted;
        ctx.profile.host = self.care.says(self.me);
    }

    /// Tells the server of a new host once the members were told.
    pub(crate) fn hand_role_on(&mut self, ctx: &mut Ctx<'_>) {
        let Some(me) = self.me else { return };
        let heir = self.care.heir_to_tell(me);
        if let Some(member) = heir.filter(|_| self.own_profile.due(&ctx.profile).is_none()) {
            self.care.heir_is_told();
            let action = Moderation::Host { member };
            self.send(ctx, ClientMessage::Moderate { action });
        }
    }

    /// Somebody was removed: what is sealed from now on is not for them.
    pub(crate) fn change_keys(&mut self, ctx: &mut Ctx<'_>) {
        if self.sealed_media {
            self.draw_salt(ctx);
            self.reseal_at = Some(ctx.now + RESEAL_AFTER);
        }
    }

    /// Seals with the announced keys when it is time.
    pub(crate) fn care_for_keys(&mut self, ctx: &mut Ctx<'_>) {
        let is_told = self.own_profile.due(&ctx.profile).is_none();
        let is_due = self.reseal_at.is_some_and(|at| at <= ctx.now) && is_told;
        if let Some(salt) = self.own_profile.salt().filter(|_| is_due) {
            self.reseal_at = None;
            ctx.media(MediaOp::Reseal { salt });
        }
    }
}
