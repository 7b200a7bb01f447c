//! The pacer, driven by its own timers.

use super::*;

const AUDIO: u32 = 1;
const VIDEO: u32 = 2;
const LAYER_1: u32 = 3;

fn packet_of(ssrc: u32, sequence: u16, bytes: usize) -> rtp::Packet {
    rtp::Packet {
        header: rtp::Header {
            version: 2,
            ssrc,
            sequence_number: sequence,
            ..Default::default()
        },
        payload: vec![0; bytes].into(),
    }
}

fn packet(now: Instant, ssrc: u32, sequence: u16, bytes: usize) -> TaggedPacket {
    let packet = packet_of(ssrc, sequence, bytes);
    TaggedPacket {
        now,
        transport: TransportContext::default(),
        message: AttributedPacket::new(Packet::Rtp(packet)),
    }
}

fn pacer() -> Pacer {
    pacer_with(Probes::default(), Box::new(|| None))
}

fn pacer_with(probes: Probes, padding: Padding) -> Pacer {
    let streams = OutStreams {
        audio: Some(AUDIO),
        layers: vec![(VIDEO, 12), (LAYER_1, 13)],
        screen: None,
    };
    let budget = Arc::new(Budget::new(START_BPS));
    let mut pacer = Pacer::new(streams, budget, probes, padding);
    pacer.bind_local_stream(&StreamInfo {
        ssrc: AUDIO,
        mime_type: "audio/opus".into(),
        ..StreamInfo::default()
    });
    pacer
}

fn drain(pacer: &mut Pacer) -> Vec<(u32, u16, Instant)> {
    std::iter::from_fn(|| pacer.poll_write())
        .filter_map(|packet| match packet.message.packet {
            Packet::Rtp(rtp) => Some((rtp.header.ssrc, rtp.header.sequence_number, packet.now)),
            _ => None,
        })
        .collect()
}

#[test]
fn a_keyframe_is_spread_and_sound_passes_it() {
    let start = Instant::now();
    let mut pacer = pacer();
    for sequence in 0..50 {
        pacer
            .handle_write(packet(start, VIDEO, sequence, 1_100))
            .unwrap();
    }
    let at_once = drain(&mut pacer);
    assert!(at_once.len() < 5, "{}", at_once.len());
    pacer.handle_write(packet(start, AUDIO, 7, 100)).unwrap();
    assert_eq!(drain(&mut pacer), vec![(AUDIO, 7, start)]);
    let mut rest = Vec::new();
    while let Some(at) = pacer.poll_timeout() {
        pacer.handle_timeout(at).unwrap();
        rest.extend(drain(&mut pacer));
    }
    assert_eq!(at_once.len() + rest.len(), 50);
    let order: Vec<u16> = rest.iter().map(|entry| entry.1).collect();
    assert!(order.is_sorted());
    let last = rest.last().unwrap().2 - start;
    let ideal = 50.0 * 1_112.0 * 8.0 / (START_BPS * FACTOR);
    assert!(
        (last.as_secs_f64() - ideal).abs() < 0.05,
        "{last:?} for {ideal}"
    );
}

#[test]
fn no_packet_waits_longer_than_the_drain_time() {
    let start = Instant::now();
    let mut pacer = pacer();
    pacer.target_bps = 50_000.0;
    for sequence in 0..500 {
        pacer
            .handle_write(packet(start, VIDEO, sequence, 1_100))
            .unwrap();
    }
    let mut last = start;
    drain(&mut pacer);
    while let Some(at) = pacer.poll_timeout() {
        pacer.handle_timeout(at).unwrap();
        last = drain(&mut pacer).last().map_or(last, |entry| entry.2);
    }
    assert!(last - start < DRAIN + DRAIN / 10, "{:?}", last - start);
}

#[test]
fn repairs_go_first() {
    let start = Instant::now();
    let mut pacer = pacer();
    for sequence in 0..50 {
        pacer
            .handle_write(packet(start, VIDEO, sequence, 1_100))
            .unwrap();
    }
    drain(&mut pacer);
    let mut repair = packet(start, 12, 99, 1_100);
    repair.message.add(Attribute::Retransmission);
    pacer.handle_write(repair).unwrap();
    let at = pacer.poll_timeout().unwrap();
    pacer.handle_timeout(at).unwrap();
    assert_eq!(drain(&mut pacer).first().map(|entry| entry.0), Some(12));
}

#[test]
fn smaller_layers_go_before_larger_ones() {
    let start = Instant::now();
    let mut pacer = pacer();
    for sequence in 0..50 {
        for ssrc in [VIDEO, LAYER_1] {
            pacer
                .handle_write(packet(start, ssrc, sequence, 1_100))
                .unwrap();
        }
    }
    let mut order = Vec::new();
    drain(&mut pacer);
    while let Some(at) = pacer.poll_timeout() {
        pacer.handle_timeout(at).unwrap();
        order.extend(drain(&mut pacer).iter().map(|entry| entry.0));
    }
    let small = order.iter().filter(|ssrc| **ssrc == LAYER_1).count();
    assert!(order[..small].iter().all(|ssrc| *ssrc == LAYER_1));
    assert!(small > 45 && order.len() - small > 45);
}

/// Packets of a layer at once, then everything until the pacer rests.
fn run(pacer: &mut Pacer, start: Instant, packets: u16, bytes: usize) -> Vec<(u32, u16, Instant)> {
    for sequence in 0..packets {
        pacer
            .handle_write(packet(start, VIDEO, sequence, bytes))
            .unwrap();
    }
    let mut sent = drain(pacer);
    while let Some(at) = pacer.poll_timeout() {
        pacer.handle_timeout(at).unwrap();
        sent.extend(drain(pacer));
    }
    sent
}

#[test]
fn a_probe_begins_with_a_picture_and_is_filled_up() {
    let start = Instant::now();
    let probes = Probes::default();
    let padding = || Some(packet_of(12, 7, 1_100));
    let mut pacer = pacer_with(probes.clone(), Box::new(padding));
    probes.want(4e6);
    pacer.handle_write(packet(start, AUDIO, 1, 100)).unwrap();
    assert_eq!(drain(&mut pacer).len(), 1);
    assert!(pacer.poll_timeout().is_none() && probes.wanted().is_some());
    let sent = run(&mut pacer, start, 5, 1_100);
    let order: Vec<u32> = sent.iter().map(|packet| packet.0).collect();
    assert_eq!(order[..5], [VIDEO; 5], "pictures first");
    assert!(order[5..].iter().all(|ssrc| *ssrc == 12));
    let took = (sent.last().unwrap().2 - start).as_secs_f64();
    let rate_bps = sent.len() as f64 * 1_112.0 * 8.0 / took;
    assert!((3.6e6..5e6).contains(&rate_bps), "{rate_bps} in {took}");
    assert!(probes.wanted().is_none());
    let after = run(&mut pacer, start + Duration::from_secs(1), 5, 1_100);
    assert!(
        after.iter().all(|packet| packet.0 == VIDEO),
        "no more padding"
    );
}

#[test]
fn a_probe_without_padding_ends() {
    let start = Instant::now();
    let probes = Probes::default();
    let mut pacer = pacer_with(probes.clone(), Box::new(|| None));
    probes.want(4e6);
    assert_eq!(run(&mut pacer, start, 3, 1_100).len(), 3);
    assert!(probes.wanted().is_none());
}

#[test]
fn more_repairs_than_the_path_carries_are_dropped() {
    let start = Instant::now();
    let mut pacer = pacer();
    for sequence in 0..200 {
        let mut repair = packet(start, 12, sequence, 1_100);
        repair.message.add(Attribute::Retransmission);
        pacer.handle_write(repair).unwrap();
    }
    let sent = run(&mut pacer, start, 0, 0);
    let bits = sent.len() as f64 * 1_112.0 * 8.0;
    let most = START_BPS * REPAIRS_S;
    assert!((0.9 * most..most + 20_000.0).contains(&bits), "{bits}");
    assert!(pacer.budget.media_bps() < START_BPS as u64, "they cost");
}

/// From 600 to 100 kbit/s, with 80 kbit waiting, and 30.
#[test]
fn pictures_that_a_narrow_path_would_carry_too_late_are_dropped_with_their_repairs() {
    for (packets, is_draining, dropped) in [(9, true, true), (9, false, false), (4, true, false)] {
        let start = Instant::now();
        let mut pacer = pacer();
        for sequence in 0..packets {
            let packet = packet(start, VIDEO, sequence, 1_100);
            pacer.handle_write(packet).unwrap();
        }
        let mut again = packet(start, 12, 0, 1_100);
        again.message = again.message.with(Attribute::Retransmission);
        pacer.handle_write(again).unwrap();
        drain(&mut pacer);
        let budget = Arc::clone(&pacer.budget);
        budget.set_estimate(100_000.0, is_draining, 0.0);
        let target = Attribute::TargetBitrateChanged {
            bits_per_second: 100_000.0,
        };
        let feedback = AttributedPacket::new(Packet::Rtcp(Vec::new())).with(target);
        let feedback = TaggedPacket {
            now: start,
            transport: TransportContext::default(),
            message: feedback,
        };
        pacer.handle_read(feedback).unwrap();
        assert_eq!(pacer.is_empty(), dropped, "{packets} {is_draining}");
        assert_eq!(budget.is_cut(0), dropped, "{packets} {is_draining}");
        assert!(!budget.is_cut(1), "nothing of it waited");
        if dropped {
            assert_eq!((pacer.queued_bits, pacer.drain_bps), (0.0, 0.0));
        }
    }
}
