//! Which sections the shapes describe, in which order, and how large that gets.

use call_protocol::limits;
use call_protocol::peer::{PeerSignal, SdpKind};
use call_protocol::wire::{ClientMessage, SfuTrack};
use call_protocol::{MediaSource, VideoCodec};
use call_transport::{Codec, IceServer, LinkConfig, LinkEvent, LinkShape};

use crate::sfu_peer::{AUDIO_SLOTS, LAYERS, VIDEO_SLOTS, sfu_config};
use crate::support::{End, Pair, config, number_of, numbered};

/// A link to a member with a section for screens.
const SHARING: LinkShape = LinkShape::Peer {
    send_audio: true,
    send_video: true,
    screen: true,
};

/// The first offer of a link.
async fn offer(config: LinkConfig) -> String {
    let mut end = End::open(config).await;
    loop {
        let event = end.events.recv().await.expect("an offer first");
        if let LinkEvent::Signal(PeerSignal::Description {
            kind: SdpKind::Offer,
            sdp,
        }) = event
        {
            end.link.close().await;
            return sdp;
        }
    }
}

/// Kind and direction of every media section, in order.
fn sections(sdp: &str) -> Vec<String> {
    let mut sections: Vec<String> = Vec::new();
    for line in sdp.lines() {
        if let Some(media) = line.strip_prefix("m=") {
            sections.push(media.split(' ').next().unwrap().to_owned());
        } else if let "a=sendonly" | "a=recvonly" | "a=sendrecv" | "a=inactive" = line {
            let section = sections.last_mut().unwrap();
            *section = format!("{section} {}", &line[2..]);
        }
    }
    sections
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sections_stand_in_the_promised_order() {
    // The stack's own list of transceivers comes in random order, so once would prove little.
    for _ in 0..5 {
        let mut want = vec!["audio sendonly"];
        want.extend(vec!["video sendonly"; LAYERS.into()]);
        want.extend(vec!["audio recvonly"; AUDIO_SLOTS.into()]);
        want.extend(vec!["video recvonly"; VIDEO_SLOTS.into()]);
        want.push("application sendrecv");
        assert_eq!(sections(&offer(sfu_config()).await), want);
    }
    assert_eq!(
        sections(&offer(config(true, true)).await),
        ["audio sendrecv", "video sendrecv", "application sendrecv"]
    );
    let sharing = LinkConfig {
        shape: SHARING,
        ..config(true, true)
    };
    assert_eq!(
        sections(&offer(sharing).await),
        [
            "audio sendrecv",
            "video sendrecv",
            "video sendrecv",
            "application sendrecv"
        ]
    );
    let shape = |shape| LinkConfig {
        shape,
        ..config(true, true)
    };
    assert_eq!(
        sections(&offer(shape(LinkShape::Data)).await),
        ["application sendrecv"]
    );
    let silent = LinkShape::Peer {
        send_audio: false,
        send_video: false,
        screen: false,
    };
    assert_eq!(
        sections(&offer(shape(silent)).await),
        ["audio recvonly", "video recvonly", "application sendrecv"]
    );
    // Counts beyond what a server takes are cut.
    let greedy = LinkShape::Sfu {
        video_layers: 9,
        screen: true,
        audio_slots: 90,
        video_slots: 200,
    };
    let full = 1 + limits::SFU_LAYERS + 1 + limits::SFU_AUDIO_SLOTS + limits::SFU_VIDEO_SLOTS + 1;
    assert_eq!(sections(&offer(shape(greedy)).await).len(), full);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_sfu_offer_is_complete_and_fits_its_message() {
    let sdp = offer(sfu_config()).await;
    let (session, media) = sdp.split_once("m=").expect("sections");
    assert!(session.contains("a=extmap-allow-mixed"), "{session}");
    let count = |text: &str| media.matches(text).count();
    assert_eq!(count("a=ssrc-group:FID "), usize::from(LAYERS));
    let pictures = usize::from(LAYERS + VIDEO_SLOTS);
    assert_eq!(
        count("#dependency-descriptor-rtp-header-extension"),
        pictures
    );
    let sounds = usize::from(1 + AUDIO_SLOTS);
    assert_eq!(count(":ssrc-audio-level"), sounds);
    assert_eq!(count("transport-wide-cc-extensions-01"), sounds + pictures);
    assert_eq!(count("a=extmap:"), 3 * (sounds + pictures));
    let tracks = (0..=LAYERS).map(|mline| SfuTrack {
        mline: mline.into(),
        source: MediaSource::Screen,
        layer: Some(2),
    });
    let bytes = sdp.len();
    let message = ClientMessage::SfuOffer {
        link: u32::MAX,
        sdp,
        tracks: tracks.collect(),
    };
    let message = serde_json::to_string(&message).unwrap().len();
    eprintln!("SFU offer: {bytes} bytes, as a message {message}");
    assert!(bytes < limits::SFU_SDP_BYTES, "{bytes}");
    assert!(message < limits::MESSAGE_BYTES, "{message}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn data_links_carry_messages_and_no_media() {
    let data = |polite| LinkConfig {
        shape: LinkShape::Data,
        ..config(polite, polite)
    };
    let mut pair = Pair::connected([data(true), data(false)]).await;
    let label = call_transport::ChannelLabel::Control;
    for (from, to) in [(0, 1), (1, 0)] {
        let link = &pair.ends[from].link;
        link.send_channel(label, "hello".into()).unwrap();
        link.send_video(0, VideoCodec::Vp8, numbered(1, 100));
        pair.until("the message", |ends| ends[to].messages(label) == ["hello"])
            .await;
        assert_eq!(pair.ends[from].link.stats().await.dropped_out, 1);
    }
    let codecs = |event: &LinkEvent| matches!(event, LinkEvent::Codecs { video, audio } if !video.is_empty() || *audio);
    assert!(pair.ends.iter().all(|end| end.count(codecs) == 0));
    pair.close().await;
}

/// With a relay that does not answer there is no path, and nothing else is told to the peer.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn relay_only_links_offer_no_address_of_their_own() {
    let relayed = LinkConfig {
        relay_only: true,
        ice_servers: vec![IceServer {
            urls: vec!["turn:127.0.0.1:9?transport=udp".to_owned()],
            username: "user".to_owned(),
            credential: "secret".to_owned(),
        }],
        ..config(true, true)
    };
    let mut end = End::open(relayed).await;
    let mut sdp = None;
    let mut candidates = Vec::new();
    // The end of gathering, or what a gathered host would long have told.
    let patience = tokio::time::Duration::from_millis(500);
    while let Ok(Some(event)) = tokio::time::timeout(patience, end.events.recv()).await {
        match event {
            LinkEvent::Signal(PeerSignal::Description { sdp: offer, .. }) => sdp = Some(offer),
            LinkEvent::Signal(PeerSignal::Candidate { candidate, .. }) => {
                candidates.push(candidate)
            }
            _ => {}
        }
    }
    assert!(!sdp.expect("an offer").contains("a=candidate:"));
    candidates.retain(|candidate| !candidate.is_empty());
    assert!(candidates.is_empty(), "{candidates:?}");
    end.link.close().await;
}

/// Between members nothing changes: layer 0 arrives, others are dropped, a descriptor is carried.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_gets_one_layer() {
    let mut pair = Pair::connected([config(true, true), config(false, false)]).await;
    let mut number = 0;
    pair.until("pictures", |ends| {
        number += 1;
        for layer in 0..3 {
            let mut packet = numbered(number * 3 + u32::from(layer), 100);
            packet.descriptor = Some(vec![1; 40].into());
            ends[0].link.send_video(layer, VideoCodec::Vp8, packet);
        }
        let received = std::iter::from_fn(|| ends[1].media.try_recv().ok());
        let numbers: Vec<u32> = received.map(|packet| number_of(&packet)).collect();
        assert!(numbers.iter().all(|number| number % 3 == 0), "{numbers:?}");
        !numbers.is_empty()
    })
    .await;
    let stats = pair.ends[0].link.stats().await;
    assert!(stats.dropped_out >= 2 && stats.video_layers_out[1].packets == 0);
    pair.close().await;
}

/// Pictures of both ends and their screens, whoever offers, and two offers that cross; the streams are
/// told apart by their payloads.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_screen_flows_beside_the_camera_both_ways() {
    for initiators in [[true, false], [false, true], [true, true]] {
        let end = |polite: bool, initiator| LinkConfig {
            shape: SHARING,
            ..config(polite, initiator)
        };
        let ends = [end(true, initiators[0]), end(false, initiators[1])];
        let mut pair = Pair::connected(ends).await;
        let mut seen = [[false; 2]; 2];
        let mut number = 0;
        pair.until("cameras and screens", |ends| {
            number += 1;
            for end in ends.iter() {
                let link = &end.link;
                link.send_video(0, VideoCodec::Vp8, numbered(number, 100));
                link.send_screen(VideoCodec::Vp9, numbered(number, 200));
            }
            for (end, seen) in ends.iter_mut().zip(&mut seen) {
                while let Ok(packet) = end.media.try_recv() {
                    let is_screen = packet.payload.len() == 200;
                    let codec = if is_screen {
                        VideoCodec::Vp9
                    } else {
                        VideoCodec::Vp8
                    };
                    assert_eq!(packet.codec, Codec::Video(codec));
                    seen[usize::from(is_screen)] = true;
                    if is_screen {
                        end.link.request_keyframe(Some(packet.ssrc));
                    }
                }
            }
            seen == [[true; 2]; 2]
        })
        .await;
        let asked = |wanted: MediaSource| move |event: &LinkEvent| matches!(event, LinkEvent::KeyframeRequested { source, layer: 0 } if *source == wanted);
        pair.until("requests for the screens", |ends| {
            ends.iter()
                .all(|end| end.count(asked(MediaSource::Screen)) > 0)
        })
        .await;
        let of_cameras = pair
            .ends
            .iter()
            .map(|end| end.count(asked(MediaSource::Camera)));
        assert_eq!(of_cameras.sum::<usize>(), 0);
        pair.close().await;
    }
}
