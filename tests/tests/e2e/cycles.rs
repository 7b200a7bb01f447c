//! Joining and leaving two hundred times leaves nothing behind.

use std::time::{Duration, Instant};

use call_client::Observed;
use call_core::CallEvent;
use call_protocol::ui::UiCommand;
use call_server::{ServerConfig, serve};
use visavis_tests::support::engine::{Footprint, Watched, eventually, start_watched};
use visavis_tests::support::in_real_time;

const CYCLES: usize = 200;
/// Where growth is measured from: by then every lazily made thing exists.
const WARM: usize = 50;

async fn first_frame(member: &Watched) {
    let seen = |observed: &Observed| matches!(observed, Observed::FirstFrame(..)).then_some(());
    member.watcher.until("first frame", seen).await;
}

#[test]
fn two_hundred_joins_and_leaves_leave_nothing_behind() {
    in_real_time(cycles());
}

async fn cycles() {
    let started = Instant::now();
    let server = serve(ServerConfig::default())
        .await
        .expect("the server starts");
    let url = format!("ws://{}", server.http);
    let ann = start_watched("Ann", &url, None);
    ann.engine
        .dispatch(UiCommand::StartCall)
        .expect("a call can be started");
    let code = ann.watcher.room_code().await;

    let mut bo = start_watched("Bo", &url, None);
    let mut warm = None;
    for cycle in 1..=CYCLES {
        bo.engine
            .dispatch(UiCommand::JoinCall { code: code.clone() })
            .expect("one can join");
        // Every fourth time with media, otherwise as fast as it goes.
        if cycle % 4 == 0 {
            first_frame(&bo).await;
        } else {
            let joined = |observed: &Observed| {
                matches!(observed, Observed::Call(CallEvent::Joined { .. })).then_some(())
            };
            bo.watcher.until("a seat", joined).await;
        }
        bo.engine
            .dispatch(UiCommand::LeaveCall)
            .expect("one can leave");
        let left = |observed: &Observed| {
            matches!(observed, Observed::Call(CallEvent::Left { code: None })).then_some(())
        };
        bo.watcher.until("leaving", left).await;
        // Every tenth time the whole engine is made anew.
        if cycle % 10 == 0 {
            bo.engine.shutdown().await;
            bo = start_watched("Bo", &url, None);
        }
        if cycle == WARM {
            warm = Some(settled().await);
        }
    }
    let warm = warm.expect("the loop passes the warm-up");
    let growth = |now: Footprint| {
        (
            now.threads as i64 - warm.threads as i64,
            now.files as i64 - warm.files as i64,
        )
    };
    let settles = || {
        let (threads, files) = growth(Footprint::now());
        threads <= 4 && files <= 8
    };
    let flat = eventually(Duration::from_secs(10), settles).await;
    let end = Footprint::now();
    println!(
        "after {WARM}: {warm:?}; after {CYCLES}: {end:?}; {:?}",
        started.elapsed()
    );
    assert!(flat, "threads or files grew: {warm:?} to {end:?}");
    // One connection object costs 380 KiB: 150 leaked ones were 57 MiB.
    assert!(
        end.resident_mib < warm.resident_mib + 25.0,
        "memory grew: {warm:?} to {end:?}"
    );

    for member in [&ann, &bo] {
        member.engine.shutdown().await;
    }
    server.shutdown().await;
    assert!(
        started.elapsed() < Duration::from_secs(150),
        "it took {:?}",
        started.elapsed()
    );
}

/// The footprint once closing connections are gone: when it has not shrunk for half a second.
async fn settled() -> Footprint {
    let mut least = Footprint::now();
    let mut since = Instant::now();
    let mut look = tokio::time::interval(Duration::from_millis(50));
    while since.elapsed() < Duration::from_millis(500) {
        look.tick().await;
        let now = Footprint::now();
        if (now.threads, now.files) < (least.threads, least.files) {
            since = Instant::now();
            least = now;
        }
    }
    least
}
