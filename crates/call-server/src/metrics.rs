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
    text
}

#[cfg(test)]
mod tests {
    use call_protocol::ErrorCode;
    use call_room::{Counters, Occupancy};

    use super::*;

    #[test]
    fn renders_gauges_and_labelled_counters() {
        let figures = Figures {
            occupancy: Occupancy {
                rooms: 1,
                members: 2,
                connections: 3,
            },
            counters: Counters {
                messages: [("hello", 4), ("join", 2)].into(),
                errors: [(ErrorCode::RoomAuthFailed, 5)].into(),
            },
        };
        let text = render(&figures);
        for line in [
            "# TYPE visavis_rooms gauge",
            "visavis_rooms 1",
            "visavis_members 2",
            "visavis_connections 3",
            "visavis_messages_total{type=\"hello\"} 4",
            "visavis_messages_total{type=\"join\"} 2",
            "visavis_errors_total{code=\"room_auth_failed\"} 5",
        ] {
            assert!(
                text.lines().any(|got| got == line),
                "{line} missing in\n{text}"
            );
        }
        assert!(text.ends_with('\n'));
    }
}
