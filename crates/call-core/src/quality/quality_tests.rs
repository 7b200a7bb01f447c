//! The whole controller: reports in, operations out.

use std::time::Duration;

use super::*;

const TICK: Duration = Duration::from_millis(250);
fn wanted() -> Wanted {
    Wanted {
        camera: [true, false, false],
        ..Wanted::default()
    }
}

fn link(id: u32) -> LinkId {
    LinkId {
        peer: LinkPeer::Member(MemberId(id)),
        generation: id,
    }
}

fn figures(id: u32, target_kbps: u64) -> LinkFigures {
    LinkFigures {
        link: link(id),
        target_bps: target_kbps * 1_000,
        loss: 0.0,
        rtt_ms: Some(50.0),
        jitter_ms: 0.0,
        loss_in: 0.0,
        received_bps: 0,
    }
}

fn report(links: Vec<LinkFigures>, sent_bps: u64) -> QualityReport {
    let camera = PictureFigures {
        layer_sizes: [Some((1_280, 720)), Some((640, 360)), Some((320, 180))],
        fps: 30,
        sent_bps,
    };
    QualityReport {
        links,
        camera: Some(camera),
        screen: None,
        encoder_busy: 0.2,
    }
}

fn drain(quality: &mut Quality) -> Vec<MediaOp> {
    std::iter::from_fn(|| quality.poll()).collect()
}

#[test]
fn what_is_told_is_told_once() {
    let mut quality = Quality::default();
    assert_eq!(drain(&mut quality).len(), 1, "how sound begins");
    let now = Instant::now();
    quality.handle_report(now, report(vec![figures(2, 0)], 0), &wanted(), false);
    let ops = drain(&mut quality);
    let [
        MediaOp::EncodePicture {
            source: MediaSource::Camera,
            plan: Some(plan),
        },
        MediaOp::EncodeSound { plan: sound },
    ] = &ops[..]
    else {
        panic!("{ops:?}")
    };
    assert_eq!((plan.max_width_px, plan.bitrate_bps()), (1_280, 1_935_000));
    assert_eq!(sound.expected_loss_percent, 5);
    quality.handle_report(now + TICK, report(vec![figures(2, 0)], 0), &wanted(), false);
    assert_eq!(drain(&mut quality), []);
    quality.handle_wanted(now + TICK, &Wanted::default(), false);
    let (source, plan) = (MediaSource::Camera, None);
    let none = MediaOp::EncodePicture { source, plan };
    assert_eq!(drain(&mut quality), [none], "nobody wants it");
}

#[test]
fn a_call_gives_way_in_order_and_comes_back() {
    let start = Instant::now();
    let mut quality = Quality::default();
    let mut log = Vec::new();
    let (mut sent_bps, mut sound_bps) = (1_900_000, 32_000);
    for tick in 0..400_u32 {
        let second = tick / 4;
        let target = match second {
            0..5 | 60.. => 2_500,
            5..15 => 250,
            15..30 => 55,
            _ => 200,
        };
        let mut links = vec![figures(2, target)];
        links[0].loss = if second == 20 { 0.12 } else { 0.0 };
        let now = start + TICK * tick;
        quality.handle_report(now, report(links, sent_bps), &wanted(), false);
        for op in drain(&mut quality) {
            match op {
                MediaOp::EncodePicture { plan, .. } => {
                    sent_bps = plan.map_or(0, |plan| plan.bitrate_bps());
                }
                MediaOp::EncodeSound { plan } => sound_bps = plan.bitrate_bps,
                MediaOp::LimitFiles { .. } => {}
                other => panic!("{other:?}"),
            }
        }
        let state = (quality.is_sound_only(), sound_bps / 1_000);
        if log.last().is_none_or(|(_, known)| *known != state) {
            log.push((second, state));
        }
    }
    let want = [(0, (false, 32)), (16, (true, 16)), (31, (false, 32))];
    assert_eq!(log, want, "the picture goes before the sound's bits do");
    assert!(quality.camera.is_at_best());
    quality.stop();
    assert!(!quality.is_sound_only());
}

#[test]
fn a_queue_on_the_path_is_no_calm_path() {
    let mut path = Path::default();
    let rtt = |rtt_ms: f64, loss: f64| LinkFigures {
        rtt_ms: Some(rtt_ms),
        loss,
        ..figures(1, 100)
    };
    let cases = [
        (50.0, 0.0, true),
        (190.0, 0.0, true),
        (260.0, 0.0, false),
        (60.0, 0.08, false),
        (60.0, 0.0, true),
        (f64::NAN, 0.0, true),
    ];
    for (rtt_ms, loss, want) in cases {
        assert_eq!(path.note(&rtt(rtt_ms, loss)), want, "{rtt_ms} ms, {loss}");
    }
    let lossy = (0..100).map(|_| path.note(&rtt(60.0, 0.1)));
    let calm: Vec<bool> = lossy.collect();
    assert!(!calm[0] && calm[99], "a path that always loses is known");
    assert!(!path.note(&rtt(60.0, 0.3)), "and more than that is noticed");
    assert!(!path.note(&rtt(60.0, f64::NAN)));
    assert!(path.usual_loss.is_finite());
    let reports = (0..4_000).filter(|_| path.note(&rtt(260.0, 0.0)));
    assert!(
        reports.count() > 1_000,
        "a longer path is believed some day"
    );
}

#[test]
fn round_trips_that_jitter_makes_longer_are_no_queue() {
    for (jitter_ms, rtt_ms, want) in [
        (0.0, 260.0, false),
        (40.0, 260.0, true),
        (40.0, 320.0, false),
        (1_000.0, 600.0, false),
        (f64::NAN, 190.0, true),
        (-50.0, 190.0, true),
    ] {
        let mut path = Path::default();
        path.note(&figures(1, 100));
        let figures = LinkFigures {
            rtt_ms: Some(rtt_ms),
            jitter_ms,
            ..figures(1, 100)
        };
        assert_eq!(path.note(&figures), want, "{jitter_ms} ms, {rtt_ms} ms");
    }
}

#[test]
fn files_are_bounded_while_the_call_is_short() {
    let start = Instant::now();
    let mut quality = Quality::default();
    let mut limits = Vec::new();
    let mut sent_bps = 1_900_000;
    for tick in 0..160_u32 {
        let target = if (20..60).contains(&tick) { 300 } else { 4_000 };
        let links = vec![figures(2, target)];
        quality.handle_report(
            start + TICK * tick,
            report(links, sent_bps),
            &wanted(),
            false,
        );
        for op in drain(&mut quality) {
            match op {
                MediaOp::LimitFiles { limit_bps } => limits.push(limit_bps),
                MediaOp::EncodePicture { plan, .. } => {
                    sent_bps = plan.map_or(0, |plan| plan.bitrate_bps());
                }
                _ => {}
            }
        }
    }
    assert_eq!(limits.first(), Some(&Some(0)), "the call first");
    assert_eq!(limits.last(), Some(&None), "and files again afterwards");
}
