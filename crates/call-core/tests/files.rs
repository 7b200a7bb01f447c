//! Files in whole sessions: offers, links and the disk's part by hand. How transfers behave when things
//! go wrong is tested at the file machine itself.

use std::time::Duration;

use call_core::{CallEvent, FileEvent, FileOp, Input, Output, VerifiedFile};
use call_protocol::channel::file::{Digest, FileEntry, GroupRange, OfferId};
use call_protocol::limits::GROUP_BYTES;
use call_protocol::ui::{TransferState, TransferView, UiCommand, UiEvent};
use call_protocol::wire::TopologyMode;
use call_protocol::{ErrorCode, MemberId};

use crate::world::World;

const SECOND: Duration = Duration::from_secs(1);
const GROUPS: u32 = 400;

fn transfers(world: &World, client: usize) -> Vec<TransferView> {
    let call = world.view(client).call.as_ref();
    call.map(|call| call.transfers.clone()).unwrap_or_default()
}

fn states(world: &World, client: usize) -> Vec<TransferState> {
    let transfers = transfers(world, client);
    transfers.iter().map(|transfer| transfer.state).collect()
}

fn file(world: &mut World, client: usize, event: FileEvent) {
    world.input(client, Input::File(event));
}

fn offer_files(to: Option<MemberId>) -> UiCommand {
    UiCommand::OfferFiles {
        to,
        paths: vec!["/srv/c0/photo.jpg".to_owned()],
    }
}

/// The first client offers a file to the second, who sees it.
fn offered(world: &mut World) -> OfferId {
    let to = Some(world.me(1));
    world.command(0, offer_files(to));
    let prepare = world.clients[0].file_ops.last();
    let Some(FileOp::Prepare { offer, paths }) = prepare.cloned() else {
        panic!("{prepare:?}")
    };
    assert_eq!(paths, [std::path::Path::new("/srv/c0/photo.jpg")]);
    let files = vec![FileEntry {
        path: "../photo.jpg".to_owned(),
        size_bytes: u64::from(GROUPS) * GROUP_BYTES,
        root: Digest([7; 32]),
    }];
    file(world, 0, FileEvent::Prepared { offer, files });
    world.run(SECOND);
    assert_eq!(states(world, 0), [TransferState::Offered]);
    assert_eq!(states(world, 1), [TransferState::Asking]);
    offer
}

fn accept(world: &mut World, offer: OfferId) {
    let command = UiCommand::AcceptFiles {
        offer: offer.to_string(),
        member: world.me(0),
        folder: Some("/srv/c1/in".to_owned()),
    };
    world.command(1, command);
    let receive = world.clients[1].file_ops.last();
    assert!(
        matches!(receive, Some(FileOp::Receive { folder: Some(folder), files, sender_name, .. })
            if folder == std::path::Path::new("/srv/c1/in")
                && files[0].parts == ["photo.jpg"]
                && sender_name == "C0"),
        "{receive:?}"
    );
    let verified = vec![VerifiedFile::default()];
    file(world, 1, FileEvent::Ready { offer, verified });
    world.run(2 * SECOND);
}

fn verify(world: &mut World, offer: OfferId, first: u32, count: u32) {
    let groups = vec![GroupRange { first, count }];
    let verified = FileEvent::Verified {
        offer,
        file: 0,
        groups,
    };
    file(world, 1, verified);
}

#[test]
fn a_file_goes_over_the_data_link_in_any_topology() {
    for mode in [TopologyMode::Mesh, TopologyMode::Sfu] {
        let mut world = World::in_call(2);
        world.set_mode(mode);
        world.run(5 * SECOND);
        let offer = offered(&mut world);
        accept(&mut world, offer);
        let all = GroupRange {
            first: 0,
            count: GROUPS,
        };
        let from = world.me(0);
        let attach = FileOp::Attach {
            offer,
            from: Some(from),
        };
        assert!(world.clients[1].file_ops.contains(&attach));
        let serve = FileOp::Serve {
            offer,
            to: world.me(1),
            file: 0,
            groups: vec![all],
            hashes: true,
        };
        assert!(world.clients[0].file_ops.contains(&serve), "{mode:?}");
        assert_eq!(states(&world, 0), [TransferState::Running]);
        verify(&mut world, offer, 0, GROUPS);
        let path = "/srv/c1/in/photo.jpg";
        let finished = FileEvent::FileFinished {
            offer,
            file: 0,
            path: path.into(),
        };
        file(&mut world, 1, finished);
        world.run(SECOND);
        for client in [0, 1] {
            assert_eq!(states(&world, client), [TransferState::Done]);
            let transfer = &transfers(&world, client)[0];
            assert_eq!(transfer.done_bytes, transfer.size_bytes);
        }
        assert_eq!(transfers(&world, 1)[0].path.as_deref(), Some(path));
        let is_done = |event: &CallEvent| {
            matches!(event, CallEvent::FileDone { name, root, .. }
                if name == "photo.jpg" && *root == Digest([7; 32]))
        };
        assert!(world.clients[1].events.iter().any(is_done));
        assert!(
            world.clients[0]
                .file_ops
                .contains(&FileOp::Withdraw { offer })
        );
    }
}

#[test]
fn many_groups_a_second_are_four_views_a_second() {
    let mut world = World::in_call(2);
    let offer = offered(&mut world);
    accept(&mut world, offer);
    let mut views = 0;
    for group in 0..GROUPS {
        let now = world.now;
        let session = &mut world.clients[1].session;
        let verified = FileEvent::Verified {
            offer,
            file: 0,
            groups: vec![GroupRange {
                first: group,
                count: 1,
            }],
        };
        session.handle_input(now, Input::File(verified));
        while let Some(output) = session.poll_output() {
            views += u32::from(matches!(output, Output::Ui(UiEvent::View { .. })));
        }
        world.now += Duration::from_millis(5);
    }
    assert!((7..=9).contains(&views), "{views} views in 2 s");
}

#[test]
fn leaving_withdraws_offers_and_keeps_what_is_unfinished() {
    let mut world = World::in_call(2);
    let offer = offered(&mut world);
    accept(&mut world, offer);
    verify(&mut world, offer, 0, 3);
    world.command(0, UiCommand::LeaveCall);
    world.run(SECOND);
    let withdrawn = FileOp::Withdraw { offer };
    assert_eq!(world.clients[0].file_ops.last(), Some(&withdrawn));
    assert_eq!(states(&world, 1), [TransferState::Interrupted]);
    world.command(1, UiCommand::LeaveCall);
    let keep = true;
    let kept = FileOp::StopReceiving { offer, keep };
    assert_eq!(world.clients[1].file_ops.last(), Some(&kept));
    // Another call looks for it, in downloads and where it was put.
    world.clients[1].file_ops.clear();
    world.command(1, UiCommand::StartCall);
    world.run(5 * SECOND);
    let folders: Vec<_> = [None, Some("/srv/c1/in".into())]
        .into_iter()
        .map(|folder| FileOp::FindUnfinished { folder })
        .collect();
    assert_eq!(world.clients[1].file_ops, folders);
    assert!(transfers(&world, 1).is_empty());
}

#[test]
fn commands_that_cannot_be_are_refused() {
    let mut world = World::new(1);
    world.command(0, offer_files(None));
    assert_eq!(world.clients[0].failed, [ErrorCode::BadState]);
    let mut world = World::in_call(2);
    world.command(0, offer_files(Some(MemberId(99))));
    let dismiss = |offer: &str| UiCommand::DismissTransfer {
        offer: offer.to_owned(),
        member: None,
    };
    world.command(0, dismiss("not an id"));
    world.command(0, dismiss(&"0".repeat(32)));
    let codes = [
        ErrorCode::ReceiverGone,
        ErrorCode::BadArgument,
        ErrorCode::BadState,
    ];
    assert_eq!(world.clients[0].failed, codes);
}
