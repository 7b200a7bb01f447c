//! The data channels of one link: what arrives on them, and what waits to go out.
//!
//! Both ends create them with fixed stream ids, as on a link between members. The client's stack
//! loses messages that arrive before its end is through, and says so on a channel of its own
//! (`ready`): until it spoke, or was silent for [`FOREIGN_AFTER`] (a browser), messages wait here.
//!
//! Invariants: at most [`QUEUE_BYTES`] wait for one receiver; a receiver that does not drain
//! reliable messages loses its link, never single messages. Lossy messages are dropped instead.
//! Deliberately not here: who is addressed.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use bytes::Bytes;
use str0m::Rtc;
use str0m::channel::{ChannelConfig, ChannelId, Reliability};

/// "My end is open."
const OPEN: u8 = 0;
/// "I heard that."
const SEEN: u8 = 1;
/// After this a silent member is taken for a foreign one.
const FOREIGN_AFTER: Duration = Duration::from_secs(2);
/// Bytes of reliable messages that wait for one receiver.
const QUEUE_BYTES: usize = 4 * 1024 * 1024;
/// What a queued message costs besides its bytes, so that empty ones are bounded as well.
const MESSAGE_COST_BYTES: usize = 64;
/// Bytes SCTP holds for one receiver, on all channels: what may be in flight.
pub(super) const SCTP_BYTES: usize = 1024 * 1024;
/// With so much before it a lossy message would come too late.
const LOSSY_BYTES: usize = 64 * 1024;
/// What one member may send, in bytes per second and at once. Each byte may go to 49 others.
const RATE_BYTES: f64 = 4_000_000.0;
const BURST_BYTES: f64 = 8_000_000.0;
/// What a message costs of that besides its bytes: the work of sending it to 49 others.
const RATE_COST_BYTES: usize = 512;

/// Which channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Channel {
    Ready,
    Control,
    Bulk,
    Lossy,
}

const CHANNELS: [(Channel, u16, &str); 4] = [
    (Channel::Ready, 99, "ready"),
    (Channel::Control, 100, "control"),
    (Channel::Bulk, 101, "bulk"),
    (Channel::Lossy, 102, "lossy"),
];

/// What became of a message for this receiver.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Queued {
    Taken,
    Dropped,
    /// The receiver does not drain its channels.
    Overflow,
}

/// One link's channels.
#[derive(Debug)]
pub(super) struct Channels {
    ids: Vec<(Channel, ChannelId)>,
    open: Vec<ChannelId>,
    open_since: Option<Instant>,
    is_heard: bool,
    control: VecDeque<Bytes>,
    bulk: VecDeque<Bytes>,
    queued_bytes: usize,
    allowance: f64,
    allowance_at: Instant,
}

impl Channels {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            ids: Vec::new(),
            open: Vec::new(),
            open_since: None,
            is_heard: false,
            control: VecDeque::new(),
            bulk: VecDeque::new(),
            queued_bytes: 0,
            allowance: BURST_BYTES,
            allowance_at: now,
        }
    }

    /// Creates this end of the channels, once.
    pub(super) fn create(&mut self, rtc: &mut Rtc) {
        if !self.ids.is_empty() {
            return;
        }
        for (channel, stream, label) in CHANNELS {
            let id = rtc.direct_api().create_data_channel(ChannelConfig {
                label: label.to_owned(),
                ordered: matches!(channel, Channel::Ready | Channel::Control),
                reliability: match channel {
                    Channel::Lossy => Reliability::MaxRetransmits { retransmits: 0 },
                    _ => Reliability::Reliable,
                },
                negotiated: Some(stream),
                protocol: String::new(),
            });
            self.ids.push((channel, id));
        }
    }

    pub(super) fn handle_open(&mut self, now: Instant, id: ChannelId, rtc: &mut Rtc) {
        self.open.push(id);
        self.open_since.get_or_insert(now);
        if let Some(mut channel) = rtc.channel(id) {
            channel.set_buffered_amount_low_threshold(SCTP_BYTES / 4);
        }
    }

    /// Takes a message that arrived; returns it with its channel where it is for others.
    pub(super) fn handle_message(
        &mut self,
        id: ChannelId,
        data: Vec<u8>,
        rtc: &mut Rtc,
    ) -> Option<(Channel, Vec<u8>)> {
        let channel = self.channel(id)?;
        self.is_heard = true;
        if channel != Channel::Ready {
            return Some((channel, data));
        }
        if data.first() == Some(&OPEN)
            && let Some(mut channel) = rtc.channel(id)
        {
            // Refused only when much waits, and the question comes again.
            let _ = channel.write(true, &[SEEN]);
        }
        None
    }

    /// Charges what this member sends; false when it sends too much.
    pub(super) fn charge(&mut self, now: Instant, bytes: usize) -> bool {
        let elapsed = now.saturating_duration_since(self.allowance_at);
        self.allowance_at = now;
        let earned = elapsed.as_secs_f64() * RATE_BYTES;
        self.allowance = (self.allowance + earned).min(BURST_BYTES);
        #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
        let cost = (bytes + RATE_COST_BYTES) as f64;
        if self.allowance < cost {
            return false;
        }
        self.allowance -= cost;
        true
    }

    /// Queues a message for this receiver and sends what can be sent.
    pub(super) fn send(
        &mut self,
        now: Instant,
        channel: Channel,
        data: Bytes,
        rtc: &mut Rtc,
    ) -> Queued {
        match channel {
            Channel::Ready => return Queued::Dropped,
            Channel::Lossy => return self.send_lossy(now, &data, rtc),
            Channel::Control | Channel::Bulk => {}
        }
        let cost = data.len() + MESSAGE_COST_BYTES;
        if self.queued_bytes + cost > QUEUE_BYTES {
            return Queued::Overflow;
        }
        self.queued_bytes += cost;
        if channel == Channel::Control {
            self.control.push_back(data);
        } else {
            self.bulk.push_back(data);
        }
        self.drain(now, rtc);
        Queued::Taken
    }

    fn send_lossy(&mut self, now: Instant, data: &[u8], rtc: &mut Rtc) -> Queued {
        let is_sent = self.is_way_free(now)
            && self.open_id(Channel::Lossy).is_some_and(|id| {
                rtc.channel(id).is_some_and(|mut channel| {
                    channel.buffered_amount() < LOSSY_BYTES
                        && channel.write(true, data).unwrap_or(false)
                })
            });
        if is_sent {
            Queued::Taken
        } else {
            Queued::Dropped
        }
    }

    /// Sends what waits, as far as SCTP takes it: control before bulk.
    pub(super) fn drain(&mut self, now: Instant, rtc: &mut Rtc) {
        if self.queued_bytes == 0 || !self.is_way_free(now) {
            return;
        }
        let (control, bulk) = (self.open_id(Channel::Control), self.open_id(Channel::Bulk));
        for (id, queue) in [(control, &mut self.control), (bulk, &mut self.bulk)] {
            let Some(mut channel) = id.and_then(|id| rtc.channel(id)) else {
                continue;
            };
            while let Some(data) = queue.front() {
                if !channel.write(true, data).unwrap_or(false) {
                    return;
                }
                self.queued_bytes -= data.len() + MESSAGE_COST_BYTES;
                queue.pop_front();
            }
        }
    }

    /// When a silent member is to be taken for a foreign one, while something waits for it.
    pub(super) fn way_free_at(&self) -> Option<Instant> {
        let waits = self.queued_bytes > 0 && !self.is_heard;
        self.open_since
            .filter(|_| waits)
            .map(|since| since + FOREIGN_AFTER)
    }

    fn is_way_free(&mut self, now: Instant) -> bool {
        self.is_heard |= self
            .open_since
            .is_some_and(|since| now.saturating_duration_since(since) >= FOREIGN_AFTER);
        self.is_heard
    }

    fn channel(&self, id: ChannelId) -> Option<Channel> {
        let mut known = self.ids.iter();
        known
            .find(|(_, known)| *known == id)
            .map(|(channel, _)| *channel)
    }

    fn open_id(&self, channel: Channel) -> Option<ChannelId> {
        let mut known = self.ids.iter();
        let id = known.find(|(known, _)| *known == channel)?.1;
        self.open.contains(&id).then_some(id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sender_has_a_burst_and_a_rate() {
        let start = Instant::now();
        let mut channels = Channels::new(start);
        let message = 32 * 1024 - RATE_COST_BYTES;
        let at_once = (0..1_000)
            .take_while(|_| channels.charge(start, message))
            .count();
        assert_eq!(at_once, 244);
        assert!(channels.charge(start + Duration::from_millis(10), message));
        assert!(!channels.charge(start + Duration::from_millis(10), message));
    }

    #[test]
    fn reliable_messages_wait_until_there_are_too_many() {
        let now = Instant::now();
        let mut rtc = Rtc::new(now);
        let mut channels = Channels::new(now);
        channels.create(&mut rtc);
        let message = Bytes::from(vec![0; 256 * 1024]);
        for _ in 0..15 {
            let queued = channels.send(now, Channel::Control, message.clone(), &mut rtc);
            assert_eq!(queued, Queued::Taken);
        }
        assert_eq!(
            channels.send(now, Channel::Lossy, message.clone(), &mut rtc),
            Queued::Dropped
        );
        assert_eq!(
            channels.send(now, Channel::Bulk, message, &mut rtc),
            Queued::Overflow
        );
        let mut empty = 0;
        while channels.send(now, Channel::Bulk, Bytes::new(), &mut rtc) == Queued::Taken {
            empty += 1;
        }
        assert!(empty <= 256 * 1024 / MESSAGE_COST_BYTES);
    }
}
