//! What a run of the demonstration has shown, as data for `--json` and as text.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;

use crate::text::{number, size, span, table};
use crate::totals::Totals;

/// All that was seen.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Report {
    pub input: String,
    pub records: u64,
    pub seed: u64,
    pub repo: String,
    pub job: String,
    pub key_groups: u32,
    pub memory_bytes_per_worker: u64,
    /// The state in the last checkpoint, before compression.
    pub state_bytes: u64,
    pub seconds: f64,
    /// Those that were read again counted too.
    pub records_read: u64,
    pub records_per_second: u64,
    pub checkpoints: Vec<CheckpointReport>,
    pub kill: Option<KillReport>,
    pub rescale: Option<RescaleReport>,
    pub plain_seconds: f64,
    pub totals: BTreeMap<String, i64>,
    pub plain_totals: BTreeMap<String, i64>,
    pub digest: String,
    pub plain_digest: String,
    pub equal: bool,
    /// What is left, with `--keep`.
    pub kept: Option<String>,
}

/// A checkpoint; of times, those of the slowest worker.
#[derive(Clone, Debug, Serialize)]
pub struct CheckpointReport {
    pub checkpoint: String,
    pub at_record: u64,
    pub workers: usize,
    pub pause_us: u64,
    pub new_bytes: u64,
    pub new_compressed_bytes: u64,
    pub reused_bytes: u64,
    /// From the lease to the completion.
    pub took_us: u64,
    pub flush_us: u64,
    pub upload_us: u64,
    pub verify_us: u64,
    pub link_us: u64,
}

/// A kill, and what followed.
#[derive(Clone, Debug, Serialize)]
pub struct KillReport {
    pub worker: usize,
    pub process: u32,
    pub at_record: u64,
    /// How many records each worker read again.
    pub records_again: u64,
    pub restore: RestoreReport,
}

/// How workers began from a checkpoint.
#[derive(Clone, Debug, Default, Serialize)]
pub struct RestoreReport {
    pub checkpoint: Option<String>,
    pub from_record: u64,
    /// From the decision until every worker was serving.
    pub all_serving_after_ms: u64,
    pub workers: Vec<WorkerReport>,
}

/// How a worker began.
#[derive(Clone, Debug, Serialize)]
pub struct WorkerReport {
    pub worker: usize,
    pub serving_after_ms: u64,
    pub state_bytes: u64,
    pub local_bytes: u64,
    pub local_percent: f64,
    pub all_here_after_ms: Option<u64>,
}

/// A rescale.
#[derive(Clone, Debug, Serialize)]
pub struct RescaleReport {
    pub from: usize,
    pub to: usize,
    pub plan: Vec<PlanReport>,
    /// Runs that more than one worker takes a part of.
    pub shared_runs: usize,
    /// What the next checkpoint uploaded, before any record was read.
    pub rewritten_bytes: u64,
    pub restore: RestoreReport,
}

/// What a worker takes over.
#[derive(Clone, Debug, Serialize)]
pub struct PlanReport {
    pub worker: usize,
    pub first_group: u16,
    pub last_group: u16,
    pub content_bytes: u64,
    pub runs: usize,
    pub clipped_runs: usize,
}

impl CheckpointReport {
    /// One line.
    pub fn line(&self) -> String {
        let ms = |micros: u64| span(Duration::from_micros(micros));
        format!(
            "checkpoint {}: pause {}, new {} ({} sent), reused {}; took {}: flush {}, upload {}, verify {}",
            self.checkpoint,
            ms(self.pause_us),
            size(self.new_bytes),
            size(self.new_compressed_bytes),
            size(self.reused_bytes),
            ms(self.took_us),
            ms(self.flush_us),
            ms(self.upload_us),
            ms(self.verify_us),
        )
    }
}

impl WorkerReport {
    /// One line.
    pub fn line(&self) -> String {
        format!(
            "worker {}: serving after {} ms, {:.0} % local (of {})",
            self.worker,
            self.serving_after_ms,
            self.local_percent,
            size(self.state_bytes)
        )
    }
}

impl RescaleReport {
    /// The plan as a table.
    pub fn table(&self) -> String {
        let mut rows = vec![["", "key groups", "content", "runs", "of which a part"].map(str::to_owned).to_vec()];
        for part in &self.plan {
            rows.push(vec![
                format!("worker {}", part.worker),
                format!("{} to {}", part.first_group, part.last_group),
                size(part.content_bytes),
                part.runs.to_string(),
                part.clipped_runs.to_string(),
            ]);
        }
        table(&rows)
    }
}

impl Report {
    /// Takes what was counted, twice; `sums` says what the sums are of.
    pub fn compare(&mut self, sums: &[&str], totals: &Totals, plain: &Totals) {
        let named =
            |totals: &Totals| sums.iter().map(|name| (*name).to_owned()).zip(totals.sums.iter().copied()).collect();
        (self.totals, self.plain_totals) = (named(totals), named(plain));
        (self.digest, self.plain_digest) = (format!("{:016x}", totals.digest), format!("{:016x}", plain.digest));
        self.equal = totals == plain;
    }

    /// The summary.
    pub fn text(&self, noun: &str, sums: &[&str]) -> String {
        let mut text = String::from("\n");
        let mut line = |head: &str, what: String| text.push_str(&format!("{head:<13}{what}\n"));
        let rate = number(self.records_per_second);
        line(
            "throughput",
            format!(
                "{rate} {noun}/s: {} in {:.1} s, {} read again ones among them",
                number(self.records_read),
                self.seconds,
                number(self.records_read.saturating_sub(self.records))
            ),
        );
        let memory = self.memory_bytes_per_worker;
        line(
            "state",
            format!("{} in the last checkpoint; memory of {} a worker", size(self.state_bytes), size(memory)),
        );
        let pauses = self.checkpoints.iter().map(|checkpoint| checkpoint.pause_us);
        let (longest, took) =
            (pauses.max().unwrap_or(0), self.checkpoints.iter().map(|checkpoint| checkpoint.took_us).max());
        let sum = |bytes: fn(&CheckpointReport) -> u64| size(self.checkpoints.iter().map(bytes).sum());
        line(
            "checkpoints",
            format!(
                "{}: the longest pause {}, the slowest {}; {} uploaded as {}, {} used again",
                self.checkpoints.len(),
                span(Duration::from_micros(longest)),
                span(Duration::from_micros(took.unwrap_or(0))),
                sum(|checkpoint| checkpoint.new_bytes),
                sum(|checkpoint| checkpoint.new_compressed_bytes),
                sum(|checkpoint| checkpoint.reused_bytes)
            ),
        );
        if let Some(kill) = &self.kill {
            let WorkerReport { serving_after_ms, local_percent, all_here_after_ms, .. } =
                &kill.restore.workers[kill.worker];
            let whole = all_here_after_ms.map_or(String::new(), |ms| format!(", all of it here after {ms} ms"));
            line(
                "kill -9",
                format!(
                    "worker {}: serving after {serving_after_ms} ms, {local_percent:.0} % local{whole}; {} {noun} read again",
                    kill.worker,
                    number(kill.records_again)
                ),
            );
        }
        if let Some(rescale) = &self.rescale {
            line(
                "rescale",
                format!(
                    "{} -> {} workers: all serving after {} ms, {} rewritten",
                    rescale.from,
                    rescale.to,
                    rescale.restore.all_serving_after_ms,
                    size(rescale.rewritten_bytes)
                ),
            );
        }
        let mut rows = vec![vec!["totals".to_owned(), "bedload".to_owned(), "HashMap".to_owned()]];
        for name in sums {
            let of = |totals: &BTreeMap<String, i64>| totals.get(*name).map_or(String::new(), |sum| number(*sum));
            rows.push(vec![(*name).to_owned(), of(&self.totals), of(&self.plain_totals)]);
        }
        rows.push(vec!["digest of all".to_owned(), self.digest.clone(), self.plain_digest.clone()]);
        let equal = if self.equal { "yes" } else { "NO" };
        text.push_str(&format!("\n{}\nequal: {equal}\n", table(&rows)));
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn totals_are_equal_in_sums_and_digest_or_not_at_all() {
        let of = |sum: i64, content: &[u8]| {
            let mut totals = Totals::default();
            totals.add(&[1, sum], content);
            totals
        };
        let equal = |left: &Totals, right: &Totals| {
            let mut report = Report::default();
            report.compare(&["keys", "sum"], left, right);
            let text = report.text("lines", &["keys", "sum"]);
            assert_eq!(text.contains("equal: yes"), report.equal, "{text}");
            assert_eq!(text.contains("equal: NO"), !report.equal, "{text}");
            report.equal
        };
        assert!(equal(&of(7, b"a"), &of(7, b"a")));
        assert!(!equal(&of(7, b"a"), &of(8, b"a")));
        assert!(!equal(&of(7, b"a"), &of(7, b"b")));
    }
}
