//! Counts packets per stream and derives rates, loss, jitter and round-trip time: pure arithmetic
//! over what the tap sees, because the stack's own statistics leave these at zero.
//!
//! Invariants: counters only grow; rates describe the time since the previous
//! [`snapshot`](Meter::snapshot) (meant once a second; closer calls repeat the previous rates).
//! At most [`MAX_STREAMS`] streams per direction are tracked, later ones are not counted.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use call_protocol::limits;

use crate::event::{MediaKind, SenderClock};

/// An SFU link has 21 slots; the rest is room for SSRC changes of foreign peers.
const MAX_STREAMS: usize = 48;
/// Sender reports remembered for matching the peer's receiver reports.
const REPORTS_KEPT: usize = 8;
/// Shorter windows make rates jump.
const MIN_WINDOW: Duration = Duration::from_millis(200);

/// What we send of one kind.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct OutStats {
    /// Packets sent, without retransmissions.
    pub packets: u64,
    /// Their payload bytes.
    pub bytes: u64,
    /// Retransmissions sent because the peer asked; padding of probes is not counted anywhere.
    pub retransmitted_packets: u64,
    /// Payload bits per second, retransmissions included.
    pub bitrate_bps: u64,
    /// Loss on the way to the peer before repair, 0 to 1, as its last report says.
    pub loss: f64,
    /// Jitter at the peer in milliseconds (RFC 3550, section 6.4.1).
    pub jitter_ms: f64,
}

/// What we receive of one kind.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct InStats {
    /// Packets received, without retransmissions.
    pub packets: u64,
    /// Payload bytes, retransmissions included.
    pub bytes: u64,
    /// Retransmissions that filled a gap.
    pub repaired_packets: u64,
    /// Packets that were there already.
    pub duplicate_packets: u64,
    /// Packets given up.
    pub missing_packets: u64,
    /// Packets asked for again, every request counted.
    pub nacks: u64,
    /// Payload bits per second, retransmissions included.
    pub bitrate_bps: u64,
    /// Loss before repair, 0 to 1.
    pub loss: f64,
    /// Jitter in milliseconds (RFC 3550, section 6.4.1).
    pub jitter_ms: f64,
}

#[derive(Debug)]
struct Out {
    kind: MediaKind,
    layer: Option<u8>,
    clock_rate_hz: u32,
    rtx: Option<u32>,
    stats: OutStats,
    all_bytes: u64,
    bytes_before: u64,
    reports: VecDeque<(u32, Instant)>,
    /// RTP timestamp and time of capture of the newest media.
    capture: Option<(u32, Instant)>,
}

#[derive(Debug)]
struct In {
    kind: MediaKind,
    clock_rate_hz: u32,
    rtx: Option<u32>,
    stats: InStats,
    first: Option<u64>,
    highest: u64,
    transit: Option<f64>,
    bytes_before: u64,
    seen_before: u64,
    expected_before: u64,
    clock: Option<SenderClock>,
}

/// See the module's text.
#[derive(Debug, Default)]
pub(crate) struct Meter {
    outs: BTreeMap<u32, Out>,
    ins: BTreeMap<u32, In>,
    epoch: Option<Instant>,
    window: Option<Window>,
}

#[derive(Debug)]
struct Window {
    from: Instant,
}

/// The sums over all streams of a kind.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Snapshot {
    pub(crate) audio_out: OutStats,
    pub(crate) video_out: OutStats,
    pub(crate) video_layers_out: [OutStats; limits::SFU_LAYERS],
    pub(crate) audio_in: InStats,
    pub(crate) video_in: InStats,
}

impl Meter {
    pub(crate) fn bind_out(
        &mut self,
        ssrc: u32,
        kind: MediaKind,
        layer: Option<u8>,
        clock_rate_hz: u32,
        rtx: Option<u32>,
    ) {
        if self.outs.len() < MAX_STREAMS {
            self.outs.entry(ssrc).or_insert(Out {
                kind,
                layer,
                clock_rate_hz: clock_rate_hz.max(1),
                rtx,
                stats: OutStats::default(),
                all_bytes: 0,
                bytes_before: 0,
                reports: VecDeque::new(),
                capture: None,
            });
        }
    }

    pub(crate) fn bind_in(
        &mut self,
        ssrc: u32,
        kind: MediaKind,
        clock_rate_hz: u32,
        rtx: Option<u32>,
    ) {
        let is_rtx = self.ins.values().any(|stream| stream.rtx == Some(ssrc));
        if self.ins.len() < MAX_STREAMS && !is_rtx {
            self.ins.entry(ssrc).or_insert(In {
                kind,
                clock_rate_hz: clock_rate_hz.max(1),
                rtx,
                stats: InStats::default(),
                first: None,
                highest: 0,
                transit: None,
                bytes_before: 0,
                seen_before: 0,
                expected_before: 0,
                clock: None,
            });
        }
    }

    /// A packet leaves; `is_asked_for` tells a retransmission from padding.
    pub(crate) fn handle_sent(&mut self, ssrc: u32, payload_bytes: usize, is_asked_for: bool) {
        let bytes = payload_bytes as u64;
        if let Some(stream) = self.outs.get_mut(&ssrc) {
            stream.stats.packets += 1;
            stream.stats.bytes += bytes;
            stream.all_bytes += bytes;
        } else if is_asked_for
            && let Some(stream) = self
                .outs
                .values_mut()
                .find(|stream| stream.rtx == Some(ssrc))
        {
            stream.stats.retransmitted_packets += 1;
            stream.all_bytes += bytes;
        }
    }

    pub(crate) fn handle_received(
        &mut self,
        now: Instant,
        ssrc: u32,
        sequence: u16,
        timestamp: u32,
        payload_bytes: usize,
    ) {
        let epoch = *self.epoch.get_or_insert(now);
        let Some(stream) = self.ins.get_mut(&ssrc) else {
            if let Some(stream) = self
                .ins
                .values_mut()
                .find(|stream| stream.rtx == Some(ssrc))
            {
                stream.stats.bytes += payload_bytes as u64;
            }
            return;
        };
        stream.stats.packets += 1;
        stream.stats.bytes += payload_bytes as u64;
        let extended = extend(stream.first.map(|_| stream.highest), sequence);
        stream.first.get_or_insert(extended);
        stream.highest = stream.highest.max(extended);
        let clock = f64::from(stream.clock_rate_hz);
        let arrival = now.saturating_duration_since(epoch).as_secs_f64() * clock;
        let transit = arrival - f64::from(timestamp);
        if let Some(previous) = stream.transit.replace(transit) {
            // A wrapped timestamp or a long silence is not jitter.
            let difference = (transit - previous).abs();
            if difference < clock {
                let difference_ms = difference / clock * 1_000.0;
                stream.stats.jitter_ms += (difference_ms - stream.stats.jitter_ms) / 16.0;
            }
        }
    }

    pub(crate) fn handle_repaired(&mut self, ssrc: u32) {
        self.with_in(ssrc, |stats| stats.repaired_packets += 1);
    }

    pub(crate) fn handle_duplicate(&mut self, ssrc: u32) {
        self.with_in(ssrc, |stats| stats.duplicate_packets += 1);
    }

    pub(crate) fn handle_missing(&mut self, ssrc: u32, packets: u64) {
        self.with_in(ssrc, |stats| stats.missing_packets += packets);
    }

    pub(crate) fn handle_nacks(&mut self, ssrc: u32, packets: u64) {
        self.with_in(ssrc, |stats| stats.nacks += packets);
    }

    fn with_in(&mut self, ssrc: u32, change: impl FnOnce(&mut InStats)) {
        if let Some(stream) = self.ins.get_mut(&ssrc) {
            change(&mut stream.stats);
        }
    }

    /// Media of ours was captured.
    pub(crate) fn handle_captured(&mut self, ssrc: u32, timestamp: u32, captured_at: Instant) {
        if let Some(stream) = self.outs.get_mut(&ssrc) {
            stream.capture = Some((timestamp, captured_at));
        }
    }

    /// The RTP timestamp of what is being captured `now`; `None` before anything was.
    pub(crate) fn capture_timestamp(&self, now: Instant, ssrc: u32) -> Option<u32> {
        let stream = self.outs.get(&ssrc)?;
        let (timestamp, captured_at) = stream.capture?;
        let age = now.saturating_duration_since(captured_at);
        let ticks = age.as_micros() * u128::from(stream.clock_rate_hz) / 1_000_000;
        Some(timestamp.wrapping_add(ticks as u32))
    }

    /// The peer reports where a stream of its stands.
    pub(crate) fn handle_peer_report(&mut self, ssrc: u32, clock: SenderClock) {
        if let Some(stream) = self.ins.get_mut(&ssrc) {
            stream.clock = Some(clock);
        }
    }

    /// What the peer last said of a stream.
    pub(crate) fn sender_clock(&self, ssrc: u32) -> Option<SenderClock> {
        self.ins.get(&ssrc)?.clock
    }

    /// A sender report of ours leaves.
    pub(crate) fn handle_sender_report(&mut self, now: Instant, ssrc: u32, ntp_time: u64) {
        if let Some(stream) = self.outs.get_mut(&ssrc) {
            if stream.reports.len() == REPORTS_KEPT {
                stream.reports.pop_front();
            }
            stream.reports.push_back(((ntp_time >> 16) as u32, now));
        }
    }

    /// The peer reports on a stream of ours. Returns the round-trip time if it follows from it.
    pub(crate) fn handle_reception_report(
        &mut self,
        now: Instant,
        ssrc: u32,
        fraction_lost: u8,
        jitter: u32,
        last_sr: u32,
        delay: u32,
    ) -> Option<Duration> {
        let stream = self.outs.get_mut(&ssrc)?;
        stream.stats.loss = f64::from(fraction_lost) / 256.0;
        stream.stats.jitter_ms = f64::from(jitter) / f64::from(stream.clock_rate_hz) * 1_000.0;
        let (_, sent_at) = stream
            .reports
            .iter()
            .find(|(ntp, _)| *ntp == last_sr && last_sr != 0)?;
        let held = Duration::from_secs_f64(f64::from(delay) / 65_536.0);
        now.saturating_duration_since(*sent_at).checked_sub(held)
    }

    /// Sums and rates since the previous snapshot.
    pub(crate) fn snapshot(&mut self, now: Instant) -> Snapshot {
        self.update_rates(now);
        let mut sums = Snapshot::default();
        for stream in self.outs.values() {
            let layer = stream.layer.map(usize::from);
            if let Some(layer) = layer.and_then(|layer| sums.video_layers_out.get_mut(layer)) {
                *layer = stream.stats;
            }
            let sum = if stream.kind == MediaKind::Audio {
                &mut sums.audio_out
            } else {
                &mut sums.video_out
            };
            sum.packets += stream.stats.packets;
            sum.bytes += stream.stats.bytes;
            sum.retransmitted_packets += stream.stats.retransmitted_packets;
            sum.bitrate_bps += stream.stats.bitrate_bps;
            sum.loss = sum.loss.max(stream.stats.loss);
            sum.jitter_ms = sum.jitter_ms.max(stream.stats.jitter_ms);
        }
        for stream in self.ins.values() {
            let sum = if stream.kind == MediaKind::Audio {
                &mut sums.audio_in
            } else {
                &mut sums.video_in
            };
            sum.packets += stream.stats.packets;
            sum.bytes += stream.stats.bytes;
            sum.repaired_packets += stream.stats.repaired_packets;
            sum.duplicate_packets += stream.stats.duplicate_packets;
            sum.missing_packets += stream.stats.missing_packets;
            sum.nacks += stream.stats.nacks;
            sum.bitrate_bps += stream.stats.bitrate_bps;
            sum.loss = sum.loss.max(stream.stats.loss);
            sum.jitter_ms = sum.jitter_ms.max(stream.stats.jitter_ms);
        }
        sums
    }

    fn update_rates(&mut self, now: Instant) {
        let from = self.window.get_or_insert(Window { from: now }).from;
        let elapsed = now.saturating_duration_since(from);
        if elapsed < MIN_WINDOW {
            return;
        }
        self.window = Some(Window { from: now });
        let rate = |bytes: u64| (bytes as f64 * 8.0 / elapsed.as_secs_f64()) as u64;
        for stream in self.outs.values_mut() {
            stream.stats.bitrate_bps = rate(stream.all_bytes - stream.bytes_before);
            stream.bytes_before = stream.all_bytes;
        }
        for stream in self.ins.values_mut() {
            stream.stats.bitrate_bps = rate(stream.stats.bytes - stream.bytes_before);
            stream.bytes_before = stream.stats.bytes;
            let expected = stream.first.map_or(0, |first| stream.highest - first + 1);
            let expected_now = expected - stream.expected_before;
            let seen_now = stream.stats.packets - stream.seen_before;
            stream.stats.loss = match expected_now {
                0 => 0.0,
                expected => (expected.saturating_sub(seen_now)) as f64 / expected as f64,
            };
            stream.expected_before = expected;
            stream.seen_before = stream.stats.packets;
        }
    }
}

/// The 64-bit sequence number nearest to `highest`; the first one starts with room below it.
pub(crate) fn extend(highest: Option<u64>, sequence: u16) -> u64 {
    match highest {
        None => (1 << 32) | u64::from(sequence),
        Some(highest) => {
            highest.wrapping_add_signed(i64::from(sequence.wrapping_sub(highest as u16) as i16))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sequence_numbers_extend_over_the_wrap() {
        let first = extend(None, 65_534);
        let cases = [(65_535, 1_i64), (0, 2), (5, 7), (65_530, -4)];
        for (sequence, offset) in cases {
            assert_eq!(
                extend(Some(first), sequence),
                first.wrapping_add_signed(offset),
                "{sequence}"
            );
        }
    }

    #[test]
    fn loss_rate_and_jitter_of_a_received_stream() {
        let start = Instant::now();
        let mut meter = Meter::default();
        meter.bind_in(1, MediaKind::Video, 90_000, Some(2));
        meter.bind_in(2, MediaKind::Video, 90_000, None);
        meter.snapshot(start);
        // Every tenth packet lost, 10 ms apart, every other one 2 ms late.
        for index in 0..100_u64 {
            if index % 10 == 5 {
                continue;
            }
            let late = Duration::from_millis(if index % 2 == 0 { 0 } else { 2 });
            let at = start + Duration::from_millis(index * 10) + late;
            meter.handle_received(at, 1, index as u16, index as u32 * 900, 1_000);
        }
        meter.handle_received(start, 2, 7, 0, 1_000);
        let video = meter.snapshot(start + Duration::from_secs(1)).video_in;
        assert_eq!(
            (video.packets, video.bytes, video.bitrate_bps),
            (90, 91_000, 728_000)
        );
        assert!((video.loss - 0.1).abs() < 1e-9, "{}", video.loss);
        assert!((1.0..2.0).contains(&video.jitter_ms), "{}", video.jitter_ms);
        let again = meter
            .snapshot(start + Duration::from_millis(1_100))
            .video_in;
        assert_eq!(again.bitrate_bps, 728_000, "too early for a new rate");
        assert_eq!(
            meter
                .snapshot(start + Duration::from_secs(3))
                .video_in
                .bitrate_bps,
            0
        );
    }

    #[test]
    fn round_trip_time_follows_from_the_reports() {
        let start = Instant::now();
        let mut meter = Meter::default();
        meter.bind_out(1, MediaKind::Audio, None, 48_000, None);
        let ntp = 0x1122_3344_5566_7788_u64;
        meter.handle_sender_report(start, 1, ntp);
        let at = start + Duration::from_millis(140);
        let delay = (0.1 * 65_536.0) as u32;
        let rtt = meter
            .handle_reception_report(at, 1, 64, 480, 0x3344_5566, delay)
            .unwrap();
        assert!((39..=41).contains(&rtt.as_millis()), "{rtt:?}");
        assert_eq!(
            meter.handle_reception_report(at, 1, 0, 0, 0x1111_1111, 0),
            None
        );
        meter.handle_reception_report(at, 1, 64, 480, 0x3344_5566, delay);
        let audio = meter.snapshot(at).audio_out;
        assert!((audio.loss - 0.25).abs() < 1e-9);
        assert!((audio.jitter_ms - 10.0).abs() < 1e-9);
    }

    #[test]
    fn foreign_streams_are_bounded() {
        let mut meter = Meter::default();
        for ssrc in 0..1_000 {
            meter.bind_in(ssrc, MediaKind::Video, 90_000, None);
        }
        assert_eq!(meter.ins.len(), MAX_STREAMS);
    }
}
