//! The interceptor nearest to the wire: sees every packet, and changes none but our own sender
//! reports. Those the stack dates by the time of sending; here they are dated by the time of
//! capture, on one wall clock for sound and picture, which is what a receiver's lip sync needs.
//! What comes in is dated by when it [arrived](crate::arrivals), not by when it was read.
//!
//! It feeds the [`Meter`](crate::meter::Meter) and turns the peer's PLI and FIR into a wake-up.
//! RTCP is read here because the stack hands up only what an interceptor marks, and routes a
//! compound packet by its first part, so that a PLI behind a sender report is lost.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use rtc::interceptor::{Attribute, Interceptor, Packet, StreamInfo, TaggedPacket};
use rtc::rtcp;
use rtc::rtcp::payload_feedbacks::full_intra_request::FullIntraRequest;
use rtc::rtcp::payload_feedbacks::picture_loss_indication::PictureLossIndication;
use rtc::rtcp::receiver_report::ReceiverReport;
use rtc::rtcp::reception_report::ReceptionReport;
use rtc::rtcp::sender_report::SenderReport;
use rtc::sansio::Protocol;
use rtc::shared::error::Error;

use crate::event::{MediaKind, SenderClock};
use crate::shared::Shared;

/// See the module's text.
pub(crate) struct Tap {
    shared: Arc<Shared>,
    inbound: VecDeque<TaggedPacket>,
    outbound: VecDeque<TaggedPacket>,
}

impl Tap {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self {
            shared,
            inbound: VecDeque::new(),
            outbound: VecDeque::new(),
        }
    }

    fn handle_rtcp(&self, now: Instant, packet: &dyn rtcp::Packet) {
        let packet = packet.as_any();
        if let Some(pli) = packet.downcast_ref::<PictureLossIndication>() {
            self.handle_keyframe_request(std::iter::once(pli.media_ssrc));
        } else if let Some(fir) = packet.downcast_ref::<FullIntraRequest>() {
            self.handle_keyframe_request(fir.fir.iter().map(|entry| entry.ssrc));
        } else if let Some(report) = packet.downcast_ref::<ReceiverReport>() {
            self.handle_reports(now, &report.reports);
        } else if let Some(report) = packet.downcast_ref::<SenderReport>() {
            let clock = SenderClock {
                ntp_time: report.ntp_time,
                rtp_time: report.rtp_time,
            };
            self.shared.meter().handle_peer_report(report.ssrc, clock);
            self.handle_reports(now, &report.reports);
        }
    }

    fn handle_keyframe_request(&self, ssrcs: impl Iterator<Item = u32>) {
        for ssrc in ssrcs {
            self.shared.handle_keyframe_request(ssrc);
        }
    }

    fn handle_reports(&self, now: Instant, reports: &[ReceptionReport]) {
        for report in reports {
            let rtt = self.shared.meter().handle_reception_report(
                now,
                report.ssrc,
                report.fraction_lost,
                report.jitter,
                report.last_sender_report,
                report.delay,
            );
            if let Some(rtt) = rtt {
                self.shared.set_rtt(rtt);
            }
        }
    }
}

impl Tap {
    fn date_report(&self, now: Instant, report: &SenderReport) -> SenderReport {
        let mut meter = self.shared.meter();
        let rtp_time = meter.capture_timestamp(now, report.ssrc);
        let report = SenderReport {
            ntp_time: self.shared.ntp_time(now),
            rtp_time: rtp_time.unwrap_or(report.rtp_time),
            ..report.clone()
        };
        meter.handle_sender_report(now, report.ssrc, report.ntp_time);
        report
    }
}

impl Protocol<TaggedPacket, TaggedPacket, ()> for Tap {
    type Rout = TaggedPacket;
    type Wout = TaggedPacket;
    type Eout = ();
    type Error = Error;
    type Time = Instant;

    fn handle_read(&mut self, mut msg: TaggedPacket) -> Result<(), Error> {
        match &msg.message.packet {
            Packet::Rtp(packet) => {
                let (ssrc, number) = (packet.header.ssrc, packet.header.sequence_number);
                msg.now = self.shared.arrivals.of(msg.now, ssrc, number);
                self.shared.meter().handle_received(
                    msg.now,
                    ssrc,
                    number,
                    packet.header.timestamp,
                    packet.payload.len(),
                );
            }
            Packet::Rtcp(packets) => {
                for packet in packets {
                    self.handle_rtcp(msg.now, packet.as_ref());
                }
            }
            _ => {}
        }
        self.inbound.push_back(msg);
        Ok(())
    }

    fn poll_read(&mut self) -> Option<TaggedPacket> {
        self.inbound.pop_front()
    }

    fn handle_write(&mut self, mut msg: TaggedPacket) -> Result<(), Error> {
        let is_asked_for = msg.message.has(&Attribute::Retransmission);
        match &mut msg.message.packet {
            Packet::Rtp(packet) => {
                let (ssrc, bytes) = (packet.header.ssrc, packet.payload.len());
                self.shared.meter().handle_sent(ssrc, bytes, is_asked_for);
            }
            Packet::Rtcp(packets) => {
                for packet in packets {
                    if let Some(report) = packet.as_any().downcast_ref::<SenderReport>() {
                        *packet = Box::new(self.date_report(msg.now, report));
                    }
                }
            }
            _ => {}
        }
        self.outbound.push_back(msg);
        Ok(())
    }

    fn poll_write(&mut self) -> Option<TaggedPacket> {
        self.outbound.pop_front()
    }
}

fn kind(info: &StreamInfo) -> MediaKind {
    if info.mime_type.to_ascii_lowercase().starts_with("audio/") {
        MediaKind::Audio
    } else {
        MediaKind::Video
    }
}

impl Interceptor for Tap {
    fn bind_local_stream(&mut self, info: &StreamInfo) {
        let layer = self.shared.streams.layer(info.ssrc);
        self.shared
            .meter()
            .bind_out(info.ssrc, kind(info), layer, info.clock_rate, info.ssrc_rtx);
    }

    fn unbind_local_stream(&mut self, _info: &StreamInfo) {}

    fn bind_remote_stream(&mut self, info: &StreamInfo) {
        self.shared
            .meter()
            .bind_in(info.ssrc, kind(info), info.clock_rate, info.ssrc_rtx);
    }

    fn unbind_remote_stream(&mut self, _info: &StreamInfo) {}
}
