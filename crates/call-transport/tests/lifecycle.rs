//! Opening and closing: nothing is left behind.

use call_protocol::peer::{PeerSignal, SdpKind};
use call_transport::{LinkEvent, LinkState};

use crate::support::{End, Pair, config, eventually};

fn open_files() -> usize {
    std::fs::read_dir("/proc/self/fd").expect("procfs").count()
}

/// A runtime of its own, so that its task count is this test's alone. Open files are the process's:
/// other tests' sockets come and go, hence the tolerance well below one socket per cycle.
#[test]
fn sixty_cycles_leave_no_task_and_no_socket() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime");
    runtime.block_on(async {
        let metrics = tokio::runtime::Handle::current().metrics();
        Pair::connected([config(true, true), config(false, false)])
            .await
            .close()
            .await;
        let files = open_files();
        for cycle in 0..60 {
            let pair = Pair::connected([config(true, true), config(false, false)]).await;
            // Every third pair is only dropped.
            if cycle % 3 == 2 {
                drop(pair)
            } else {
                pair.close().await
            }
        }
        eventually("no tasks", || metrics.num_alive_tasks() == 0).await;
        eventually("no sockets", || open_files() <= files + 30).await;
    });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hanging_up_says_bye_and_the_peer_closes_at_once() {
    let pair = Pair::connected([config(true, true), config(false, false)]).await;
    let [first, mut second] = pair.ends;
    let mut events = first.events;
    first.link.close().await;
    let mut said = Vec::new();
    while let Some(event) = events.recv().await {
        said.push(event);
    }
    assert!(matches!(
        said[..],
        [
            ..,
            LinkEvent::Signal(PeerSignal::Bye),
            LinkEvent::State(LinkState::Closed)
        ]
    ));
    second.link.handle_signal(PeerSignal::Bye);
    while let Some(event) = second.events.recv().await {
        second.told.push(event);
    }
    assert_eq!(second.last_state(), Some(LinkState::Closed));
    second.link.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nonsense_changes_nothing() {
    let mut pair = Pair::open([config(true, false), config(false, true)]).await;
    let nonsense = [
        PeerSignal::Description {
            kind: SdpKind::Offer,
            sdp: String::new(),
        },
        PeerSignal::Description {
            kind: SdpKind::Offer,
            sdp: "v=0\r\nm=video".into(),
        },
        PeerSignal::Description {
            kind: SdpKind::Offer,
            sdp: "x".repeat(1_000_000),
        },
        PeerSignal::Description {
            kind: SdpKind::Answer,
            sdp: "v=0".into(),
        },
        PeerSignal::Candidate {
            candidate: "candidate:x".into(),
            mid: None,
            mline_index: Some(9),
        },
        PeerSignal::Candidate {
            candidate: String::new(),
            mid: Some("0".into()),
            mline_index: None,
        },
    ];
    for signal in nonsense {
        pair.ends[0].link.handle_signal(signal);
    }
    pair.until("connected", |ends| ends.iter().all(End::is_connected))
        .await;
    let empty = PeerSignal::Description {
        kind: SdpKind::Offer,
        sdp: "v=0".into(),
    };
    pair.ends[1].link.handle_signal(empty);
    for end in &pair.ends {
        end.link.renegotiate();
    }
    pair.until("still connected", |ends| ends.iter().all(End::is_connected))
        .await;
    pair.close().await;
}
