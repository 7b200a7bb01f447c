//! How the call's connections do, told once a second: the figures as the UI shows them, and what is
//! the matter.
//!
//! Deliberately not here: finding out what is the matter (`diagnosis`).

use call_protocol::ui::UiEvent;
use call_protocol::ui::network::{AppInfo, MemberNetworkView, NetworkView, PathView, UplinkView};
use call_protocol::{MemberId, limits};

use crate::call::Call;
use crate::context::Ctx;
use crate::diagnosis::{LinkSample, MemberSample, StatsSample};
use crate::input::LinkPeer;
use crate::output::{CallEvent, Output};

impl Call {
    /// Another second's figures. Of links and members that are gone they are left out.
    pub(crate) fn handle_stats(&mut self, ctx: &mut Ctx<'_>, mut sample: StatsSample) {
        if self.is_over() || self.me.is_none() || self.roster.is_empty() {
            return;
        }
        sample
            .members
            .retain(|member| self.roster.contains(member.id));
        sample.members.sort_by_key(|member| member.id);
        sample.members.truncate(limits::ROOM_MEMBERS);
        sample.links.retain(|link| match link.id.peer {
            LinkPeer::Member(member) => self.roster.contains(member),
            LinkPeer::Sfu => true,
            LinkPeer::Data(_) => false,
        });
        // While a pair moves it has both, and may have an old one of each.
        sample.links.truncate(2 * limits::ROOM_MEMBERS);
        sample.layers.truncate(limits::SFU_LAYERS);
        let before = self.diagnosis.verdict();
        let mut view = view(&sample);
        self.diagnosis.handle_sample(ctx.now, sample);
        let verdict = self.diagnosis.verdict();
        if verdict != before {
            tracing::info!(cause = ?verdict.map(|it| it.cause), "what is the matter changed");
            ctx.event(CallEvent::Diagnosis { verdict });
        }
        view.verdict = verdict;
        ctx.out.push_back(Output::Ui(UiEvent::Network { view }));
    }

    /// With nobody there, nothing is the matter.
    pub(crate) fn forget_stats(&mut self, ctx: &mut Ctx<'_>) {
        if !self.roster.is_empty() || self.diagnosis.is_idle() {
            return;
        }
        let told = std::mem::take(&mut self.diagnosis).verdict();
        if told.is_some() {
            ctx.event(CallEvent::Diagnosis { verdict: None });
        }
        let view = view(&StatsSample::default());
        ctx.out.push_back(Output::Ui(UiEvent::Network { view }));
    }
}

fn view(sample: &StatsSample) -> NetworkView {
    let narrowest = sample
        .links
        .iter()
        .filter(|link| link.target_bps > 0)
        .min_by_key(|link| link.target_bps);
    let losses = sample.links.iter().map(|link| link.loss_out);
    NetworkView {
        verdict: None,
        members: sample
            .members
            .iter()
            .map(|member| member_view(member, &sample.links))
            .collect(),
        up: UplinkView {
            layers: sample.layers.clone(),
            bitrate_bps: sample.bitrate_bps,
            target_bps: narrowest.map_or(0, |link| link.target_bps),
            wanted_bps: narrowest.map_or(0, |link| link.wanted_bps),
            loss: share(losses.fold(0.0, f64::max)),
            encoder_busy: share(sample.encoder_busy),
        },
        down_bps: sample.members.iter().map(|member| member.bitrate_bps).sum(),
        app: AppInfo {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            os: std::env::consts::OS.to_owned(),
            arch: std::env::consts::ARCH.to_owned(),
        },
    }
}

fn member_view(member: &MemberSample, links: &[LinkSample]) -> MemberNetworkView {
    let carrier = carrier(member.id, links);
    let direct = carrier.filter(|link| link.id.peer != LinkPeer::Sfu);
    MemberNetworkView {
        id: member.id,
        codec: member.codec,
        width: member.width,
        height: member.height,
        fps: positive(member.fps),
        bitrate_bps: member.bitrate_bps,
        loss: share(
            direct
                .map_or(0.0, |link| link.loss_in)
                .max(member.sound_loss),
        ),
        rtt_ms: carrier.and_then(|link| link.rtt_ms).map(positive),
        jitter_ms: positive(member.jitter_ms),
        concealed: share(member.concealed),
        path: carrier.map(|link| match (link.id.peer, link.path) {
            (LinkPeer::Sfu, PathView::Host | PathView::Srflx) => PathView::Sfu,
            (_, path) => path,
        }),
    }
}

/// The link over which a member's media comes: the direct one while there is one.
fn carrier(member: MemberId, links: &[LinkSample]) -> Option<&LinkSample> {
    let of = |peer| links.iter().rfind(|link| link.id.peer == peer);
    of(LinkPeer::Member(member)).or_else(|| of(LinkPeer::Sfu))
}

/// What JSON can hold and a person understands.
fn positive(figure: f64) -> f64 {
    if figure.is_finite() {
        figure.max(0.0)
    } else {
        0.0
    }
}

fn share(figure: f64) -> f64 {
    positive(figure).min(1.0)
}
