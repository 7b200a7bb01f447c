use std::sync::mpsc::{Receiver, channel};

use super::*;

const DEADLINE: Duration = Duration::from_secs(20);

#[test]
fn a_change_is_told_at_once_and_listed_when_it_is_over() {
    let start = Instant::now();
    let at = |ms| start + Duration::from_millis(ms);
    let mut settling = Settling::default();
    let cases = [
        // The first look lists what there is.
        (0, 1, (false, true)),
        (500, 1, (false, false)),
        // A device appears in two steps.
        (1_000, 2, (true, false)),
        (1_500, 3, (true, false)),
        (2_000, 3, (false, true)),
        (2_500, 3, (false, false)),
        // One that vanishes and is back at the next look stirred twice and is listed once.
        (3_000, 4, (true, false)),
        (3_500, 3, (true, false)),
        (4_000, 3, (false, true)),
    ];
    for (ms, signature, (stirred, is_settled)) in cases {
        let want = Step {
            stirred,
            is_settled,
        };
        assert_eq!(
            settling.handle_signature(at(ms), signature),
            want,
            "{ms} ms"
        );
    }
}

#[test]
fn devices_that_never_rest_are_listed_all_the_same() {
    let start = Instant::now();
    let mut settling = Settling::default();
    settling.handle_signature(start, 0);
    let listed: Vec<u64> = (1..=40)
        .filter(|n| {
            let now = start + PERIOD * u32::try_from(*n).unwrap();
            settling.handle_signature(now, *n).is_settled
        })
        .collect();
    let between = u64::try_from(SETTLED_AFTER.as_millis().div_ceil(PERIOD.as_millis())).unwrap();
    assert_eq!(listed[0], 1 + between);
    assert!(
        listed
            .windows(2)
            .all(|pair| pair[1] - pair[0] == between + 1)
    );
}

/// Answers what the test sends, and otherwise the same as before.
struct Scripted {
    signatures: Receiver<u64>,
    last: u64,
}

impl Probe for Scripted {
    fn signature(&mut self) -> u64 {
        self.last = self.signatures.try_recv().unwrap_or(self.last);
        assert_ne!(self.last, 13, "driver bug");
        self.last
    }

    fn lists(&mut self) -> DeviceLists {
        DeviceLists {
            sound_configuration: self.last,
            ..DeviceLists::default()
        }
    }
}

#[test]
fn a_watcher_tells_changes_survives_panics_and_ends_when_dropped() {
    let (looks, signatures) = channel();
    let (tell, told) = channel();
    let probe = Scripted {
        signatures,
        last: 1,
    };
    let watcher = DeviceWatcher::start_with(probe, Duration::from_millis(1), move |change| {
        let _ = tell.send(change);
    })
    .unwrap();
    let lists = |sound_configuration| {
        DeviceChange::Lists(DeviceLists {
            sound_configuration,
            ..DeviceLists::default()
        })
    };
    assert_eq!(told.recv_timeout(DEADLINE), Ok(lists(1)));
    looks.send(13).unwrap();
    looks.send(2).unwrap();
    assert_eq!(told.recv_timeout(DEADLINE), Ok(DeviceChange::Stirred));
    assert_eq!(told.recv_timeout(DEADLINE), Ok(lists(2)));
    drop(watcher);
    // The thread ends and takes its callback along.
    assert!(told.recv_timeout(DEADLINE).is_err());
}

#[cfg(target_os = "linux")]
#[test]
fn nodes_that_come_go_or_change_their_permissions_change_the_signature() {
    use std::os::unix::fs::PermissionsExt;
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path();
    let signature = || {
        let mut hasher = DefaultHasher::new();
        nodes::hash_nodes(path, "video", &mut hasher);
        hasher.finish()
    };
    let empty = signature();
    std::fs::write(path.join("tty0"), "").unwrap();
    assert_eq!(signature(), empty);
    std::fs::write(path.join("video0"), "").unwrap();
    let one = signature();
    assert_ne!(one, empty);
    assert_eq!(signature(), one);
    let mode = std::fs::Permissions::from_mode(0o600);
    std::fs::set_permissions(path.join("video0"), mode).unwrap();
    let changed = signature();
    assert_ne!(changed, one);
    // Using a device leaves traces in its node's times.
    std::fs::write(path.join("video0"), "x").unwrap();
    assert_eq!(signature(), changed);
    std::fs::write(path.join("video1"), "").unwrap();
    assert_ne!(signature(), changed);
    std::fs::remove_file(path.join("video1")).unwrap();
    assert_eq!(signature(), changed);
    std::fs::remove_file(path.join("video0")).unwrap();
    assert_eq!(signature(), empty);
}
