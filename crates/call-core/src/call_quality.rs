//! What the quality controller is told, what follows from what it says, and what is said to members
//! about how large their pictures are shown.

use std::time::Instant;

use call_protocol::peer::PeerSignal;
use call_protocol::{MediaSource, MemberId};

use crate::call::Call;
use crate::context::Ctx;
use crate::output::{CallEvent, MediaOp};
use crate::quality::{QualityReport, Wanted};
use crate::roster::Member;

impl Call {
    /// Links, encoder and pictures were looked at.
    pub(crate) fn handle_quality(&mut self, ctx: &mut Ctx<'_>, report: QualityReport) {
        if !self.is_over() {
            let wanted = self.wanted();
            self.quality
                .handle_report(ctx.now, report, &wanted, ctx.low_data);
        }
    }

    /// What others want of one's own pictures changed.
    pub(crate) fn handle_wanted(&mut self, ctx: &mut Ctx<'_>) {
        let wanted = self.wanted();
        self.quality.handle_wanted(ctx.now, &wanted, ctx.low_data);
    }

    /// A member says how large they show one's own picture.
    pub(crate) fn handle_shown(&mut self, ctx: &mut Ctx<'_>, from: MemberId, size: (u32, u32)) {
        if let Some(member) = self.roster.get_mut(from) {
            member.shows_px = Some(size);
            self.handle_wanted(ctx);
        }
    }

    fn wanted(&self) -> Wanted {
        let members = self.roster.iter();
        let shown = members.filter_map(|(id, member)| Some((id, member.shows_px?)));
        let copies = self.roster.iter().map(|(_, member)| member.asks_copies);
        Wanted {
            shown: shown.collect(),
            sound_copies: copies.max().unwrap_or(0),
            ..self.layers.wanted()
        }
    }

    /// Tells members with a direct link how large their pictures are shown, if that is news.
    pub(crate) fn tell_shown(&mut self, ctx: &mut Ctx<'_>) {
        for id in self.roster.ids() {
            let size = self.subscriptions.size_of(id, MediaSource::Camera);
            let member = self.roster.get_mut(id).filter(|member| has_direct(member));
            let told = member.and_then(|member| member.shown.poll(ctx.now, size));
            if let Some((width_px, height_px)) = told {
                let source = MediaSource::Camera;
                let signal = PeerSignal::Shown {
                    source,
                    width_px,
                    height_px,
                };
                self.send_signal(ctx, id, &signal);
            }
        }
    }

    pub(crate) fn shown_timeouts(&self) -> impl Iterator<Item = Instant> {
        let members = self.roster.iter().filter(|(_, member)| has_direct(member));
        members.filter_map(|(id, member)| {
            let size = self.subscriptions.size_of(id, MediaSource::Camera);
            member.shown.timeout(size)
        })
    }

    /// Tells the encoders what is news to them.
    pub(crate) fn set_quality(&mut self, ctx: &mut Ctx<'_>) {
        while let Some(op) = self.quality.poll() {
            ctx.media(op);
        }
        let limit = self.quality.size_limit(ctx.low_data);
        self.subscriptions.limit(limit);
        let on = self.quality.is_sound_only();
        if std::mem::replace(&mut self.sound_only, on) != on {
            tracing::info!(on, "sound only, for lack of bandwidth");
            ctx.event(CallEvent::SoundOnly { member: None, on });
        }
    }

    /// Nothing is encoded any more.
    pub(crate) fn end_quality(&mut self, ctx: &mut Ctx<'_>) {
        self.quality.stop();
        self.sound_only = false;
        ctx.media(MediaOp::LimitFiles { limit_bps: None });
    }
}

/// Whether media can flow over a direct link.
fn has_direct(member: &Member) -> bool {
    member.direct.connected_since().is_some()
}
