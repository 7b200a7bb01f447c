use call_media::watch::DeviceLists;

use super::*;

fn entry(id: &str, is_default: bool) -> DeviceEntry {
    DeviceEntry {
        id: id.into(),
        name: id.to_uppercase(),
        identity: None,
        is_default,
    }
}

fn plan() -> DevicePlan {
    DevicePlan::new(
        VideoSourceConfig::camera(None),
        AudioSourceConfig::Microphone { id: None },
        SpeakerConfig::Device { id: None },
        ChosenNames::default(),
    )
}

fn camera(id: &str) -> DeviceOp {
    DeviceOp::Camera(Some(VideoSourceConfig::camera(Some(id.into()))))
}

const ALL: Running = Running {
    camera: true,
    microphone: true,
    speaker: true,
};

#[test]
fn a_camera_that_vanished_is_replaced_and_taken_back() {
    let mut plan = plan();
    plan.run(ALL);
    let lists = |cameras: &[&str]| {
        DeviceChange::Lists(DeviceLists {
            cameras: cameras.iter().map(|id| entry(id, false)).collect(),
            ..DeviceLists::default()
        })
    };
    let others = [
        DeviceOp::Retry(DeviceKind::Microphone),
        DeviceOp::Retry(DeviceKind::Speaker),
    ];
    let with_others = |op: DeviceOp| [&[op], &others[..]].concat();
    let retry = DeviceOp::Retry(DeviceKind::Camera);
    assert_eq!(
        plan.handle_change(lists(&["a", "b"])),
        with_others(retry.clone())
    );
    let kind = DeviceKind::Camera;
    assert_eq!(plan.select(kind, Some("b".into())), [camera("b")]);
    let default = DeviceOp::Camera(Some(VideoSourceConfig::camera(None)));
    assert_eq!(plan.handle_change(lists(&["a"])), with_others(default));
    assert_eq!(plan.selected(kind), None);
    assert_eq!(plan.chosen_name(kind), Some("B".into()));
    assert_eq!(
        plan.handle_change(DeviceChange::Stirred),
        with_others(retry.clone())
    );
    assert_eq!(
        plan.handle_change(lists(&["a", "b"])),
        with_others(camera("b"))
    );
    assert_eq!(plan.selected(kind), Some("b".into()));
    assert_eq!(plan.handle_change(lists(&["a", "b"])), with_others(retry));
    assert_eq!(plan.run(Running::default())[0], DeviceOp::Camera(None));
}

#[test]
fn synthetic_sources_care_for_no_device() {
    let mut plan = DevicePlan::new(
        "pattern:64x64@5".parse().unwrap(),
        AudioSourceConfig::Tone { hz: 440 },
        SpeakerConfig::Null,
        ChosenNames::default(),
    );
    plan.run(ALL);
    assert!(!plan.uses_hardware());
    for sound_configuration in 0..3 {
        let lists = DeviceLists {
            cameras: vec![entry("a", false)],
            microphones: vec![entry("m", true)],
            speakers: vec![entry("s", true)],
            sound_configuration,
        };
        assert_eq!(plan.handle_change(DeviceChange::Stirred), []);
        assert_eq!(plan.handle_change(DeviceChange::Lists(lists)), []);
    }
}

/// Random wishes and device events: nothing but the person unmutes or turns anything on.
#[test]
fn no_device_event_unmutes_or_turns_anything_on() {
    let (mut opened, mut kept_off) = (0, 0);
    for seed in 1..=60u64 {
        let mut state = seed;
        let mut random = |below: u64| {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(seed);
            (state >> 33) % below
        };
        let mut plan = plan();
        let (mut running, mut muted) = (Running::default(), true);
        for step in 0..200 {
            let place = format!("seed {seed}, step {step}");
            let ids = ["a", "b", "c", "d"];
            match random(5) {
                0 => {
                    running = Running {
                        camera: random(2) == 0,
                        microphone: random(2) == 0,
                        speaker: random(2) == 0,
                    };
                    plan.run(running);
                }
                1 => {
                    muted = random(2) == 0;
                    assert_eq!(plan.set_muted(muted), DeviceOp::Mute(muted));
                }
                2 => {
                    let id = ids.get(random(5) as usize).map(|id| (*id).to_owned());
                    let ops = plan.select(KINDS[random(3) as usize], id);
                    check(&ops, running, &place);
                }
                event => {
                    let mut list = || {
                        let default = random(4) as usize;
                        let all = ids.iter().enumerate();
                        let there = all.filter(|_| random(3) > 0);
                        there
                            .map(|(n, id)| entry(id, n == default))
                            .collect::<Vec<_>>()
                    };
                    let change = match event {
                        3 => DeviceChange::Stirred,
                        _ => DeviceChange::Lists(DeviceLists {
                            cameras: list(),
                            microphones: list(),
                            speakers: list(),
                            sound_configuration: random(3),
                        }),
                    };
                    let ops = plan.handle_change(change);
                    check(&ops, running, &place);
                    if ops.is_empty() {
                        kept_off += 1;
                    }
                    opened += ops
                        .iter()
                        .filter(|op| !matches!(op, DeviceOp::Retry(_)))
                        .count();
                }
            }
            assert_eq!(
                (plan.running(), plan.is_muted()),
                (running, muted),
                "{place}"
            );
        }
    }
    assert!(opened > 500 && kept_off > 100, "{opened} {kept_off}");
}

/// Nothing is muted or unmuted, and only what runs is opened.
fn check(ops: &[DeviceOp], running: Running, place: &str) {
    for op in ops {
        let is_allowed = match op {
            DeviceOp::Camera(_) | DeviceOp::Retry(DeviceKind::Camera) => running.camera,
            DeviceOp::Microphone(_) | DeviceOp::Retry(DeviceKind::Microphone) => running.microphone,
            DeviceOp::Speaker(_) | DeviceOp::Retry(DeviceKind::Speaker) => running.speaker,
            DeviceOp::Mute(_) => false,
        };
        assert!(is_allowed, "{op:?} with {running:?}, {place}");
    }
}
