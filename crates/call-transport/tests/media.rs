//! Media under loss, keyframe requests, figures.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use call_protocol::VideoCodec;
use call_transport::{Codec, LinkEvent, MediaKind, RtpOut};

use crate::support::{Pair, Relay, config, eventually, number_of, numbered, send_video};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn five_percent_loss_is_repaired_without_a_storm() {
    const PACKETS: u32 = 2_000;
    let relay = Relay::new();
    let mut pair = Pair::open([config(true, true), config(false, false)]).await;
    pair.filter = relay.filter();
    pair.until("connected", |ends| {
        ends.iter().all(|end| end.is_connected())
    })
    .await;
    relay.set_loss_per_mille(50);
    send_video(&pair.ends[0].link, 0, PACKETS, Duration::from_millis(2)).await;
    // The last ones have nothing behind them that would reveal their loss.
    relay.set_loss_per_mille(0);
    send_video(&pair.ends[0].link, PACKETS, 20, Duration::from_millis(5)).await;
    let mut numbers = BTreeSet::new();
    pair.until("every packet", |ends| {
        while let Ok(packet) = ends[1].media.try_recv() {
            assert!(numbers.insert(number_of(&packet)), "delivered twice");
        }
        numbers.len() == PACKETS as usize + 20
    })
    .await;
    let sender = pair.ends[0].link.stats().await;
    let receiver = pair.ends[1].link.stats().await;
    // What the relay dropped contains padding of probes, which nobody misses.
    let lost = u64::from(PACKETS + 20) - receiver.video_in.packets;
    eprintln!("lost {lost}, {sender:?}, {receiver:?}");
    assert!(lost > 50 && lost <= relay.dropped(), "{receiver:?}");
    assert!(
        sender.video_out.retransmitted_packets <= lost * 2,
        "{sender:?}"
    );
    assert_eq!(receiver.video_in.repaired_packets, lost, "{receiver:?}");
    assert_eq!(receiver.video_in.missing_packets, 0);
    assert_eq!((sender.dropped_out, receiver.dropped_in), (0, 0));
    pair.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keyframe_requests_arrive_coalesced() {
    let mut pair = Pair::connected([config(true, true), config(false, false)]).await;
    let mut number = 0;
    pair.until("video", |ends| {
        number += 1;
        ends[0]
            .link
            .send_video(0, VideoCodec::Vp8, numbered(number, 100));
        ends[1].media.try_recv().is_ok()
    })
    .await;
    for _ in 0..20 {
        pair.ends[1].link.request_keyframe(None);
    }
    let requests = |event: &LinkEvent| matches!(event, LinkEvent::KeyframeRequested { .. });
    pair.until("a request", |ends| ends[0].count(requests) > 0)
        .await;
    let stats = pair.ends[0].link.stats().await;
    assert!((1..=3).contains(&stats.keyframe_requests_in), "{stats:?}");
    assert_eq!(pair.ends[1].count(requests), 0);
    pair.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sound_carries_its_level_and_figures_are_plausible() {
    let mut pair = Pair::connected([config(true, true), config(false, false)]).await;
    let link = &pair.ends[0].link;
    link.stats().await;
    pair.ends[1].link.stats().await;
    let mut tick = tokio::time::interval(Duration::from_millis(20));
    for number in 0..150_u32 {
        tick.tick().await;
        let payload = vec![0xfc; 100].into();
        link.send_audio(RtpOut {
            timestamp: number * 960,
            marker: number == 0,
            starts_keyframe: false,
            payload,
            level_dbov: Some(42),
            captured_at: None,
            descriptor: None,
        });
        link.send_video(0, VideoCodec::H264, numbered(number, 1_000));
    }
    let mut sound = Vec::new();
    let mut pictures = Vec::new();
    pair.until("all packets", |ends| {
        while let Ok(packet) = ends[1].media.try_recv() {
            if packet.kind() == MediaKind::Audio {
                sound.push(packet)
            } else {
                pictures.push(packet)
            }
        }
        sound.len() == 150 && pictures.len() == 150
    })
    .await;
    assert!(
        sound
            .iter()
            .all(|packet| packet.codec == Codec::Opus && packet.level_dbov == Some(42))
    );
    assert!(
        pictures
            .iter()
            .all(|packet| packet.codec == Codec::Video(VideoCodec::H264))
    );
    assert!(
        pictures
            .iter()
            .all(|packet| packet.level_dbov.is_none() && packet.marker)
    );
    let sender = pair.ends[0].link.stats().await;
    let receiver = pair.ends[1].link.stats().await;
    assert_eq!(
        (sender.audio_out.packets, sender.video_out.packets),
        (150, 150)
    );
    assert_eq!(
        (receiver.audio_in.packets, receiver.video_in.packets),
        (150, 150)
    );
    assert_eq!(receiver.audio_in.bytes, 15_000);
    let video_bps = sender.video_out.bitrate_bps;
    assert!((300_000..500_000).contains(&video_bps), "{video_bps}");
    let rtt_ms = sender
        .rtt_ms
        .expect("reports came back within three seconds");
    assert!(rtt_ms < 100.0, "{rtt_ms}");
    assert_eq!(receiver.video_in.loss, 0.0);
    assert!(receiver.video_in.jitter_ms < 20.0, "{receiver:?}");
    assert!(sender.path.is_some());
    assert!(sender.target_bps >= 50_000);
    pair.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_sent_is_counted() {
    let mut pair = Pair::open([config(true, true), config(false, false)]).await;
    pair.ends[0]
        .link
        .send_video(0, VideoCodec::Vp8, numbered(1, 100));
    pair.until("connected", |ends| {
        ends.iter().all(|end| end.is_connected())
    })
    .await;
    let huge = RtpOut {
        payload: vec![0; RtpOut::PAYLOAD_BYTES + 1].into(),
        ..numbered(2, 100)
    };
    pair.ends[0].link.send_video(0, VideoCodec::Vp8, huge);
    assert_eq!(pair.ends[0].link.stats().await.dropped_out, 2);
    pair.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_owner_loses_the_newest_media_and_no_event() {
    let mut pair = Pair::connected([config(true, true), config(false, false)]).await;
    let link = &pair.ends[0].link;
    let receiver = &pair.ends[1].link;
    let mut tick = tokio::time::interval(Duration::from_micros(300));
    let mut number = 0;
    while receiver.stats().await.dropped_in == 0 {
        tick.tick().await;
        link.send_video(0, VideoCodec::Vp8, numbered(number, 100));
        number += 1;
        assert!(number < 100_000);
    }
    let end = &mut pair.ends[1];
    let first = end.media.try_recv().expect("a full queue");
    eventually("the queue keeps its oldest", || end.media.len() >= 4_000).await;
    assert!(number_of(&first) < 100);
    pair.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reports_tell_when_sound_and_picture_were_captured() {
    let mut pair = Pair::connected([config(true, true), config(false, false)]).await;
    let link = &pair.ends[0].link;
    // Pictures are sent 300 ms after their capture, sound 20 ms after: only the reports tell.
    let (sound_age, picture_age) = (Duration::from_millis(20), Duration::from_millis(300));
    let start = Instant::now();
    let mut tick = tokio::time::interval(Duration::from_millis(20));
    let mut sent = Vec::new();
    for number in 0..150_u32 {
        tick.tick().await;
        let now = Instant::now();
        let ticks = |age: Duration, hz: u64| {
            let captured_us = (now - start).as_micros() as u64 + 1_000_000 - age.as_micros() as u64;
            (captured_us * hz / 1_000_000) as u32
        };
        link.send_audio(RtpOut {
            timestamp: ticks(sound_age, 48_000),
            captured_at: Some(now - sound_age),
            level_dbov: Some(42),
            ..numbered(number, 100)
        });
        link.send_video(
            0,
            VideoCodec::Vp8,
            RtpOut {
                timestamp: ticks(picture_age, 90_000),
                captured_at: Some(now - picture_age),
                ..numbered(number, 1_000)
            },
        );
        sent.push(now);
    }
    let mut received = Vec::new();
    pair.until("sound and pictures", |ends| {
        while let Ok(packet) = ends[1].media.try_recv() {
            received.push(packet);
        }
        received.len() == 300
    })
    .await;
    let capture_us = |kind: MediaKind| {
        let packets = received.iter().filter(|packet| packet.kind() == kind);
        let newest = packets.max_by_key(|packet| number_of(packet)).expect("one");
        let clock = pair.ends[1].link.sender_clock(newest.ssrc);
        let clock = clock.expect("a report within three seconds");
        clock.capture_us(newest.timestamp, newest.codec.clock_rate_hz())
    };
    let apart_us = capture_us(MediaKind::Audio) - capture_us(MediaKind::Video);
    assert!((apart_us - 280_000).abs() < 5_000, "{apart_us} us");
    assert_eq!(pair.ends[1].link.sender_clock(1), None);
    pair.close().await;
}
