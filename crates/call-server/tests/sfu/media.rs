//! Sound and pictures through the SFU.

use std::cell::Cell;
use std::rc::Rc;
use std::time::{Duration, Instant};

use call_protocol::MediaSource::{Camera, Microphone};
use call_protocol::dependency_descriptor::Mandatory;
use call_protocol::{ErrorCode, MemberId};
use call_room::SfuCommand;
use str0m::media::Mid;
use str0m::rtp::RtpPacket;

use super::world::{RawDescriptor, Shape, World, room, tile};

/// Sequence numbers without gap or repetition, in order of arrival after sorting.
fn assert_continuous(packets: &[&RtpPacket]) {
    let mut numbers: Vec<u64> = packets.iter().map(|packet| *packet.seq_no).collect();
    numbers.sort_unstable();
    for pair in numbers.windows(2) {
        assert_eq!(pair[0] + 1, pair[1], "{numbers:?}");
    }
}

#[test]
fn three_members_hear_and_see_each_other() {
    for threads in [1, 2] {
        let mut world = World::with_members(threads, 3);
        for receiver in 0..3_u32 {
            let others = (1..=3).filter(|other| *other != receiver + 1);
            let tiles: Vec<_> = others.map(|other| tile(other, 320, 180)).collect();
            world.subscribe(receiver as usize, &tiles);
        }
        let has_all = |world: &mut World| {
            (0..3_u32).all(|receiver| {
                let member = &world.members[receiver as usize];
                let mut others = (1..=3).filter(|other| *other != receiver + 1);
                others.all(|other| {
                    [(Microphone, 20), (Camera, 20)]
                        .iter()
                        .all(|(source, count)| {
                            member
                                .slot_of(other, *source)
                                .is_some_and(|slot| member.packets_of(slot).count() >= *count)
                        })
                })
            })
        };
        let mut next = Instant::now();
        world.until("media of everybody", |world| {
            if Instant::now() >= next {
                next = Instant::now() + Duration::from_millis(10);
                for member in &mut world.members {
                    member.send_sound(-30);
                    for layer in 0..3 {
                        member.send_frame(layer, false, 2, 900);
                    }
                }
            }
            has_all(world)
        });
        for receiver in 0..3_u32 {
            let member = &world.members[receiver as usize];
            for other in (1..=3).filter(|other| *other != receiver + 1) {
                let sound = member.slot_of(other, Microphone).unwrap();
                for packet in member.packets_of(sound) {
                    assert_eq!(
                        (packet.header.csrc_count, packet.header.csrc[0]),
                        (1, other)
                    );
                    assert_eq!(packet.payload[..5], *b"sound");
                    assert_eq!(packet.payload[5..9], other.to_be_bytes());
                    assert_eq!(packet.header.ext_vals.audio_level, Some(-30));
                }
                let pictures = member.slot_of(other, Camera).unwrap();
                let packets: Vec<&RtpPacket> = member.packets_of(pictures).collect();
                assert_continuous(&packets);
                for packet in packets {
                    assert_eq!(
                        (packet.header.csrc_count, packet.header.csrc[0]),
                        (1, other)
                    );
                    let descriptor = packet.header.ext_vals.user_values.get::<RawDescriptor>();
                    assert!(descriptor.is_some(), "every packet is described");
                }
            }
        }
        let figures = world.sfu.figures();
        assert_eq!(figures.links, 3);
        assert!(figures.packets_out >= 6 * 40, "{figures:?}");
        assert!(figures.packets_in > 0 && figures.bytes_out > 100_000);
        world.sfu.stop();
    }
}

#[test]
fn a_lost_packet_is_sent_again() {
    let mut world = World::with_members(1, 2);
    world.subscribe(1, &[tile(1, 320, 180)]);
    world.while_sending(0, "pictures", |world| {
        let member = &world.members[1];
        member
            .slot_of(1, Camera)
            .is_some_and(|slot| member.packets_of(slot).count() > 20)
    });
    let slot = world.members[1].slot_of(1, Camera).unwrap();
    let ssrc = *world.members[1]
        .packets_of(slot)
        .last()
        .unwrap()
        .header
        .ssrc;
    let lost = Rc::new(Cell::new(None));
    let seen = Rc::clone(&lost);
    world.members[1].loss = Some(Box::new(move |bytes| {
        let is_victim =
            seen.get().is_none() && bytes[0] >> 6 == 2 && bytes[8..12] == ssrc.to_be_bytes();
        if is_victim {
            seen.set(Some(u16::from_be_bytes([bytes[2], bytes[3]])));
        }
        is_victim
    }));
    world.while_sending(0, "the lost packet", |world| {
        let Some(lost) = lost.get() else { return false };
        let mut packets = world.members[1].packets_of(slot);
        packets.any(|packet| packet.seq_no.as_u16() == lost)
    });
    let packets: Vec<&RtpPacket> = world.members[1].packets_of(slot).collect();
    let at = packets
        .iter()
        .position(|packet| Some(packet.seq_no.as_u16()) == lost.get());
    assert!(at.unwrap() > 0);
    assert!(packets[at.unwrap()].header.csrc[0] == 1, "CSRC survives");
    assert!(world.sfu.figures().rtx_out > 0);
}

#[test]
fn layers_switch_at_keyframes_without_a_gap() {
    let mut world = World::with_members(1, 2);
    world.subscribe(1, &[tile(1, 320, 180)]);
    world.while_sending(0, "the small layer", |world| {
        let member = &world.members[1];
        member
            .slot_of(1, Camera)
            .is_some_and(|slot| member.packets_of(slot).count() > 20)
    });
    let slot = world.members[1].slot_of(1, Camera).unwrap();
    assert!(
        world.members[1]
            .packets_of(slot)
            .all(|packet| packet.payload[0] == 2)
    );
    world.subscribe(1, &[tile(1, 640, 360)]);
    world.while_sending(0, "the middle layer", |world| {
        let middle = |packet: &&RtpPacket| packet.payload[0] == 1;
        world.members[1].packets_of(slot).filter(middle).count() > 20
    });
    let packets: Vec<&RtpPacket> = world.members[1].packets_of(slot).collect();
    assert_continuous(&packets);
    let switch = packets
        .iter()
        .position(|packet| packet.payload[0] == 1)
        .unwrap();
    assert_eq!(packets[switch].payload[1], 1, "it begins with a keyframe");
    let frame_numbers: Vec<u16> = packets
        .iter()
        .map(|packet| {
            let descriptor = packet.header.ext_vals.user_values.get::<RawDescriptor>();
            Mandatory::parse(&descriptor.unwrap().0)
                .unwrap()
                .frame_number
        })
        .collect();
    for pair in frame_numbers.windows(2) {
        assert!(pair[1].wrapping_sub(pair[0]) <= 1, "{frame_numbers:?}");
    }
    assert!(world.members[0].wanted["camera"][1]);
}

#[test]
fn keyframe_requests_reach_the_sender_seldom() {
    let mut world = World::with_members(1, 3);
    for receiver in [1, 2] {
        world.subscribe(receiver, &[tile(1, 320, 180)]);
    }
    world.while_sending(0, "pictures", |world| {
        world.members[1..].iter().all(|member| {
            member
                .slot_of(1, Camera)
                .is_some_and(|slot| member.packets_of(slot).count() > 20)
        })
    });
    world.members[0].keyframe_requests.clear();
    let slots: Vec<Mid> = world.members[1..]
        .iter()
        .map(|member| member.slot_of(1, Camera).unwrap())
        .collect();
    let mut times: Vec<Instant> = Vec::new();
    let mut next = Instant::now();
    world.until("three requests", |world| {
        if Instant::now() >= next {
            next = Instant::now() + Duration::from_millis(20);
            for (member, slot) in world.members[1..].iter_mut().zip(&slots) {
                member.ask_keyframe(*slot);
            }
            // Answered, so that requests are not merely repeated ones.
            for (layer, at) in world.members[0].keyframe_requests.clone() {
                assert_eq!(layer, 2, "the layer that is received");
                times.push(at);
            }
            world.members[0].send_frame(2, false, 2, 700);
        }
        times.len() >= 3
    });
    for pair in times.windows(2) {
        // Two datagrams may be held up differently on the way here.
        assert!(pair[1] - pair[0] > Duration::from_millis(400), "{times:?}");
    }
}

#[test]
fn a_later_offer_adds_a_slot_and_restarts_ice() {
    for threads in [1, 2] {
        let mut world = World::new(threads);
        let few = Shape {
            video_slots: 1,
            ..Shape::default()
        };
        for _ in 0..3 {
            world.add(room(1), few);
        }
        world.connect();
        world.subscribe(0, &[tile(2, 640, 360), tile(3, 320, 180)]);
        let count = |world: &World, member| {
            let receiver = &world.members[0];
            let slot = receiver.slot_of(member, Camera);
            slot.map_or(0, |slot| receiver.packets_of(slot).count())
        };
        world.while_sending(1, "the one slot", |world| count(world, 2) > 10);
        assert_eq!(world.members[0].slot_of(3, Camera), None);
        let slot = world.members[0].slot_of(2, Camera);
        let offer = world.members[0].offer_another_slot();
        world.sfu.command(offer);
        world.while_sending(2, "the other slot", |world| count(world, 3) > 10);
        assert_eq!(
            world.members[0].slot_of(2, Camera),
            slot,
            "slots keep their use"
        );
        let offer = world.members[0].offer_restart();
        world.sfu.command(offer);
        world.until("the third answer", |world| world.members[0].answers == 3);
        let before = count(&world, 2);
        world.while_sending(1, "media after the restart", |world| {
            count(world, 2) > before + 20
        });
        let packets: Vec<&RtpPacket> = world.members[0].packets_of(slot.unwrap()).collect();
        assert_continuous(&packets);
        assert_eq!(world.members[0].closed, None);
    }
}

#[test]
fn a_new_link_replaces_the_old_one_and_a_close_ends_it() {
    let mut world = World::with_members(1, 2);
    let mut again = super::world::Member::new(room(1), MemberId(2), false);
    again.link = 2;
    world.sfu.command(again.offer(Shape::default()));
    world.watch(&mut again);
    world.members[1] = again;
    world.until("the new link", |world| world.members[1].is_connected);
    assert_eq!(world.sfu.figures().links, 2);
    world.subscribe(1, &[tile(1, 320, 180)]);
    world.while_sending(0, "pictures", |world| !world.members[1].packets.is_empty());
    world.sfu.command(SfuCommand::Close {
        room: room(1),
        member: MemberId(2),
        link: Some(1),
    });
    world.sfu.command(SfuCommand::Close {
        room: room(1),
        member: MemberId(1),
        link: None,
    });
    world.until("the other end", |world| world.sfu.figures().links == 1);
    assert_eq!(
        world.members[1].closed, None,
        "an older number closes nothing"
    );
    world.until("the slots to be empty", |world| {
        world.members[1].slots.is_empty()
    });
}

#[test]
fn what_is_no_offer_is_refused() {
    let mut world = World::new(1);
    world.add(room(1), Shape::default());
    world.connect();
    for sdp in [
        "",
        "v=0",
        "nonsense\r\n",
        "v=0\r\no=- 1 1 IN IP4 0.0.0.0\r\ns=-\r\nt=0 0\r\n",
    ] {
        world.members[0].closed = None;
        world.sfu.command(SfuCommand::Offer {
            room: room(1),
            member: MemberId(1),
            link: 7,
            sdp: sdp.into(),
            tracks: Vec::new(),
        });
        world.until("refused", |world| {
            world.members[0].closed == Some(ErrorCode::BadMessage)
        });
    }
}
