//! Members who reach each other over the server's relay only: both behind symmetric NATs, with and
//! without UDP.

use visavis_tests::support::headless::{Lines, code_of};
use visavis_tests::support::namespace::{HOMES_SERVER, Homes};
use visavis_tests::support::network::Namespace;
use visavis_tests::support::real_time;
use visavis_tests::support::recording::{judge_pictures, judge_tone};

const MEDIA_PORT: u16 = 3478;

fn member(
    home: &Namespace,
    server: &str,
    name: &str,
    tone: &str,
    record: &str,
    code: Option<&str>,
) -> Lines {
    let mut args = vec![
        "--server",
        server,
        "--name",
        name,
        "--video",
        "pattern:640x360@15",
        "--audio",
        tone,
        "--record",
        record,
    ];
    match code {
        Some(code) => args.extend(["--code", code]),
        None => args.push("--create"),
    }
    Lines::start_inside(home, "visavis-headless", &args)
}

/// A call of two, one in each home, with something blocked; both must hear and see each other.
fn call(test: &str, blocked: &str) {
    let _machine = real_time();
    let Some(homes) = Homes::new(test) else {
        return;
    };
    homes.block(blocked);
    let media = format!("{HOMES_SERVER}:{MEDIA_PORT}");
    let http = format!("{HOMES_SERVER}:0");
    let args = [
        "--http",
        &http,
        "--media",
        &media,
        "--public-ip",
        HOMES_SERVER,
        "--topology",
        "mesh",
    ];
    let mut server = Lines::start_inside(&homes.server, "visavis-server", &args);
    let address = server.event("listening")["http"]
        .as_str()
        .expect("text")
        .to_owned();
    let url = format!("ws://{address}");
    let directory = tempfile::tempdir().expect("a temporary directory can be made");
    let path = |name: &str| {
        directory
            .path()
            .join(name)
            .to_str()
            .expect("text")
            .to_owned()
    };
    let mut ann = member(&homes.homes[0], &url, "Ann", "tone:440", &path("ann"), None);
    let code = code_of(&mut ann);
    let mut bo = member(
        &homes.homes[1],
        &url,
        "Bo",
        "tone:660",
        &path("bo"),
        Some(&code),
    );
    for client in [&mut ann, &mut bo] {
        let link = client.until("a link", |line| {
            line["event"] == "link" && line["state"] == "connected"
        });
        println!("{blocked} blocked: {link}");
        assert_eq!(link["path"], "relay", "{link}");
        client.event("first_frame");
        client.event("first_audio");
    }
    bo.watch(std::time::Duration::from_secs(6));
    for (client, path, name, tone) in [
        (ann, path("ann"), "Bo", 660.0),
        (bo, path("bo"), "Ann", 440.0),
    ] {
        let ended = client.terminate();
        assert_eq!(ended.code, Some(0));
        let path = std::path::Path::new(&path).join(name);
        let pictures = judge_pictures(&path.with_extension("y4m"));
        println!("{name}: {pictures:?}");
        assert_eq!((pictures.width, pictures.height), (640, 360));
        assert!(pictures.in_order >= 45, "3 s at 15 fps: {pictures:?}");
        assert!(pictures.ratio() >= 0.9, "frames in order: {pictures:?}");
        let wav = path.with_extension("wav");
        let found = judge_tone(&wav, tone);
        let absent = judge_tone(&wav, if tone == 440.0 { 660.0 } else { 440.0 });
        println!("{name}: {found:.3} of the energy at {tone} Hz");
        assert!(found > 0.7 && absent < 0.05, "{tone} Hz: {found}, {absent}");
    }
}

#[test]
fn two_homes_meet_over_udp() {
    call("relay over UDP", "tcp dport 3478");
}

#[test]
fn two_homes_meet_over_tcp_where_udp_is_blocked() {
    call("relay over TCP", "meta l4proto udp");
}
