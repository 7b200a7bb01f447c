//! Which counters of a sender have been seen: a sliding window as in IPsec (RFC 4303 §3.4.3).

/// Counters below the highest one that may still arrive late. The server keeps order, so the
/// window only has to bridge a resumed connection; more costs nothing but bits.
const WINDOW: u64 = 64;

/// The window of one sender session.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct ReplayWindow {
    /// One above the highest counter accepted; 0 before the first.
    next: u64,
    /// Bit `i` stands for counter `next - 1 - i`.
    seen: u64,
}

impl ReplayWindow {
    /// Whether `counter` was not seen yet and is recent enough to tell.
    pub(crate) fn is_fresh(&self, counter: u64) -> bool {
        if counter >= self.next {
            return counter != u64::MAX;
        }
        let age = self.next - 1 - counter;
        age < WINDOW && self.seen >> age & 1 == 0
    }

    /// Marks a counter whose message was authentic.
    pub(crate) fn record(&mut self, counter: u64) {
        if counter >= self.next {
            let step = counter.saturating_add(1) - self.next;
            self.seen = if step >= WINDOW { 0 } else { self.seen << step };
            self.seen |= 1;
            self.next = counter.saturating_add(1);
        } else {
            let age = self.next - 1 - counter;
            if age < WINDOW {
                self.seen |= 1 << age;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::SeedStream;

    #[test]
    fn window_agrees_with_a_set_of_everything_seen() {
        let mut seed = SeedStream::new([5; 32]);
        let mut window = ReplayWindow::default();
        let mut seen = BTreeSet::new();
        let mut base = 0_u64;
        for _ in 0..5_000 {
            let [step, jump] = seed.draw::<2>();
            base += u64::from(jump % 3);
            let counter = base.saturating_sub(80) + u64::from(step % 100);
            let too_old = seen.last().is_some_and(|last| counter + WINDOW <= *last);
            assert_eq!(
                window.is_fresh(counter),
                !too_old && !seen.contains(&counter),
                "{counter}"
            );
            if window.is_fresh(counter) {
                window.record(counter);
                seen.insert(counter);
            }
        }
    }

    #[test]
    fn extreme_counters_do_not_overflow() {
        let mut window = ReplayWindow::default();
        window.record(u64::MAX - 1);
        assert!(
            !window.is_fresh(u64::MAX - 1) && !window.is_fresh(u64::MAX) && !window.is_fresh(0)
        );
        window.record(u64::MAX);
        window.record(0);
        assert!(window.is_fresh(u64::MAX - 2));
    }
}
