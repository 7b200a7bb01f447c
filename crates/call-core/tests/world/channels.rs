//! Messages on data channels: over the direct link if it stands, else through the SFU, else nowhere.

use std::time::Duration;

use call_core::Input;
use call_e2ee::SeedStream;
use call_protocol::MemberId;
use call_protocol::ui::ChatMessageView;

use super::{Event, LATENCY, World};

/// What the network does to messages.
pub(crate) struct Channels {
    dice: SeedStream,
    /// Of a hundred messages.
    pub(crate) lost: u32,
    /// By how much a message may be late, at most: they overtake each other.
    pub(crate) jitter_ms: u32,
    /// Addressed or broadcast, counted once for each receiver.
    pub(crate) sent: u64,
}

impl Channels {
    pub(super) fn new(seed: u8) -> Self {
        Self {
            dice: SeedStream::new([seed ^ 0x5a; 32]),
            lost: 0,
            jitter_ms: 0,
            sent: 0,
        }
    }

    fn below(&mut self, count: u32) -> u32 {
        u32::from_be_bytes(self.dice.draw()) % count
    }
}

impl World {
    pub(super) fn send_channel(&mut self, client: usize, to: Option<MemberId>, data: &[u8]) {
        let Some(from) = self.member(client) else {
            return;
        };
        for other in (0..self.clients.len()).filter(|other| *other != client) {
            let Some(member) = self.member(other) else {
                continue;
            };
            if to.is_some_and(|to| to != member) {
                continue;
            }
            self.channels.sent += 1;
            let direct = self.live_direct_link(client, other);
            let direct = direct.and(self.live_direct_link(other, client));
            let sfu = self.live_sfu_link(client).and(self.live_sfu_link(other));
            let hops = match (direct, sfu) {
                (Some(_), _) => 1,
                (None, Some(_)) => 2,
                (None, None) => continue,
            };
            if self.channels.below(100) < self.channels.lost {
                continue;
            }
            let late_ms = self.channels.below(self.channels.jitter_ms + 1);
            let delay = LATENCY * hops + Duration::from_millis(u64::from(late_ms));
            let input = Input::Channel {
                from,
                data: data.to_vec(),
            };
            let client = other;
            self.at(delay, Event::ToSession { client, input });
        }
    }

    pub(super) fn show_chat(&mut self, client: usize, reset: bool, messages: Vec<ChatMessageView>) {
        assert!(messages.len() <= 100);
        let chat = &mut self.clients[client].chat;
        if reset {
            chat.clear();
        }
        for message in messages {
            let order = message.order.clone();
            if let Some(before) = chat.insert(order, message.clone()) {
                assert_eq!((before.id, before.text), (message.id, message.text));
            }
        }
    }

    /// What a client's window shows, in order.
    pub(crate) fn texts(&self, client: usize) -> Vec<String> {
        let chat = self.clients[client].chat.values();
        chat.map(|message| message.text.clone()).collect()
    }
}
