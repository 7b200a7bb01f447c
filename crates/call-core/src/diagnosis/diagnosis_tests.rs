//! Each cause from figures that mean it, what looks like it and is not, and noise that is nothing.

use call_protocol::MemberId;
use call_protocol::ui::network::{Cause, PathView, Severity};

use super::*;
use crate::input::LinkPeer;

fn link(peer: LinkPeer) -> LinkSample {
    LinkSample {
        id: LinkId {
            peer,
            generation: 1,
        },
        is_interrupted: false,
        path: PathView::Host,
        rtt_ms: Some(40.0),
        loss_out: 0.0,
        loss_in: 0.0,
        sent_bps: 1_900_000,
        target_bps: 2_200_000,
        wanted_bps: 2_000_000,
    }
}

fn member(id: u32) -> MemberSample {
    MemberSample {
        id: MemberId(id),
        codec: None,
        width: 640,
        height: 360,
        fps: 30.0,
        bitrate_bps: 800_000,
        frozen: 0.0,
        sound_loss: 0.0,
        concealed: 0.0,
        jitter_ms: 3.0,
    }
}

/// A good second of a mesh with so many others, from member 2 on.
fn mesh(others: u32) -> StatsSample {
    let ids = 2..2 + others;
    StatsSample {
        links: ids
            .clone()
            .map(|id| link(LinkPeer::Member(MemberId(id))))
            .collect(),
        members: ids.map(member).collect(),
        encoder_busy: 0.3,
        ..StatsSample::default()
    }
}

/// The same through the SFU.
fn sfu(others: u32) -> StatsSample {
    StatsSample {
        links: vec![link(LinkPeer::Sfu)],
        ..mesh(others)
    }
}

/// What is told after each second.
fn told(seconds: impl IntoIterator<Item = StatsSample>) -> Vec<Option<Verdict>> {
    let start = Instant::now();
    let mut diagnosis = Diagnosis::default();
    let note = |(second, sample)| {
        diagnosis.handle_sample(start + Duration::from_secs(second), sample);
        diagnosis.verdict()
    };
    (0..).zip(seconds).map(note).collect()
}

/// Twelve good seconds, then eight changed ones.
fn then(good: &StatsSample, change: impl Fn(&mut StatsSample)) -> Vec<StatsSample> {
    let mut bad = good.clone();
    change(&mut bad);
    let before = std::iter::repeat_n(good.clone(), 12);
    before.chain(std::iter::repeat_n(bad, 8)).collect()
}

const MILD: Severity = Severity::Mild;
const SEVERE: Severity = Severity::Severe;
type Want = Option<(Cause, Option<u32>, Severity)>;
type Change = fn(&mut StatsSample);

fn check(what: &str, got: &[Option<Verdict>], want: Want) {
    let want = want.map(|(cause, member, severity)| Verdict {
        cause,
        member: member.map(MemberId),
        severity,
    });
    assert_eq!(got.last(), Some(&want), "{what}: {got:?}");
    let others: Vec<_> = got
        .iter()
        .flatten()
        .filter(|one| want.map(|want| want.cause) != Some(one.cause))
        .collect();
    assert!(others.is_empty(), "{what}: on the way {others:?}");
}

#[test]
fn steady_trouble_has_its_cause() {
    use Cause::{Between, MyConnection, MyCpu, MyDownlink, MyUplink, OtherSide, RelayPath};
    let cases: [(&str, StatsSample, Change, Want); 32] = [
        ("nothing, two", mesh(1), |_| {}, None),
        ("nothing, server", sfu(5), |_| {}, None),
        // My uplink.
        (
            "loss to the only other",
            mesh(1),
            |s| s.links[0].loss_out = 0.06,
            Some((MyUplink, None, MILD)),
        ),
        (
            "heavy loss to the only other",
            mesh(1),
            |s| s.links[0].loss_out = 0.2,
            Some((MyUplink, None, SEVERE)),
        ),
        (
            "loss to all",
            mesh(3),
            |s| s.links.iter_mut().for_each(|l| l.loss_out = 0.05),
            Some((MyUplink, None, MILD)),
        ),
        (
            "loss to the server",
            sfu(4),
            |s| s.links[0].loss_out = 0.05,
            Some((MyUplink, None, MILD)),
        ),
        (
            "all links full and narrow",
            mesh(2),
            |s| {
                s.links
                    .iter_mut()
                    .for_each(|l| (l.sent_bps, l.target_bps) = (700_000, 750_000))
            },
            Some((MyUplink, None, MILD)),
        ),
        (
            "very narrow",
            sfu(2),
            |s| (s.links[0].sent_bps, s.links[0].target_bps) = (300_000, 310_000),
            Some((MyUplink, None, SEVERE)),
        ),
        (
            "lossy, and one of the others too",
            sfu(2),
            |s| {
                s.links[0].loss_out = 0.05;
                s.members[0].concealed = 0.2;
            },
            Some((MyUplink, None, MILD)),
        ),
        // Not my uplink.
        (
            "an estimate that nothing tries",
            mesh(2),
            |s| {
                s.links
                    .iter_mut()
                    .for_each(|l| (l.sent_bps, l.target_bps) = (300_000, 450_000))
            },
            None,
        ),
        (
            "without a picture there is little to send",
            mesh(1),
            |s| {
                (
                    s.links[0].sent_bps,
                    s.links[0].target_bps,
                    s.links[0].wanted_bps,
                ) = (40_000, 50_000, 50_000)
            },
            None,
        ),
        (
            "an estimate that is not known",
            mesh(1),
            |s| s.links[0].target_bps = 0,
            None,
        ),
        (
            "loss that repair hides",
            mesh(2),
            |s| s.links.iter_mut().for_each(|l| l.loss_out = 0.02),
            None,
        ),
        // My downlink.
        (
            "everybody is made up",
            mesh(3),
            |s| s.members.iter_mut().for_each(|m| m.concealed = 0.08),
            Some((MyDownlink, None, MILD)),
        ),
        (
            "everybody is lost",
            sfu(3),
            |s| s.members.iter_mut().for_each(|m| m.sound_loss = 0.3),
            Some((MyDownlink, None, SEVERE)),
        ),
        (
            "everybody's picture stands still",
            sfu(2),
            |s| s.members.iter_mut().for_each(|m| m.frozen = 0.4),
            Some((MyDownlink, None, MILD)),
        ),
        (
            "who is silent says nothing",
            mesh(3),
            |s| {
                s.members[0].bitrate_bps = 0;
                s.members[1].concealed = 0.08;
                s.members[2].concealed = 0.08;
            },
            Some((MyDownlink, None, MILD)),
        ),
        // Both, and one other.
        (
            "all both ways",
            mesh(2),
            |s| {
                s.links
                    .iter_mut()
                    .for_each(|l| (l.loss_out, l.loss_in) = (0.05, 0.05));
            },
            Some((MyConnection, None, MILD)),
        ),
        (
            "the only other both ways",
            mesh(1),
            |s| (s.links[0].loss_out, s.links[0].loss_in) = (0.05, 0.05),
            Some((Between, Some(2), MILD)),
        ),
        (
            "the only other's link is down",
            mesh(1),
            |s| s.links[0].is_interrupted = true,
            Some((Between, Some(2), SEVERE)),
        ),
        (
            "all links are down",
            mesh(2),
            |s| s.links.iter_mut().for_each(|l| l.is_interrupted = true),
            Some((MyConnection, None, SEVERE)),
        ),
        // The other side.
        (
            "one of three both ways",
            mesh(3),
            |s| {
                (s.links[1].loss_out, s.links[1].loss_in) = (0.05, 0.12);
            },
            Some((OtherSide, Some(3), SEVERE)),
        ),
        (
            "one of two hears badly",
            mesh(2),
            |s| s.links[0].loss_out = 0.05,
            Some((OtherSide, Some(2), MILD)),
        ),
        (
            "one of four through the server",
            sfu(4),
            |s| s.members[2].sound_loss = 0.05,
            Some((OtherSide, Some(4), MILD)),
        ),
        (
            "the only other arrives badly",
            mesh(1),
            |s| s.links[0].loss_in = 0.06,
            Some((OtherSide, Some(2), MILD)),
        ),
        (
            "one link is narrow, and so holds the picture down for all",
            mesh(3),
            |s| {
                s.links
                    .iter_mut()
                    .for_each(|l| (l.sent_bps, l.target_bps) = (300_000, 450_000));
                s.links[2].target_bps = 310_000;
            },
            Some((OtherSide, Some(4), SEVERE)),
        ),
        (
            "two of four: nothing that can be told",
            mesh(4),
            |s| {
                s.links[0].loss_in = 0.2;
                s.members[1].concealed = 0.2;
            },
            None,
        ),
        // My CPU comes before what follows from it.
        (
            "a busy encoder",
            mesh(1),
            |s| s.encoder_busy = 0.9,
            Some((MyCpu, None, MILD)),
        ),
        (
            "late, and so everybody is made up",
            mesh(3),
            |s| {
                s.lag_ms = 600.0;
                s.members.iter_mut().for_each(|m| m.concealed = 0.2);
            },
            Some((MyCpu, None, SEVERE)),
        ),
        // A relay.
        (
            "a long detour to one",
            mesh(2),
            |s| (s.links[1].path, s.links[1].rtt_ms) = (PathView::Relay, Some(420.0)),
            Some((RelayPath, Some(3), MILD)),
        ),
        (
            "long, but direct",
            mesh(2),
            |s| s.links[1].rtt_ms = Some(420.0),
            None,
        ),
        (
            "a narrow uplink through a relay queues",
            mesh(1),
            |s| {
                (s.links[0].path, s.links[0].rtt_ms) = (PathView::Relay, Some(900.0));
                s.links[0].loss_out = 0.05;
            },
            Some((MyUplink, None, MILD)),
        ),
    ];
    for (what, good, change, want) in cases {
        check(what, &told(then(&good, change)), want);
    }
}

#[test]
fn a_relay_that_is_near_is_nothing_and_a_far_one_for_all_names_nobody() {
    let far = |rtt_ms| {
        then(&mesh(2), move |sample| {
            for link in &mut sample.links {
                (link.path, link.rtt_ms) = (PathView::Relay, Some(rtt_ms));
            }
        })
    };
    check("near", &told(far(60.0)), None);
    check(
        "far",
        &told(far(850.0)),
        Some((Cause::RelayPath, None, SEVERE)),
    );
}

/// Good seconds with bad ones at `bad_at`.
fn bursts(
    good: &StatsSample,
    bad_at: &[u64],
    change: impl Fn(&mut StatsSample),
) -> Vec<StatsSample> {
    (0..24)
        .map(|second| {
            let mut sample = good.clone();
            if bad_at.contains(&second) {
                change(&mut sample);
            }
            sample
        })
        .collect()
}

#[test]
fn moments_of_trouble_are_bursts_and_one_moment_is_nothing() {
    let lossy: Change = |s| {
        for link in &mut s.links {
            (link.loss_out, link.loss_in) = (0.4, 0.4);
        }
    };
    let jumpy: Change = |s| s.members.iter_mut().for_each(|m| m.jitter_ms = 60.0);
    let one: Change = |s| s.links[0].loss_in = 0.4;
    let slightly: Change = |s| s.links.iter_mut().for_each(|l| l.loss_in = 0.1);
    let bursts_of = |severity| Some((Cause::Bursts, None, severity));
    let cases: [(&str, StatsSample, &[u64], Change, Want); 8] = [
        (
            "every four seconds",
            mesh(1),
            &[10, 14, 18, 22],
            lossy,
            bursts_of(MILD),
        ),
        (
            "with everybody",
            mesh(3),
            &[12, 17, 22],
            lossy,
            bursts_of(MILD),
        ),
        (
            "to the server",
            sfu(3),
            &[12, 17, 22],
            lossy,
            bursts_of(MILD),
        ),
        (
            "two seconds each",
            mesh(1),
            &[14, 15, 20, 21],
            lossy,
            bursts_of(SEVERE),
        ),
        ("jitter", mesh(2), &[15, 20], jumpy, bursts_of(MILD)),
        (
            "of one of three",
            mesh(3),
            &[15, 19],
            one,
            Some((Cause::OtherSide, Some(2), MILD)),
        ),
        ("one moment", mesh(2), &[20], lossy, None),
        ("slight ones", mesh(2), &[12, 17, 22], slightly, None),
    ];
    for (what, good, bad_at, change, want) in cases {
        check(what, &told(bursts(&good, bad_at, change)), want);
    }
    let long_ago = told(bursts(&mesh(2), &[1, 4], lossy));
    assert_eq!(long_ago.last(), Some(&None), "{long_ago:?}");
    // What is bad most of the time is no moment.
    let steady = told(then(&mesh(1), lossy));
    check("steady", &steady, Some((Cause::Between, Some(2), SEVERE)));
}

#[test]
fn it_is_told_soon_after_it_begins_and_once_it_is_over() {
    let mut seconds = then(&mesh(1), |s| s.links[0].loss_out = 0.06);
    seconds.extend(std::iter::repeat_n(mesh(1), 10));
    let told = told(seconds);
    let shown: Vec<_> = (0..told.len()).filter(|at| told[*at].is_some()).collect();
    // Bad from 12 to 19: two seconds make it the middle of three, two more it must hold; at its end
    // as well, then five without.
    assert_eq!((shown.first(), shown.last()), (Some(&15), Some(&24)));
    assert_eq!(shown.len(), 10, "without a gap");
}

#[test]
fn a_call_that_begins_has_time_to_find_its_rate() {
    // 600 kbit/s, half again more each second.
    let rising = (0..20).map(|second| {
        let mut sample = mesh(1);
        let target_bps = 600_000.0 * 1.15_f64.powi(second);
        sample.links[0].target_bps = target_bps as u64;
        sample.links[0].sent_bps = target_bps as u64;
        sample
    });
    check("rising", &told(rising), None);
    let stuck = (0..20).map(|_| {
        let mut sample = mesh(1);
        (sample.links[0].target_bps, sample.links[0].sent_bps) = (600_000, 600_000);
        sample
    });
    let told = told(stuck);
    check("stuck", &told, Some((Cause::MyUplink, None, MILD)));
    assert_eq!(told.iter().position(Option::is_some), Some(11));
}

#[test]
fn the_past_before_a_pause_says_nothing() {
    let start = Instant::now();
    let mut diagnosis = Diagnosis::default();
    let mut bad = mesh(1);
    bad.links[0].loss_out = 0.5;
    for second in [0, 1, 100, 101, 200, 201] {
        diagnosis.handle_sample(start + Duration::from_secs(second), bad.clone());
    }
    assert_eq!(diagnosis.verdict(), None);
}

#[test]
fn healthy_noise_is_nothing() {
    // A linear congruential generator (Knuth, MMIX); the upper bits are good enough for noise.
    let mut state = 0x5eed_u64;
    let mut noise = |most: f64| {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (state >> 11) as f64 / (1_u64 << 53) as f64 * most
    };
    for run in 0..200 {
        let others = 1 + run % 6;
        let good = if run % 2 == 0 {
            mesh(others)
        } else {
            sfu(others)
        };
        let mut seconds = Vec::new();
        for _ in 0..120 {
            let mut sample = good.clone();
            sample.encoder_busy = noise(0.7);
            sample.lag_ms = noise(60.0);
            for link in &mut sample.links {
                (link.loss_out, link.loss_in) = (noise(0.028), noise(0.028));
                link.rtt_ms = Some(noise(280.0));
                link.path = PathView::Relay;
                link.target_bps = 1_100_000 + noise(2_000_000.0) as u64;
                link.sent_bps = noise(2_000_000.0) as u64;
            }
            for member in &mut sample.members {
                (member.sound_loss, member.concealed) = (noise(0.028), noise(0.028));
                (member.frozen, member.jitter_ms) = (noise(0.24), noise(28.0));
            }
            // Now and then a second is bad, and so many are good after it.
            if seconds.len() % 13 == 5 {
                sample
                    .links
                    .iter_mut()
                    .for_each(|link| link.loss_in = noise(1.0));
            }
            seconds.push(sample);
        }
        check(&format!("run {run}"), &told(seconds), None);
    }
}

#[test]
fn figures_that_are_none_do_no_harm() {
    let seconds = then(&mesh(2), |sample| {
        for link in &mut sample.links {
            (link.loss_out, link.loss_in) = (f64::NAN, f64::NAN);
            link.rtt_ms = Some(f64::NAN);
            link.path = PathView::Relay;
        }
        for member in &mut sample.members {
            (member.concealed, member.jitter_ms) = (f64::NAN, f64::NAN);
        }
        (sample.encoder_busy, sample.lag_ms) = (f64::NAN, f64::NAN);
    });
    check("no numbers", &told(seconds), None);
}
