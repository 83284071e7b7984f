//! What was measured, by name: the unit stands at the end of it.

use std::time::Duration;

use crate::latencies::Latencies;

/// Figures in the order of their measuring.
#[derive(Default)]
pub struct Figures(Vec<(String, f64)>);

impl Figures {
    /// Adds one.
    pub fn add(&mut self, name: &str, value: f64) {
        self.0.push((name.to_owned(), value));
    }

    /// Adds percentiles of updates.
    pub fn add_latencies(&mut self, name: &str, latencies: &Latencies) {
        self.add(&format!("{name}_count"), latencies.count() as f64);
        for (end, share) in [("p50", 0.5), ("p99", 0.99), ("p999", 0.999)] {
            self.add(&format!("{name}_{end}_us"), microseconds(latencies.quantile(share)));
        }
        self.add(&format!("{name}_max_us"), microseconds(latencies.max()));
    }

    /// Adds percentiles of few durations, exactly.
    pub fn add_durations(&mut self, name: &str, durations: impl Iterator<Item = Duration>) {
        let mut sorted: Vec<Duration> = durations.collect();
        sorted.sort();
        for (end, share) in [("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("max", 1.0)] {
            let at = (sorted.len() as f64 * share) as usize;
            let value = sorted.get(at.min(sorted.len().saturating_sub(1))).copied().unwrap_or_default();
            self.add(&format!("{name}_{end}_us"), microseconds(value));
        }
    }

    /// A line for each.
    pub fn table(&self) -> String {
        let width = self.0.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
        self.0.iter().map(|(name, value)| format!("{name:width$}  {:>14}\n", digits(*value))).collect()
    }

    /// All of them as one line of JSON.
    pub fn json(&self) -> String {
        let fields: Vec<String> = self.0.iter().map(|(name, value)| format!("\"{name}\":{}", digits(*value))).collect();
        format!("{{{}}}", fields.join(","))
    }
}

/// Whole numbers as they are, others with two digits behind the point.
fn digits(value: f64) -> String {
    if value.fract() == 0.0 { format!("{value:.0}") } else { format!("{value:.2}") }
}

fn microseconds(duration: Duration) -> f64 {
    duration.as_nanos() as f64 / 1e3
}
