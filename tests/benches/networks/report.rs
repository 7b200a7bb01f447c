//! The tables.

use std::fmt::Write;

use crate::contenders::Call;

/// One row for each network, four columns for each contender; the first is ours.
pub(crate) fn table(title: &str, names: &[&str], rows: &[(String, Vec<Call>)]) -> String {
    let mut table = format!("| {title} |");
    for name in names {
        for figure in ["frozen", "pictures/s", "SSIM", "concealed"] {
            table += &format!(" {name}: {figure} |");
        }
    }
    table += &format!("\n|---|{}\n", "---|".repeat(4 * names.len()));
    for (network, calls) in rows {
        let _ = write!(table, "| {network} |");
        for call in calls {
            // Writing to a string does not fail.
            let _ = write!(
                table,
                " {:.1} % | {:.1} | {:.3} | {:.1} % |",
                call.frozen * 1e2,
                call.fps,
                call.ssim,
                call.concealed * 1e2,
            );
        }
        table.push('\n');
    }
    table
}
