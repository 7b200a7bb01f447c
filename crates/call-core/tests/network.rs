//! What a session tells of the call's connections, once a second.

use std::time::Duration;

use call_core::{CallEvent, Input, LinkId, LinkPeer, LinkSample, MemberSample, StatsSample};
use call_protocol::MemberId;
use call_protocol::ui::UiCommand;
use call_protocol::ui::network::{Cause, PathView, Severity, Verdict};

use crate::world::World;

const SECOND: Duration = Duration::from_secs(1);
/// Nobody in the room.
const STRANGER: MemberId = MemberId(9_999);

fn sample(members: &[MemberId], loss_out: f64) -> StatsSample {
    let link = |member: &MemberId| LinkSample {
        id: LinkId {
            peer: LinkPeer::Member(*member),
            generation: 1,
        },
        is_interrupted: false,
        path: PathView::Srflx,
        rtt_ms: Some(f64::NAN),
        loss_out,
        loss_in: 7.0,
        sent_bps: 100_000,
        target_bps: 400_000,
        wanted_bps: 500_000,
    };
    let member = |member: &MemberId| MemberSample {
        id: *member,
        codec: None,
        width: 640,
        height: 360,
        fps: 15.0,
        bitrate_bps: 0,
        frozen: 0.0,
        sound_loss: 0.0,
        concealed: f64::NAN,
        jitter_ms: 4.0,
    };
    StatsSample {
        links: members.iter().map(link).collect(),
        members: members.iter().map(member).collect(),
        ..StatsSample::default()
    }
}

fn verdicts(world: &World) -> Vec<Option<Verdict>> {
    let events = world.clients[0].events.iter();
    let told = events.filter_map(|event| match event {
        CallEvent::Diagnosis { verdict } => Some(*verdict),
        _ => None,
    });
    told.collect()
}

#[test]
fn figures_and_what_is_the_matter_are_told_until_everybody_is_gone() {
    let mut world = World::in_call(2);
    let there = world.me(1);
    for _ in 0..8 {
        world.input(0, Input::Stats(sample(&[STRANGER, there], 0.06)));
        world.run(SECOND);
    }
    let views = &world.clients[0].networks;
    assert_eq!(views.len(), 8, "one a second");
    let view = views.last().unwrap();
    let shown: Vec<_> = view.members.iter().map(|member| member.id).collect();
    assert_eq!(shown, [there], "nobody who is not there");
    let member = &view.members[0];
    assert_eq!(
        (member.path, member.rtt_ms, member.loss, member.concealed),
        (Some(PathView::Srflx), Some(0.0), 1.0, 0.0),
        "figures are such as JSON can hold"
    );
    let up = &view.up;
    assert_eq!(
        (up.target_bps, up.wanted_bps, up.loss),
        (400_000, 500_000, 0.06)
    );
    let uplink = Verdict {
        cause: Cause::MyUplink,
        member: None,
        severity: Severity::Mild,
    };
    assert_eq!(view.verdict, Some(uplink));
    assert_eq!(verdicts(&world), [Some(uplink)], "told when it changes");

    world.command(1, UiCommand::LeaveCall);
    world.run(SECOND);
    assert_eq!(verdicts(&world), [Some(uplink), None]);
    let views = &world.clients[0].networks;
    assert!(views.last().is_some_and(|view| view.members.is_empty()));
    let count = views.len();
    world.input(0, Input::Stats(sample(&[there], 0.5)));
    assert_eq!(
        world.clients[0].networks.len(),
        count,
        "alone there is nothing to tell"
    );
}

#[test]
fn without_a_call_there_are_no_figures() {
    let mut world = World::new(1);
    world.input(0, Input::Stats(sample(&[MemberId(1)], 0.5)));
    world.run(SECOND);
    assert!(world.clients[0].networks.is_empty() && verdicts(&world).is_empty());
}
