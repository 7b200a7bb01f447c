//! `/metrics` in the Prometheus text format, version 0.0.4.

use std::fmt::Write as _;

use crate::actor::{Figures, code_name};

/// Renders the figures.
pub(crate) fn render(figures: &Figures) -> String {
    let mut text = String::new();
    let occupancy = figures.occupancy;
    let gauges = [
        ("visavis_rooms", "Open rooms.", occupancy.rooms),
        (
            "visavis_members",
            "Seats over all rooms.",
            occupancy.members,
        ),
        (
            "visavis_waiting",
            "Connections that wait to be let into a room.",
            occupancy.waiting,
        ),
        (
            "visavis_connections",
            "WebSocket connections.",
            occupancy.connections,
        ),
    ];
    // Writing to a String cannot fail.
    for (name, help, value) in gauges {
        let _ = writeln!(
            text,
            "# HELP {name} {help}\n# TYPE {name} gauge\n{name} {value}"
        );
    }
    let name = "visavis_messages_total";
    let _ = writeln!(
        text,
        "# HELP {name} Messages received.\n# TYPE {name} counter"
    );
    for (kind, count) in &figures.counters.messages {
        let _ = writeln!(text, "{name}{{type=\"{kind}\"}} {count}");
    }
    let name = "visavis_errors_total";
    let _ = writeln!(text, "# HELP {name} Errors sent.\n# TYPE {name} counter");
    for (code, count) in &figures.counters.errors {
        let _ = writeln!(text, "{name}{{code=\"{}\"}} {count}", code_name(*code));
    }
    render_sfu(&mut text, figures);
    text
}

fn render_sfu(text: &mut String, figures: &Figures) {
    let sfu = &figures.sfu;
    let series = [
        ("links", "gauge", "Links to members.", sfu.links),
        ("links_total", "counter", "Links opened.", sfu.links_opened),
        (
            "packets_in_total",
            "counter",
            "RTP packets received.",
            sfu.packets_in,
        ),
        (
            "packets_out_total",
            "counter",
            "RTP packets forwarded.",
            sfu.packets_out,
        ),
        (
            "bytes_out_total",
            "counter",
            "Bytes of the packets forwarded.",
            sfu.bytes_out,
        ),
        (
            "rtx_out_total",
            "counter",
            "Retransmissions and probing packets sent.",
            sfu.rtx_out,
        ),
        (
            "keyframe_requests_total",
            "counter",
            "Keyframe requests sent.",
            sfu.keyframe_requests,
        ),
    ];
    for (name, kind, help, value) in series {
        let _ = writeln!(
            text,
            "# HELP visavis_sfu_{name} {help}\n# TYPE visavis_sfu_{name} {kind}\nvisavis_sfu_{name} {value}"
        );
    }
    let name = "visavis_sfu_dropped_total";
    let _ = writeln!(
        text,
        "# HELP {name} Datagrams and messages dropped.\n# TYPE {name} counter"
    );
    for (reason, count) in [
        ("send", sfu.dropped_send),
        ("handover", sfu.dropped_handover),
        ("garbage", sfu.dropped_garbage),
        ("channel", sfu.dropped_channel),
    ] {
        let _ = writeln!(text, "{name}{{reason=\"{reason}\"}} {count}");
    }
    let name = "visavis_sfu_cpu_seconds_total";
    let (seconds, micros) = (sfu.cpu_us / 1_000_000, sfu.cpu_us % 1_000_000);
    let _ = writeln!(
        text,
        "# HELP {name} CPU time of the media threads.\n# TYPE {name} counter\n{name} {seconds}.{micros:06}"
    );
}

#[cfg(test)]
mod tests {
    use call_protocol::ErrorCode;
    use call_room::{Counters, Occupancy};

    use super::*;
    use crate::sfu::SfuFigures;

    #[test]
    fn renders_gauges_and_labelled_counters() {
        let figures = Figures {
            occupancy: Occupancy {
                rooms: 1,
                members: 2,
                waiting: 9,
                connections: 3,
            },
            counters: Counters {
                messages: [("hello", 4), ("join", 2)].into(),
                errors: [(ErrorCode::RoomAuthFailed, 5)].into(),
            },
            sfu: SfuFigures {
                links: 6,
                dropped_send: 7,
                cpu_us: 1_000_008,
                ..SfuFigures::default()
            },
        };
        let text = render(&figures);
        for line in [
            "# TYPE visavis_rooms gauge",
            "visavis_rooms 1",
            "visavis_members 2",
            "visavis_waiting 9",
            "visavis_connections 3",
            "visavis_messages_total{type=\"hello\"} 4",
            "visavis_messages_total{type=\"join\"} 2",
            "visavis_errors_total{code=\"room_auth_failed\"} 5",
            "# TYPE visavis_sfu_links gauge",
            "visavis_sfu_links 6",
            "visavis_sfu_dropped_total{reason=\"send\"} 7",
            "visavis_sfu_cpu_seconds_total 1.000008",
        ] {
            assert!(
                text.lines().any(|got| got == line),
                "{line} missing in\n{text}"
            );
        }
        assert!(text.ends_with('\n'));
    }
}
