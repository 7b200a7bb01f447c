//! The packets a jitter buffer holds, by sequence number, in a ring of fixed size.
//!
//! Invariants: at most [`MAX_PACKETS`] are held and all lie within [`SLOTS`] consecutive numbers;
//! where nobody takes packets out, the oldest make room; nothing is allocated after creation.

use bytes::Bytes;

/// Most packets held: 1 s.
pub(crate) const MAX_PACKETS: usize = 50;
/// Slots of the ring; a power of two above [`MAX_PACKETS`].
const SLOTS: usize = 64;

/// A packet with its unwrapped sequence number and timestamp.
#[derive(Debug)]
pub(crate) struct Packet {
    pub(crate) seq: i64,
    pub(crate) timestamp: i64,
    pub(crate) payload: Bytes,
}

/// See the [module documentation](self).
#[derive(Debug)]
pub(crate) struct PacketRing {
    /// By sequence number modulo [`SLOTS`].
    slots: Box<[Option<Packet>; SLOTS]>,
    held: usize,
    /// No packet held is older, and none newer.
    lowest_seq: i64,
    highest_seq: i64,
}

impl PacketRing {
    pub(crate) fn new() -> Self {
        Self {
            slots: Box::new([const { None }; SLOTS]),
            held: 0,
            lowest_seq: 0,
            highest_seq: 0,
        }
    }

    /// Packets held.
    pub(crate) fn len(&self) -> usize {
        self.held
    }

    pub(crate) fn clear(&mut self) {
        self.slots.fill_with(|| None);
        self.held = 0;
    }

    /// Holds a packet; where nobody pulls, the oldest make room.
    pub(crate) fn insert(&mut self, packet: Packet) {
        let seq = packet.seq;
        if self.held == 0 {
            (self.lowest_seq, self.highest_seq) = (seq, seq);
        }
        self.highest_seq = self.highest_seq.max(seq);
        if seq < self.lowest_seq {
            if self.highest_seq - seq >= SLOTS as i64 {
                return;
            }
            self.lowest_seq = seq;
        }
        while seq - self.lowest_seq >= SLOTS as i64 || self.held >= MAX_PACKETS {
            match self.first() {
                Some((oldest, _)) => {
                    self.take(oldest);
                    self.lowest_seq = oldest + 1;
                }
                None => (self.lowest_seq, self.held) = (seq, 0),
            }
        }
        self.held += usize::from(self.slots[slot(seq)].replace(packet).is_none());
    }

    /// Sequence number and timestamp of the oldest packet held.
    pub(crate) fn first(&mut self) -> Option<(i64, i64)> {
        if self.held == 0 {
            return None;
        }
        for seq in self.lowest_seq..self.lowest_seq + SLOTS as i64 {
            if let Some(packet) = self.slots[slot(seq)].as_ref()
                && packet.seq == seq
            {
                self.lowest_seq = seq;
                return Some((seq, packet.timestamp));
            }
        }
        None
    }

    pub(crate) fn payload(&self, seq: i64) -> Option<Bytes> {
        let packet = self.slots[slot(seq)].as_ref()?;
        Some(packet.payload.clone())
    }

    pub(crate) fn take(&mut self, seq: i64) -> Option<Packet> {
        let packet = self.slots[slot(seq)].take()?;
        self.held -= 1;
        Some(packet)
    }
}

fn slot(seq: i64) -> usize {
    seq.rem_euclid(SLOTS as i64) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packet(seq: i64) -> Packet {
        Packet {
            seq,
            timestamp: seq * 960,
            payload: Bytes::from_static(b"sound"),
        }
    }

    #[test]
    fn packets_come_out_oldest_first_and_the_oldest_make_room() {
        let mut ring = PacketRing::new();
        for seq in [-3, 5, 0, -1] {
            ring.insert(packet(seq));
        }
        let mut order = Vec::new();
        while let Some((seq, timestamp)) = ring.first() {
            assert_eq!(timestamp, seq * 960);
            assert_eq!(ring.payload(seq).as_deref(), Some(&b"sound"[..]));
            order.push(seq);
            ring.take(seq);
        }
        assert_eq!((order, ring.len()), (vec![-3, -1, 0, 5], 0));
        for seq in 0..200 {
            ring.insert(packet(seq));
        }
        assert_eq!(
            (ring.len(), ring.first()),
            (MAX_PACKETS, Some((150, 150 * 960)))
        );
        ring.insert(packet(1_000));
        assert_eq!((ring.len(), ring.first()), (1, Some((1_000, 960_000))));
        ring.insert(packet(900));
        assert_eq!(ring.len(), 1, "too old for the ring");
        ring.clear();
        assert_eq!((ring.len(), ring.first()), (0, None));
    }
}
