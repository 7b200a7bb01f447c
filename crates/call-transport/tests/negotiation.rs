//! Offers from either side, crossing, and again.

use call_protocol::VideoCodec;
use call_transport::{ChannelLabel, LinkConfig, LinkEvent, LinkShape};

use crate::support::{End, Pair, config, number_of, numbered};

/// Both ends are connected, agree on the codecs and carry media and messages both ways.
async fn assert_works(pair: &mut Pair) {
    pair.until("connected with channels", |ends| {
        ends.iter()
            .all(|end| end.is_connected() && end.has_open(ChannelLabel::Control))
    })
    .await;
    let mut number = 0;
    let mut seen = [false; 2];
    pair.until("media both ways", |ends| {
        number += 1;
        for (index, end) in ends.iter_mut().enumerate() {
            end.link
                .send_video(0, VideoCodec::Vp8, numbered(number, 500));
            while let Ok(packet) = end.media.try_recv() {
                seen[index] |= number_of(&packet) > 0;
            }
        }
        seen == [true; 2]
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn either_side_may_offer() {
    for (polite, initiator) in [
        ([true, false], [true, false]),
        ([true, false], [false, true]),
    ] {
        let configs = [
            config(polite[0], initiator[0]),
            config(polite[1], initiator[1]),
        ];
        let mut pair = Pair::open(configs).await;
        assert_works(&mut pair).await;
        assert_eq!(
            pair.ends[0].descriptions + pair.ends[1].descriptions,
            2,
            "one offer, one answer"
        );
        pair.close().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn crossing_first_offers_converge() {
    let mut pair = Pair::open([config(true, true), config(false, true)]).await;
    assert_works(&mut pair).await;
    pair.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn both_sides_renegotiate_in_turn_and_at_once() {
    let mut pair = Pair::connected([config(true, true), config(false, false)]).await;
    assert_works(&mut pair).await;
    for side in [1, 0, 1] {
        let before = [pair.ends[0].descriptions, pair.ends[1].descriptions];
        pair.ends[side].link.renegotiate();
        pair.until("an exchange", |ends| {
            ends.iter()
                .zip(before)
                .all(|(end, before)| end.descriptions == before + 1)
        })
        .await;
        assert_works(&mut pair).await;
    }
    for end in &pair.ends {
        end.link.renegotiate();
    }
    assert_works(&mut pair).await;
    assert!(
        pair.ends
            .iter()
            .all(|end| { end.count(|event| matches!(event, LinkEvent::ChannelClosed(_))) == 0 })
    );
    pair.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn codecs_are_what_both_have_in_our_order() {
    let codecs = |list: &[VideoCodec]| list.to_vec();
    let (vp8, vp9, h264) = (VideoCodec::Vp8, VideoCodec::Vp9, VideoCodec::H264);
    let cases = [
        (
            codecs(&[vp8, vp9, h264]),
            codecs(&[h264, vp8]),
            codecs(&[vp8, h264]),
            codecs(&[h264, vp8]),
        ),
        (
            codecs(&[vp9]),
            codecs(&[vp8, vp9]),
            codecs(&[vp9]),
            codecs(&[vp9]),
        ),
    ];
    for (offered, accepted, first, second) in cases {
        let offerer = LinkConfig {
            video_codecs: offered,
            ..config(true, true)
        };
        let answerer = LinkConfig {
            video_codecs: accepted,
            shape: LinkShape::Peer {
                send_audio: false,
                send_video: true,
                screen: false,
            },
            ..config(false, false)
        };
        let mut pair = Pair::connected([offerer, answerer]).await;
        let told = |end: &End| {
            end.told.iter().find_map(|event| match event {
                LinkEvent::Codecs { video, audio } => Some((video.clone(), *audio)),
                _ => None,
            })
        };
        pair.until("codecs", |ends| ends.iter().all(|end| told(end).is_some()))
            .await;
        assert_eq!(told(&pair.ends[0]), Some((first, true)));
        assert_eq!(
            told(&pair.ends[1]),
            Some((second, false)),
            "may not send sound"
        );
        pair.close().await;
    }
}
