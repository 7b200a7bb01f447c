//! The data channels.

use bytes::Bytes;
use call_protocol::limits;
use call_transport::{ChannelError, ChannelLabel};

use crate::support::{Pair, config};

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
