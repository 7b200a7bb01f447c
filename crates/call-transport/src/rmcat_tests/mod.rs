//! The estimator and the pacer in the test cases of RFC 8867, in virtual time.
//!
//! Everything is simulated but what is tested: the network and its plans come from call-lab, the
//! cameras from [`sender`], the peers from [`simulation`]. The same seed gives the same figures, so
//! tests may hold them; docs/quality.md shows them and is compared with what comes out here.

mod figures;
mod sender;
mod simulation;

use std::fmt::Write as _;
use std::sync::OnceLock;

use call_lab::rmcat::{Case, Tcp, ours, rfc8867};

use crate::setup::FEEDBACK_EVERY;
use figures::{Figures, figures};

/// What a case has to keep: what was reached, less a margin for small changes.
struct Bound {
    section: &'static str,
    /// Least utilisation by the media.
    media: f64,
    /// Most queueing delay of the media, in milliseconds.
    p95_ms: f64,
    /// Most seconds to nine tenths of a capacity, and to an empty queue.
    rise_s: f64,
    drain_s: f64,
    /// Least of Jain's index.
    jain: f64,
}

const fn bound(
    section: &'static str,
    media: f64,
    p95_ms: f64,
    (rise_s, drain_s): (f64, f64),
    jain: f64,
) -> Bound {
    Bound {
        section,
        media,
        p95_ms,
        rise_s,
        drain_s,
        jain,
    }
}

const BOUNDS: [Bound; 20] = [
    bound("5.1", 0.93, 42.0, (3.0, 1.4), 0.0),
    bound("5.1 far", 0.92, 48.0, (4.0, 1.6), 0.0),
    bound("5.2", 0.95, 55.0, (3.0, 1.5), 0.97),
    bound("5.3", 0.92, 37.0, (5.5, 1.6), 0.0),
    bound("5.4", 0.96, 48.0, (3.0, 0.0), 0.97),
    bound("5.5", 0.96, 75.0, (4.5, 0.0), 0.95),
    bound("5.6", 0.40, 300.0, (0.0, 0.0), 0.0),
    bound("5.7", 0.60, 235.0, (0.0, 0.0), 0.95),
    bound("5.8", 0.96, 52.0, (1.5, 0.0), 0.96),
    bound("loss 5 %", 0.82, 40.0, (0.0, 0.0), 0.0),
    bound("bursts 5 %", 0.74, 40.0, (0.0, 0.0), 0.0),
    bound("loss 10 %", 0.65, 38.0, (0.0, 0.0), 0.0),
    bound("short queue", 0.94, 18.0, (5.0, 0.0), 0.0),
    bound("route", 0.92, 32.0, (2.5, 0.0), 0.0),
    bound("narrow", 0.88, 125.0, (4.0, 2.0), 0.0),
    bound("moderate", 0.86, 70.0, (2.5, 0.0), 0.0),
    bound("international", 0.70, 180.0, (3.5, 0.0), 0.0),
    bound("small", 0.45, 32.0, (0.0, 0.0), 0.0),
    bound("quiet", 0.24, 9.0, (0.0, 0.0), 0.0),
    bound("fast", 0.86, 12.0, (3.5, 0.0), 0.0),
];

fn results() -> &'static [(Case, Figures)] {
    static RESULTS: OnceLock<Vec<(Case, Figures)>> = OnceLock::new();
    RESULTS.get_or_init(|| {
        let cases = rfc8867().into_iter().chain(ours());
        let run = |case: Case| {
            let figures = figures(&case, &simulation::run(&case, FEEDBACK_EVERY, 1));
            (case, figures)
        };
        cases.map(run).collect()
    })
}

#[test]
fn the_test_cases_of_rfc_8867_keep_what_was_reached() {
    for (case, figures) in results() {
        let bound = BOUNDS
            .iter()
            .find(|bound| bound.section == case.section)
            .expect("every case has a bound");
        let is_kept = figures.media >= bound.media
            && figures.p95_ms <= bound.p95_ms
            && figures.rise_s.unwrap_or(0.0) <= bound.rise_s
            && figures.drain_s.unwrap_or(0.0) <= bound.drain_s
            && figures.jain.unwrap_or(1.0) >= bound.jain;
        assert!(is_kept, "{}: {figures:?}", case.section);
    }
}

/// Other seeds are other jitter, other pictures and other phases.
#[test]
fn other_chances_give_similar_figures() {
    let case = &rfc8867()[0];
    for seed in 2..8 {
        let figures = figures(case, &simulation::run(case, FEEDBACK_EVERY, seed));
        let is_similar = figures.media > 0.88 && figures.p95_ms < 50.0;
        assert!(is_similar, "seed {seed}: {figures:?}");
    }
}

fn table() -> String {
    let mut text = String::from(
        "| Case | | Capacity used | by media | Queue p50 / p95 | 90 % after | Drained after | Jain | Lost | Probes |\n\
         |---|---|---|---|---|---|---|---|---|---|\n",
    );
    let seconds = |value: Option<f64>| value.map_or("–".into(), |s| format!("{s:.1} s"));
    for (case, it) in results() {
        let media = match case.tcp {
            Tcp::None => "–".into(),
            Tcp::Long | Tcp::Short(_) => format!("{:.2}", it.media),
        };
        let jain = it.jain.map_or("–".into(), |jain| format!("{jain:.3}"));
        writeln!(
            text,
            "| {} | {} | {:.2} | {media} | {:.0} / {:.0} ms | {} | {} | {jain} | {:.1} % | {:.1} % |",
            case.section,
            case.title,
            it.utilisation,
            it.p50_ms,
            it.p95_ms,
            seconds(it.rise_s),
            seconds(it.drain_s),
            it.loss * 100.0,
            it.padding * 100.0,
        )
        .expect("a string takes everything");
    }
    text
}

/// Only where they were computed: logarithms differ in their last bits between systems.
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
#[test]
fn the_figures_in_the_docs_are_these() {
    const BEGIN: &str = "<!-- computed by call-transport's tests: begin -->\n";
    const END: &str = "<!-- end -->\n";
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/quality.md");
    let text = std::fs::read_to_string(path).unwrap();
    let (before, rest) = text.split_once(BEGIN).expect("a beginning");
    let (known, after) = rest.split_once(END).expect("an end");
    let table = table();
    if std::env::var_os("VISAVIS_UPDATE_DOCS").is_some() {
        std::fs::write(path, format!("{before}{BEGIN}{table}{END}{after}")).unwrap();
    } else {
        assert_eq!(
            known, table,
            "run this test with VISAVIS_UPDATE_DOCS=1 and commit docs/quality.md"
        );
    }
}
