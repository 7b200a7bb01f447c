//! A sender of the simulation: the real estimator and pacer behind a model of the encoders.
//!
//! The camera: 30 pictures a second whose sizes vary as in RFC 8593 (Laplacian, scale 0.15), a
//! keyframe of four pictures' size at first and every ten seconds, paid back over the pictures after
//! it, and a rate that follows the target one picture late. What was cut goes on with a keyframe once
//! the path has room for it. The sound: 50 packets a second, not
//! paced.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use call_lab::random::Random;
use rtc::interceptor::{
    Attribute, AttributedPacket, BandwidthEstimator, Interceptor, Packet, PacketReport, StreamInfo,
    TaggedPacket,
};
use rtc::rtcp::transport_feedbacks::cc_feedback_report::Ecn;
use rtc::rtp;
use rtc::sansio::Protocol;
use rtc::shared::TransportContext;
use rtc::shared::marshal::MarshalSize;

use crate::budget::Budget;
use crate::estimator::probe::Probes;
use crate::estimator::{Estimator, START_BPS};
use crate::outgoing::OutStreams;
use crate::pacer::Pacer;

const AUDIO: u32 = 1;
const VIDEO: u32 = 2;
const RTX: u32 = 3;
/// Payload of a full packet of pictures, and of one of sound.
const PAYLOAD_BYTES: usize = 1_100;
const AUDIO_BYTES: usize = 108;
/// IP, UDP and SRTP.
const OVERHEAD_BYTES: usize = 44;
/// Kept of the target for the sound, as the engine does.
const SOUND_BPS: f64 = 50_000.0;
/// The engine sends no picture of less.
const FLOOR_BPS: f64 = 45_000.0;
const FRAME: Duration = Duration::from_nanos(33_333_333);
const AUDIO_EVERY: Duration = Duration::from_millis(20);
const KEYFRAME_EVERY: u64 = 300;
const KEYFRAME_SIZE: f64 = 4.0;
/// Most that a picture is made smaller to pay for an earlier one.
const REPAID: f64 = 0.2;
/// Packets that may be asked for again.
const HISTORY: u16 = 1_024;

/// A packet on the wire.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Media {
    /// Transport-wide number.
    pub(super) number: u64,
    pub(super) kind: Kind,
    pub(super) bytes: usize,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Kind {
    Sound,
    Picture(u16),
    Repeated(u16),
}

pub(super) struct Sender {
    estimator: Estimator,
    pacer: Pacer,
    budget: Arc<Budget>,
    random: Random,
    pub(super) is_paused: bool,
    most_bps: f64,
    target_bps: f64,
    debt_bits: f64,
    frames: u64,
    is_keyframe_owed: bool,
    frame_at: Instant,
    audio_at: Instant,
    video_sequence: u16,
    history: BTreeMap<u16, usize>,
    outstanding: BTreeMap<u64, PacketReport>,
    sent: u64,
    /// Longest wait of a packet of the picture in the pacer.
    pub(super) paced_most: Duration,
    queued_at: BTreeMap<u16, Instant>,
}

fn tagged(now: Instant, message: AttributedPacket) -> TaggedPacket {
    TaggedPacket {
        now,
        transport: TransportContext::default(),
        message,
    }
}

fn rtp_packet(ssrc: u32, sequence_number: u16, bytes: usize) -> rtp::Packet {
    rtp::Packet {
        header: rtp::Header {
            version: 2,
            ssrc,
            sequence_number,
            ..rtp::Header::default()
        },
        payload: vec![0; bytes].into(),
    }
}

impl Sender {
    pub(super) fn new(start: Instant, seed: u64, most_bps: Option<u64>) -> Self {
        let budget = Arc::new(Budget::new(START_BPS));
        let probes = Probes::default();
        let streams = OutStreams {
            audio: Some(AUDIO),
            layers: vec![(VIDEO, RTX)],
            screen: None,
        };
        // What was sent last, as far as anybody looks at it.
        let padding = Box::new(|| Some(rtp_packet(RTX, u16::MAX, PAYLOAD_BYTES)));
        let mut pacer = Pacer::new(streams, Arc::clone(&budget), probes.clone(), padding);
        pacer.bind_local_stream(&StreamInfo {
            ssrc: AUDIO,
            mime_type: "audio/opus".into(),
            ..StreamInfo::default()
        });
        let estimator = Estimator::new(Arc::clone(&budget), probes);
        let mut random = Random::new(seed);
        let target_bps = estimator.target_bitrate();
        let phase = Duration::from_secs_f64(random.between(0.0, 0.02));
        Self {
            estimator,
            pacer,
            budget,
            random,
            is_paused: false,
            most_bps: most_bps.map_or(f64::MAX, |bps| bps as f64),
            target_bps,
            debt_bits: 0.0,
            frames: 0,
            is_keyframe_owed: false,
            frame_at: start + phase,
            audio_at: start,
            video_sequence: 0,
            history: BTreeMap::new(),
            outstanding: BTreeMap::new(),
            sent: 0,
            paced_most: Duration::ZERO,
            queued_at: BTreeMap::new(),
        }
    }

    pub(super) fn target_bps(&self) -> u64 {
        self.estimator.target_bitrate() as u64
    }

    pub(super) fn poll_timeout(&mut self) -> Instant {
        let timers = [
            Some(self.frame_at),
            Some(self.audio_at),
            self.pacer.poll_timeout(),
        ];
        timers.into_iter().flatten().min().unwrap_or(self.frame_at)
    }

    pub(super) fn handle_timeout(&mut self, now: Instant) {
        if now >= self.audio_at {
            self.audio_at += AUDIO_EVERY;
            let packet = rtp_packet(AUDIO, 0, AUDIO_BYTES);
            self.write(now, AttributedPacket::new(Packet::Rtp(packet)));
        }
        if now >= self.frame_at {
            self.frame_at += FRAME;
            self.encode(now);
            self.target_bps = self.budget.media_bps() as f64;
        }
        self.pacer.handle_timeout(now).expect("it never fails");
    }

    fn write(&mut self, now: Instant, message: AttributedPacket) {
        self.pacer
            .handle_write(tagged(now, message))
            .expect("it never fails");
    }

    fn encode(&mut self, now: Instant) {
        if self.is_paused {
            return;
        }
        let video_bps = (self.target_bps - SOUND_BPS)
            .max(FLOOR_BPS)
            .min(self.most_bps);
        let budget_bits = video_bps * FRAME.as_secs_f64();
        let is_cut = self.budget.is_cut(0);
        let is_keyframe = self.frames.is_multiple_of(KEYFRAME_EVERY)
            || std::mem::take(&mut self.is_keyframe_owed);
        self.frames += 1;
        if is_cut && is_keyframe {
            self.history.clear();
            self.budget.mend(0);
        } else if is_cut {
            self.is_keyframe_owed = !self.budget.is_draining();
            return;
        }
        let unit = self.random.unit() - 0.5;
        let noise = -0.15 * unit.signum() * (1.0 - 2.0 * unit.abs()).max(1e-9).ln();
        let size = if is_keyframe { KEYFRAME_SIZE } else { 1.0 };
        let repaid_bits = self
            .debt_bits
            .clamp(-REPAID * budget_bits, REPAID * budget_bits);
        let bits = (budget_bits * size * (1.0 + noise).clamp(0.4, 1.8) - repaid_bits).max(1_600.0);
        self.debt_bits += bits - budget_bits;
        let bytes = (bits / 8.0) as usize;
        let packets = bytes.div_ceil(PAYLOAD_BYTES);
        for _ in 0..packets {
            let sequence = self.video_sequence;
            self.video_sequence = sequence.wrapping_add(1);
            self.history.insert(sequence, bytes / packets);
            self.history.remove(&sequence.wrapping_sub(HISTORY));
            self.queued_at.insert(sequence, now);
            let packet = rtp_packet(VIDEO, sequence, bytes / packets);
            self.write(now, AttributedPacket::new(Packet::Rtp(packet)));
        }
    }

    /// What leaves now.
    pub(super) fn poll_transmit(&mut self) -> Option<Media> {
        let tagged = self.pacer.poll_write()?;
        let Packet::Rtp(packet) = tagged.message.packet else {
            return self.poll_transmit();
        };
        let sequence = packet.header.sequence_number;
        let kind = match packet.header.ssrc {
            AUDIO => Kind::Sound,
            VIDEO => Kind::Picture(sequence),
            _ => Kind::Repeated(sequence),
        };
        if let Kind::Picture(sequence) = kind
            && let Some(queued_at) = self.queued_at.remove(&sequence)
        {
            self.paced_most = self.paced_most.max(tagged.now - queued_at);
        }
        let size = packet.marshal_size() + 8;
        let number = self.sent;
        self.sent += 1;
        let report = PacketReport {
            ssrc: packet.header.ssrc,
            id: number,
            rtp_sequence_number: sequence,
            is_twcc: true,
            twcc_sequence_number: number as u16,
            size,
            arrived: false,
            departure: tagged.now,
            arrival: None,
            ecn: Ecn::default(),
        };
        self.outstanding.insert(number, report);
        Some(Media {
            number,
            kind,
            bytes: size + OVERHEAD_BYTES,
        })
    }

    /// Numbers and, if they arrived, times on the receiver's clock.
    pub(super) fn handle_feedback(&mut self, now: Instant, entries: &[(u64, Option<Duration>)]) {
        let reports: Vec<PacketReport> = entries
            .iter()
            .filter_map(|(number, arrival)| {
                let report = self.outstanding.remove(number)?;
                Some(PacketReport {
                    arrived: arrival.is_some(),
                    arrival: *arrival,
                    ..report
                })
            })
            .collect();
        self.estimator.on_reports(now, &reports);
        let target = Attribute::TargetBitrateChanged {
            bits_per_second: self.estimator.target_bitrate(),
        };
        let carrier = AttributedPacket::new(Packet::Rtcp(Vec::new())).with(target);
        self.pacer
            .handle_read(tagged(now, carrier))
            .expect("it never fails");
        while self.pacer.poll_read().is_some() {}
    }

    pub(super) fn handle_nack(&mut self, now: Instant, lost: &[u16]) {
        if self.budget.is_cut(0) {
            return;
        }
        for sequence in lost {
            if let Some(bytes) = self.history.get(sequence) {
                let packet = rtp_packet(RTX, *sequence, bytes + 2);
                let message =
                    AttributedPacket::new(Packet::Rtp(packet)).with(Attribute::Retransmission);
                self.write(now, message);
            }
        }
    }
}
