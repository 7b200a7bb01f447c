//! The tables.

use std::fmt::Write;

/// What moving everything took.
#[derive(Debug)]
pub(crate) struct Cost {
    pub(crate) bytes: u64,
    pub(crate) seconds: f64,
    /// Of sender and receiver.
    pub(crate) cpu_seconds: [f64; 2],
    /// Of sender and receiver, at most, above what they had before.
    pub(crate) memory_bytes: [u64; 2],
}

/// One row for each contender; the first is ours.
pub(crate) fn loopback(results: &[(&str, Cost)]) -> String {
    let mut table = "| 1 GiB on loopback | MB/s | CPU s per GiB, sender | receiver | memory above idle, sender, MiB | receiver, MiB |\n|---|---|---|---|---|---|\n".to_owned();
    for (name, cost) in results {
        let gib = cost.bytes as f64 / f64::from(1 << 30);
        let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
        // Writing to a string does not fail.
        let _ = writeln!(
            table,
            "| {name} | {:.1} | {:.1} | {:.1} | {:.0} | {:.0} |",
            cost.bytes as f64 / 1e6 / cost.seconds,
            cost.cpu_seconds[0] / gib,
            cost.cpu_seconds[1] / gib,
            mib(cost.memory_bytes[0]),
            mib(cost.memory_bytes[1]),
        );
    }
    table
}

/// One row for each link: round trip in ms, loss in percent, and everybody's Mbit/s.
pub(crate) fn grid(names: &[&str], rows: &[(u32, f64, Vec<f64>)]) -> String {
    let mut table = format!(
        "| 100 Mbit/s | {} |\n|---|{}\n",
        names.join(", Mbit/s | ") + ", Mbit/s",
        "---|".repeat(names.len())
    );
    for (rtt_ms, loss, rates) in rows {
        let rates: Vec<String> = rates.iter().map(|rate| format!("{rate:.1}")).collect();
        let _ = writeln!(
            table,
            "| {rtt_ms} ms, {loss} % lost | {} |",
            rates.join(" | ")
        );
    }
    table
}
