//! Tells when feedback got lost: pure.
//!
//! The stack reports what no feedback told of as not arrived: where both ways lose a fifth, that would
//! look like more than a third.

/// A feedback so many times later than usual means that one before it got lost, and what it would
/// have told of is not known. Lower takes late ones for that.
const LATE: f64 = 1.6;
/// Of a gap in the usual one, and how the usual one grows with every late one, so that less frequent
/// feedback is believed.
const GAP_WEIGHT: f64 = 0.125;
const GAP_GROWTH: f64 = 1.03;

/// See the module's text.
#[derive(Debug, Default)]
pub(super) struct Feedbacks {
    last_ms: Option<f64>,
    usual_ms: Option<f64>,
}

impl Feedbacks {
    /// Feedback came at `now_ms`. Returns whether one before it did not.
    pub(super) fn handle_feedback(&mut self, now_ms: f64) -> bool {
        let Some(last_ms) = self.last_ms.replace(now_ms) else {
            return false;
        };
        let gap_ms = (now_ms - last_ms).max(0.0);
        let usual_ms = self.usual_ms.get_or_insert(gap_ms);
        let is_late = gap_ms > LATE * *usual_ms;
        if is_late {
            *usual_ms *= GAP_GROWTH;
        } else {
            *usual_ms += GAP_WEIGHT * (gap_ms - *usual_ms);
        }
        is_late
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn feedback_that_got_lost_is_noticed_and_rarer_feedback_believed() {
        let mut feedbacks = Feedbacks::default();
        let mut now_ms = 0.0;
        let mut late_after = |gaps: &[f64]| {
            let late = gaps.iter().filter(|gap| {
                now_ms += **gap;
                feedbacks.handle_feedback(now_ms)
            });
            late.count()
        };
        assert_eq!(late_after(&[100.0, 100.0, 90.0, 120.0, 100.0]), 0);
        assert_eq!(late_after(&[200.0, 100.0, 300.0, 100.0]), 2);
        let rarer = late_after(&[250.0; 100]);
        assert!((5..60).contains(&rarer), "{rarer}");
        assert_eq!(late_after(&[250.0; 10]), 0);
    }
}
