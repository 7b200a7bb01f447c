//! Scenarios and random runs of file machines.

use call_protocol::channel::file::{FileSignal, OfferId};
use call_protocol::limits::GROUP_BYTES;
use call_protocol::ui::{TransferState, UiCommand};
use call_protocol::{ErrorCode, limits};

use super::world::{World, ms, secs, states};
use crate::output::CallEvent;

const A: usize = 0;
const B: usize = 1;
const C: usize = 2;

fn two() -> World {
    World::new([1; 32], &["Anna", "Ben"])
}

/// A file of so many groups.
fn file(name: &str, groups: u64) -> String {
    format!("{name}#{}", groups * GROUP_BYTES)
}

fn ended(world: &World, node: usize) -> Vec<(bool, TransferState)> {
    let events = world.nodes[node].events.iter();
    let ends = events.filter_map(|event| match event {
        CallEvent::TransferEnded {
            outgoing, state, ..
        } => Some((*outgoing, *state)),
        _ => None,
    });
    ends.collect()
}

/// An offer from A to B that B accepted, with some of it there.
fn halfway(world: &mut World) -> OfferId {
    let offer = world.offer(A, Some(B), &[&file("a", 100)]);
    world.run(ms(300));
    world.accept_all(B);
    world.run(secs(1));
    let done = world.view(B, offer).unwrap().done_bytes;
    assert!(done > 0 && done < 100 * GROUP_BYTES, "{done}");
    offer
}

fn pause(world: &mut World, node: usize, offer: OfferId, paused: bool) -> Result<(), ErrorCode> {
    let member = world.view(node, offer).unwrap().member.unwrap();
    let offer = offer.to_string();
    world.command(
        node,
        UiCommand::PauseTransfer {
            offer,
            member,
            paused,
        },
    )
}

fn cancel(world: &mut World, node: usize, offer: OfferId) -> Result<(), ErrorCode> {
    let member = world.view(node, offer).unwrap().member;
    let offer = offer.to_string();
    world.command(node, UiCommand::CancelTransfer { offer, member })
}

#[test]
fn files_arrive_empty_ones_too_and_both_sides_know() {
    let mut world = two();
    let paths = [
        file("p/a", 3),
        "p/empty#0".to_owned(),
        "p/small#5".to_owned(),
    ];
    let paths: Vec<&str> = paths.iter().map(String::as_str).collect();
    let offer = world.offer(A, Some(B), &paths);
    assert_eq!(states(&world.nodes[A]), [TransferState::Preparing]);
    world.run(ms(500));
    assert_eq!(states(&world.nodes[A]), [TransferState::Offered]);
    assert_eq!(states(&world.nodes[B]), [TransferState::Asking]);
    let view = world.view(B, offer).unwrap();
    assert_eq!(
        (view.name.as_str(), view.files, view.is_folder),
        ("p", 3, true)
    );
    assert_eq!(view.member_name, "Anna");
    world.run(secs(60));
    assert!(
        world.nodes[B].disk.saved.is_empty(),
        "nothing before the answer"
    );
    world.accept_all(B);
    world.run(secs(5));
    assert_eq!(states(&world.nodes[A]), [TransferState::Done]);
    assert_eq!(states(&world.nodes[B]), [TransferState::Done]);
    let view = world.view(B, offer).unwrap();
    assert_eq!(view.path.as_deref(), Some("/downloads/p"));
    assert_eq!(view.done_bytes, view.size_bytes);
    assert_eq!(world.view(A, offer).unwrap().done_bytes, view.size_bytes);
    assert_eq!(world.nodes[B].disk.placed.len(), 3);
    assert_eq!(world.nodes[B].disk.wasted, 0);
    assert_eq!(ended(&world, A), [(true, TransferState::Done)]);
    assert_eq!(ended(&world, B), [(false, TransferState::Done)]);
    let only_empty = world.offer(A, Some(B), &["nothing#0"]);
    world.run(secs(1));
    world.accept_all(B);
    world.run(secs(1));
    assert_eq!(world.state(A, only_empty), Some(TransferState::Done));
    assert_eq!(world.state(B, only_empty), Some(TransferState::Done));
}

#[test]
fn everybody_present_gets_an_offer_and_answers_alone() {
    let mut world = World::new([2; 32], &["Anna", "Ben", "Cleo"]);
    let offer = world.offer(A, None, &[&file("a", 3)]);
    world.run(secs(1));
    world.accept_all(B);
    let member = world.nodes[A].seat;
    let decline = UiCommand::DeclineFiles {
        offer: offer.to_string(),
        member,
    };
    world.command(C, decline).unwrap();
    world.run(secs(3));
    assert_eq!(
        states(&world.nodes[A]),
        [TransferState::Done, TransferState::Declined]
    );
    assert_eq!(states(&world.nodes[C]), [TransferState::Declined]);
    assert!(
        world.nodes[A]
            .disk
            .served
            .iter()
            .all(|(_, to)| *to == world.nodes[B].seat)
    );
    // Whoever comes later gets nothing.
    world.crash(C, ms(10));
    world.take_seat(C, ms(10));
    world.run(secs(90));
    assert!(world.nodes[C].views.is_empty());
}

#[test]
fn a_lost_offer_is_said_again_and_ends_with_its_receiver() {
    let mut world = two();
    world.loss_percent = 100;
    let offer = world.offer(A, Some(B), &["a#5"]);
    world.run(secs(20));
    assert!(world.nodes[B].views.is_empty());
    assert!(world.sent <= 6, "{}", world.sent);
    world.loss_percent = 0;
    world.run(secs(20));
    assert_eq!(world.state(B, offer), Some(TransferState::Asking));
    world.crash(B, ms(10));
    world.run(secs(1));
    let code = ErrorCode::ReceiverGone;
    assert_eq!(world.state(A, offer), Some(TransferState::Failed { code }));
}

#[test]
fn either_side_pauses_and_goes_on() {
    for node in [A, B] {
        let mut world = two();
        let offer = halfway(&mut world);
        pause(&mut world, node, offer, true).unwrap();
        world.run(secs(2));
        let done = world.view(B, offer).unwrap().done_bytes;
        world.run(secs(100));
        assert_eq!(world.view(B, offer).unwrap().done_bytes, done, "paused");
        for at in [A, B] {
            let by_me = at == node;
            assert_eq!(
                world.state(at, offer),
                Some(TransferState::Paused { by_me })
            );
            assert_eq!(world.view(at, offer).unwrap().rate_bytes_per_s, 0);
        }
        pause(&mut world, node, offer, false).unwrap();
        world.run(secs(10));
        assert_eq!(world.state(A, offer), Some(TransferState::Done));
        assert_eq!(world.state(B, offer), Some(TransferState::Done));
    }
}

#[test]
fn either_side_cancels_and_nothing_is_left() {
    for node in [A, B] {
        let mut world = two();
        let offer = halfway(&mut world);
        assert!(!world.nodes[B].disk.saved.is_empty());
        cancel(&mut world, node, offer).unwrap();
        world.run(secs(2));
        for at in [A, B] {
            let by_me = at == node;
            assert_eq!(
                world.state(at, offer),
                Some(TransferState::Cancelled { by_me })
            );
        }
        assert!(world.nodes[B].disk.saved.is_empty());
        assert_eq!(cancel(&mut world, node, offer), Err(ErrorCode::BadState));
        let (offer, member) = (offer.to_string(), world.view(node, offer).unwrap().member);
        world
            .command(node, UiCommand::DismissTransfer { offer, member })
            .unwrap();
        assert!(world.nodes[node].views.is_empty());
    }
}

#[test]
fn a_lost_link_interrupts_and_what_is_there_is_not_asked_for_again() {
    let mut world = two();
    let offer = halfway(&mut world);
    for _ in 0..3 {
        world.set_path(A, B, false);
        world.run(secs(20));
        for at in [A, B] {
            assert_eq!(world.state(at, offer), Some(TransferState::Interrupted));
        }
        world.set_path(A, B, true);
        world.run(ms(800));
    }
    world.run(secs(10));
    assert_eq!(world.state(B, offer), Some(TransferState::Done));
    assert_eq!(world.state(A, offer), Some(TransferState::Done));
    assert!(
        world.nodes[B].disk.wasted <= 6,
        "{}",
        world.nodes[B].disk.wasted
    );
}

#[test]
fn a_receiver_that_crashed_goes_on_where_it_was_on_another_seat() {
    for lingers in [ms(10), secs(25)] {
        let mut world = two();
        let offer = halfway(&mut world);
        let taken = world.nodes[B].disk.taken;
        world.crash(B, lingers);
        world.run(secs(3));
        world.take_seat(B, ms(10));
        world.run(secs(60));
        assert_eq!(world.state(B, offer), Some(TransferState::Done));
        assert_eq!(
            states(&world.nodes[A]),
            [TransferState::Done],
            "{lingers:?}"
        );
        assert_eq!(world.nodes[B].disk.taken, 100);
        assert!(taken > 10 && world.nodes[B].disk.wasted <= 2);
    }
}

#[test]
fn a_new_seat_of_either_side_goes_on() {
    for node in [A, B] {
        let mut world = two();
        let offer = halfway(&mut world);
        world.take_seat(node, ms(10));
        world.run(secs(30));
        assert_eq!(world.state(A, offer), Some(TransferState::Done));
        assert_eq!(world.state(B, offer), Some(TransferState::Done));
        assert!(world.nodes[B].disk.wasted <= 4);
    }
}

#[test]
fn a_sender_that_leaves_interrupts_and_what_arrived_is_kept() {
    let mut world = two();
    let offer = halfway(&mut world);
    world.leave(A);
    world.run(secs(5));
    assert_eq!(world.state(B, offer), Some(TransferState::Interrupted));
    assert!(!world.nodes[B].disk.saved.is_empty());
    world.leave(B);
    assert!(
        !world.nodes[B].disk.saved.is_empty(),
        "kept for another call"
    );
    world.take_seat(B, ms(10));
    world.run(secs(1_000));
    assert!(
        world.nodes[B].views.is_empty(),
        "not shown while nobody has it"
    );
    assert!(!world.nodes[B].disk.saved.is_empty());
    assert!(world.nodes[B].files.incoming.is_empty(), "given up");
}

#[test]
fn corrupt_groups_are_asked_for_again_but_not_for_ever() {
    let mut world = two();
    let offer = halfway(&mut world);
    world.disk_event(B, super::FileEvent::Corrupt { offer, file: 0 });
    world.run(secs(20));
    assert_eq!(world.state(A, offer), Some(TransferState::Done));
    let offer = world.offer(A, Some(B), &[&file("b", 50)]);
    world.run(ms(500));
    world.accept_all(B);
    world.corrupt_percent = 100;
    world.run(secs(60));
    let code = ErrorCode::FileCorrupt;
    for at in [A, B] {
        assert_eq!(world.state(at, offer), Some(TransferState::Failed { code }));
    }
    assert!(world.nodes[B].disk.saved.is_empty());
}

#[test]
fn a_failing_source_or_disk_is_told_on_both_sides() {
    for (node, code) in [(A, ErrorCode::FileChanged), (B, ErrorCode::DiskFull)] {
        let mut world = two();
        let offer = halfway(&mut world);
        let event = match node {
            A => super::FileEvent::SourceFailed { offer, code },
            _ => super::FileEvent::ReceiveFailed { offer, code },
        };
        world.disk_event(node, event);
        world.run(secs(2));
        for at in [A, B] {
            assert_eq!(world.state(at, offer), Some(TransferState::Failed { code }));
        }
        assert!(world.nodes[B].disk.saved.is_empty());
    }
    let mut world = two();
    world.nodes[B].disk.is_full = true;
    let offer = world.offer(A, Some(B), &["a#5"]);
    world.run(secs(1));
    world.accept_all(B);
    world.run(secs(1));
    let code = ErrorCode::DiskFull;
    for at in [A, B] {
        assert_eq!(world.state(at, offer), Some(TransferState::Failed { code }));
    }
}

#[test]
fn only_some_flow_at_once_and_all_end() {
    let mut world = two();
    let names: Vec<String> = (0..9).map(|n| file(&format!("f{n}"), 30)).collect();
    for name in &names {
        world.offer(A, Some(B), &[name]);
    }
    world.run(ms(500));
    world.accept_all(B);
    for _ in 0..20 {
        world.run(ms(100));
        let flowing = world.nodes[B].files.incoming.values();
        assert!(flowing.filter(|it| it.is_flowing()).count() <= super::FLOWING);
        let seat = world.nodes[B].seat;
        let serving = world.nodes[A].files.outgoing.values();
        assert!(serving.filter(|it| it.is_serving(seat)).count() <= super::FLOWING);
    }
    world.run(secs(20));
    assert_eq!(states(&world.nodes[B]), [TransferState::Done; 9]);
    assert_eq!(states(&world.nodes[A]), [TransferState::Done; 9]);
}

#[test]
fn views_and_reports_are_bounded_and_the_link_is_released() {
    let mut world = two();
    let offer = world.offer(A, Some(B), &[&file("a", 500)]);
    world.run(ms(500));
    world.accept_all(B);
    world.run(secs(2));
    let (seen, sent) = (world.nodes[B].views_seen, world.sent);
    let events = world.nodes[B].events.len();
    world.run(secs(5));
    let seen = world.nodes[B].views_seen - seen;
    assert!((15..=21).contains(&seen), "{seen} views in 5 s");
    assert!(
        (8..=12).contains(&(world.sent - sent)),
        "{}",
        world.sent - sent
    );
    let events = world.nodes[B].events.len() - events;
    assert!((4..=6).contains(&events), "{events} events in 5 s");
    let view = world.view(B, offer).unwrap();
    let want = 50.0 * GROUP_BYTES as f64;
    assert!(
        (view.rate_bytes_per_s as f64 / want - 1.0).abs() < 0.1,
        "{view:?}"
    );
    assert!(view.remaining_s.is_some_and(|it| it <= 5), "{view:?}");
    let rate = world.view(A, offer).unwrap().rate_bytes_per_s as f64;
    assert!((rate / want - 1.0).abs() < 0.2, "{rate}");
    world.run(secs(10));
    assert!(
        world
            .nodes
            .iter()
            .all(|node| node.files.peers.values().any(|it| it.is_link_wanted))
    );
    world.run(super::GRACE);
    assert!(
        world
            .nodes
            .iter()
            .all(|node| node.files.peers.values().all(|it| !it.is_link_wanted))
    );
    let next = world
        .nodes
        .iter()
        .filter_map(|node| node.files.timeout(world.now));
    assert_eq!(next.count(), 0, "nothing left to do");
}

#[test]
fn offers_beyond_the_limits_are_declined_unseen() {
    let mut world = World::new([3; 32], &["Anna", "Ben", "Cleo"]);
    let offered = |n: u32, size_bytes: u64| {
        let mut id = [0; 16];
        id[..4].copy_from_slice(&n.to_le_bytes());
        FileSignal::Offer {
            offer: OfferId(id),
            files: vec![super::world::entry(&format!("/x/f#{size_bytes}"))],
        }
    };
    for n in 0..100_000 {
        let seat = world.nodes[C].seat;
        let now = world.now + ms(u64::from(n));
        world.nodes[B].files.handle_signal(now, seat, offered(n, 5));
        if n % 1_000 == 0 {
            while world.nodes[B].files.poll_action().is_some() {}
        }
    }
    world.now += secs(100);
    assert_eq!(world.nodes[B].files.incoming.len(), limits::PENDING_OFFERS);
    assert!(
        !offered(0, 1 << 63).is_within_limits(),
        "refused when parsed"
    );
    world.nodes[B].views.clear();
    world.run(secs(1));
    // Somebody else's offer is still heard.
    let offer = world.offer(A, Some(B), &["a#5"]);
    world.run(secs(1));
    assert_eq!(world.state(B, offer), Some(TransferState::Asking));
}

#[test]
fn largest_offers_need_no_memory_before_they_are_there() {
    let mut world = two();
    let offer = world.offer(A, Some(B), &[&format!("a#{}", limits::FILE_BYTES)]);
    world.run(secs(1));
    world.accept_all(B);
    world.run(secs(10));
    assert_eq!(world.state(B, offer), Some(TransferState::Running));
    assert!(world.view(B, offer).unwrap().done_bytes > 0);
}

#[test]
fn commands_that_do_not_fit_are_refused() {
    let mut world = two();
    let offer_files = |to, paths: &[&str]| UiCommand::OfferFiles {
        to,
        paths: paths.iter().map(|&path| path.to_owned()).collect(),
    };
    let stranger = call_protocol::MemberId(99);
    let anna = world.nodes[A].seat;
    let offer = world.offer(A, Some(B), &["a#5"]);
    world.run(secs(1));
    let id = offer.to_string();
    let unknown = OfferId([9; 16]).to_string();
    let accept = |offer: &str, member| UiCommand::AcceptFiles {
        offer: offer.to_owned(),
        member,
        folder: None,
    };
    let (bad, gone) = (ErrorCode::BadState, ErrorCode::ReceiverGone);
    let cases = [
        (A, offer_files(Some(stranger), &["/x/a#1"]), gone),
        (A, offer_files(None, &[]), ErrorCode::BadArgument),
        (A, offer_files(None, &[""]), ErrorCode::BadArgument),
        (B, accept("xyz", anna), ErrorCode::BadArgument),
        (B, accept(&unknown, anna), bad),
        (B, accept(&id, stranger), bad),
        (A, accept(&id, anna), bad),
        (
            B,
            UiCommand::PauseTransfer {
                offer: id.clone(),
                member: anna,
                paused: true,
            },
            bad,
        ),
        (
            B,
            UiCommand::DismissTransfer {
                offer: id.clone(),
                member: Some(anna),
            },
            bad,
        ),
        (
            A,
            UiCommand::PauseTransfer {
                offer: id.clone(),
                member: world.nodes[B].seat,
                paused: true,
            },
            bad,
        ),
    ];
    for (node, command, code) in cases {
        assert_eq!(
            world.command(node, command.clone()),
            Err(code),
            "{command:?}"
        );
    }
    world.leave(B);
    world.run(secs(1));
    let nobody = world.command(A, offer_files(None, &["/x/a#1"]));
    assert_eq!(nobody, Err(ErrorCode::ReceiverGone));
}
