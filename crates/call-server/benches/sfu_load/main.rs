//! What forwarding costs: packets per CPU-second of three servers under the same load, in the same
//! run: ours, Janus with its videoroom plugin, and a bare loop that does with the same packets what
//! cannot be left out (receive, open, seal per receiver, send). Prints tables;
//! `cargo xtask bench sfu` writes them to `docs/benchmarks.md`.
//!
//! The servers are processes on one core, the load is this process on another; only the servers'
//! processor time counts, so the load need not saturate them. Rounds alternate between servers, and
//! the median counts.
//!
//! `--only NAME` and `--seconds N`, `--rounds N` narrow it, for profiling. `bare-loop` is what this
//! program starts itself with.
#![allow(clippy::print_stdout, clippy::print_stderr)]

#[cfg(target_os = "linux")]
mod bare;
#[cfg(target_os = "linux")]
mod client;
#[cfg(target_os = "linux")]
mod counts;
#[cfg(target_os = "linux")]
mod janus;
#[cfg(target_os = "linux")]
mod load;
#[cfg(target_os = "linux")]
mod ours;
#[cfg(target_os = "linux")]
mod process;
#[cfg(target_os = "linux")]
mod run;
#[cfg(target_os = "linux")]
mod websocket;

fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    #[cfg(target_os = "linux")]
    match arguments.first().map(String::as_str) {
        Some("bare-loop") => return bare::serve(),
        // cargo passes it last; test runners do not, and there is nothing to test.
        _ if arguments.iter().any(|argument| argument == "--bench") => {
            return run::run(&arguments);
        }
        _ => {}
    }
    #[cfg(not(target_os = "linux"))]
    if arguments.iter().any(|argument| argument == "--bench") {
        anyhow::bail!("needs Linux");
    }
    Ok(())
}
