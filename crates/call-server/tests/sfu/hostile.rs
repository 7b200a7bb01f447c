//! What the SFU must survive.

use std::net::UdpSocket;
use std::time::{Duration, Instant};

use call_protocol::ErrorCode;
use call_protocol::MediaSource::Camera;

use super::world::{Shape, World, room, tile};

/// xorshift64*, so that a failure repeats.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }
}

#[test]
fn garbage_changes_nothing() {
    let mut world = World::with_members(2, 2);
    world.subscribe(1, &[tile(1, 320, 180)]);
    let count = |world: &World| {
        let member = &world.members[1];
        member
            .slot_of(1, Camera)
            .map_or(0, |slot| member.packets_of(slot).count())
    };
    world.while_sending(0, "pictures", |world| count(world) > 20);
    let before = world.sfu.figures();
    let stranger = UdpSocket::bind("127.0.0.1:0").unwrap();
    let mut random = Random(7);
    for round in 0..10_000_u32 {
        let len = (random.next() % 200) as usize;
        let mut bytes: Vec<u8> = (0..len).map(|_| random.next().to_le_bytes()[7]).collect();
        // Half of them look like something.
        if let Some(first) = bytes.first_mut().filter(|_| round % 2 == 0) {
            *first = [0, 1, 20, 22, 64, 100, 128, 144][(round / 2 % 8) as usize];
        }
        if round % 4 == 0 && bytes.len() >= 20 {
            bytes[1] = 1;
            bytes[4..8].copy_from_slice(&[0x21, 0x12, 0xa4, 0x42]);
        }
        // From a stranger, and from a member's own address.
        let sent = if round % 3 == 0 {
            world.members[0].socket.send_to(&bytes, world.addr)
        } else {
            stranger.send_to(&bytes, world.addr)
        };
        sent.unwrap();
        if round % 100 == 0 {
            // Not faster than it is read.
            let now = count(&world);
            world.while_sending(0, "pictures meanwhile", |world| count(world) > now);
        }
    }
    let now = count(&world);
    world.while_sending(0, "pictures afterwards", |world| count(world) > now + 20);
    let after = world.sfu.figures();
    assert_eq!((after.links, after.links_opened), (2, before.links_opened));
    assert!(after.dropped_garbage > before.dropped_garbage + 1_000);
    assert!(world.members.iter().all(|member| member.closed.is_none()));
}

#[test]
fn checks_with_a_wrong_password_do_not_take_an_address() {
    // A copy of a member's first check from elsewhere has the right name and a right password for
    // its content, so only what comes from a member itself may count as media.
    let mut world = World::with_members(1, 2);
    let stranger = UdpSocket::bind("127.0.0.1:0").unwrap();
    stranger
        .set_read_timeout(Some(Duration::from_millis(200)))
        .unwrap();
    let mut check = vec![0, 1, 0, 16, 0x21, 0x12, 0xa4, 0x42];
    check.extend([5; 12]);
    check.extend([0, 6, 0, 9]);
    check.extend(b"abcd:efgh");
    check.extend([0; 3]);
    stranger.send_to(&check, world.addr).unwrap();
    assert!(stranger.recv(&mut [0; 100]).is_err(), "no answer");
    world.subscribe(1, &[tile(1, 320, 180)]);
    world.while_sending(0, "pictures", |world| !world.members[1].packets.is_empty());
}

#[test]
fn members_that_vanish_are_given_up() {
    let mut world = World::new(1);
    world.add(room(1), Shape::default());
    // This one never gets as far as a check.
    world.add(room(1), Shape::default());
    world.members[1].is_gone = true;
    world.until("the first", |world| world.members[0].is_connected);
    let began = Instant::now();
    world.until("the second to be given up", |world| {
        world.members[1].closed == Some(ErrorCode::LinkFailed)
    });
    assert!(began.elapsed() > Duration::from_secs(10));
    assert_eq!(world.members[0].closed, None);
}
