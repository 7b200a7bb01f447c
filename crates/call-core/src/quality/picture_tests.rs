//! One picture over links that differ.

use std::time::Duration;

use call_protocol::MemberId;

use super::*;

const FULL: Sizes = [Some((1_280, 720)), Some((640, 360)), Some((320, 180))];
const DIRECT: Sizes = [FULL[0], None, None];
const FREE: Bounds = Bounds {
    most_bps: u64::MAX,
    least_rung: 0,
};

fn member(id: u32) -> LinkId {
    let peer = LinkPeer::Member(MemberId(id));
    LinkId {
        peer,
        generation: id,
    }
}

const SFU: LinkId = LinkId {
    peer: LinkPeer::Sfu,
    generation: 99,
};

fn shares(links: &[(LinkId, u64)]) -> Vec<Share> {
    let share = |(link, target_kbps): &(LinkId, u64)| Share {
        link: *link,
        target_bps: target_kbps * 1_000,
        budget_bps: (target_kbps * 1_000).saturating_sub(50_000),
        is_calm: true,
        shown_px: None,
    };
    links.iter().map(share).collect()
}

/// A picture after so many seconds with these links, filling whatever it may take.
fn settled(
    picture: &mut Picture,
    start: Instant,
    seconds: u32,
    wanted: &Sizes,
    links: &[(LinkId, u64)],
    bounds: Bounds,
) -> Instant {
    let mut now = start;
    for _ in 0..seconds * 4 {
        let figures = PictureFigures {
            layer_sizes: FULL,
            fps: 30,
            sent_bps: picture.plan().map_or(0, |plan| plan.bitrate_bps()),
        };
        picture.handle(now, &figures, wanted, &shares(links), bounds);
        now += Duration::from_millis(250);
    }
    now
}

/// Width, and kbit/s and rate of each layer.
type Encoded = (u32, [Option<(u32, u32)>; SFU_LAYERS]);

fn encoded(picture: &Picture) -> Option<Encoded> {
    let kbps = |layer: LayerTarget| (layer.bitrate_bps / 1_000, layer.fps);
    let plan = picture.plan()?;
    Some((plan.max_width_px, plan.layers.map(|layer| layer.map(kbps))))
}

#[test]
fn what_is_encoded_suits_the_links() {
    let (one, two) = (member(1), member(2));
    #[allow(clippy::type_complexity, reason = "a table")]
    let cases: [(Sizes, &[(LinkId, u64)], Option<Encoded>); 12] = [
        (
            DIRECT,
            &[(one, 0)],
            Some((1_280, [Some((1_935, 30)), None, None])),
        ),
        (
            DIRECT,
            &[(one, 5_000)],
            Some((1_280, [Some((1_935, 30)), None, None])),
        ),
        (
            DIRECT,
            &[(one, 650), (two, 4_000)],
            Some((1_280, [Some((600, 30)), None, None])),
        ),
        (
            DIRECT,
            &[(one, 400)],
            Some((960, [Some((350, 30)), None, None])),
        ),
        (
            DIRECT,
            &[(one, 150)],
            Some((480, [Some((100, 20)), None, None])),
        ),
        (
            DIRECT,
            &[(one, 100)],
            Some((320, [Some((50, 7)), None, None])),
        ),
        (
            FULL,
            &[(SFU, 5_000)],
            Some((1_280, [Some((1_700, 30)), Some((450, 30)), Some((130, 30))])),
        ),
        (
            FULL,
            &[(SFU, 600)],
            Some((1_280, [None, Some((420, 30)), Some((130, 30))])),
        ),
        (
            FULL,
            &[(SFU, 140)],
            Some((1_280, [None, None, Some((90, 15))])),
        ),
        (
            DIRECT,
            &[(SFU, 400)],
            Some((960, [Some((350, 30)), None, None])),
        ),
        (
            FULL,
            &[(one, 1_050), (SFU, 5_000)],
            Some((1_280, [Some((1_000, 30)), Some((450, 30)), Some((130, 30))])),
        ),
        (DIRECT, &[], None),
    ];
    for (wanted, links, want) in cases {
        let mut picture = Picture::new(MediaSource::Camera);
        settled(&mut picture, Instant::now(), 4, &wanted, links, FREE);
        assert_eq!(encoded(&picture), want, "{wanted:?} over {links:?}");
        assert!(!picture.is_sound_only() && picture.held().is_empty());
    }
}

#[test]
fn a_hopeless_link_is_held_back_and_costs_the_others_nothing() {
    let (weak, good) = (member(1), member(2));
    let mut picture = Picture::new(MediaSource::Camera);
    let links = [(weak, 70), (good, 3_000)];
    let now = settled(&mut picture, Instant::now(), 20, &DIRECT, &links, FREE);
    assert_eq!(
        encoded(&picture),
        Some((1_280, [Some((1_935, 30)), None, None]))
    );
    assert_eq!(picture.held(), [MemberId(1)]);
    assert!(!picture.is_sound_only() && !picture.is_at_best());
    let links = [(weak, 3_000), (good, 3_000)];
    let now = settled(&mut picture, now, 7, &DIRECT, &links, FREE);
    assert!(picture.held().is_empty(), "back once its estimate grew");
    let now = settled(&mut picture, now, 40, &DIRECT, &links, FREE);
    assert!(picture.is_at_best());
    let links = [(weak, 70), (good, 75)];
    settled(&mut picture, now, 2, &DIRECT, &links, FREE);
    assert!(picture.is_sound_only() && picture.plan().is_none());
    assert!(picture.held().is_empty(), "there is nothing to hold back");
}

#[test]
fn sound_only_tries_a_thumbnail_on_whatever_layer_is_wanted() {
    let cases = [
        (DIRECT, member(1), (160, [Some((40, 5)), None, None])),
        (FULL, SFU, (640, [None, None, Some((40, 5))])),
    ];
    for (wanted, link, want) in cases {
        let mut picture = Picture::new(MediaSource::Camera);
        let mut seen = Vec::new();
        let mut now = Instant::now();
        now = settled(&mut picture, now, 2, &wanted, &[(link, 60)], FREE);
        for _ in 0..20 {
            now = settled(&mut picture, now, 1, &wanted, &[(link, 60)], FREE);
            seen.push(encoded(&picture));
            assert!(picture.is_sound_only());
        }
        assert!(
            seen.contains(&None) && seen.contains(&Some(want)),
            "{seen:?}"
        );
    }
}

#[test]
fn data_can_be_saved_and_slow_machines_encode_less() {
    let saving = Bounds {
        most_bps: 250_000,
        ..FREE
    };
    let slow = Bounds {
        least_rung: 2,
        ..FREE
    };
    let cases = [
        (saving, (640, [Some((250, 30)), None, None])),
        (slow, (640, [Some((483, 30)), None, None])),
    ];
    for (bounds, want) in cases {
        let mut picture = Picture::new(MediaSource::Camera);
        settled(
            &mut picture,
            Instant::now(),
            4,
            &DIRECT,
            &[(member(1), 5_000)],
            bounds,
        );
        assert_eq!(encoded(&picture), Some(want), "{bounds:?}");
    }
}

#[test]
fn nothing_larger_than_anybody_shows_is_encoded() {
    #[allow(clippy::type_complexity, reason = "a table")]
    let cases: [(&[Option<(u32, u32)>], u32); 9] = [
        (&[None], 1_280),
        (&[Some((1_200, 700))], 1_280),
        (&[Some((860, 490))], 1_280),
        (&[Some((850, 470))], 640),
        (&[Some((320, 180))], 320),
        (&[Some((0, 0))], 320),
        (&[Some((320, 180)), Some((640, 360))], 640),
        (&[Some((320, 180)), None], 1_280),
        (&[Some((u32::MAX, u32::MAX))], 1_280),
    ];
    for (shown, width) in cases {
        let mut picture = Picture::new(MediaSource::Camera);
        let mut now = Instant::now();
        for _ in 0..40 {
            let links: Vec<_> = (0..).zip(shown).map(|(id, _)| (member(id), 300)).collect();
            let mut shares = shares(&links);
            for (share, shown_px) in shares.iter_mut().zip(shown) {
                share.shown_px = *shown_px;
            }
            let figures = PictureFigures {
                layer_sizes: FULL,
                fps: 30,
                sent_bps: picture.plan().map_or(0, |plan| plan.bitrate_bps()),
            };
            // What a small picture takes does not test a path for a large one.
            let is_large = width == 1_280;
            if is_large {
                shares
                    .iter_mut()
                    .for_each(|share| share.budget_bps = 4_000_000);
            }
            picture.handle(now, &figures, &DIRECT, &shares, FREE);
            now += Duration::from_millis(250);
        }
        let encoded = encoded(&picture).unwrap();
        let rate = encoded.1[0].unwrap().1;
        assert_eq!((encoded.0, rate), (width, 30), "{shown:?}");
        assert!(picture.is_at_best(), "{shown:?}");
    }
}
