//! Budgets: bytes of an allocation, answers to an address.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Instant;

/// What counts as one client: an IPv4 address, or an IPv6 /64 (what one customer gets).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct IpKey(u128);

impl From<IpAddr> for IpKey {
    fn from(ip: IpAddr) -> Self {
        Self(match ip.to_canonical() {
            IpAddr::V4(ip) => ip.to_ipv6_mapped().to_bits(),
            IpAddr::V6(ip) => ip.to_bits() >> 64 << 64,
        })
    }
}

/// A token bucket in whole units; starts full.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Bucket {
    /// What was there at the time; `None`: full.
    level: Option<(u64, Instant)>,
}

impl Bucket {
    /// Takes `amount`; false when there is not enough.
    pub(crate) fn take(&mut self, now: Instant, amount: u64, per_s: u64, burst: u64) -> bool {
        let level = self.level(now, per_s, burst);
        if amount > level {
            return false;
        }
        let at = match self.level {
            // Time worth less than a unit stays for the next time.
            Some((before, at)) if level < burst => {
                let gained = u128::from(level - before) * 1_000_000_000 / u128::from(per_s.max(1));
                at + std::time::Duration::from_nanos(u64::try_from(gained).unwrap_or(u64::MAX))
            }
            _ => now,
        };
        self.level = Some((level - amount, at));
        true
    }

    fn level(&self, now: Instant, per_s: u64, burst: u64) -> u64 {
        let Some((level, at)) = self.level else {
            return burst;
        };
        let nanos = now.saturating_duration_since(at).as_nanos();
        let gained = nanos.saturating_mul(u128::from(per_s)) / 1_000_000_000;
        level
            .saturating_add(u64::try_from(gained).unwrap_or(u64::MAX))
            .min(burst)
    }
}

/// A bucket per client address, as many as fit; the rest share one.
#[derive(Debug, Default)]
pub(crate) struct Budgets {
    buckets: BTreeMap<IpKey, Bucket>,
    shared: Bucket,
}

impl Budgets {
    pub(crate) fn take(
        &mut self,
        now: Instant,
        ip: IpKey,
        per_s: u64,
        burst: u64,
        most: usize,
    ) -> bool {
        if let Some(bucket) = self.buckets.get_mut(&ip) {
            return bucket.take(now, 1, per_s, burst);
        }
        if self.buckets.len() >= most {
            return self.shared.take(now, 1, per_s, burst);
        }
        self.buckets
            .entry(ip)
            .or_default()
            .take(now, 1, per_s, burst)
    }

    /// Forgets addresses that have their whole budget again.
    pub(crate) fn sweep(&mut self, now: Instant, per_s: u64, burst: u64) {
        self.buckets
            .retain(|_, bucket| bucket.level(now, per_s, burst) < burst);
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.buckets.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_bucket_gives_its_rate_and_no_more() {
        let start = Instant::now();
        let mut bucket = Bucket::default();
        let mut taken = 0_u64;
        for ms in 0..10_000 {
            let now = start + Duration::from_millis(ms);
            while bucket.take(now, 7, 1_000, 100) {
                taken += 7;
            }
        }
        assert!((10_090..=10_100).contains(&taken), "{taken}");
        assert!(!bucket.take(start, 101, 1_000, 100), "beyond the burst");
    }

    #[test]
    fn addresses_beyond_the_table_share_one_budget() {
        let now = Instant::now();
        let mut budgets = Budgets::default();
        let mut take = |n: u8, at| {
            let ip = IpKey::from(IpAddr::from([192, 0, 2, n]));
            budgets.take(at, ip, 1, 2, 2)
        };
        assert!(take(1, now) && take(1, now) && !take(1, now));
        assert!(take(2, now));
        assert!(take(3, now) && take(4, now) && !take(5, now));
        let later = now + Duration::from_secs(1);
        assert!(take(1, later) && !take(1, later));
        budgets.sweep(now + Duration::from_secs(9), 1, 2);
        assert!(budgets.is_empty());
    }
}
