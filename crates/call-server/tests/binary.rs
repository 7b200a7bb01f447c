//! `visavis-server` as a process: first line, signals, exit status, resources.
#![cfg(unix)]

use std::net::SocketAddr;
use std::process::Stdio;

use call_protocol::ErrorCode;
use call_protocol::wire::ClientMessage;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

use crate::client::{Client, wait_for_metric, within};

struct Process {
    child: Child,
    http: SocketAddr,
    media: SocketAddr,
}

fn command(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_visavis-server"));
    command
        .args(args)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    for name in [
        "HTTP",
        "MEDIA",
        "PUBLIC_IP",
        "MESH_LIMIT",
        "NATS",
        "ACME",
        "CONFIG",
    ] {
        command.env_remove(format!("VISAVIS_{name}"));
    }
    command
}

async fn start(mut command: Command) -> Process {
    let mut child = command.stderr(Stdio::null()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let line = within("the first line", lines.next_line())
        .await
        .unwrap()
        .expect("a line");
    let value: serde_json::Value = serde_json::from_str(&line).unwrap();
    assert_eq!(value["event"], "listening", "{line}");
    let addr = |key: &str| -> SocketAddr { value[key].as_str().unwrap().parse().unwrap() };
    let process = Process {
        child,
        http: addr("http"),
        media: addr("media"),
    };
    assert!(
        process.http.port() != 0 && process.media.port() != 0,
        "{line}"
    );
    process
}

impl Process {
    fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.child.id().unwrap()).unwrap();
        kill(Pid::from_raw(pid), signal).unwrap();
    }
}

const LOOPBACK: [&str; 4] = ["--http", "127.0.0.1:0", "--media", "127.0.0.1:0"];

#[tokio::test]
async fn says_where_it_listens_and_drains_on_signals() {
    for signal in [Signal::SIGTERM, Signal::SIGINT] {
        let mut process = start(command(&LOOPBACK)).await;
        let (mut client, _) = Client::enter(process.http, 1).await;
        process.signal(signal);
        assert_eq!(client.hear_error().await, (ErrorCode::ServerClosing, true));
        assert_eq!(client.hear_close().await, 1001);
        let status = within("the end", process.child.wait()).await.unwrap();
        assert_eq!(status.code(), Some(0), "{signal}");
    }
}

#[tokio::test]
async fn a_killed_server_is_noticed() {
    let mut process = start(command(&LOOPBACK)).await;
    let (mut client, _) = Client::enter(process.http, 1).await;
    let mut half_way = Client::open(process.http).await;
    process.signal(Signal::SIGKILL);
    within("the end", process.child.wait()).await.unwrap();
    assert_eq!(client.next_frame().await, None);
    assert_eq!(half_way.next_frame().await, None);
}

#[tokio::test]
async fn reads_variables() {
    let mut command = command(&[]);
    command
        .env("VISAVIS_HTTP", "127.0.0.1:0")
        .env("VISAVIS_MEDIA", "127.0.0.1:0");
    let process = start(command).await;
    Client::enter(process.http, 1).await;
}

#[tokio::test]
async fn bad_arguments_exit_with_2_and_trouble_with_1() {
    let http = ["--http", "127.0.0.1:0"];
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = taken.local_addr().unwrap().to_string();
    let cases: Vec<(Vec<&str>, i32, &str)> = vec![
        (vec![], 2, "--http is required"),
        (http.to_vec(), 2, "--media is required"),
        (vec!["--http", "nowhere"], 2, "--http"),
        (vec!["--colour", "red"], 2, "--colour"),
        (
            [&LOOPBACK[..], &["--mesh-limit", "1"]].concat(),
            2,
            "--mesh-limit",
        ),
        (
            [&LOOPBACK[..], &["--nats", "nats://127.0.0.1"]].concat(),
            2,
            "not_supported: --nats",
        ),
        (
            [&LOOPBACK[..], &["--acme", "example.org"]].concat(),
            2,
            "not_supported: --acme",
        ),
        (
            [&LOOPBACK[..], &["--tls-cert", "x"]].concat(),
            2,
            "belong together",
        ),
        (
            [&LOOPBACK[..], &["--tls-cert", "x", "--tls-key", "y"]].concat(),
            1,
            "TLS: x",
        ),
        (
            vec!["--http", &taken, "--media", "127.0.0.1:0"],
            1,
            "cannot listen for HTTP",
        ),
    ];
    let _held = std::net::TcpListener::bind(&taken);
    for (args, status, text) in cases {
        let output = within("the end", command(&args).output()).await.unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(status), "{args:?}: {stderr}");
        assert!(stderr.contains(text), "{args:?}: {stderr}");
        assert!(output.stdout.is_empty(), "{args:?}");
    }
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn joins_and_leaves_leave_no_socket_thread_or_memory_behind() {
    let process = start(command(&LOOPBACK)).await;
    let pid = process.child.id().unwrap();
    let count = |what: &str| {
        std::fs::read_dir(format!("/proc/{pid}/{what}"))
            .unwrap()
            .count()
    };
    let resident_kib = || {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix("VmRSS:"))
            .unwrap();
        line.trim().trim_end_matches(" kB").parse::<u64>().unwrap()
    };
    let cycles = async |count: usize| {
        for _ in 0..count {
            let (mut client, _) = Client::enter(process.http, 1).await;
            client.say(&ClientMessage::Leave).await;
            within("closing", client.socket.close(None)).await.unwrap();
            // Until the server has closed as well.
            while client.next_frame().await.is_some() {}
        }
        wait_for_metric(process.http, "visavis_connections", 0).await;
    };
    cycles(100).await;
    let before = (count("fd"), count("task"), resident_kib());
    cycles(200).await;
    let after = (count("fd"), count("task"), resident_kib());
    assert!(after.0 <= before.0 + 1, "sockets: {before:?} {after:?}");
    assert_eq!(after.1, before.1, "threads: {before:?} {after:?}");
    assert!(after.2 <= before.2 + 1024, "memory: {before:?} {after:?}");
}
