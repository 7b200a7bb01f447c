//! The receiving end of one tunnel: puts datagrams back into their order, joins the pieces of large
//! ones, and says what arrived.
//!
//! [`Receiver::handle_data`] says whether a datagram is the next one; those that waited for it
//! follow from [`Receiver::poll_released`]. [`Receiver::poll_ack`] makes a frame when one is due.
//!
//! Invariants: each datagram is handed up at most once, in order and without a gap; what is
//! acknowledged was handed up or is held. Bounds: [`WINDOW`] datagrams and [`HELD_BYTES`] are held,
//! what exceeds them is dropped unacknowledged; pieces are joined up to [`DATAGRAM_BYTES`], and what
//! would be larger is dropped; [`MAX_RANGES`](frame::MAX_RANGES) runs of packets
//! are remembered, older ones are forgotten and come again.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::frame::{self, DATAGRAM_BYTES, expand};

/// Datagrams a sender may be ahead of the oldest that is missing. 16384 of 1250 bytes are 20 MB, three
/// round trips of 150 ms at 350 Mbit/s. More costs a hostile peer's victim memory.
pub(crate) const WINDOW: u64 = 16_384;
/// Bytes held while an older datagram is missing; see [`WINDOW`]. SCTP's own window above is 8 MiB,
/// so an honest sender stays below.
const HELD_BYTES: usize = 12 * 1024 * 1024;
/// An acknowledgement waits this long for more packets. Lower costs packets, higher makes the
/// sender's measurements coarse; timers are about 1 ms anyway.
const ACK_DELAY: Duration = Duration::from_millis(2);
/// Packets that make one due at once: one coalesced read of a fast path.
const ACK_EVERY: usize = 64;

/// What became of a datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// It is the next one, and whole: hand it up, then what is released.
    Next,
    /// It was the next piece: hand up what is released.
    Joined,
    /// It waits for an older one.
    Held,
    /// It came before, or there is no room.
    Dropped,
}

/// A datagram, or a piece of one.
#[derive(Clone, Debug)]
struct Piece {
    payload: Bytes,
    has_more: bool,
}

/// Pieces in order so far.
#[derive(Debug, Default)]
struct Joining {
    bytes: Vec<u8>,
    is_under_way: bool,
    is_too_large: bool,
}

impl Joining {
    /// Takes the next piece; returns the datagram it ends.
    fn handle_piece(&mut self, payload: &[u8], has_more: bool) -> Option<Bytes> {
        if self.bytes.len() + payload.len() > DATAGRAM_BYTES {
            self.is_too_large = true;
            self.bytes.clear();
        }
        if !self.is_too_large {
            self.bytes.extend_from_slice(payload);
        }
        self.is_under_way = has_more;
        if has_more {
            return None;
        }
        let whole = std::mem::take(&mut self.bytes);
        let is_too_large = std::mem::take(&mut self.is_too_large);
        (!is_too_large).then(|| Bytes::from(whole))
    }
}

/// See the module's text.
#[derive(Debug)]
pub(crate) struct Receiver {
    epoch: Instant,
    token: u32,
    /// The datagram that is missing.
    next: u64,
    /// What waits, the first place being `next`'s.
    held: VecDeque<Option<Piece>>,
    held_bytes: usize,
    released: VecDeque<Bytes>,
    /// The pieces of the datagram that is being joined.
    joining: Joining,
    /// Runs of packets that arrived, latest first.
    runs: VecDeque<(u64, u64)>,
    largest_at: Instant,
    unacknowledged: usize,
    ack_at: Option<Instant>,
    last_data_at: Option<Instant>,
}

impl Receiver {
    pub(crate) fn new(now: Instant, token: u32) -> Self {
        Self {
            epoch: now,
            token,
            next: 0,
            held: VecDeque::new(),
            held_bytes: 0,
            released: VecDeque::new(),
            joining: Joining::default(),
            runs: VecDeque::new(),
            largest_at: now,
            unacknowledged: 0,
            ack_at: None,
            last_data_at: None,
        }
    }

    pub(crate) fn token(&self) -> u32 {
        self.token
    }

    /// When data last came.
    pub(crate) fn last_data_at(&self) -> Option<Instant> {
        self.last_data_at
    }

    /// Takes a data frame. After [`Fate::Next`] and [`Fate::Joined`] drain
    /// [`poll_released`](Self::poll_released).
    pub(crate) fn handle_data(
        &mut self,
        now: Instant,
        arrived_at: Instant,
        packet: u32,
        datagram: u32,
        has_more: bool,
        payload: &[u8],
    ) -> Fate {
        let largest = self.runs.front().map_or(0, |(_, high)| *high);
        let (Some(packet), Some(datagram)) = (expand(packet, largest), expand(datagram, self.next))
        else {
            return Fate::Dropped;
        };
        let ahead = datagram.saturating_sub(self.next);
        let has_room = ahead < WINDOW && self.held_bytes + payload.len() <= HELD_BYTES;
        if ahead > 0 && !has_room {
            return Fate::Dropped;
        }
        self.last_data_at = Some(now);
        self.note_packet(now, arrived_at, packet);
        if datagram < self.next {
            return Fate::Dropped;
        }
        if datagram > self.next {
            return self.hold(ahead, has_more, payload);
        }
        self.next += 1;
        self.held.pop_front();
        let is_whole = !has_more && !self.joining.is_under_way;
        if !is_whole {
            self.released
                .extend(self.joining.handle_piece(payload, has_more));
        }
        while let Some(Some(_)) = self.held.front() {
            let Some(Some(piece)) = self.held.pop_front() else {
                break;
            };
            self.next += 1;
            self.held_bytes -= piece.payload.len();
            if piece.has_more || self.joining.is_under_way {
                let joined = self.joining.handle_piece(&piece.payload, piece.has_more);
                self.released.extend(joined);
            } else {
                self.released.push_back(piece.payload);
            }
        }
        if is_whole { Fate::Next } else { Fate::Joined }
    }

    fn hold(&mut self, ahead: u64, has_more: bool, payload: &[u8]) -> Fate {
        let place = usize::try_from(ahead).unwrap_or(usize::MAX);
        if self.held.len() <= place {
            self.held.resize(place + 1, None);
        }
        if self.held[place].is_some() {
            return Fate::Dropped;
        }
        self.held_bytes += payload.len();
        self.held[place] = Some(Piece {
            payload: Bytes::copy_from_slice(payload),
            has_more,
        });
        Fate::Held
    }

    /// Notes that a packet arrived and when that has to be told.
    fn note_packet(&mut self, now: Instant, arrived_at: Instant, packet: u64) {
        self.unacknowledged += 1;
        let mut is_late = false;
        match self.runs.front_mut() {
            Some((_, high)) if packet == *high + 1 => {
                *high = packet;
                self.largest_at = arrived_at;
            }
            Some((_, high)) if packet > *high => {
                is_late = true;
                self.runs.push_front((packet, packet));
                self.largest_at = arrived_at;
            }
            None => {
                self.runs.push_front((packet, packet));
                self.largest_at = arrived_at;
            }
            Some(_) => self.note_older(packet),
        }
        self.runs.truncate(frame::MAX_RANGES);
        let is_due = is_late || self.unacknowledged >= ACK_EVERY;
        let at = if is_due { now } else { now + ACK_DELAY };
        self.ack_at = Some(self.ack_at.map_or(at, |known| known.min(at)));
    }

    fn note_older(&mut self, packet: u64) {
        let position = self.runs.iter().position(|(low, _)| packet + 1 >= *low);
        let Some(at) = position else {
            self.runs.push_back((packet, packet));
            return;
        };
        let (low, high) = self.runs[at];
        if (low..=high).contains(&packet) {
            return;
        }
        if packet + 1 == low {
            self.runs[at].0 = packet;
            if let Some((_, below)) = self.runs.get(at + 1).copied()
                && below + 1 == packet
            {
                self.runs[at].0 = self.runs[at + 1].0;
                self.runs.remove(at + 1);
            }
        } else if high + 1 == packet {
            self.runs[at].1 = packet;
        } else {
            self.runs.insert(at, (packet, packet));
        }
    }

    /// The next datagram that was waiting.
    pub(crate) fn poll_released(&mut self) -> Option<Bytes> {
        self.released.pop_front()
    }

    /// Appends an acknowledgement if one is due.
    pub(crate) fn poll_ack(&mut self, now: Instant, out: &mut Vec<u8>) -> bool {
        if self.ack_at.is_none_or(|at| at > now) {
            return false;
        }
        self.ack_at = None;
        self.unacknowledged = 0;
        let micros = |duration: Duration| u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
        frame::write_ack(
            out,
            self.token,
            self.next,
            micros(self.largest_at.saturating_duration_since(self.epoch)),
            micros(now.saturating_duration_since(self.largest_at)),
            self.runs.iter().copied(),
        );
        true
    }

    /// When an acknowledgement is due.
    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        self.ack_at
    }
}

#[cfg(test)]
mod tests {
    use super::super::frame::{Frame, parse};
    use super::*;

    fn take(receiver: &mut Receiver, now: Instant, packet: u32, datagram: u32) -> (Fate, Vec<u8>) {
        let fate = receiver.handle_data(now, now, packet, datagram, false, &[datagram as u8; 10]);
        let mut handed_up = Vec::new();
        if fate == Fate::Next {
            handed_up.push(datagram as u8);
        }
        handed_up.extend(std::iter::from_fn(|| receiver.poll_released()).map(|bytes| bytes[0]));
        (fate, handed_up)
    }

    #[test]
    fn datagrams_come_up_in_order_and_once() {
        let now = Instant::now();
        let mut receiver = Receiver::new(now, 1);
        let mut packet = 0;
        let mut step = |datagram| {
            packet += 1;
            take(&mut receiver, now, packet, datagram)
        };
        assert_eq!(step(0), (Fate::Next, vec![0]));
        assert_eq!(step(2), (Fate::Held, vec![]));
        assert_eq!(step(3), (Fate::Held, vec![]));
        assert_eq!(step(2), (Fate::Dropped, vec![]));
        assert_eq!(step(5), (Fate::Held, vec![]));
        assert_eq!(step(1), (Fate::Next, vec![1, 2, 3]));
        assert_eq!(step(3), (Fate::Dropped, vec![]));
        assert_eq!(step(4), (Fate::Next, vec![4, 5]));
        assert_eq!(step(6), (Fate::Next, vec![6]));
    }

    #[test]
    fn what_is_too_far_ahead_or_too_much_is_not_acknowledged() {
        let now = Instant::now();
        let mut receiver = Receiver::new(now, 1);
        assert_eq!(
            take(&mut receiver, now, 0, WINDOW as u32).0,
            Fate::Dropped,
            "beyond the window"
        );
        assert_eq!(receiver.poll_timeout(), None);
        let large = vec![0; 64 * 1024];
        let mut held = 0;
        while receiver.handle_data(now, now, held + 1, held + 1, false, &large) == Fate::Held {
            held += 1;
        }
        assert_eq!(held as usize, HELD_BYTES / large.len());
        assert_eq!(
            receiver.handle_data(now, now, 999, 0, false, &large),
            Fate::Next
        );
    }

    #[test]
    fn pieces_are_joined_and_endless_ones_dropped() {
        let now = Instant::now();
        let mut receiver = Receiver::new(now, 1);
        let mut number = 0;
        let mut take = |at: u32, has_more, payload: &[u8]| {
            number += 1;
            let fate = receiver.handle_data(now, now, number, at, has_more, payload);
            let released: Vec<_> = std::iter::from_fn(|| receiver.poll_released()).collect();
            (fate, released)
        };
        assert_eq!(take(1, true, b"b"), (Fate::Held, vec![]));
        assert_eq!(take(2, false, b"c"), (Fate::Held, vec![]));
        assert_eq!(take(3, false, b"d"), (Fate::Held, vec![]));
        let want = [&b"abc"[..], b"d"].map(Bytes::from_static).to_vec();
        assert_eq!(take(0, true, b"a"), (Fate::Joined, want));
        assert_eq!(take(4, false, b"e"), (Fate::Next, vec![]));
        let large = [7; 1_000];
        for at in 5..1_000 {
            assert_eq!(take(at, true, &large), (Fate::Joined, vec![]));
        }
        assert_eq!(take(1_000, false, &large), (Fate::Joined, vec![]));
        assert_eq!(take(1_001, true, b"f"), (Fate::Joined, vec![]));
        let want = vec![Bytes::from_static(b"fg")];
        assert_eq!(take(1_002, false, b"g"), (Fate::Joined, want));
    }

    #[test]
    fn acknowledgements_are_due_soon_and_at_once_after_a_gap() {
        let now = Instant::now();
        let mut receiver = Receiver::new(now, 1);
        let mut out = Vec::new();
        take(&mut receiver, now, 0, 0);
        assert!(!receiver.poll_ack(now, &mut out));
        assert_eq!(receiver.poll_timeout(), Some(now + ACK_DELAY));
        assert!(receiver.poll_ack(now + ACK_DELAY, &mut out));
        assert!(!receiver.poll_ack(now + ACK_DELAY, &mut out));
        let later = now + Duration::from_millis(10);
        for packet in [4, 2, 7, 8, 3, 9] {
            take(&mut receiver, later, packet, packet);
        }
        out.clear();
        assert!(receiver.poll_ack(later + Duration::from_micros(300), &mut out));
        let Some(Frame::Ack(ack)) = parse(&out) else {
            panic!("no acknowledgement");
        };
        assert_eq!((ack.next, ack.largest, ack.held_us), (1, 9, 300));
        assert_eq!(
            ack.ranges(9).collect::<Vec<_>>(),
            [(7, 9), (2, 4), (0, 0)],
            "runs that met became one"
        );
    }

    #[test]
    fn runs_are_bounded() {
        let now = Instant::now();
        let mut receiver = Receiver::new(now, 1);
        for packet in 0..1_000 {
            take(&mut receiver, now, packet * 2, packet);
        }
        assert_eq!(receiver.runs.len(), frame::MAX_RANGES);
        let mut out = Vec::new();
        assert!(receiver.poll_ack(now, &mut out));
        assert!(parse(&out).is_some());
    }
}
