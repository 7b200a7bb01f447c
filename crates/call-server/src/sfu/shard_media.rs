//! What passes through a shard: packets from link to slots, keyframe requests and estimates to the
//! room, the room's decisions back to links, data channel messages.

use std::time::Instant;

use bytes::Bytes;
use call_protocol::{ErrorCode, MemberId, fanout};
use call_room::SfuEvent;
use call_room::sfu::SfuOutput;
use str0m::rtp::RtpPacket;
use tracing::{debug, trace};

use super::channels::{Channel, Queued};
use super::counters::add;
use super::link::{LinkEvent, packet_in};
use super::shard::{AT_ONCE, CALLS_PER_TURN, Core};

impl Core {
    /// Tells a link the time until it has nothing more to do now: its pacer lets go of one packet
    /// per call and asks for the next call at once.
    pub(super) fn call(&mut self, now: Instant, key: usize) {
        let mut at = now;
        for _ in 0..CALLS_PER_TURN {
            let Some(link) = self.links.get_mut(key) else {
                return;
            };
            if !link.handle_timeout(at) {
                return self.end_link(now, key, Some(ErrorCode::LinkFailed));
            }
            self.pump(now, key);
            match self.links.get(key) {
                Some(link) if link.deadline <= at + AT_ONCE => at = link.deadline.max(at),
                _ => return,
            }
        }
    }

    /// Takes what a link has to send and to report.
    pub(super) fn pump(&mut self, now: Instant, key: usize) {
        let mut events = std::mem::take(&mut self.events);
        let Some(link) = self.links.get_mut(key) else {
            return;
        };
        let room = link.room;
        let member = link.member;
        let sent = link.poll(now, key, &mut self.egress, &mut events);
        add(&self.counters.packets_out, sent.packets);
        add(&self.counters.bytes_out, sent.bytes);
        add(&self.counters.rtx_out, sent.rtx);
        let mut is_closed = false;
        let mut is_room_due = false;
        for event in events.drain(..) {
            match event {
                LinkEvent::Packet(packet) => {
                    add(&self.counters.packets_in, 1);
                    self.forward(now, key, room, member, &packet);
                    is_room_due = true;
                }
                LinkEvent::KeyframeRequested(slot) => {
                    self.rooms[room]
                        .sfu
                        .handle_keyframe_request(now, member, slot);
                    is_room_due = true;
                }
                LinkEvent::Estimate(bps) => {
                    tracing::debug!(%member, bps, "estimate");
                    self.rooms[room].sfu.handle_estimate(now, member, bps);
                    is_room_due = true;
                }
                LinkEvent::Message(channel, data) => {
                    self.fan_out(now, key, channel, &data);
                }
                LinkEvent::Closed => is_closed = true,
            }
        }
        self.events = events;
        if is_room_due {
            self.carry_out(room);
        }
        if is_closed {
            self.end_link(now, key, Some(ErrorCode::LinkFailed));
        }
    }

    fn forward(
        &mut self,
        now: Instant,
        key: usize,
        room: usize,
        member: MemberId,
        packet: &RtpPacket,
    ) {
        let Some(incoming) = self
            .links
            .get_mut(key)
            .and_then(|link| link.incoming(packet))
        else {
            trace!("packet of no track");
            return;
        };
        let room = &mut self.rooms[room];
        let packet = packet_in(packet);
        room.sfu
            .handle_packet(now, member, incoming.track, &packet, &mut self.forwards);
        let mut dropped = 0;
        for forward in self.forwards.drain(..) {
            let Some(key) = room.link(forward.member) else {
                continue;
            };
            let Some(link) = self.links.get_mut(key) else {
                continue;
            };
            if !link.write(&incoming, forward) {
                dropped += 1;
            } else if !link.is_touched {
                link.is_touched = true;
                self.touched.push(key);
            }
        }
        add(&self.counters.dropped_send, dropped);
    }

    /// Does what a room decided.
    pub(super) fn carry_out(&mut self, room_key: usize) {
        while let Some(output) = self
            .rooms
            .get_mut(room_key)
            .and_then(|room| room.sfu.poll_output())
        {
            trace!(?output, "decided");
            let room = &self.rooms[room_key];
            match output {
                SfuOutput::RequestKeyframe { member, track } => {
                    if let Some(key) = room.link(member)
                        && self.links[key].request_keyframe(track)
                    {
                        add(&self.counters.keyframe_requests, 1);
                        self.touch(key);
                    }
                }
                SfuOutput::Bitrate {
                    member,
                    desired_bps,
                } => {
                    if let Some(key) = room.link(member) {
                        tracing::debug!(%member, desired_bps, "worth probing for");
                        self.links[key].set_desired_bitrate(desired_bps);
                        self.touch(key);
                    }
                }
                SfuOutput::Layers {
                    member,
                    source,
                    wanted,
                } => {
                    let id = room.id.clone();
                    self.notify(id, member, SfuEvent::Layers { source, wanted });
                }
                SfuOutput::Slots { member, slots } => {
                    if let Some(key) = room.link(member) {
                        let link = &self.links[key];
                        let event = SfuEvent::Slots {
                            link: link.number,
                            slots: link.named_slots(&slots),
                        };
                        let id = room.id.clone();
                        self.notify(id, member, event);
                    }
                }
            }
        }
    }

    pub(super) fn touch(&mut self, key: usize) {
        if let Some(link) = self.links.get_mut(key)
            && !link.is_touched
        {
            link.is_touched = true;
            self.touched.push(key);
        }
    }

    /// Passes a data channel message on to whom it is for.
    fn fan_out(&mut self, now: Instant, key: usize, channel: Channel, data: &[u8]) {
        let link = &mut self.links[key];
        let (member, room) = (link.member, link.room);
        if !link.charge(now, data.len()) {
            if channel == Channel::Lossy {
                add(&self.counters.dropped_channel, 1);
            } else {
                self.end_link(now, key, Some(ErrorCode::RateLimited));
            }
            return;
        }
        let Some((target, body)) = fanout::at_sfu(data) else {
            debug!("data channel message without addressee");
            return;
        };
        let room = &self.rooms[room];
        let receivers: Vec<usize> = match target {
            fanout::Target::Everybody => room.others(member).collect(),
            fanout::Target::Member(to) if to != member => room.link(to).into_iter().collect(),
            fanout::Target::Member(_) => Vec::new(),
        };
        let message = Bytes::from(fanout::from_sfu(member, body));
        for key in receivers {
            match self.links[key].send_message(now, channel, message.clone()) {
                Queued::Taken => self.touch(key),
                Queued::Dropped => add(&self.counters.dropped_channel, 1),
                Queued::Overflow => self.end_link(now, key, Some(ErrorCode::TooSlow)),
            }
        }
    }
}
