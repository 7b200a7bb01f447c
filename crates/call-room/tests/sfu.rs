//! Whole rooms at the forwarding unit.

mod single;
mod verify;
mod world;

use std::collections::BTreeSet;
use std::time::Duration;

use call_protocol::limits::SFU_AUDIO_SLOTS;
use call_protocol::{MediaSource, MemberId};

use world::World;

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

const LARGE: (u32, u32) = (1_280, 720);
const MIDDLE: (u32, u32) = (640, 360);
const SMALL: (u32, u32) = (320, 180);

/// Twelve members, the first six with cameras. Everybody shows the next camera large, the two after
/// it in the middle size and the others small.
fn twelve() -> World {
    let mut world = World::new();
    for member in 1..=12 {
        world.enter(member, member <= 6);
    }
    for member in 1..=12 {
        let mut tiles = Vec::new();
        for offset in 1..=6 {
            let of = (member + offset - 1) % 6 + 1;
            let size = match offset {
                1 => LARGE,
                2 | 3 => MIDDLE,
                _ => SMALL,
            };
            if of != member {
                tiles.push((of, size.0, size.1));
            }
        }
        world.subscribe(member, &tiles);
        world.estimate(member, 10_000_000);
    }
    world
}

#[test]
fn twelve_members_see_what_they_show_and_no_number_is_missing() {
    let mut world = twelve();
    world.run(ms(10_000));
    world.verify();
    let since = world.start + ms(5_000);
    for member in 1..=12 {
        let layers = |offset: u32| world.layers_got(member, (member + offset - 1) % 6 + 1, since);
        assert_eq!(layers(1), [0].into(), "member {member}, large");
        assert_eq!(layers(2), [1].into(), "member {member}, middle");
        assert_eq!(layers(4), [2].into(), "member {member}, small");
    }
    // Upper temporal layers come along where there is bandwidth.
    let large = world.camera(12, 1, since);
    assert!(large.iter().any(|got| got.temporal_id == 1));
    for member in 1..=6 {
        let wanted = world.layers[&(MemberId(member), MediaSource::Camera)];
        assert_eq!(wanted, [true; 3]);
    }
    let desired = world.bitrates[&MemberId(12)];
    assert!((2_300_000..4_200_000).contains(&desired), "{desired}");
    println!("{} packets forwarded in {:?}", world.forwards, world.busy);
}

#[test]
fn layers_nobody_shows_are_stopped_and_start_again() {
    let mut world = World::new();
    world.enter(1, true);
    world.enter(2, false);
    world.estimate(2, 10_000_000);
    world.subscribe(2, &[(1, SMALL.0, SMALL.1)]);
    let camera = (MemberId(1), MediaSource::Camera);
    assert_eq!(world.layers[&camera], [false, false, true], "at once");
    world.run(ms(2_000));
    world.subscribe(2, &[(1, LARGE.0, LARGE.1)]);
    assert_eq!(
        world.layers[&camera],
        [true, false, true],
        "both while it switches"
    );
    world.run(ms(1_000));
    let since = world.now;
    world.run(ms(1_500));
    assert_eq!(world.layers_got(2, 1, since), [0].into());
    assert_eq!(
        world.layers[&camera],
        [true, false, false],
        "two seconds later"
    );
    world.subscribe(2, &[]);
    world.run(ms(2_500));
    assert_eq!(world.layers[&camera], [false; 3]);
    assert_eq!(world.told[&MemberId(2)].len(), 1, "the microphone");
    world.verify();
}

#[test]
fn loss_and_reordering_keep_every_number_in_place() {
    for (loss, reorder) in [(0, 50), (50, 50)] {
        let mut world = twelve();
        world.loss_permille = loss;
        world.reorder_permille = reorder;
        world.run(ms(4_000));
        // Between layers: upper temporal layers are left out while packets go astray.
        for member in 7..=12 {
            world.estimate(member, (1_450_000 + u64::from(member) * 5_000) * 100 / 85);
        }
        world.run(ms(8_000));
        world.verify();
        let since = world.start + ms(8_000);
        for member in 1..=12 {
            for of in (1..=6).filter(|of| *of != member) {
                let shown = world.layers_got(member, of, since);
                assert!(!shown.is_empty(), "{member} does not see {of}");
            }
        }
        // A packet that comes late keeps the number that was kept for it, whatever its frame.
        let reduced = world.camera(12, 1, since);
        let upper = reduced.iter().filter(|got| got.temporal_id > 0).count();
        assert!(
            upper * 20 < reduced.len(),
            "{upper} of {} packets",
            reduced.len()
        );
    }
}

#[test]
fn a_narrow_link_gets_small_pictures_and_recovers_without_wavering() {
    let mut world = twelve();
    world.run(ms(5_000));
    let fast = world.camera(11, 6, world.start + ms(3_000)).len();
    world.estimate(12, 500_000);
    world.run(ms(1_500));
    let since = world.now;
    world.run(ms(5_000));
    let bits = |member: u32, since| -> usize {
        (1..=6)
            .map(|of| {
                world
                    .camera(member, of, since)
                    .iter()
                    .map(|got| got.bytes * 8)
                    .sum::<usize>()
            })
            .sum()
    };
    let bps = bits(12, since) / 5;
    // Half of it is reserved for five voices.
    assert!(bps <= 250_000, "{bps} bit/s");
    let shown = (1..=6)
        .filter(|of| !world.layers_got(12, *of, since).is_empty())
        .count();
    assert!(shown >= 2, "only {shown} pictures");
    assert_eq!(
        world.layers_got(11, 6, since),
        [0].into(),
        "others are not concerned"
    );
    assert!(fast > 0);
    // It recovers slowly and unsteadily.
    for step in 0..40 {
        let wave = if step % 2 == 0 { 0 } else { 60_000 };
        world.estimate(12, 500_000 + step * 150_000 + wave);
        world.run(ms(250));
    }
    world.run(ms(3_000));
    let settled = world.now;
    world.run(ms(3_000));
    assert_eq!(world.layers_got(12, 1, settled), [0].into(), "large again");
    assert_eq!(world.layers_got(12, 4, settled), [2].into());
    world.verify();
    let mut packets = world.camera(12, 1, since);
    packets.sort_by_key(|got| (got.at, got.sequence));
    let switches = packets
        .windows(2)
        .filter(|pair| pair[0].track != pair[1].track)
        .count();
    assert!(switches <= 4, "{switches} switches");
}

#[test]
fn everybody_is_heard_while_there_are_enough_slots() {
    let mut world = World::new();
    for member in 1..=6 {
        world.enter(member, false);
    }
    let told = world.told.clone();
    for member in 1..=6 {
        assert_eq!(told[&MemberId(member)].len(), 5);
        world.speaking = [MemberId(member)].into();
        world.run(ms(700));
    }
    assert_eq!(world.told, told, "nobody moves");
    world.verify();
}

#[test]
fn eight_speakers_take_turns() {
    let mut world = World::new();
    for member in 1..=12 {
        world.enter(member, false);
    }
    world.run(ms(500));
    for turn in 0..40_u32 {
        let speaker = turn * 5 % 8 + 1;
        // Now and then two at once, as people do.
        world.speaking = [MemberId(speaker)].into();
        if turn % 4 == 0 {
            world.speaking.insert(MemberId((speaker + 2) % 8 + 1));
        }
        let began = world.now;
        world.run(ms(100));
        for speaker in world.speaking.clone() {
            for member in (1..=12).filter(|member| MemberId(*member) != speaker) {
                let heard = world.got.iter().any(|((owner, _), packets)| {
                    *owner == MemberId(member)
                        && packets.iter().any(|got| {
                            got.from == speaker && got.at <= began + ms(70) && got.at >= began
                        })
                });
                assert!(
                    heard,
                    "turn {turn}: {member} does not hear {speaker:?} begin"
                );
            }
        }
        world.run(ms(1_500));
        for slots in world.told.values() {
            assert!(slots.len() <= SFU_AUDIO_SLOTS);
            let members: BTreeSet<MemberId> = slots.iter().map(|(_, member, _)| *member).collect();
            assert_eq!(members.len(), slots.len(), "twice in one link");
        }
    }
    world.verify();
    // Nobody speaks: nothing moves.
    world.speaking.clear();
    world.run(ms(2_000));
    let told = world.told.clone();
    world.run(ms(5_000));
    assert_eq!(world.told, told);
}

#[test]
fn leaving_and_coming_back_continues_every_number() {
    let mut world = twelve();
    world.run(ms(3_000));
    for round in 0..3 {
        let slot = world.slot_of(12, 1, MediaSource::Camera);
        assert!(slot.is_some());
        world.leave(1);
        assert_eq!(world.slot_of(12, 1, MediaSource::Camera), None);
        world.run(ms(1_000));
        // The same member with a new link, and a newcomer, who takes the freed slots.
        world.enter(1, true);
        world.enter(20 + round, true);
        world.subscribe(1, &[(2, LARGE.0, LARGE.1)]);
        let mut tiles = vec![(20 + round, LARGE.0, LARGE.1)];
        tiles.extend((1..=6).map(|of| (of, MIDDLE.0, MIDDLE.1)));
        world.subscribe(12, &tiles);
        world.run(ms(2_000));
        let since = world.now;
        world.run(ms(500));
        for of in [1, 2, 20 + round] {
            assert!(!world.camera(12, of, since).is_empty(), "{of} is not seen");
        }
        assert!(!world.camera(1, 2, since).is_empty());
        world.leave(20 + round);
    }
    world.verify();
    for member in 1..=12 {
        world.leave(member);
    }
    assert_eq!(world.room.poll_timeout(), None, "an empty room sleeps");
}

#[test]
fn a_layer_that_does_not_come_is_done_without() {
    let mut world = World::new();
    world.enter(1, true);
    world.enter(2, false);
    world.estimate(2, 5_000_000);
    // The sender's machine is too slow for its largest layer.
    let large = world.tracks_of(1)[1];
    world.broken.insert(large);
    world.subscribe(2, &[(1, LARGE.0, LARGE.1)]);
    let began = world.now;
    world.run(ms(1_000));
    assert!(
        !world.camera(2, 1, began).is_empty(),
        "another layer meanwhile"
    );
    world.run(ms(5_000));
    let since = world.now;
    world.run(ms(1_000));
    assert_eq!(world.layers_got(2, 1, since), [1].into(), "the next best");
    // It is tried again later, and comes.
    world.broken.clear();
    world.run(ms(12_000));
    let since = world.now;
    world.run(ms(1_000));
    assert_eq!(world.layers_got(2, 1, since), [0].into());
    world.verify();
}

#[test]
fn an_estimate_that_jumps_to_and_fro_is_not_followed_up_each_time() {
    let mut world = World::new();
    world.enter(1, true);
    world.enter(2, false);
    world.estimate(2, 3_000_000);
    world.subscribe(2, &[(1, LARGE.0, LARGE.1)]);
    world.run(ms(2_000));
    let since = world.now;
    for step in 0..18 {
        world.estimate(2, if step % 2 == 0 { 400_000 } else { 3_000_000 });
        world.run(ms(700));
    }
    let got = world.camera(2, 1, since);
    let switches = got
        .windows(2)
        .filter(|pair| pair[0].track != pair[1].track)
        .count();
    assert!((2..=7).contains(&switches), "{switches} switches");
    world.verify();
}

#[test]
fn a_new_link_is_told_which_layers_are_wanted() {
    let mut world = World::new();
    world.enter(1, true);
    world.enter(2, false);
    world.subscribe(2, &[(1, SMALL.0, SMALL.1)]);
    world.run(ms(1_000));
    let camera = (MemberId(1), MediaSource::Camera);
    let told = world.layers[&camera];
    // The same tracks, negotiated anew, and a link that replaces the old one.
    world.renegotiate(1);
    assert_eq!(world.layers.get(&camera), Some(&told));
    world.enter(1, true);
    assert_eq!(world.layers.get(&camera), Some(&told));
    world.run(ms(1_000));
    world.verify();
}

#[test]
fn a_new_link_keeps_what_its_member_wanted() {
    let mut world = World::new();
    world.enter(1, true);
    // Wishes come before the link.
    world.subscribe(2, &[(1, MIDDLE.0, MIDDLE.1)]);
    world.enter(2, false);
    world.run(ms(1_000));
    world.lose_link(2);
    world.run(ms(1_000));
    world.enter(2, false);
    let since = world.now;
    world.run(ms(1_500));
    assert_eq!(world.layers_got(2, 1, since + ms(1_000)), [1].into());
    world.verify();
}

#[test]
fn whatever_members_do_numbers_stay_in_place() {
    for seed in 0..12 {
        let mut world = World::new();
        world.seed(seed);
        world.loss_permille = [0, 0, 30][seed as usize % 3];
        world.reorder_permille = [0, 50, 50][seed as usize % 3];
        let mut here = BTreeSet::new();
        for _ in 0..60 {
            let member = 1 + world.below(9) as u32;
            match world.below(10) {
                0..=2 if here.insert(member) => world.enter(member, !member.is_multiple_of(3)),
                0 => {
                    here.remove(&member);
                    world.leave(member);
                }
                1 => world.lose_link(member),
                2 | 3 => {
                    let widths = [160, 320, 640, 1_280, 1_920];
                    let mut tiles = Vec::new();
                    for of in 1..=9 {
                        if of != member && world.below(3) > 0 {
                            let width_px = widths[world.below(5) as usize];
                            tiles.push((of, width_px, width_px * 9 / 16));
                        }
                    }
                    world.subscribe(member, &tiles);
                }
                4 | 5 => {
                    let bps = world.below(6_000_000);
                    world.estimate(member, bps);
                }
                6 => {
                    let speaker = MemberId(member);
                    if !world.speaking.remove(&speaker) {
                        world.speaking.insert(speaker);
                    }
                }
                7 => {
                    if let Some(slot) = world.slot_of(member, 1, MediaSource::Camera) {
                        let now = world.now;
                        world
                            .room
                            .handle_keyframe_request(now, MemberId(member), slot);
                        world.drain();
                    }
                }
                _ => {}
            }
            let pause = 50 + world.below(400);
            world.run(ms(pause));
        }
        assert!(
            world.forwards > 1_000,
            "seed {seed}: {} packets",
            world.forwards
        );
        world.verify();
    }
}

#[test]
fn a_keyframe_is_asked_for_until_it_comes() {
    let mut world = World::new();
    world.enter(1, true);
    world.enter(2, false);
    world.enter(3, false);
    world.estimate(2, 10_000_000);
    world.subscribe(2, &[(1, LARGE.0, LARGE.1)]);
    world.run(ms(2_000));
    let large = world.tracks_of(1)[1];
    let slot = world.slot_of(2, 1, MediaSource::Camera).unwrap();
    let before = world.requests.get(&large).map_or(0, Vec::len);
    let (now, anna, ben) = (world.now, MemberId(2), MemberId(3));
    world.room.handle_keyframe_request(now, ben, slot);
    world.drain();
    assert_eq!(
        world.requests.get(&large).map_or(0, Vec::len),
        before,
        "not Ben's slot"
    );
    for _ in 0..20 {
        world.room.handle_keyframe_request(world.now, anna, slot);
        world.drain();
    }
    assert_eq!(world.requests[&large].len(), before + 1);
    world.run(ms(3_000));
    assert_eq!(world.requests[&large].len(), before + 1, "it came");
    world.verify();
}
