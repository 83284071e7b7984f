//! How long many calls took, with percentiles that are right to some 6 %.

use std::time::Duration;

/// Buckets for each power of two.
const STEPS: usize = 16;

/// Counts of durations.
pub struct Latencies {
    /// By the logarithm of nanoseconds and the four bits behind its first.
    counts: Vec<u64>,
    max: Duration,
}

impl Default for Latencies {
    fn default() -> Latencies {
        Latencies { counts: vec![0; 64 * STEPS], max: Duration::ZERO }
    }
}

impl Latencies {
    /// Adds one.
    pub fn record(&mut self, took: Duration) {
        let nanoseconds = (took.as_nanos() as u64).max(STEPS as u64);
        let power = nanoseconds.ilog2();
        let step = (nanoseconds >> (power - STEPS.ilog2())) as usize - STEPS;
        self.counts[power as usize * STEPS + step] += 1;
        self.max = self.max.max(took);
    }

    /// How many there are.
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// The longest.
    pub fn max(&self) -> Duration {
        self.max
    }

    /// What a share of all did not exceed; nothing when there are none.
    pub fn quantile(&self, share: f64) -> Duration {
        let mut left = (self.count() as f64 * share).ceil() as u64;
        for (bucket, count) in self.counts.iter().enumerate() {
            if left <= *count {
                let (power, step) = (bucket / STEPS, bucket % STEPS);
                let behind = (STEPS + step + 1) as f64 / STEPS as f64 * 2f64.powi(power as i32);
                return Duration::from_nanos(behind as u64).min(self.max);
            }
            left -= count;
        }
        self.max
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_right_to_a_sixteenth() {
        let mut latencies = Latencies::default();
        for microseconds in 1..=1000 {
            latencies.record(Duration::from_micros(microseconds));
        }
        for (share, expected) in [(0.5, 500.0), (0.99, 990.0), (1.0, 1000.0)] {
            let found = latencies.quantile(share).as_nanos() as f64 / 1e3;
            assert!((expected..expected * 1.07).contains(&found), "{share}: {found}");
        }
        assert_eq!(Latencies::default().quantile(0.5), Duration::ZERO);
    }
}
