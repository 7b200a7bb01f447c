//! Links to the SFU, against `str0m`.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::Ordering;
use std::time::Duration;

use call_protocol::VideoCodec;
use call_transport::{ChannelLabel, Codec, LinkEvent, LinkState, RtpIn, RtpOut};
use str0m::Event;
use str0m::bwe::{Bitrate, BweKind};
use str0m::media::{KeyframeRequestKind, Mid};

use crate::sfu_peer::{
    AUDIO_SLOTS, Descriptor, LAYERS, OPUS_PT, SFU_START_KBPS, Served, VIDEO_SLOTS, VP8_PT,
    audio_slots, mid, video_slots,
};
use crate::support::{number_of, numbered};

/// The target before any feedback.
const START_BPS: u64 = 600_000;

/// Whether our feedback moved the server's estimate of what the path to us carries.
fn is_estimate(event: &Event) -> bool {
    match event {
        Event::EgressBitrateEstimate(BweKind::Twcc { estimate, .. }) => {
            *estimate != Bitrate::kbps(SFU_START_KBPS)
        }
        _ => false,
    }
}

/// A descriptor: short, or with a structure too long for one-byte extensions.
fn descriptor(number: u32, layer: u8) -> Vec<u8> {
    let bytes = if number.is_multiple_of(50) { 41 } else { 3 };
    (0..bytes)
        .map(|at| at ^ (number as u8).wrapping_add(layer))
        .collect()
}

/// What arrived of the layers, and how many packets of sound.
#[derive(Default)]
struct Arrived {
    layers: [BTreeSet<u32>; LAYERS as usize],
    sounds: u32,
}

impl Arrived {
    /// Checks and notes what the server heard.
    fn note(&mut self, heard: &mut Vec<Event>) {
        for event in heard.drain(..) {
            let Event::RtpPacket(packet) = event else {
                continue;
            };
            let values = &packet.header.ext_vals;
            if *packet.header.payload_type == OPUS_PT {
                assert_eq!(values.audio_level, Some(-33));
                self.sounds += 1;
                continue;
            }
            assert_eq!(*packet.header.payload_type, VP8_PT);
            let number = u32::from_be_bytes(packet.payload[1..5].try_into().unwrap());
            assert_eq!(packet.header.timestamp, number.wrapping_mul(3_000));
            let layer = match packet.payload.len() {
                500 => 0,
                250 => 1,
                125 => 2,
                bytes => panic!("{bytes} bytes"),
            };
            let got = values.user_values.get::<Descriptor>();
            assert_eq!(
                got,
                Some(&Descriptor(descriptor(number, layer))),
                "{number}"
            );
            self.layers[usize::from(layer)].insert(number);
        }
    }

    fn has_all_below(&self, number: u32) -> bool {
        let has_all = |layer: &BTreeSet<u32>| layer.range(..number).count() == number as usize;
        self.layers.iter().all(has_all)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn layers_arrive_repaired_and_with_their_descriptors() {
    const PACKETS: u32 = 600;
    /// The server follows a hundred packets back; this far behind everything has to be there.
    const BEHIND: u32 = 40;
    let mut served = Served::connected(true).await;
    served.sfu.loss_per_mille.store(50, Ordering::Relaxed);
    let mut tick = tokio::time::interval(Duration::from_millis(3));
    let mut arrived = Arrived::default();
    for number in 0..PACKETS + BEHIND {
        tick.tick().await;
        // The last ones have nothing behind them that would reveal their loss.
        if number == PACKETS {
            served.sfu.loss_per_mille.store(0, Ordering::Relaxed);
        }
        let link = &served.end.link;
        for layer in 0..LAYERS {
            let mut packet = numbered(number, 500 >> layer);
            packet.descriptor = Some(descriptor(number, layer).into());
            link.send_video(layer, VideoCodec::Vp8, packet);
        }
        link.send_audio(RtpOut {
            level_dbov: Some(33),
            ..numbered(number, 80)
        });
        if number.is_multiple_of(10) {
            served
                .until("every packet of every layer", |_, heard| {
                    arrived.note(heard);
                    arrived.has_all_below(number.saturating_sub(BEHIND))
                })
                .await;
        }
    }
    served
        .until("the last packets", |_, heard| {
            arrived.note(heard);
            arrived.has_all_below(PACKETS)
        })
        .await;
    let stats = served.end.link.stats().await;
    let lost = served.sfu.lost.load(Ordering::Relaxed);
    eprintln!("lost {lost}, {stats:?}");
    assert!(arrived.sounds > PACKETS / 2, "{}", arrived.sounds);
    assert_eq!(stats.dropped_out, 0);
    // Probes are filled with repetitions, of the smallest layer mostly, that repair some losses
    // before anybody asks.
    for layer in stats.video_layers_out {
        assert!(layer.retransmitted_packets > 0, "{layer:?}");
    }
    let repeated = stats.video_out.retransmitted_packets;
    assert!(repeated > 20, "{repeated}");
    let sent = stats.video_layers_out.map(|layer| layer.packets);
    assert_eq!(sent.iter().sum::<u64>(), stats.video_out.packets);
    assert_ne!(
        stats.target_bps, START_BPS,
        "no transport-wide feedback came"
    );
    served.end.link.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slots_come_out_apart_with_their_source_and_ask_for_keyframes_each() {
    const PACKETS: u64 = 150;
    let mut served = Served::connected(false).await;
    let slots: Vec<(Mid, u8)> = audio_slots()
        .into_iter()
        .map(|slot| (slot, OPUS_PT))
        .chain(video_slots().into_iter().map(|slot| (slot, VP8_PT)))
        .collect();
    served.sfu.loss_per_mille.store(30, Ordering::Relaxed);
    let mut tick = tokio::time::interval(Duration::from_millis(8));
    for number in 0..PACKETS + 10 {
        tick.tick().await;
        if number == PACKETS {
            served.sfu.loss_per_mille.store(0, Ordering::Relaxed);
        }
        for (index, (slot, pt)) in slots.iter().enumerate() {
            served
                .sfu
                .send(*slot, *pt, number, 100 + index as u32)
                .await;
        }
    }
    let all = usize::from(AUDIO_SLOTS + VIDEO_SLOTS);
    // By SSRC: the source, the codec and the numbers.
    let mut streams: BTreeMap<u32, (u32, Codec, BTreeSet<u32>)> = BTreeMap::new();
    let note = |streams: &mut BTreeMap<u32, (u32, Codec, BTreeSet<u32>)>, packet: RtpIn| {
        let source = packet.csrc.expect("a source");
        let known = streams
            .entry(packet.ssrc)
            .or_insert((source, packet.codec, BTreeSet::new()));
        assert_eq!((known.0, known.1), (source, packet.codec), "mixed up");
        assert!(known.2.insert(number_of(&packet)), "delivered twice");
    };
    let mut has_estimate = false;
    served
        .until("every packet of every slot", |end, heard| {
            has_estimate |= heard.iter().any(is_estimate);
            while let Ok(packet) = end.media.try_recv() {
                note(&mut streams, packet);
            }
            // Sound is not repaired here; of pictures nothing may be missing.
            let mut pictures = streams
                .values()
                .filter(|(_, codec, _)| *codec != Codec::Opus);
            has_estimate
                && streams.len() == all
                && pictures.all(|(.., numbers)| numbers.len() as u64 == PACKETS + 10)
        })
        .await;
    let sources: BTreeSet<u32> = streams.values().map(|(source, ..)| *source).collect();
    assert_eq!((streams.len(), sources.len()), (all, all));
    let stats = served.end.link.stats().await;
    assert!(stats.video_in.repaired_packets > 0, "{stats:?}");
    assert_eq!((stats.video_in.missing_packets, stats.dropped_in), (0, 0));

    // One slot, then all.
    let slot = video_slots()[3];
    let source = 100 + u32::from(AUDIO_SLOTS) + 3;
    let ssrc = *streams
        .iter()
        .find(|(_, stream)| stream.0 == source)
        .expect("it was received")
        .0;
    let mut asked = BTreeSet::new();
    let mut hear = |heard: &mut Vec<Event>| {
        for event in heard.drain(..) {
            if let Event::KeyframeRequest(request) = event {
                asked.insert(request.mid);
            }
        }
        asked.len()
    };
    let link = &served.end.link;
    assert_eq!(link.media_id(ssrc).as_deref(), Some(&*slot));
    link.request_keyframe(Some(ssrc));
    link.request_keyframe(Some(1));
    served
        .until("a request for the slot", |_, heard| hear(heard) > 0)
        .await;
    assert_eq!(hear(&mut Vec::new()), 1);
    served.end.link.request_keyframe(None);
    served
        .until("requests for all", |_, heard| {
            hear(heard) == usize::from(VIDEO_SLOTS)
        })
        .await;
    assert!(asked.contains(&slot) && asked.iter().all(|mid| video_slots().contains(mid)));
    served.end.link.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_server_asks_for_keyframes_of_one_layer() {
    let mut served = Served::connected(true).await;
    for layer in [2, 0] {
        let mut number = 0;
        let section = mid(1 + layer);
        served
            .until("pictures", |end, heard| {
                number += 1;
                let link = &end.link;
                link.send_video(layer, VideoCodec::Vp8, numbered(number, 100));
                let is_picture = |event: &Event| {
                    matches!(event, Event::RtpPacket(packet) if packet.payload.len() == 100)
                };
                heard.drain(..).any(|event| is_picture(&event))
            })
            .await;
        let ask = move |rtc: &mut str0m::Rtc| {
            let mut api = rtc.direct_api();
            let stream = api.stream_rx_by_mid(section, None).expect("a stream");
            stream.request_keyframe(KeyframeRequestKind::Pli);
        };
        served.sfu.call(ask).await;
        let is_request = |event: &LinkEvent| matches!(event, LinkEvent::KeyframeRequested { layer: asked, .. } if *asked == layer);
        served
            .until("the request", |end, _| end.count(is_request) > 0)
            .await;
        let others = |event: &LinkEvent| {
            matches!(event, LinkEvent::KeyframeRequested { .. }) && !is_request(event)
        };
        assert_eq!(served.end.count(others), 0);
        served.end.told.clear();
    }
    served.end.link.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn messages_pass_both_ways() {
    let mut served = Served::connected(true).await;
    let channels = served.sfu.channels.clone();
    let (ready, control) = (channels[0], channels[1]);
    served
        .end
        .link
        .send_channel(ChannelLabel::Control, "from the client".into())
        .unwrap();
    // What a server does: answer the ready signal.
    let mut questions = 0;
    let mut answered = 0;
    let mut received = Vec::new();
    while received.is_empty() {
        served
            .until("something on a channel", |_, heard| {
                for event in heard.drain(..) {
                    let Event::ChannelData(message) = event else {
                        continue;
                    };
                    if message.id == ready {
                        questions += usize::from(message.data == [0]);
                    } else {
                        assert_eq!(message.id, control);
                        received.push(message.data);
                    }
                }
                questions > answered || !received.is_empty()
            })
            .await;
        if questions > answered {
            answered = questions;
            let answer = move |rtc: &mut str0m::Rtc| {
                let mut channel = rtc.channel(ready).expect("an open channel");
                assert!(channel.write(true, &[1]).unwrap());
            };
            served.sfu.call(answer).await;
        }
    }
    assert_eq!(received, [b"from the client".to_vec()]);
    for (index, label) in ChannelLabel::ALL.into_iter().enumerate() {
        let channel = channels[1 + index];
        let write = move |rtc: &mut str0m::Rtc| {
            let mut channel = rtc.channel(channel).expect("an open channel");
            assert!(channel.write(true, label.name().as_bytes()).unwrap());
        };
        served.sfu.call(write).await;
        served
            .until("the server's message", |end, _| {
                end.messages(label) == [label.name()]
            })
            .await;
    }
    served.end.link.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_ice_restart_by_a_new_offer_keeps_everything() {
    for is_ice_lite in [true, false] {
        let mut served = Served::connected(is_ice_lite).await;
        let slot = video_slots()[0];
        let mut ssrcs = BTreeSet::new();
        for round in 0..2_u64 {
            let mut number = 0;
            let mut is_received = [false; 2];
            while is_received != [true; 2] {
                number += 1;
                served
                    .sfu
                    .send(slot, VP8_PT, round * 10_000 + number, 7)
                    .await;
                let link = &served.end.link;
                let packet = numbered(number as u32, 100);
                link.send_video(1, VideoCodec::Vp8, packet);
                assert!(number < 2_000, "media stopped: {is_received:?}");
                let mut turns = 0;
                served
                    .until("a turn", |end, heard| {
                        while let Ok(packet) = end.media.try_recv() {
                            // Of before the restart, still on its way.
                            if u64::from(number_of(&packet)) / 10_000 == round {
                                ssrcs.insert(packet.ssrc);
                                is_received[0] = true;
                            }
                        }
                        let is_picture = |event: &Event| matches!(event, Event::RtpPacket(_));
                        is_received[1] |= heard.drain(..).any(|event| is_picture(&event));
                        turns += 1;
                        turns > 1
                    })
                    .await;
            }
            if round == 0 {
                let answer = served.sfu.answer.clone();
                served.end.link.restart_ice();
                served.until("a turn", |_, _| true).await;
                let offers = served.offers;
                while served.offers == offers {
                    let mut turns = 0;
                    served
                        .until("a turn", |_, _| {
                            turns += 1;
                            turns > 1
                        })
                        .await;
                }
                assert_ne!(answer, served.sfu.answer, "new credentials");
            }
        }
        assert_eq!(ssrcs.len(), 1, "the slot keeps its stream");
        let lost = |event: &LinkEvent| matches!(event, LinkEvent::State(LinkState::Reconnecting));
        assert_eq!(served.end.count(lost), 0);
        served.end.link.close().await;
    }
}
