//! The numbers of one slot: whatever it carries, and whatever is left out of that, its sequence
//! numbers have no gap but where packets were lost, and its timestamps and frame numbers grow.
//!
//! A slot follows one stream at a time. [`Rewriter::begin`] starts with a packet of another; from
//! then on only packets of that stream, and from that packet on, have a number. Packets left out on
//! purpose close up; one that comes late has the number that was kept for it.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use call_protocol::dependency_descriptor::Mandatory;

/// Runs of left out packets that are remembered, to number late packets by. At half of 30 frames a
/// second left out this is four seconds; what comes later than that is dropped.
const RUNS: usize = 64;
/// Distance beyond which a sequence number is no reordering but another stream or an attack.
const MAX_JUMP: u64 = 1 << 15;

/// Packets left out in a row.
#[derive(Clone, Copy, Debug)]
struct Run {
    from: u64,
    /// The first one behind.
    to: u64,
}

/// Where a stream is joined to a slot.
#[derive(Debug)]
struct Joint {
    /// First packet of the stream in this slot.
    first: u64,
    /// Newest packet seen, left out or not.
    newest: Option<u64>,
    /// Frame of the newest packet, whether it was left out, and whether it ended its frame.
    newest_frame: Option<(u16, bool, bool)>,
    /// Out = in + this, before packets are left out.
    base: u64,
    /// Packets left out so far.
    skipped: u64,
    runs: VecDeque<Run>,
    /// Packets older than this cannot be numbered any more.
    oldest: u64,
    timestamp_offset: u32,
    frame_offset: u16,
}

/// The numbers a packet gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Numbers {
    pub(super) sequence: u64,
    pub(super) timestamp: u32,
    pub(super) frame_number: u16,
}

/// See the module documentation.
#[derive(Debug)]
pub(super) struct Rewriter {
    clock_hz: u32,
    joint: Option<Joint>,
    next_sequence: u64,
    /// Newest timestamp sent and when.
    last_timestamp: Option<(u32, Instant)>,
    last_frame: u16,
}

impl Rewriter {
    /// A slot that has sent nothing. `clock_hz` is the rate of its timestamps.
    pub(super) fn new(clock_hz: u32) -> Self {
        Self {
            clock_hz,
            joint: None,
            next_sequence: 1,
            last_timestamp: None,
            last_frame: 0,
        }
    }

    /// Follows another stream from this packet on.
    pub(super) fn begin(
        &mut self,
        now: Instant,
        sequence: u64,
        timestamp: u32,
        frame: Option<Mandatory>,
    ) {
        let out_timestamp = self.last_timestamp.map_or(timestamp, |(last, at)| {
            last.wrapping_add(self.ticks(now.saturating_duration_since(at)))
        });
        let frame_number = frame.map_or(0, |frame| frame.frame_number);
        self.joint = Some(Joint {
            first: sequence,
            newest: None,
            newest_frame: None,
            base: self.next_sequence.wrapping_sub(sequence),
            skipped: 0,
            runs: VecDeque::new(),
            oldest: sequence,
            timestamp_offset: out_timestamp.wrapping_sub(timestamp),
            frame_offset: self.last_frame.wrapping_add(1).wrapping_sub(frame_number),
        });
    }

    /// Follows nothing; what was sent so far is continued by the next [`Self::begin`].
    pub(super) fn end(&mut self) {
        self.joint = None;
    }

    /// At least 10 ms, so that pictures of two streams never share a timestamp.
    fn ticks(&self, elapsed: Duration) -> u32 {
        let step = self.clock_hz / 100;
        let ticks = elapsed.as_millis() * u128::from(self.clock_hz) / 1_000;
        let ticks = u32::try_from(ticks).unwrap_or(u32::MAX);
        ticks
            .max(step)
            .next_multiple_of(step.max(1))
            .min(u32::MAX / 2)
    }

    /// Numbers a packet of the stream begun with; `None`: it is not forwarded. `leave_out` says
    /// whether a packet that is new (not late) shall be left out.
    pub(super) fn number(
        &mut self,
        now: Instant,
        sequence: u64,
        timestamp: u32,
        frame: Option<Mandatory>,
        leave_out: bool,
    ) -> Option<Numbers> {
        let joint = self.joint.as_mut()?;
        let newest = joint.newest.unwrap_or(joint.first);
        if sequence < joint.first || sequence.abs_diff(newest) > MAX_JUMP {
            return None;
        }
        let is_new = joint.newest.is_none_or(|newest| sequence > newest);
        if is_new {
            joint.close_up(sequence, frame, leave_out);
            joint.newest = Some(sequence);
            joint.newest_frame =
                frame.map(|frame| (frame.frame_number, leave_out, frame.end_of_frame));
            if leave_out {
                joint.skip(sequence, sequence + 1);
                return None;
            }
        }
        let out = joint.number(sequence)?;
        let timestamp = timestamp.wrapping_add(joint.timestamp_offset);
        let frame_number = frame.map_or(0, |frame| {
            frame.frame_number.wrapping_add(joint.frame_offset)
        });
        if is_new {
            self.next_sequence = out.wrapping_add(1);
            let is_later = |last: u32| timestamp.wrapping_sub(last) <= u32::MAX / 2;
            if self.last_timestamp.is_none_or(|(last, _)| is_later(last)) {
                self.last_timestamp = Some((timestamp, now));
            }
            if frame.is_some() && frame_number.wrapping_sub(self.last_frame) <= u16::MAX / 2 {
                self.last_frame = frame_number;
            }
        }
        Some(Numbers {
            sequence: out,
            timestamp,
            frame_number,
        })
    }
}

impl Joint {
    /// Packets missing between the newest one and this one are left out too, where both sides show
    /// that they belong to a frame that is: nobody would ever fill the gap.
    fn close_up(&mut self, sequence: u64, frame: Option<Mandatory>, leave_out: bool) {
        let Some(missing_from) = self.newest.map(|newest| newest + 1) else {
            return;
        };
        if sequence <= missing_from {
            return;
        }
        let (Some((number, was_left_out, had_ended)), Some(frame)) = (self.newest_frame, frame)
        else {
            return;
        };
        let is_same = frame.frame_number == number;
        let is_next = frame.frame_number == number.wrapping_add(1);
        let belongs = match (was_left_out, leave_out) {
            (true, true) => is_same || is_next,
            (true, false) => is_next && frame.start_of_frame,
            (false, true) => is_next && had_ended,
            (false, false) => false,
        };
        if belongs {
            self.skip(missing_from, sequence);
        }
    }

    fn skip(&mut self, from: u64, to: u64) {
        self.skipped += to - from;
        if let Some(last) = self.runs.back_mut().filter(|last| last.to == from) {
            last.to = to;
            return;
        }
        if self.runs.len() == RUNS
            && let Some(first) = self.runs.pop_front()
        {
            self.oldest = first.to;
        }
        self.runs.push_back(Run { from, to });
    }

    fn number(&self, sequence: u64) -> Option<u64> {
        if sequence < self.oldest {
            return None;
        }
        let mut skipped = self.skipped;
        for run in self.runs.iter().rev() {
            if sequence >= run.to {
                break;
            }
            if sequence >= run.from {
                return None;
            }
            skipped -= run.to - run.from;
        }
        Some(self.base.wrapping_add(sequence).wrapping_sub(skipped))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(number: u16, start: bool, end: bool) -> Option<Mandatory> {
        Some(Mandatory {
            start_of_frame: start,
            end_of_frame: end,
            template_id: 0,
            frame_number: number,
        })
    }

    /// Each step: sequence, frame (number, start, end), left out, number wanted.
    type Step = (u64, (u16, bool, bool), bool, Option<u64>);

    fn check(what: &str, steps: &[Step]) {
        let now = Instant::now();
        let mut rewriter = Rewriter::new(90_000);
        let first = steps[0].1;
        rewriter.begin(now, steps[0].0, 0, frame(first.0, first.1, first.2));
        for (index, (sequence, about, leave_out, want)) in steps.iter().enumerate() {
            let about = frame(about.0, about.1, about.2);
            let got = rewriter.number(now, *sequence, 0, about, *leave_out);
            assert_eq!(
                got.map(|numbers| numbers.sequence),
                *want,
                "{what}, step {index}"
            );
        }
    }

    #[test]
    fn numbers_close_up_over_what_is_left_out_and_keep_real_gaps() {
        let one = |number| (number, true, true);
        check(
            "in order",
            &[(100, one(0), false, Some(1)), (101, one(1), false, Some(2))],
        );
        check(
            "loss and its repair",
            &[
                (100, one(0), false, Some(1)),
                (102, one(2), false, Some(3)),
                (101, one(1), false, Some(2)),
            ],
        );
        check(
            "before the beginning",
            &[
                (100, one(0), false, Some(1)),
                (99, one(65_535), false, None),
                (100, one(0), false, Some(1)),
            ],
        );
        check(
            "left out",
            &[
                (100, one(0), false, Some(1)),
                (101, one(1), true, None),
                (102, one(2), false, Some(2)),
                (103, one(3), true, None),
                (104, one(4), false, Some(3)),
                (102, one(2), false, Some(2)),
                (101, one(1), false, None),
                (100, one(0), false, Some(1)),
            ],
        );
        check(
            "lost within a frame that is left out",
            &[
                (100, one(0), false, Some(1)),
                (101, (1, true, false), true, None),
                (103, (1, false, true), true, None),
                (104, one(2), false, Some(2)),
                (102, (1, false, false), true, None),
            ],
        );
        check(
            "the end of a frame that is left out is lost",
            &[
                (100, one(0), false, Some(1)),
                (101, (1, true, false), true, None),
                (103, one(2), false, Some(2)),
            ],
        );
        check(
            "the beginning of a frame that is left out is lost",
            &[
                (100, one(0), false, Some(1)),
                (102, (1, false, true), true, None),
                (103, one(2), false, Some(2)),
            ],
        );
        check(
            "what was lost may have been needed",
            &[
                (100, (0, true, false), false, Some(1)),
                (102, (1, false, true), true, None),
                (103, one(2), false, Some(3)),
                (101, (0, false, true), true, Some(2)),
            ],
        );
        check(
            "a wild jump",
            &[
                (100, one(0), false, Some(1)),
                (1 << 40, one(1), false, None),
            ],
        );
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let now = Instant::now();
        let mut rewriter = Rewriter::new(90_000);
        rewriter.begin(now, 0, 0, None);
        for sequence in 0..1_000 {
            let out = rewriter.number(now, sequence, 0, None, sequence % 2 == 1);
            assert_eq!(out.is_some(), sequence % 2 == 0);
        }
        let joint = rewriter.joint.as_ref().unwrap();
        assert_eq!(joint.runs.len(), RUNS);
        let mut late = |sequence| {
            rewriter
                .number(now, sequence, 0, None, false)
                .map(|n| n.sequence)
        };
        assert_eq!(late(998), Some(500));
        assert_eq!(late(900), Some(451));
        assert_eq!(late(901), None);
        assert_eq!(late(2), None, "forgotten");
    }

    #[test]
    fn another_stream_continues_every_number() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut rewriter = Rewriter::new(90_000);
        rewriter.begin(start, 500, u32::MAX - 10, frame(65_535, true, true));
        let first = rewriter.number(start, 500, u32::MAX - 10, frame(65_535, true, true), false);
        let first = first.unwrap();
        assert_eq!(
            (first.sequence, first.timestamp, first.frame_number),
            (1, u32::MAX - 10, 1)
        );
        let second = rewriter
            .number(at(33), 501, 2_990, frame(0, true, true), false)
            .unwrap();
        assert_eq!(
            (second.sequence, second.timestamp, second.frame_number),
            (2, 2_990, 2)
        );
        // 100 ms later, from a stream with unrelated numbers.
        rewriter.begin(at(133), 7, 1_000_000, frame(9_000, true, false));
        let third = rewriter
            .number(at(133), 7, 1_000_000, frame(9_000, true, false), false)
            .unwrap();
        assert_eq!(
            (third.sequence, third.timestamp, third.frame_number),
            (3, 2_990 + 9_000, 3)
        );
        let fourth = rewriter
            .number(at(140), 8, 1_000_000, frame(9_000, false, true), false)
            .unwrap();
        assert_eq!(
            (fourth.sequence, fourth.timestamp, fourth.frame_number),
            (4, 11_990, 3)
        );
        // At once: still a later timestamp.
        rewriter.end();
        assert_eq!(rewriter.number(at(141), 9, 0, None, false), None);
        rewriter.begin(at(141), 1, 0, frame(4, true, true));
        let fifth = rewriter
            .number(at(141), 1, 0, frame(4, true, true), false)
            .unwrap();
        assert_eq!(
            (fifth.sequence, fifth.timestamp, fifth.frame_number),
            (5, 11_990 + 900, 4)
        );
    }
}
