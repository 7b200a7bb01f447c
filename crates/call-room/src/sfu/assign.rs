//! Which of a receiver's slots carries which picture.

use call_protocol::{MediaSource, MemberId};

/// How much larger a tile must be to take the slot of another one, in percent.
const TAKEOVER_PERCENT: u64 = 125;

/// Whose picture, and which.
pub(super) type PictureKey = (MemberId, MediaSource);

/// Places the wanted pictures, largest first. `slots` is what each slot carries now; a picture
/// stays in its slot as long as it has one, as moving it would cost a keyframe.
pub(super) fn assign_pictures(
    slots: &[Option<PictureKey>],
    wanted: &[(PictureKey, u64)],
) -> Vec<Option<PictureKey>> {
    let mut ranked: Vec<(PictureKey, u64)> = wanted
        .iter()
        .map(|(key, area_px)| {
            let has_slot = slots.contains(&Some(*key));
            let percent = if has_slot { TAKEOVER_PERCENT } else { 100 };
            (*key, area_px.max(&1).saturating_mul(percent))
        })
        .collect();
    ranked.sort_by_key(|(_, area)| std::cmp::Reverse(*area));
    ranked.truncate(slots.len());
    let stays = |key: &PictureKey| ranked.iter().any(|(other, _)| other == key);
    let mut after: Vec<Option<PictureKey>> = slots
        .iter()
        .map(|key| key.filter(|key| stays(key)))
        .collect();
    for (key, _) in &ranked {
        if after.contains(&Some(*key)) {
            continue;
        }
        // One that was empty before, so that a receiver can tell two pictures apart in its logs.
        let fresh = after
            .iter()
            .zip(slots)
            .position(|(after, before)| after.is_none() && before.is_none());
        let free = fresh.or_else(|| after.iter().position(Option::is_none));
        if let Some(slot) = free.and_then(|index| after.get_mut(index)) {
            *slot = Some(*key);
        }
    }
    after
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pictures_keep_their_slots_and_large_tiles_come_first() {
        let key = |id: u32| (MemberId(id), MediaSource::Camera);
        // Slots before (0: empty), wanted (id, area), slots after.
        type Case = (&'static str, [u32; 3], Vec<(u32, u64)>, [u32; 3]);
        let cases: [Case; 9] = [
            ("nothing", [0, 0, 0], vec![], [0, 0, 0]),
            (
                "largest first",
                [0, 0, 0],
                vec![(1, 10), (2, 30), (3, 20), (4, 5)],
                [2, 3, 1],
            ),
            (
                "they stay",
                [2, 3, 1],
                vec![(1, 30), (2, 10), (3, 20)],
                [2, 3, 1],
            ),
            ("one leaves", [2, 3, 1], vec![(1, 30), (2, 10)], [2, 0, 1]),
            (
                "the empty slot is used",
                [2, 0, 1],
                vec![(1, 30), (2, 10), (4, 20)],
                [2, 4, 1],
            ),
            (
                "a used one if need be",
                [2, 3, 1],
                vec![(1, 30), (2, 10), (4, 20)],
                [2, 4, 1],
            ),
            (
                "a little larger is not enough",
                [1, 2, 3],
                vec![(1, 10), (2, 10), (3, 10), (4, 12)],
                [1, 2, 3],
            ),
            (
                "much larger is",
                [1, 2, 3],
                vec![(1, 10), (2, 11), (3, 12), (4, 20)],
                [4, 2, 3],
            ),
            (
                "everything changes",
                [1, 2, 3],
                vec![(4, 1), (5, 1), (6, 1)],
                [4, 5, 6],
            ),
        ];
        for (what, before, wanted, after) in cases {
            let slots = before.map(|id| (id > 0).then(|| key(id)));
            let wanted: Vec<_> = wanted
                .into_iter()
                .map(|(id, area)| (key(id), area))
                .collect();
            let got = assign_pictures(&slots, &wanted);
            assert_eq!(got, after.map(|id| (id > 0).then(|| key(id))), "{what}");
        }
        assert!(assign_pictures(&[], &[(key(1), 1)]).is_empty());
    }
}
