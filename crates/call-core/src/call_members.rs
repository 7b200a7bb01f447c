//! The members of a call: who is there, their profiles and media keys, and how they are heard.
//!
//! A profile that does not open, does not parse or exceeds its limits is dropped and logged; at
//! worst that member is shown as "Guest" without a link. Media of a member whose profile holds no
//! usable salt is never opened where media is sealed.

use call_protocol::MemberId;
use call_protocol::peer::Profile;

use crate::call::Call;
use crate::context::Ctx;
use crate::media_salt;
use crate::output::{CallEvent, LinkOp, MediaOp};
use crate::roster::Member;

impl Call {
    /// Somebody is in the room.
    pub(crate) fn add_member(&mut self, ctx: &mut Ctx<'_>, id: MemberId, sealed: &str) {
        let Some(me) = self.me else { return };
        if self.roster.contains(id) && self.recognise(ctx, id, sealed) {
            self.update_member(ctx, id, sealed);
            return self.take_back(ctx, id);
        }
        let profile = self.open_profile(id, sealed);
        let Some(member) = self.roster.add(id, me) else {
            tracing::debug!(member = %id, "roster entry refused");
            return;
        };
        if let Some(profile) = &profile {
            member.apply(profile, me);
        }
        let (sound_only, sharing) = (member.sound_only, member.sharing);
        let name = member.name.clone();
        ctx.event(CallEvent::MemberJoined { member: id, name });
        if sound_only {
            let member = Some(id);
            ctx.event(CallEvent::SoundOnly { member, on: true });
        }
        if sharing {
            let (member, on) = (id, true);
            ctx.event(CallEvent::Sharing { member, on });
        }
        if let Some(profile) = &profile {
            self.chat.add_member(id);
            self.take_salt(ctx, id, profile);
            self.align(ctx, id);
            self.align_data(ctx, id);
        }
    }

    /// Somebody's profile changed, or could be read at last.
    pub(crate) fn update_member(&mut self, ctx: &mut Ctx<'_>, id: MemberId, sealed: &str) {
        let Some(me) = self.me.filter(|_| self.roster.contains(id)) else {
            return;
        };
        let Some(profile) = self.open_profile(id, sealed) else {
            return;
        };
        let Some(member) = self.roster.get_mut(id) else {
            return;
        };
        let was_known = member.is_known;
        let (was_sound_only, was_sharing) = (member.sound_only, member.sharing);
        member.apply(&profile, me);
        let (on, sharing) = (member.sound_only, member.sharing);
        if on != was_sound_only {
            let member = Some(id);
            ctx.event(CallEvent::SoundOnly { member, on });
        }
        if sharing != was_sharing {
            let (member, on) = (id, sharing);
            ctx.event(CallEvent::Sharing { member, on });
        }
        self.take_salt(ctx, id, &profile);
        if !was_known {
            // Only now is there a session to seal signals for.
            self.chat.add_member(id);
            self.align(ctx, id);
            self.align_data(ctx, id);
        }
    }

    fn take_salt(&mut self, ctx: &mut Ctx<'_>, id: MemberId, profile: &Profile) {
        let salt = media_salt::parse(&profile.media_salt).filter(|_| self.sealed_media);
        let Some(member) = self.roster.get_mut(id) else {
            return;
        };
        if std::mem::replace(&mut member.salt, salt) == salt {
            return;
        }
        ctx.media(match salt {
            Some(salt) => MediaOp::OpenMember { member: id, salt },
            None => MediaOp::ForgetMember { member: id },
        });
    }

    fn open_profile(&mut self, id: MemberId, sealed: &str) -> Option<Profile> {
        let secured = self.secured.as_mut()?;
        let plain = secured
            .sealer
            .open_profile(id, sealed)
            .inspect_err(|error| {
                tracing::debug!(member = %id, %error, code = ?error.code(), "profile dropped");
            });
        serde_json::from_slice(&plain.ok()?).ok()
    }

    /// Somebody is gone.
    pub(crate) fn remove_member(&mut self, ctx: &mut Ctx<'_>, id: MemberId) {
        let Some(member) = self.roster.remove(id) else {
            return;
        };
        for link in member.links() {
            ctx.link_op(LinkOp::Close { link });
        }
        if let Some(secured) = &mut self.secured {
            secured.sealer.forget(id);
        }
        self.pending.retain(|(link, _)| link.member() != Some(id));
        self.reports.forget(id);
        self.care.handle_gone(self.me, id);
        self.chat.remove_member(id);
        self.files.handle_left(ctx.now, id);
        ctx.media(MediaOp::ForgetMember { member: id });
        ctx.event(CallEvent::MemberLeft {
            member: id,
            name: member.name,
        });
    }

    /// Changes how a member is heard here. Does nothing for somebody who is not there.
    pub(crate) fn set_member_sound(
        &mut self,
        ctx: &mut Ctx<'_>,
        id: MemberId,
        change: impl FnOnce(&mut Member),
    ) {
        if let Some(member) = self.roster.get_mut(id) {
            change(member);
            ctx.media(member.sound(id));
        }
    }
}
