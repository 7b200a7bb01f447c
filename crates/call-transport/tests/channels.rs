//! The data channels.

use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::Bytes;
use call_protocol::limits;
use call_transport::{ChannelError, ChannelLabel, Link, LinkConfig, LinkShape};
use tokio::sync::mpsc;

use crate::support::{End, Pair, config};

fn message(number: u32, bytes: usize) -> Bytes {
    let mut data = vec![number as u8; bytes.max(4)];
    data[..4].copy_from_slice(&number.to_be_bytes());
    data.into()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn messages_queue_before_open_and_keep_their_order() {
    let mut pair = Pair::open([config(true, true), config(false, false)]).await;
    for number in 0..100 {
        for end in &pair.ends {
            end.link
                .send_channel(ChannelLabel::Control, message(number, 50))
                .unwrap();
        }
    }
    let want: Vec<Bytes> = (0..100).map(|number| message(number, 50)).collect();
    pair.until("all messages", |ends| {
        ends.iter()
            .all(|end| end.messages(ChannelLabel::Control).len() == 100)
    })
    .await;
    for end in &pair.ends {
        assert_eq!(end.messages(ChannelLabel::Control), want);
    }
    pair.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_largest_message_passes_a_larger_one_is_refused() {
    let mut pair = Pair::connected([config(true, true), config(false, false)]).await;
    let largest = message(7, limits::CHANNEL_MESSAGE_BYTES);
    for label in [ChannelLabel::Control, ChannelLabel::Bulk] {
        for (from, to) in [(0, 1), (1, 0)] {
            pair.ends[from]
                .link
                .send_channel(label, largest.clone())
                .unwrap();
            pair.until("the message", |ends| ends[to].messages(label).len() == 1)
                .await;
            assert!(pair.ends[to].messages(label)[0] == largest);
        }
    }
    let larger = message(7, limits::CHANNEL_MESSAGE_BYTES + 1);
    let refused = pair.ends[0]
        .link
        .send_channel(ChannelLabel::Control, larger);
    assert_eq!(refused, Err(ChannelError::TooLarge));
    pair.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_queue_refuses_and_then_drains() {
    let mut pair = Pair::open([config(true, true), config(false, false)]).await;
    let part = message(1, 64 * 1024);
    let mut sent = 0;
    while pair.ends[0]
        .link
        .send_channel(ChannelLabel::Bulk, part.clone())
        .is_ok()
    {
        sent += 1;
    }
    assert_eq!(sent, 15, "sixteen would exceed the bound by their overhead");
    let refused = pair.ends[0]
        .link
        .send_channel(ChannelLabel::Bulk, part.clone());
    assert_eq!(refused, Err(ChannelError::Full));
    pair.until("all parts", |ends| {
        ends[1].messages(ChannelLabel::Bulk).len() == 15
    })
    .await;
    pair.ends[0].link.channel_writable(ChannelLabel::Bulk).await;
    pair.ends[0]
        .link
        .send_channel(ChannelLabel::Bulk, part)
        .unwrap();
    pair.until("one more", |ends| {
        ends[1].messages(ChannelLabel::Bulk).len() == 16
    })
    .await;
    pair.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_lossy_channel_carries_too() {
    let mut pair = Pair::connected([config(true, true), config(false, false)]).await;
    pair.until("open", |ends| {
        ends.iter().all(|end| end.has_open(ChannelLabel::Lossy))
    })
    .await;
    pair.ends[1]
        .link
        .send_channel(ChannelLabel::Lossy, message(1, 100))
        .unwrap();
    pair.until("the message", |ends| {
        !ends[0].messages(ChannelLabel::Lossy).is_empty()
    })
    .await;
    let ends = pair.ends;
    let [first, second] = ends;
    second.link.close().await;
    drop(first);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bulk_that_nobody_reads_holds_back_no_signal_and_nothing_gets_lost() {
    const MESSAGES: u32 = 1_024;
    let data = |polite| LinkConfig {
        shape: LinkShape::Data,
        ..config(polite, polite)
    };
    let (sink, mut contents) = mpsc::channel(1);
    let (event_sender, events) = mpsc::channel(64);
    let (media_sender, media) = mpsc::channel(1);
    let link = Link::open_with_bulk(data(false), event_sender, media_sender, sink);
    let receiver = End {
        link: link.await.unwrap(),
        events,
        media,
        told: Vec::new(),
        descriptions: 0,
    };
    let mut pair = Pair {
        ends: [End::open(data(true)).await, receiver],
        filter: Box::new(|_, signal| Some(signal)),
    };
    let mut sent = 0;
    // 32 MiB, twice what all queues and windows hold.
    let mut send = move |ends: &mut [End; 2]| {
        while sent < MESSAGES {
            let part = message(sent, 32 * 1024);
            if ends[0].link.send_channel(ChannelLabel::Bulk, part).is_err() {
                break;
            }
            sent += 1;
        }
        sent
    };
    pair.until("connected and full", |ends| {
        send(ends) > 8 && ends.iter().all(End::is_connected)
    })
    .await;
    let before = pair.ends[1].descriptions;
    pair.ends[1].link.restart_ice();
    pair.until("another offer and its answer", |ends| {
        send(ends) < MESSAGES && ends[1].descriptions > before && ends[0].descriptions > 1
    })
    .await;
    let mut arrived = BTreeSet::new();
    pair.until("everything", |ends| {
        while let Ok(data) = contents.try_recv() {
            arrived.insert(data[..4].to_vec());
        }
        send(ends) == MESSAGES && arrived.len() == MESSAGES as usize
    })
    .await;
    assert_eq!(
        pair.ends[1].messages(ChannelLabel::Bulk),
        Vec::<Bytes>::new()
    );
    pair.close().await;
}

#[tokio::test]
async fn closing_ends_a_link_that_somebody_waits_to_send_on() {
    let [first, _second] = Pair::open([config(true, true), config(false, false)])
        .await
        .ends;
    let link = Arc::new(first.link);
    let part = message(1, 64 * 1024);
    while link.send_channel(ChannelLabel::Bulk, part.clone()).is_ok() {}
    let waiting = {
        let link = Arc::clone(&link);
        tokio::spawn(async move {
            link.channel_writable(ChannelLabel::Bulk).await;
            link.send_channel(ChannelLabel::Bulk, Bytes::new())
        })
    };
    tokio::task::yield_now().await;
    link.close().await;
    assert_eq!(waiting.await.unwrap(), Err(ChannelError::Closed));
    link.close().await;
}
