//! Taking a seat: the first one, the same one again, or a new one in its place.
//!
//! A server that lost its memory, or gave the seat up, gives the same id again where it can: in a mesh
//! that is the same seat, and those who are not back yet are waited for (`call_away`).
//!
//! Invariants: a seat that is the same keeps links, keys and what was settled; a new one, whoever
//! brought it about, starts over with a media salt that no seat ever had.

use call_protocol::MemberId;
use call_protocol::ui::CallPhase;
use call_protocol::wire::{ClientMessage, LeaveReason, RosterEntry, TopologyMode};

use crate::call::Call;
use crate::context::Ctx;
use crate::output::{CallEvent, MediaOp};

impl Call {
    /// The server gives a seat.
    pub(crate) fn handle_joined(
        &mut self,
        ctx: &mut Ctx<'_>,
        member: MemberId,
        resumed: bool,
        members: &[RosterEntry],
        topology: TopologyMode,
    ) {
        self.phase = CallPhase::Joined;
        let reason = "joined".to_owned();
        let is_mesh = [self.topology, topology] == [TopologyMode::Mesh; 2];
        // Whoever did not ask for it has told the others a new salt.
        let is_same = self.asked_to_resume && self.me == Some(member);
        if is_same && (resumed || is_mesh) {
            ctx.event(CallEvent::Resumed);
            if resumed {
                self.remove_missing(ctx, members);
            } else {
                let is_back = |id| members.iter().any(|entry| entry.member == id);
                self.miss_members(ctx.now, is_back);
                self.care.start_over();
            }
            self.catch_up(ctx);
            self.set_topology(ctx, topology, reason);
        } else {
            // Ids of another lifetime of the room may mean other people.
            self.drop_everybody(ctx);
            self.care.take_seat();
            self.reseal_at = None;
            self.me = Some(member);
            self.chat.take_seat(ctx.now, member, !members.is_empty());
            if self.asked_to_resume {
                self.draw_salt(ctx);
            }
            tracing::info!(others = members.len(), "joined");
            let others = members.iter().map(|entry| entry.member).collect();
            ctx.event(CallEvent::Joined {
                member,
                members: others,
            });
            if let Some(salt) = self.own_profile.salt() {
                ctx.media(MediaOp::SealAs { member, salt });
            }
            // Nobody is there yet to be moved: who is added goes straight to the room's mode.
            self.set_topology(ctx, topology, reason);
        }
        for entry in members {
            self.add_member(ctx, entry.member, &entry.profile);
        }
    }

    /// A salt no seat ever had: with the same salt and id, counters would start over under the same
    /// key.
    pub(crate) fn draw_salt(&mut self, ctx: &mut Ctx<'_>) {
        if self.sealed_media {
            self.own_profile.set_salt(ctx.seed.draw());
        }
    }

    /// Sends `join`.
    pub(crate) fn send_join(&mut self, ctx: &mut Ctx<'_>) {
        let resume = self.signalling.as_ref().and_then(|it| it.resume.clone());
        self.asked_to_resume = resume.is_some();
        if !self.asked_to_resume {
            self.draw_salt(ctx);
        }
        let (Some(secured), Some(signalling)) = (&mut self.secured, &self.signalling) else {
            return;
        };
        let message = ClientMessage::Join {
            room: secured.keys.room_id(),
            auth: secured.keys.auth(),
            profile: self.own_profile.current(ctx, &mut secured.sealer),
            resume,
        };
        signalling.send(ctx.out, message);
    }

    /// Sends one's own profile if it changed and the last one is not too recent.
    pub(crate) fn publish_profile(&mut self, ctx: &mut Ctx<'_>) {
        let (Some(secured), Some(signalling)) = (&mut self.secured, &self.signalling) else {
            return;
        };
        let due = self.own_profile.due(&ctx.profile);
        if signalling.is_joined() && due.is_some_and(|at| at <= ctx.now) {
            let profile = self.own_profile.current(ctx, &mut secured.sealer);
            signalling.send(ctx.out, ClientMessage::Update { profile });
        }
    }

    /// One's own seat is a new one: nothing of the old one holds.
    pub(crate) fn drop_everybody(&mut self, ctx: &mut Ctx<'_>) {
        for id in self.roster.ids() {
            self.remove_member(ctx, id);
        }
        if let Some(secured) = &mut self.secured {
            secured.sealer.forget_all();
        }
        if let Some(link) = self.sfu.retire(true) {
            self.close(ctx, link);
        }
        self.subscriptions.renew();
        self.layers.forget_wanted();
        self.reports.renew();
    }

    /// The server knows who left meanwhile. It also leaves out those it gave up while we did not.
    fn remove_missing(&mut self, ctx: &mut Ctx<'_>, entries: &[RosterEntry]) {
        for id in self.roster.ids() {
            if entries.iter().all(|entry| entry.member != id) {
                self.handle_left(ctx, id, LeaveReason::TimedOut);
            }
        }
    }

    /// The seat is the same: says what may have been lost.
    fn catch_up(&mut self, ctx: &mut Ctx<'_>) {
        self.send_pending(ctx);
        self.resume_links(ctx);
        self.repeat_settled(ctx);
        self.chat.handle_paths(ctx.now);
        self.subscriptions.forget_sent();
        self.reports.forget_sent();
    }
}
