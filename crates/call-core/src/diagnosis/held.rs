//! What is told of verdicts that come once a second: nothing that flickers.

use call_protocol::ui::network::Verdict;

/// Seconds a cause must have held before it is told. Raising it lets people guess for longer;
/// lowering it tells of every hiccup.
const SHOW_AFTER_S: u32 = 2;
/// Seconds without it after which it is taken back, and without the worse degree after which the
/// milder is told. Longer than a pause between two troubles of one kind.
const CLEAR_AFTER_S: u32 = 5;

/// See the [module documentation](self). Each note is a second.
#[derive(Debug, Default)]
pub(super) struct Held {
    /// The newest, and for how many seconds its cause has been the newest.
    candidate: Option<(Verdict, u32)>,
    told: Option<Told>,
}

#[derive(Debug)]
struct Told {
    verdict: Verdict,
    /// Seconds since the cause was seen.
    absent_s: u32,
    /// Seconds since it was seen as bad as it is told.
    milder_s: u32,
}

impl Held {
    pub(super) fn note(&mut self, seen: Option<Verdict>) {
        self.candidate = seen.map(|seen| match self.candidate {
            Some((before, held_s)) if is_same(before, seen) => (seen, held_s + 1),
            _ => (seen, 0),
        });
        if let Some(told) = &mut self.told {
            told.note(seen);
            if told.absent_s < CLEAR_AFTER_S {
                return;
            }
        }
        let next = self
            .candidate
            .filter(|(_, held_s)| *held_s >= SHOW_AFTER_S)
            .map(|(verdict, _)| Told {
                verdict,
                absent_s: 0,
                milder_s: 0,
            });
        self.told = next;
    }

    pub(super) fn told(&self) -> Option<Verdict> {
        self.told.as_ref().map(|told| told.verdict)
    }
}

impl Told {
    fn note(&mut self, seen: Option<Verdict>) {
        let Some(seen) = seen.filter(|seen| is_same(*seen, self.verdict)) else {
            self.absent_s += 1;
            return;
        };
        self.absent_s = 0;
        if seen.severity >= self.verdict.severity {
            (self.verdict, self.milder_s) = (seen, 0);
            return;
        }
        self.milder_s += 1;
        if self.milder_s >= CLEAR_AFTER_S {
            (self.verdict, self.milder_s) = (seen, 0);
        }
    }
}

fn is_same(a: Verdict, b: Verdict) -> bool {
    (a.cause, a.member) == (b.cause, b.member)
}

#[cfg(test)]
mod tests {
    use call_protocol::MemberId;
    use call_protocol::ui::network::{Cause, Severity};

    use super::*;

    /// `u` and `U` are one's uplink, mild and severe; a digit is that member's side; `.` is nothing.
    fn verdict(letter: char) -> Option<Verdict> {
        let (cause, member, severity) = match letter {
            'u' => (Cause::MyUplink, None, Severity::Mild),
            'U' => (Cause::MyUplink, None, Severity::Severe),
            '.' => return None,
            digit => (
                Cause::OtherSide,
                digit.to_digit(10).map(MemberId),
                Severity::Mild,
            ),
        };
        Some(Verdict {
            cause,
            member,
            severity,
        })
    }

    #[test]
    fn nothing_flickers() {
        let cases = [
            // Shown with the third in a row: it has held for two seconds.
            ("uuuuu", "..uuu"),
            ("uu.uu.uu.", "........."),
            // Gone with the fifth without.
            ("uuu........", "..uuuuu...."),
            ("uuu..u..u..u", "..uuuuuuuuuu"),
            // Another cause waits until the first is gone, and must hold itself.
            ("uuu2222222", "..uuuuu222"),
            ("uuu.2.2.2.2", "..uuuuu...."),
            ("uuu2u2u2u2u2", "..uuuuuuuuuu"),
            // One member is not another.
            ("222333333", "..2222233"),
            // Worse at once, better after a while.
            ("uuuUuuuuuuu", "..uUUUUUuuu"),
            ("uuUuUuU", "..UUUUU"),
        ];
        for (seen, want) in cases {
            let mut held = Held::default();
            let mut told = Vec::new();
            for letter in seen.chars() {
                held.note(verdict(letter));
                told.push(held.told());
            }
            let want: Vec<_> = want.chars().map(verdict).collect();
            assert_eq!(told, want, "{seen}");
        }
    }
}
