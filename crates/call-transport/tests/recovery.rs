//! ICE restarts: asked for, and after a lost path.

use std::time::Duration;

use call_protocol::VideoCodec;
use call_transport::{LinkEvent, LinkState};

use crate::support::{Pair, Relay, config, number_of, numbered};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn media_goes_on_over_a_restart_by_either_side() {
    let mut pair = Pair::connected([config(true, true), config(false, false)]).await;
    let mut number = 0;
    for side in [0, 1] {
        let before = [pair.ends[0].descriptions, pair.ends[1].descriptions];
        pair.ends[side].link.restart_ice();
        let mut last = number;
        let mut answered = None;
        pair.until("media long after the answer", |ends| {
            number += 1;
            ends[0]
                .link
                .send_video(0, VideoCodec::Vp8, numbered(number, 200));
            while let Ok(packet) = ends[1].media.try_recv() {
                let number = number_of(&packet);
                // A packet is sent every 5 ms at most: a lost path shows only after 2 s.
                assert!(number < last + 400, "media stopped at {last}");
                last = last.max(number);
            }
            if ends
                .iter()
                .zip(before)
                .all(|(end, before)| end.descriptions > before)
            {
                answered.get_or_insert(number);
            }
            answered.is_some_and(|answered| last > answered + 200)
        })
        .await;
        assert!(pair.ends.iter().all(|end| end.is_connected()));
        let lost = |event: &LinkEvent| matches!(event, LinkEvent::State(LinkState::Reconnecting));
        assert_eq!(
            pair.ends.iter().map(|end| end.count(lost)).sum::<usize>(),
            0
        );
    }
    pair.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_path_is_replaced() {
    let relay = Relay::new();
    let mut pair = Pair::open([config(true, true), config(false, false)]).await;
    pair.filter = relay.filter();
    pair.until("connected", |ends| {
        ends.iter().all(|end| end.is_connected())
    })
    .await;
    relay.cut();
    pair.until("noticed", |ends| {
        ends.iter()
            .any(|end| end.last_state() == Some(LinkState::Reconnecting))
    })
    .await;
    pair.ends[0].link.restart_ice();
    pair.until("connected again", |ends| {
        ends.iter().all(|end| end.is_connected())
    })
    .await;
    let mut number = 0;
    pair.until("media", |ends| {
        number += 1;
        ends[1]
            .link
            .send_video(0, VideoCodec::Vp8, numbered(number, 200));
        ends[0].media.try_recv().is_ok()
    })
    .await;
    tokio::time::timeout(Duration::from_secs(5), pair.close())
        .await
        .expect("a prompt close");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_path_that_comes_back_needs_no_restart() {
    let relay = Relay::new();
    let mut pair = Pair::open([config(true, true), config(false, false)]).await;
    pair.filter = relay.filter();
    pair.until("connected", |ends| {
        ends.iter().all(|end| end.is_connected())
    })
    .await;
    let before = [pair.ends[0].descriptions, pair.ends[1].descriptions];
    relay.set_loss_per_mille(1_000);
    relay.set_data_path(1_000, 0);
    pair.until("noticed by both", |ends| {
        ends.iter()
            .all(|end| end.last_state() == Some(LinkState::Reconnecting))
    })
    .await;
    relay.set_loss_per_mille(0);
    relay.set_data_path(0, 0);
    pair.until("connected again", |ends| {
        ends.iter().all(|end| end.is_connected())
    })
    .await;
    let after = [pair.ends[0].descriptions, pair.ends[1].descriptions];
    assert_eq!(before, after, "nothing was negotiated");
    pair.close().await;
}
