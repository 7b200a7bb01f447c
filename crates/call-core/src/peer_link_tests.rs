use call_protocol::MemberId;

use super::*;
use crate::input::LinkPeer;

fn id(generation: u32) -> LinkId {
    LinkId {
        peer: LinkPeer::Member(MemberId(1)),
        generation,
    }
}

fn opened(initiator: bool) -> (PeerLink, Instant) {
    let now = Instant::now();
    let mut link = PeerLink::new(initiator);
    assert_eq!(link.view(), LinkView::Failed);
    assert_eq!(
        link.open(now, id(0)),
        Action::Open {
            link: id(0),
            initiator
        }
    );
    assert_eq!(link.view(), LinkView::Connecting);
    (link, now)
}

fn due(link: &mut PeerLink, fresh: u32) -> (Instant, Vec<Action>) {
    let at = link.timeout().expect("something is due");
    assert_eq!(
        link.handle_timeout(at - Duration::from_millis(1), || id(fresh)),
        []
    );
    (at, link.handle_timeout(at, || id(fresh)))
}

#[test]
fn an_interrupted_link_is_restarted_then_opened_anew() {
    let (mut link, now) = opened(true);
    assert_eq!(link.handle_state(now, LinkState::Connected), []);
    assert_eq!((link.view(), link.timeout()), (LinkView::Connected, None));
    link.handle_state(now, LinkState::Reconnecting);
    assert_eq!(link.view(), LinkView::Reconnecting);
    for _ in 0..RESTARTS_MAX {
        assert_eq!(due(&mut link, 9).1, [Action::Restart(id(0))]);
    }
    assert_eq!(
        due(&mut link, 9).1,
        [Action::Close(id(0)), Action::SendBye(id(0))]
    );
    assert_eq!(link.view(), LinkView::Reconnecting);
    let (at, actions) = due(&mut link, 1);
    assert_eq!(
        actions,
        [Action::Open {
            link: id(1),
            initiator: true
        }]
    );
    assert_eq!(
        link.handle_state(at, LinkState::Failed),
        [Action::Close(id(1)), Action::SendBye(id(1))]
    );
    assert_eq!(link.view(), LinkView::Failed, "twice in a row");
    let (at, _) = due(&mut link, 2);
    assert_eq!(link.view(), LinkView::Failed, "until it connects");
    link.handle_state(at, LinkState::Connected);
    assert_eq!(link.view(), LinkView::Connected);
}

#[test]
fn a_link_that_recovers_is_left_alone() {
    let (mut link, now) = opened(false);
    link.handle_state(now, LinkState::Connected);
    link.handle_state(now, LinkState::Reconnecting);
    assert_eq!(link.timeout(), Some(now + RESTART_COURTESY));
    link.handle_state(now + Duration::from_secs(1), LinkState::Connected);
    assert_eq!((link.view(), link.timeout()), (LinkView::Connected, None));
}

#[test]
fn the_other_side_waits_for_an_offer_and_nudges() {
    let (mut link, now) = opened(false);
    assert!(!link.accepts_offer(now));
    assert_eq!(link.handle_bye(now), [Action::Close(id(0))]);
    assert!(!link.accepts_offer(now), "too soon");
    assert!(link.accepts_offer(now + REOPEN_FLOOR));
    assert_eq!(due(&mut link, 9).1, [Action::SendBye(id(0))]);
    assert_eq!(due(&mut link, 9).1, [Action::SendBye(id(0))]);
}

#[test]
fn an_initiator_opens_anew_after_a_bye_but_takes_no_offer() {
    let (mut link, now) = opened(true);
    link.handle_bye(now);
    assert!(!link.accepts_offer(now + Duration::from_secs(60)));
    assert_eq!(
        due(&mut link, 1).1,
        [Action::Open {
            link: id(1),
            initiator: true
        }]
    );
    assert_eq!(link.handle_bye(now), [Action::Close(id(1))]);
    assert_eq!(link.handle_bye(now), [], "nothing is open");
}

#[test]
fn a_resumed_seat_gives_links_a_new_chance() {
    for initiator in [true, false] {
        let (mut link, now) = opened(initiator);
        let later = now + Duration::from_secs(100);
        let again: &[Action] = if initiator {
            &[Action::Restart(id(0))]
        } else {
            &[]
        };
        assert_eq!(link.handle_resumed(later), again);
        assert_eq!(link.timeout(), Some(later + CONNECT_TIMEOUT));
        link.handle_state(now, LinkState::Connected);
        assert_eq!(link.handle_resumed(later), []);
        link.handle_state(now, LinkState::Reconnecting);
        for _ in 0..RESTARTS_MAX {
            due(&mut link, 9);
        }
        assert_eq!(link.handle_resumed(later), []);
        let wait = if initiator {
            Duration::ZERO
        } else {
            RESTART_COURTESY
        };
        assert_eq!(link.timeout(), Some(later + wait));
        assert_eq!(due(&mut link, 9).1, [Action::Restart(id(0))]);
    }
}

#[test]
fn a_retired_link_is_as_new_but_remembers_when_it_was_opened() {
    let (mut link, now) = opened(true);
    link.handle_state(now, LinkState::Connected);
    assert_eq!(link.connected_since(), Some(now));
    link.handle_state(now, LinkState::Reconnecting);
    assert_eq!(link.connected_since(), None);
    assert_eq!(link.retire(false), Some(id(0)));
    assert!(link.is_absent() && link.timeout().is_none() && link.retire(true).is_none());
    assert!(!link.is_rested(now) && link.is_rested(now + REOPEN_FLOOR));
    let want = Action::Open {
        link: id(2),
        initiator: false,
    };
    assert_eq!(link.open_for_offer(now, id(2)), want);
}

#[test]
fn reports_that_fit_no_state_change_nothing() {
    let (mut link, now) = opened(true);
    for state in [LinkState::Connecting, LinkState::Reconnecting] {
        assert_eq!(link.handle_state(now, state), []);
        assert_eq!(link.view(), LinkView::Connecting);
    }
    let mut absent = PeerLink::new(true);
    assert_eq!(absent.handle_state(now, LinkState::Failed), []);
    assert_eq!(absent.handle_timeout(now, || id(9)), []);
    assert!(absent.is_absent());
}

#[test]
fn a_path_whose_own_address_is_gone_is_restarted_by_whoever_knows() {
    for initiator in [true, false] {
        let (mut link, now) = opened(initiator);
        link.handle_address_gone(now);
        assert!(!link.is_reconnecting(), "there was no path yet");
        link.handle_state(now, LinkState::Connected);
        link.handle_address_gone(now);
        // The state follows, and an interruption of the server's connection.
        assert_eq!(link.handle_state(now, LinkState::Reconnecting), []);
        assert_eq!(link.handle_resumed(now), []);
        assert!(link.is_reconnecting());
        assert_eq!(link.timeout(), Some(now));
        assert_eq!(due(&mut link, 9).1, [Action::Restart(id(0))]);
    }
}

#[test]
fn another_network_ends_waiting() {
    let (mut link, now) = opened(false);
    link.handle_state(now, LinkState::Connected);
    link.handle_network(now);
    assert_eq!(link.timeout(), None, "a path that works is left alone");
    link.handle_state(now, LinkState::Reconnecting);
    assert_eq!(link.timeout(), Some(now + RESTART_COURTESY));
    link.handle_network(now);
    assert_eq!(link.timeout(), Some(now));
    let (mut link, now) = opened(true);
    link.handle_state(now, LinkState::Failed);
    let later = now + REOPEN_FLOOR;
    link.handle_network(now);
    assert!(
        link.timeout() > Some(later),
        "but not faster than the floor"
    );
    link.handle_network(later);
    assert_eq!(link.timeout(), Some(later));
}

#[test]
fn another_certificate_is_another_half() {
    let sdp = |half: &str| format!("v=0\r\na=fingerprint:sha-256 {half}\r\n");
    for initiator in [true, false] {
        let (mut link, now) = opened(initiator);
        for (half, at) in [("AA", now), ("AA", now + REOPEN_FLOOR)] {
            let actions = link.handle_description(at, &sdp(half), true, || id(1));
            assert_eq!(actions, []);
        }
        assert_eq!(link.handle_description(now, "v=0", true, || id(1)), []);
        let later = now + REOPEN_FLOOR;
        let actions = link.handle_description(later, &sdp("BB"), true, || id(1));
        let open = Action::Open {
            link: id(1),
            initiator: false,
        };
        let void = [Action::Close(id(0)), Action::SendBye(id(0))];
        match initiator {
            true => assert_eq!(actions, void),
            false => {
                assert_eq!(actions, [Action::Close(id(0)), open]);
                let actions = link.handle_description(later, &sdp("BB"), true, || id(2));
                assert_eq!(actions, []);
                // Too soon for another, and an answer is to an offer that is void.
                let actions = link.handle_description(later, &sdp("CC"), true, || id(2));
                assert_eq!(actions, [Action::Close(id(1)), Action::SendBye(id(1))]);
            }
        }
        let (mut link, now) = opened(initiator);
        link.handle_description(now, &sdp("AA"), false, || id(1));
        let actions = link.handle_description(now, &sdp("BB"), false, || id(1));
        assert_eq!(actions, void);
    }
}

#[test]
fn a_link_for_data_is_opened_anew_where_its_path_was_dead_for_long() {
    let dead = |initiator| {
        let now = Instant::now();
        let mut link = PeerLink::for_data();
        link.set_initiator(initiator);
        link.open(now, id(0));
        link.handle_state(now, LinkState::Connected);
        link.handle_state(now, LinkState::Reconnecting);
        (link, now)
    };
    let anew = [
        Action::Close(id(0)),
        Action::Open {
            link: id(1),
            initiator: true,
        },
    ];
    let (mut link, now) = dead(true);
    assert_eq!(due(&mut link, 9).1, [Action::Restart(id(0))]);
    assert_eq!(due(&mut link, 9).1, [Action::Restart(id(0))], "after 3 s");
    assert_eq!(due(&mut link, 1).1, anew, "after 7 s");
    assert_eq!(link.handle_state(now, LinkState::Connected), []);
    assert_eq!(link.view(), LinkView::Connected);

    for (after_ms, stays) in [(4_900, true), (5_000, false)] {
        let (mut link, now) = dead(true);
        let back = now + Duration::from_millis(after_ms);
        assert_eq!(link.handle_state(back, LinkState::Connected), []);
        assert_eq!(link.timeout().is_none(), stays, "{after_ms} ms");
        let want = if stays { &anew[..0] } else { &anew[..] };
        assert_eq!(link.handle_timeout(back, || id(1)), want, "{after_ms} ms");
    }

    let (mut link, now) = dead(false);
    let back = now + Duration::from_secs(20);
    assert_eq!(link.handle_state(back, LinkState::Connected), []);
    assert_eq!(link.timeout(), None, "theirs to open anew");

    // Both initiate, and their offer is first.
    let (mut link, now) = dead(true);
    let sdp = |half: &str| format!("a=fingerprint:sha-256 {half}");
    link.handle_description(now, &sdp("AA"), false, || id(9));
    let actions =
        link.handle_description(now + Duration::from_secs(20), &sdp("BB"), true, || id(1));
    let open = Action::Open {
        link: id(1),
        initiator: false,
    };
    assert_eq!(actions, [Action::Close(id(0)), open]);
}
