//! What was measured: data for `--json`, lines for people.

use std::time::Duration;

use serde::Serialize;

use super::load::{Checkpoint, Loaded, RATE_EVERY};
use super::restore::Restored;
use crate::context::Answer;
use crate::text::{number, size, span};

#[derive(Debug, Serialize)]
pub struct Report {
    pub version: &'static str,
    pub directory: String,
    pub processors: usize,
    pub repo: String,
    /// Whether it lay beside the state, in the folder that was removed.
    pub repo_is_temporary: bool,
    pub job: String,
    pub keys: u64,
    pub memory_bytes: u64,
    pub state_bytes: u64,
    pub fill: Fill,
    pub updates: Updates,
    pub checkpoints: Checkpoints,
    pub restore: Restore,
    /// Whether every counter was restored as it was at the checkpoint.
    pub equal: bool,
    /// What is still in the repo, where something is.
    pub left: Vec<String>,
}

#[derive(Debug, Serialize)]
pub struct Fill {
    pub took_ms: f64,
    pub keys_per_s: f64,
}

#[derive(Debug, Serialize)]
pub struct Updates {
    pub count: u64,
    pub seconds: f64,
    pub per_s: f64,
    /// Of each update, with the pauses of checkpoints that it waited for.
    pub latency_ns: LatencyNs,
    pub throughput: Vec<Rate>,
}

#[derive(Debug, Serialize)]
pub struct LatencyNs {
    pub p50: u64,
    pub p90: u64,
    pub p99: u64,
    pub p99_9: u64,
    pub p99_99: u64,
    pub max: u64,
}

/// Throughput in a part of the time.
#[derive(Debug, Serialize)]
pub struct Rate {
    pub from_ms: u64,
    pub updates_per_s: f64,
}

#[derive(Debug, Serialize)]
pub struct Checkpoints {
    /// Without the first.
    pub count: usize,
    pub pause_us: Shares,
    pub took_us: Shares,
    pub uploaded_bytes: Shares,
    /// That of the state before the updates: it uploads everything.
    pub first: CheckpointLine,
    pub each: Vec<CheckpointLine>,
}

#[derive(Debug, Serialize)]
pub struct Shares {
    pub p50: u64,
    pub p99: u64,
    pub max: u64,
}

#[derive(Debug, Serialize)]
pub struct CheckpointLine {
    pub checkpoint: String,
    pub at_ms: u64,
    pub pause_us: u64,
    pub took_us: u64,
    /// What went to the repo.
    pub uploaded_bytes: u64,
    /// Bytes of all runs that it consists of, before compression.
    pub claimed_bytes: u64,
}

#[derive(Debug, Serialize)]
pub struct Restore {
    pub checkpoint: String,
    /// Bytes of all its runs, and of what went from the repo for them.
    pub bytes: u64,
    pub fetched_bytes: u64,
    pub lazy_opened_us: u64,
    pub lazy_first_get_us: u64,
    pub lazy_all_local_us: u64,
    pub eager_opened_us: u64,
    pub eager_first_get_us: u64,
}

fn us(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

impl Fill {
    pub fn new(loaded: &Loaded, keys: u64) -> Fill {
        let seconds = loaded.fill.as_secs_f64();
        Fill { took_ms: seconds * 1e3, keys_per_s: keys as f64 / seconds.max(1e-9) }
    }
}

impl Updates {
    pub fn new(loaded: &Loaded) -> Updates {
        let Loaded { updates, took, latency, rates, .. } = loaded;
        let seconds = took.as_secs_f64();
        let share = |share| latency.quantile_ns(share);
        let throughput = rates.iter().enumerate().map(|(part, count)| {
            let from = RATE_EVERY * part as u32;
            // The last part ends with the updates.
            let length = RATE_EVERY.min(took.saturating_sub(from)).as_secs_f64();
            Rate { from_ms: from.as_millis() as u64, updates_per_s: *count as f64 / length.max(1e-3) }
        });
        Updates {
            count: *updates,
            seconds,
            per_s: *updates as f64 / seconds.max(1e-9),
            latency_ns: LatencyNs {
                p50: share(0.5),
                p90: share(0.9),
                p99: share(0.99),
                p99_9: share(0.999),
                p99_99: share(0.9999),
                max: latency.max_ns(),
            },
            throughput: throughput.collect(),
        }
    }
}

impl Checkpoints {
    /// Of some checkpoints, the first of which was before the updates.
    pub fn new(checkpoints: &[Checkpoint]) -> Checkpoints {
        let line = |checkpoint: &Checkpoint| CheckpointLine {
            checkpoint: checkpoint.id.to_string(),
            at_ms: checkpoint.at.as_millis() as u64,
            pause_us: us(checkpoint.pause),
            took_us: us(checkpoint.took),
            uploaded_bytes: checkpoint.uploaded_bytes,
            claimed_bytes: checkpoint.claimed_bytes,
        };
        let (first, each) = checkpoints.split_first().expect("there is one before the updates");
        let each: Vec<CheckpointLine> = each.iter().map(line).collect();
        let shares = |of: fn(&CheckpointLine) -> u64| Shares::of(each.iter().map(of).collect());
        Checkpoints {
            count: each.len(),
            pause_us: shares(|line| line.pause_us),
            took_us: shares(|line| line.took_us),
            uploaded_bytes: shares(|line| line.uploaded_bytes),
            first: line(first),
            each,
        }
    }
}

impl Shares {
    fn of(mut values: Vec<u64>) -> Shares {
        values.sort_unstable();
        // The least of those that so many of a hundred do not exceed.
        let share = |hundredths: usize| match (values.len() * hundredths).div_ceil(100) {
            0 => 0,
            place => values[place - 1],
        };
        Shares { p50: share(50), p99: share(99), max: share(100) }
    }
}

impl Restore {
    pub fn new(restored: &Restored, checkpoint: String) -> Restore {
        Restore {
            checkpoint,
            bytes: restored.bytes,
            fetched_bytes: restored.fetched_bytes,
            lazy_opened_us: us(restored.lazy_opened),
            lazy_first_get_us: us(restored.lazy_first_get),
            lazy_all_local_us: us(restored.lazy_all_local),
            eager_opened_us: us(restored.eager_opened),
            eager_first_get_us: us(restored.eager_first_get),
        }
    }
}

/// A short time: `640 ns`, `2.4 µs`, and as other times from ten microseconds on.
pub fn nanos(ns: u64) -> String {
    match ns {
        0..1_000 => format!("{ns} ns"),
        1_000..10_000 => format!("{:.1} µs", ns as f64 / 1e3),
        _ => span(Duration::from_nanos(ns)),
    }
}

pub fn micros(us: u64) -> String {
    span(Duration::from_micros(us))
}

/// Where the repo lay, for people.
pub fn place(report: &Report) -> String {
    if report.repo_is_temporary {
        "beside the state, in a folder that was removed; --repo URL measures another one".to_owned()
    } else {
        format!("{}, job {}", report.repo, report.job)
    }
}

impl Answer for Report {
    fn text(&self) -> String {
        let Report { updates, checkpoints, restore, .. } = self;
        let whole = |value: f64| number(value.round() as i64);
        let mut text = format!(
            "{} keys with a counter each, {} of memory, {} processors\n  directory    {}\n  repo         {}\n\n",
            number(self.keys),
            size(self.memory_bytes),
            self.processors,
            self.directory,
            place(self),
        );
        let mut line = |name: &str, value: String| text.push_str(&format!("  {name:<13}{value}\n"));
        line("fill", format!("{} keys/s, {} of state in the end", whole(self.fill.keys_per_s), size(self.state_bytes)));
        line("updates", format!("{}/s: {} in {:.1} s", whole(updates.per_s), number(updates.count), updates.seconds));
        let LatencyNs { p50, p90, p99, p99_9, max, .. } = updates.latency_ns;
        let [p50, p90, p99, p99_9, max] = [p50, p90, p99, p99_9, max].map(nanos);
        line("  latency", format!("p50 {p50}, p90 {p90}, p99 {p99}, p99.9 {p99_9}, max {max}"));
        line("checkpoints", format!("{}, one each second", checkpoints.count));
        let three = |shares: &Shares, told: fn(u64) -> String| {
            format!("p50 {}, p99 {}, max {}", told(shares.p50), told(shares.p99), told(shares.max))
        };
        line("  pause", three(&checkpoints.pause_us, micros));
        line("  took", three(&checkpoints.took_us, micros));
        let first = size(checkpoints.first.uploaded_bytes);
        line("  uploaded", format!("{}; the first, of all, {first}", three(&checkpoints.uploaded_bytes, size)));
        line("restore", format!("of {}, {} from the repo", size(restore.bytes), size(restore.fetched_bytes)));
        let [get, local, whole] =
            [restore.lazy_first_get_us, restore.lazy_all_local_us, restore.eager_first_get_us].map(micros);
        line("  lazily", format!("first get after {get}, all local after {local}"));
        line("  as a whole", format!("first get after {whole}"));
        line("equal", if self.equal { "yes" } else { "no: a restored counter is not what it was" }.to_owned());
        if self.repo_is_temporary {
            text.push_str("\n  The repo lay on the same disk and was just written: restores read it from memory.\n");
        }
        for left in &self.left {
            text.push_str(&format!("\n  {left}\n"));
        }
        text
    }
}

#[cfg(test)]
pub mod tests {
    use super::*;

    /// A report of invented figures.
    pub fn example() -> Report {
        let line = |turn: u64| CheckpointLine {
            checkpoint: format!("1-{turn}"),
            at_ms: turn * 1_000,
            pause_us: 10 + turn,
            took_us: 80_000,
            uploaded_bytes: turn << 20,
            claimed_bytes: 30 << 20,
        };
        let shares = |max| Shares { p50: max / 2, p99: max, max };
        Report {
            version: "1.2.3",
            directory: "/var/lib/<state>".into(),
            processors: 2,
            repo: "s3://bucket/repo".into(),
            repo_is_temporary: false,
            job: "bench-1".into(),
            keys: 1_000_000,
            memory_bytes: 64 << 20,
            state_bytes: 30 << 20,
            fill: Fill { took_ms: 900.0, keys_per_s: 1_111_111.0 },
            updates: Updates {
                count: 2_000_000,
                seconds: 2.0,
                per_s: 1_000_000.0,
                latency_ns: LatencyNs { p50: 640, p90: 900, p99: 2_000, p99_9: 30_000, p99_99: 90_000, max: 4_000_000 },
                throughput: (0..8).map(|part| Rate { from_ms: part * 250, updates_per_s: 1e6 }).collect(),
            },
            checkpoints: Checkpoints {
                count: 2,
                pause_us: shares(12),
                took_us: shares(80_000),
                uploaded_bytes: shares(2 << 20),
                first: line(0),
                each: vec![line(1), line(2)],
            },
            restore: Restore {
                checkpoint: "1-2".into(),
                bytes: 30 << 20,
                fetched_bytes: 12 << 20,
                lazy_opened_us: 9_000,
                lazy_first_get_us: 12_000,
                lazy_all_local_us: 180_000,
                eager_opened_us: 210_000,
                eager_first_get_us: 211_000,
            },
            equal: true,
            left: vec!["nothing".into()],
        }
    }

    #[test]
    fn people_read_what_was_measured_in_lines_that_fit() {
        let text = example().text();
        for told in [
            "updates      1,000,000/s: 2,000,000 in 2.0 s",
            "  latency    p50 640 ns, p90 900 ns, p99 2.0 µs, p99.9 30 µs, max 4.0 ms",
            "  pause      p50 6 µs, p99 12 µs, max 12 µs",
            "  lazily     first get after 12 ms, all local after 180 ms",
            "equal        yes",
        ] {
            assert!(text.contains(told), "{told:?} is missing in\n{text}");
        }
        assert!(text.lines().all(|line| line.chars().count() <= 100), "{text}");
    }

    #[test]
    fn shares_of_nothing_are_zero() {
        let Shares { p50, p99, max } = Shares::of(Vec::new());
        assert_eq!((p50, p99, max), (0, 0, 0));
        let Shares { p50, p99, max } = Shares::of(vec![3, 1, 2]);
        assert_eq!((p50, p99, max), (2, 3, 3));
    }
}
