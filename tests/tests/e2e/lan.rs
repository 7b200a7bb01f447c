//! Calls without any server configured: hosted in one process, found by another.

use std::sync::Arc;

use call_client::Observed;
use call_core::CallEvent;
use call_protocol::ErrorCode;
use call_protocol::ui::UiCommand;
use visavis_tests::support::engine::{InProcessHost, start_watched};
use visavis_tests::support::headless::Lines;
use visavis_tests::support::namespace::run_in_own_network;
use visavis_tests::support::real_time;

#[test]
fn a_room_on_the_local_network_is_found_by_its_code() {
    let _machine = real_time();
    run_in_own_network(
        "lan::a_room_on_the_local_network_is_found_by_its_code",
        || {
            tokio::runtime::Runtime::new()
                .expect("a runtime starts")
                .block_on(found_by_code());
        },
    );
}

async fn found_by_code() {
    let ann = start_watched("Ann", "", Some(Arc::new(InProcessHost::default())));
    ann.engine
        .dispatch(UiCommand::StartCall)
        .expect("a call can be started");
    let code = ann.watcher.room_code().await;
    let joined = |o: &Observed| matches!(o, Observed::Call(CallEvent::Joined { .. })).then_some(());
    ann.watcher.until("a seat", joined).await;

    let spoken = code.to_lowercase().replace('-', "");
    let args = [
        "--code",
        &spoken,
        "--name",
        "Bo",
        "--video",
        "pattern:160x90@5",
    ];
    let mut bo = tokio::task::spawn_blocking({
        let args = args.map(str::to_owned);
        move || {
            let mut bo = Lines::start("visavis-headless", &args.each_ref().map(String::as_str));
            bo.event("joined");
            bo.event("first_frame");
            bo
        }
    })
    .await
    .expect("Bo joins");
    let seen = |o: &Observed| matches!(o, Observed::FirstFrame(..)).then_some(());
    ann.watcher.until("Bo's picture", seen).await;

    // The host leaves and comes back to the room that goes on without them.
    ann.engine
        .dispatch(UiCommand::LeaveCall)
        .expect("one can leave");
    let left = |o: &Observed| matches!(o, Observed::Call(CallEvent::Left { .. })).then_some(());
    ann.watcher.until("leaving", left).await;
    ann.engine
        .dispatch(UiCommand::JoinCall { code })
        .expect("one can join");
    ann.watcher.until("Bo's picture again", seen).await;

    let ended = tokio::task::spawn_blocking(move || {
        bo.until("Ann coming back", |l| {
            l["event"] == "member_joined" && l["member"] != 1
        });
        bo.terminate()
    });
    assert_eq!(ended.await.expect("Bo leaves").code, Some(0));
    ann.engine.shutdown().await;
}

#[test]
fn a_code_nobody_announces_is_not_found() {
    let _machine = real_time();
    run_in_own_network("lan::a_code_nobody_announces_is_not_found", || {
        let mut client = Lines::start("visavis-headless", &["--code", "K7MQ-2X9D-RTB4"]);
        let error = client.until("an error", |line| line["event"] == "error");
        assert_eq!(error["code"], "room_not_found_on_lan");
        assert_eq!(client.wait().code, Some(1));
    });
}

#[test]
fn without_a_host_and_a_server_no_call_starts() {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime starts");
    runtime.block_on(async {
        let ann = start_watched("Ann", "", None);
        ann.engine
            .dispatch(UiCommand::StartCall)
            .expect("the command is taken");
        let code = ann
            .watcher
            .until("the end", |observed| match observed {
                Observed::Call(CallEvent::Left { code }) => Some(*code),
                _ => None,
            })
            .await;
        assert_eq!(code, Some(ErrorCode::HostFailed));
        ann.engine.shutdown().await;
    });
}
