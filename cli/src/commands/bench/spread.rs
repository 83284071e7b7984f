//! How durations are spread: counts in buckets, sixteen to each doubling, so that a share is right to a sixteenth.

use std::time::Duration;

/// A bucket for each nanosecond below this, and as many for each doubling from there.
const PER_DOUBLING: u64 = 16;
const BUCKETS: usize = 61 * PER_DOUBLING as usize;

/// Counts of durations. Some kilobytes, and some nanoseconds for each duration.
pub struct Spread {
    counts: Vec<u64>,
    count: u64,
    max_ns: u64,
}

impl Default for Spread {
    fn default() -> Spread {
        Spread { counts: vec![0; BUCKETS], count: 0, max_ns: 0 }
    }
}

impl Spread {
    pub fn record(&mut self, took: Duration) {
        let ns = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        self.counts[bucket(ns)] += 1;
        self.count += 1;
        self.max_ns = self.max_ns.max(ns);
    }

    pub fn max_ns(&self) -> u64 {
        self.max_ns
    }

    /// Nanoseconds that `share` of all did not exceed; zero of nothing.
    pub fn quantile_ns(&self, share: f64) -> u64 {
        let mut left = ((self.count as f64 * share).ceil() as u64).max(1);
        for (bucket, count) in self.counts.iter().enumerate() {
            if left <= *count {
                return last_of(bucket as u64).min(self.max_ns);
            }
            left -= count;
        }
        self.max_ns
    }
}

fn bucket(ns: u64) -> usize {
    if ns < PER_DOUBLING {
        return ns as usize;
    }
    let doublings = u64::from(63 - ns.leading_zeros()) - 4;
    ((doublings + 1) * PER_DOUBLING + (ns >> doublings) % PER_DOUBLING) as usize
}

/// The longest duration of a bucket.
fn last_of(bucket: u64) -> u64 {
    if bucket < PER_DOUBLING {
        return bucket;
    }
    let (doublings, place) = (bucket / PER_DOUBLING - 1, bucket % PER_DOUBLING);
    (u128::from(PER_DOUBLING + place + 1) << doublings).saturating_sub(1).min(u128::from(u64::MAX)) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_duration_has_a_bucket_that_ends_behind_it_by_a_sixteenth_at_most() {
        for ns in
            (0..5_000).chain((12..64).flat_map(|bit| [(1 << bit) - 1, 1 << bit, (1 << bit) + 1])).chain([u64::MAX])
        {
            let last = last_of(bucket(ns) as u64);
            assert!(last >= ns && last - ns <= ns / 16, "{ns} lies in a bucket that ends at {last}");
        }
        assert!(bucket(u64::MAX) < BUCKETS);
    }

    #[test]
    fn shares_are_of_what_was_recorded() {
        let mut spread = Spread::default();
        assert_eq!((spread.quantile_ns(0.5), spread.max_ns()), (0, 0));
        (1..=1_000).for_each(|us| spread.record(Duration::from_micros(us)));
        for (share, us) in [(0.5, 500), (0.99, 990), (1.0, 1_000), (0.0, 1)] {
            let ns = spread.quantile_ns(share);
            assert!(ns >= us * 1_000 && ns <= us * 1_000 * 17 / 16 + 1, "{share}: {ns}");
        }
        assert_eq!(spread.max_ns(), 1_000_000);
    }
}
