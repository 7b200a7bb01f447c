//! What the quality controller is told, and what follows from what it says.

use crate::call::Call;
use crate::context::Ctx;
use crate::output::{CallEvent, MediaOp};
use crate::quality::QualityReport;

impl Call {
    /// Links, encoder and pictures were looked at.
    pub(crate) fn handle_quality(&mut self, ctx: &mut Ctx<'_>, report: QualityReport) {
        if !self.is_over() {
            let wanted = self.layers.wanted();
            self.quality
                .handle_report(ctx.now, report, wanted, ctx.low_data);
        }
    }

    /// Tells the encoders what is news to them.
    pub(crate) fn set_quality(&mut self, ctx: &mut Ctx<'_>) {
        while let Some(op) = self.quality.poll() {
            ctx.media(op);
        }
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
