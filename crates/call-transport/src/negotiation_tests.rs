//! Negotiation: tables, bounds, and random orders of wishes.

use super::*;

fn machine(polite: bool) -> Negotiation {
    Negotiation::new(polite, vec!["audio"])
}

fn sdp(ufrag: &str) -> String {
    format!("v=0\r\nm=audio 9 X 111\r\na=ice-ufrag:{ufrag}\r\n")
}

fn offer(ufrag: &str) -> PeerSignal {
    PeerSignal::Description {
        kind: SdpKind::Offer,
        sdp: sdp(ufrag),
    }
}

fn answer(ufrag: &str) -> PeerSignal {
    PeerSignal::Description {
        kind: SdpKind::Answer,
        sdp: sdp(ufrag),
    }
}

fn candidate(number: usize) -> PeerSignal {
    PeerSignal::Candidate {
        candidate: format!("candidate:{number}"),
        mid: None,
        mline_index: Some(0),
    }
}

/// Steps as short words, for tables.
fn words(steps: &[Step]) -> String {
    let word = |step: &Step| match step {
        Step::Offer { restart_ice: false } => "offer".to_owned(),
        Step::Offer { restart_ice: true } => "restart".to_owned(),
        Step::RepeatOffer => "repeat".to_owned(),
        Step::Rollback => "rollback".to_owned(),
        Step::SetRemote {
            kind: SdpKind::Offer,
            ..
        } => "remote-offer".to_owned(),
        Step::SetRemote {
            kind: SdpKind::Answer,
            ..
        } => "remote-answer".to_owned(),
        Step::Answer {
            resend_candidates: false,
        } => "answer".to_owned(),
        Step::Answer {
            resend_candidates: true,
        } => "answer+candidates".to_owned(),
        Step::AddCandidate(candidate) => candidate.candidate.clone(),
        Step::HangUp => "hang-up".to_owned(),
    };
    steps.iter().map(word).collect::<Vec<_>>().join(" ")
}

enum Input {
    Wish,
    Restart,
    Signal(PeerSignal),
}
use Input::{Restart, Signal, Wish};

#[test]
fn table() {
    type Case = (&'static str, bool, Vec<(Input, &'static str)>);
    let cases: Vec<Case> = vec![
        (
            "offerer",
            false,
            vec![
                (Wish, "offer"),
                (Signal(answer("b")), "remote-answer"),
                (Wish, "offer"),
            ],
        ),
        (
            "answerer",
            true,
            vec![(Signal(offer("a")), "remote-offer answer"), (Wish, "offer")],
        ),
        (
            "wishes while an offer is out are merged",
            false,
            vec![
                (Wish, "offer"),
                (Wish, ""),
                (Signal(answer("b")), "remote-answer"),
                (Wish, "offer"),
                (Restart, "repeat"),
                (Restart, "repeat"),
                (Signal(answer("b")), "remote-answer restart"),
                (Wish, ""),
                (Signal(answer("c")), "remote-answer"),
            ],
        ),
        (
            "an offer that may be lost is repeated, and its second answer ignored",
            false,
            vec![
                (Wish, "offer"),
                (Restart, "repeat"),
                (Signal(answer("b")), "remote-answer"),
                (Restart, "restart"),
                (Restart, "repeat"),
                (Signal(answer("b")), ""),
                (Signal(answer("c")), "remote-answer"),
                (Signal(answer("c")), ""),
            ],
        ),
        (
            "glare, polite: rollback, answer, candidates again",
            true,
            vec![
                (Wish, "offer"),
                (
                    Signal(offer("a")),
                    "rollback remote-offer answer+candidates",
                ),
                (Signal(answer("late")), ""),
            ],
        ),
        (
            "glare, impolite: the offer and its candidates are ignored",
            false,
            vec![
                (Wish, "offer"),
                (Signal(offer("b")), ""),
                (Signal(candidate(1)), ""),
                (Signal(answer("b")), "remote-answer"),
                (Signal(candidate(2)), "candidate:2"),
            ],
        ),
        (
            "a restart that is ignored finds our offer repeated: it may be lost with the path",
            false,
            vec![
                (Wish, "offer"),
                (Signal(answer("b")), "remote-answer"),
                (Restart, "restart"),
                (Signal(offer("b")), ""),
                (Signal(offer("c")), "repeat"),
                (Signal(candidate(1)), ""),
                (Signal(answer("d")), "remote-answer"),
                (Signal(answer("d")), ""),
                (Signal(candidate(2)), "candidate:2"),
            ],
        ),
        (
            "candidates before the description wait",
            true,
            vec![
                (Signal(candidate(1)), ""),
                (Signal(candidate(2)), ""),
                (
                    Signal(offer("a")),
                    "remote-offer answer candidate:1 candidate:2",
                ),
                (Signal(candidate(3)), "candidate:3"),
            ],
        ),
        (
            "a restart that was rolled back is repeated",
            true,
            vec![
                (Signal(offer("a")), "remote-offer answer"),
                (Restart, "restart"),
                (
                    Signal(offer("a")),
                    "rollback remote-offer answer+candidates restart",
                ),
            ],
        ),
        (
            "a restart that met the peer's restart is not",
            true,
            vec![
                (Signal(offer("a")), "remote-offer answer"),
                (Restart, "restart"),
                (
                    Signal(offer("a2")),
                    "rollback remote-offer answer+candidates",
                ),
            ],
        ),
        (
            "an answer nobody asked for",
            false,
            vec![(Signal(answer("b")), ""), (Wish, "offer")],
        ),
        ("bye", false, vec![(Signal(PeerSignal::Bye), "hang-up")]),
    ];
    for (name, polite, inputs) in cases {
        let mut machine = machine(polite);
        for (index, (input, want)) in inputs.into_iter().enumerate() {
            let steps = match input {
                Wish => machine.handle_wish(false),
                Restart => machine.handle_wish(true),
                Signal(signal) => machine.handle_signal(signal),
            };
            assert_eq!(words(&steps), want, "{name}, input {index}");
        }
    }
}

#[test]
fn waiting_candidates_are_bounded_oldest_dropped() {
    let mut machine = machine(true);
    for number in 0..limits::PENDING_CANDIDATES + 3 {
        assert!(machine.handle_signal(candidate(number)).is_empty());
    }
    assert_eq!(machine.dropped_candidates(), 3);
    let steps = machine.handle_signal(offer("a"));
    assert!(words(&steps).starts_with("remote-offer answer candidate:3 "));
    assert_eq!(steps.len(), 2 + limits::PENDING_CANDIDATES);
}

#[test]
fn an_offer_without_one_of_our_sections_is_followed_by_ours() {
    let mut machine = Negotiation::new(true, vec!["audio", "application"]);
    assert_eq!(
        words(&machine.handle_signal(offer("a"))),
        "remote-offer answer offer"
    );
    assert_eq!(words(&machine.handle_signal(answer("a"))), "remote-answer");
}

#[test]
fn oversized_signals_change_nothing() {
    let mut machine = machine(true);
    let sdp = "x".repeat(limits::SDP_BYTES + 1);
    let huge = PeerSignal::Description {
        kind: SdpKind::Offer,
        sdp,
    };
    assert!(machine.handle_signal(huge.clone()).is_empty());
    assert!(!machine.has_remote());
    let mut machine = machine.with_sdp_bytes(limits::SFU_SDP_BYTES);
    assert!(!machine.handle_signal(huge).is_empty(), "of an SFU");
    let huger = PeerSignal::Description {
        kind: SdpKind::Offer,
        sdp: "x".repeat(limits::SFU_SDP_BYTES + 1),
    };
    assert!(machine.handle_signal(huger).is_empty());
}

#[test]
fn refused_steps_lead_back_to_stable() {
    let mut machine = machine(false);
    let _ = machine.handle_wish(false);
    let steps = machine.handle_signal(answer("b"));
    assert_eq!(words(&machine.handle_failure(&steps[0])), "rollback");
    assert!(machine.is_stable());
    assert_eq!(words(&machine.handle_wish(false)), "offer");
    assert!(
        machine
            .handle_failure(&Step::Offer { restart_ice: false })
            .is_empty()
    );
    assert!(machine.is_stable());
}

/// Two machines joined by queues, random wishes: both end stable, with one description each.
#[test]
fn any_order_of_wishes_converges() {
    for seed in 0..500_u64 {
        let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        let mut random = move |bound: u64| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state % bound
        };
        let mut machines = [machine(false), machine(true)];
        let mut queues: [VecDeque<PeerSignal>; 2] = [VecDeque::new(), VecDeque::new()];
        // Each side's credentials, which a restart by either renews, what it knows of the other's, and
        // its last offer.
        let mut own = [0, 0];
        let mut known: [Option<String>; 2] = [None, None];
        let mut out: [Option<PeerSignal>; 2] = [None, None];
        let mut wishes = 6;
        while wishes > 0 || queues.iter().any(|queue| !queue.is_empty()) {
            let side = random(2) as usize;
            let steps = if wishes > 0 && random(3) == 0 {
                wishes -= 1;
                machines[side].handle_wish(random(2) == 0)
            } else if let Some(signal) = queues[side].pop_front() {
                machines[side].handle_signal(signal)
            } else {
                continue;
            };
            for step in steps {
                match step {
                    Step::Offer { restart_ice } => {
                        own[side] += u32::from(restart_ice);
                        out[side] = Some(offer(&format!("{side}-{}", own[side])));
                        queues[1 - side].extend(out[side].clone());
                    }
                    Step::RepeatOffer => queues[1 - side].extend(out[side].clone()),
                    Step::SetRemote { kind, sdp } => {
                        let before = known[side].replace(sdp.clone());
                        let is_restart = before.is_some_and(|before| before != sdp);
                        own[side] += u32::from(kind == SdpKind::Offer && is_restart);
                    }
                    Step::Answer { .. } => {
                        queues[1 - side].push_back(answer(&format!("{side}-{}", own[side])));
                    }
                    _ => {}
                }
            }
        }
        assert!(machines.iter().all(Negotiation::is_stable), "seed {seed}");
    }
}
