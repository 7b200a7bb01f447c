//! Bulk data of links that carry nothing else.

use std::collections::BTreeSet;
use std::time::Instant;

use bytes::Bytes;
use call_protocol::limits;
use call_transport::{ChannelLabel, LinkConfig, LinkEvent, LinkShape};

use crate::support::{Pair, Relay, config};

const PART_BYTES: usize = 64 * 1024;

fn data_config(polite: bool) -> LinkConfig {
    LinkConfig {
        shape: LinkShape::Data,
        ..config(polite, polite)
    }
}

/// A part whose every byte follows from its number.
fn part(number: u32) -> Bytes {
    let mut bytes = number.to_be_bytes().to_vec();
    let seed = number as usize;
    bytes.extend((0..PART_BYTES - 4).map(|at| (at.wrapping_mul(31) ^ (at >> 8) ^ seed) as u8));
    bytes.into()
}

/// Sends parts from the first end to the second until all have arrived, intact and once.
async fn transfer(pair: &mut Pair, parts: u32) -> f64 {
    pair.until("open", |ends| {
        ends.iter().all(|end| end.has_open(ChannelLabel::Bulk))
    })
    .await;
    let begin = Instant::now();
    let (mut sent, mut arrived) = (0, BTreeSet::new());
    pair.until("all parts", |ends| {
        let [from, to] = ends;
        while sent < parts
            && from
                .link
                .send_channel(ChannelLabel::Bulk, part(sent))
                .is_ok()
        {
            sent += 1;
        }
        for event in std::mem::take(&mut to.told) {
            if let LinkEvent::ChannelMessage { data, .. } = event {
                let number = u32::from_be_bytes(data[..4].try_into().unwrap());
                assert!(data == part(number), "part {number} is damaged");
                assert!(arrived.insert(number), "part {number} came twice");
            }
        }
        arrived.len() == parts as usize
    })
    .await;
    f64::from(parts) * PART_BYTES as f64 / begin.elapsed().as_secs_f64() / 1e6
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn losses_below_are_repaired_below() {
    let relay = Relay::new();
    let mut pair = Pair::open([data_config(true), data_config(false)]).await;
    pair.filter = relay.filter();
    relay.set_data_path(10, 30);
    let rate = transfer(&mut pair, 320).await;
    let stats = pair.ends[0].link.stats().await.bulk;
    println!("20 MiB at 60 ms and 1 % loss: {rate:.1} MB/s, {stats:?}");
    assert!(stats.is_tunnelled);
    assert!(pair.ends[1].link.stats().await.bulk.is_tunnelled);
    assert!(relay.dropped() > 0 && stats.repeated > 0.0);
    assert!(stats.base_rtt_ms.is_some_and(|rtt| rtt >= 60.0));
    pair.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_peer_or_path_without_tunnels_gets_the_same_data() {
    let relay = Relay::new();
    relay.set_strict();
    let mut pair = Pair::open([data_config(true), data_config(false)]).await;
    pair.filter = relay.filter();
    transfer(&mut pair, 32).await;
    let stats = pair.ends[0].link.stats().await.bulk;
    assert!(!stats.is_tunnelled && stats.rtt_ms.is_none());
    assert!(relay.dropped() > 0, "it was offered");
    pair.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_backlog_stays_small_while_the_owner_waits_to_be_told() {
    let relay = Relay::new();
    let mut pair = Pair::open([data_config(true), data_config(false)]).await;
    pair.filter = relay.filter();
    relay.set_data_path(0, 10);
    pair.ends[0].link.set_bulk_limit_bps(Some(8_000_000));
    transfer(&mut pair, 8).await;
    let largest = 256 * 1024 + limits::CHANNEL_PENDING_BYTES / 8 + 3 * PART_BYTES;
    for number in 0..24 {
        let end = &pair.ends[0];
        end.link.channel_writable(ChannelLabel::Bulk).await;
        end.link
            .send_channel(ChannelLabel::Bulk, part(number))
            .unwrap();
        let backlog = end.link.stats().await.bulk.backlog_bytes;
        assert!(backlog <= largest, "{backlog} bytes wait");
        pair.until("a moment", |_| true).await;
    }
    pair.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn loopback_is_not_slowed_down() {
    let mut pair = Pair::open([data_config(true), data_config(false)]).await;
    let rate = transfer(&mut pair, 320).await;
    let stats = pair.ends[0].link.stats().await.bulk;
    println!("20 MiB over loopback: {rate:.1} MB/s, {stats:?}");
    assert!(stats.is_tunnelled);
    pair.close().await;
}
