//! A transfer beside a call whose rate our own media estimator decides, in virtual time.

use std::sync::Arc;
use std::time::{Duration, Instant};

use call_lab::network::PathConfig;
use rtc::interceptor::{BandwidthEstimator, PacketReport};
use rtc::rtcp::transport_feedbacks::cc_feedback_report::Ecn;

use super::simulation::{Encoder, MEDIA_BYTES, Report, Simulation};
use crate::budget::Budget;
use crate::estimator::probe::Probes;
use crate::estimator::{Estimator, START_BPS};

/// Sends what the estimator allows, at most `most_bps`.
fn encoder(start: Instant, most_bps: f64) -> Encoder {
    let mut estimator = Estimator::new(Arc::new(Budget::new(START_BPS)), Probes::default());
    let mut count = 0;
    Box::new(move |now, reports: &[Report]| {
        let reports = reports.iter().map(|(sent, arrived)| {
            count += 1;
            PacketReport {
                ssrc: 1,
                id: count,
                rtp_sequence_number: count as u16,
                is_twcc: true,
                twcc_sequence_number: count as u16,
                size: MEDIA_BYTES,
                arrived: arrived.is_some(),
                departure: *sent,
                arrival: arrived.map(|at| at - start),
                ecn: Ecn::default(),
            }
        });
        estimator.on_reports(now, &reports.collect::<Vec<_>>());
        estimator.target_bitrate().min(most_bps)
    })
}

/// A call on 5 Mbit/s, and a file from a time on. Returns in the steady state the media's rate, its
/// losses, its queueing delay at p95 in milliseconds, and the file's rate.
fn call(rtt_ms: u64, file_at_ms: Option<u64>) -> (f64, usize, f64, f64) {
    let forward = PathConfig {
        delay: Duration::from_millis(rtt_ms) / 2,
        rate_bps: Some(5_000_000),
        queue_bytes: 5_000_000 / 8 * 3 / 10,
        ..PathConfig::default()
    };
    let simulation = Simulation::new(forward, forward, 2);
    let start = simulation.start;
    let mut simulation = simulation.with_media(encoder(start, 2_500_000.0));
    match file_at_ms {
        Some(ms) => simulation.begin_at(ms),
        None => simulation.stop_after(0),
    }
    simulation.run_until(simulation.after(50_000));
    let (rate, lost, delays) = simulation.media(20_000, 49_000);
    let p95 = delays[(delays.len() - 1) * 95 / 100];
    let file = simulation.rate_bps(20_000, 49_000);
    println!(
        "{rtt_ms} ms, file at {file_at_ms:?}: call {rate:.0} bit/s, {lost} lost, queue p95 {p95:.1} ms, file {file:.0} bit/s"
    );
    (rate, lost, p95, file)
}

#[test]
fn a_call_keeps_its_rate_beside_a_transfer() {
    for rtt_ms in [20, 60, 150] {
        let (alone, ..) = call(rtt_ms, None);
        let (beside, lost, p95_ms, file) = call(rtt_ms, Some(10_000));
        assert!(beside > 0.9 * alone, "{rtt_ms} ms: {beside} of {alone}");
        assert_eq!(lost, 0);
        assert!(p95_ms < 10.0, "{p95_ms}");
        assert!(file > 1_800_000.0, "{file}");
    }
}
