//! Gives figures of an engine to whatever recorder the program has installed for the [`metrics`](https://docs.rs/metrics) facade.
//!
//! All names stand in two lists here, [`FIGURES`] and [`TIMINGS`], and in a table of the guide; a test compares them. Labels are `job`
//! and `worker` alone, so that the number of series is that of workers. Counters are given as increments: an engine that is opened again in one
//! process goes on where the last one was.

use std::sync::{Mutex, PoisonError};

use bedload_snapshot::Timings;
use metrics::{Label, Unit};

use crate::stats::{CheckpointStats, HeapStats, RestoreStats, Stats, StoreStats};

/// What becomes of a figure.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Form {
    /// It only grows.
    Counter,
    /// It goes up and down.
    Gauge,
}

/// Where a figure is taken from; nothing where an engine has no such part.
type Take = fn(&Stats) -> Option<f64>;

/// A counter or a gauge.
struct Figure {
    name: &'static str,
    form: Form,
    unit: Unit,
    take: Take,
}

macro_rules! figures {
    ($($form:ident $unit:ident $name:literal $part:ident.$field:ident;)*) => {
        /// All counters and gauges.
        const FIGURES: &[Figure] = &[
            $(Figure {
                name: $name,
                form: Form::$form,
                unit: Unit::$unit,
                take: |stats| $part(stats).map(|part| part.$field as f64),
            },)*
        ];
    };
}

fn checkpoints(stats: &Stats) -> Option<&CheckpointStats> {
    Some(&stats.checkpoints)
}

fn all(stats: &Stats) -> Option<&Stats> {
    Some(stats)
}

fn restore(stats: &Stats) -> Option<&RestoreStats> {
    stats.restore.as_ref()
}

fn store(stats: &Stats) -> Option<&StoreStats> {
    stats.store.as_ref()
}

fn heap(stats: &Stats) -> Option<&HeapStats> {
    stats.heap.as_ref()
}

figures! {
    Counter Count "bedload_checkpoints_begun_total" checkpoints.begun;
    Counter Count "bedload_checkpoints_shipped_total" checkpoints.shipped;
    Counter Count "bedload_checkpoints_failed_total" checkpoints.failed;
    Counter Count "bedload_checkpoints_confirmed_total" checkpoints.confirmed;
    Counter Count "bedload_checkpoints_aborted_total" checkpoints.aborted;
    Counter Count "bedload_uploaded_runs_total" checkpoints.uploaded_runs;
    Counter Bytes "bedload_uploaded_bytes_total" checkpoints.uploaded_bytes;
    Counter Bytes "bedload_uploaded_parcel_bytes_total" checkpoints.uploaded_parcel_bytes;
    Counter Bytes "bedload_reused_bytes_total" checkpoints.reused_bytes;
    Gauge Bytes "bedload_claimed_bytes" checkpoints.claimed_bytes;
    Counter Count "bedload_refused_merges_total" all.refused_merges;
    Gauge Bytes "bedload_restore_total_bytes" restore.total_bytes;
    Gauge Bytes "bedload_restore_here_bytes" restore.here_bytes;
    Counter Bytes "bedload_restore_fetched_parcel_bytes_total" restore.fetched_parcel_bytes;
    Counter Count "bedload_restore_failures_total" restore.failures;
    Gauge Count "bedload_store_tiles" store.tiles;
    Gauge Count "bedload_store_slices" store.slices;
    Gauge Count "bedload_store_slices_of_a_tile_max" store.slices_of_a_tile_max;
    Gauge Count "bedload_store_entries" store.entries;
    Gauge Count "bedload_store_tombstones" store.tombstones;
    Gauge Bytes "bedload_store_reached_bytes" store.reached_bytes;
    Gauge Count "bedload_store_runs" store.runs;
    Gauge Bytes "bedload_store_run_bytes" store.run_bytes;
    Gauge Count "bedload_store_deltas" store.deltas;
    Gauge Bytes "bedload_store_delta_bytes" store.delta_bytes;
    Gauge Bytes "bedload_store_active_bytes" store.active_bytes;
    Gauge Count "bedload_store_memtables" store.memtables;
    Gauge Bytes "bedload_store_memtable_bytes" store.memtable_bytes;
    Gauge Bytes "bedload_store_cache_bytes" store.cache_bytes;
    Counter Count "bedload_store_cache_hits_total" store.cache_hits;
    Counter Count "bedload_store_cache_misses_total" store.cache_misses;
    Gauge Bytes "bedload_store_memory_bytes_max" store.memory_bytes_max;
    Gauge Count "bedload_store_pressure" store.pressure;
    Counter Bytes "bedload_store_written_bytes_total" store.written_bytes;
    Counter Count "bedload_store_seals_total" store.seals;
    Counter Count "bedload_store_flushes_total" store.flushes;
    Counter Bytes "bedload_store_flush_bytes_total" store.flush_bytes;
    Counter Count "bedload_store_merges_total" store.merges;
    Counter Bytes "bedload_store_merge_read_bytes_total" store.merge_read_bytes;
    Counter Bytes "bedload_store_merge_bytes_total" store.merge_bytes;
    Counter Count "bedload_store_dropped_slices_total" store.dropped_slices;
    Counter Count "bedload_store_stalls_total" store.stalls;
    Counter Microseconds "bedload_store_stall_us_total" store.stall_us;
    Counter Count "bedload_store_failures_total" store.failures;
    Gauge Count "bedload_heap_entries" heap.entries;
    Gauge Bytes "bedload_heap_bytes" heap.bytes;
}

/// How long a part of a checkpoint took, in microseconds.
type Took = fn(&Timings) -> u64;

/// The histograms: how long the parts of each checkpoint took, in seconds.
const TIMINGS: [(&str, Took); 5] = [
    ("bedload_checkpoint_pause_seconds", |timings| timings.pause_us),
    ("bedload_checkpoint_flush_seconds", |timings| timings.flush_us),
    ("bedload_checkpoint_link_seconds", |timings| timings.link_us),
    ("bedload_checkpoint_upload_seconds", |timings| timings.upload_us),
    ("bedload_checkpoint_verify_seconds", |timings| timings.verify_us),
];

/// What the guide's table says of a metric.
fn meaning(name: &str) -> &'static str {
    let rows = include_str!("guide.md").lines().filter_map(|line| line.strip_prefix("| `"));
    let row = rows.filter_map(|row| row.split_once("` |")).find(|(found, _)| *found == name);
    row.and_then(|(_, rest)| rest.trim_end_matches(['|', ' ']).rsplit('|').next()).map_or("", str::trim)
}

/// Gives the figures of one engine.
pub(crate) struct Exporter {
    labels: Vec<Label>,
    /// How far the recorder knows each counter.
    known: Mutex<Vec<u64>>,
}

impl Exporter {
    /// Tells the recorder of the units.
    pub fn new(job: &str, worker: &str) -> Exporter {
        for figure in FIGURES {
            match figure.form {
                Form::Counter => metrics::describe_counter!(figure.name, figure.unit, meaning(figure.name)),
                Form::Gauge => metrics::describe_gauge!(figure.name, figure.unit, meaning(figure.name)),
            }
        }
        for (name, _) in TIMINGS {
            metrics::describe_histogram!(name, Unit::Seconds, meaning(name));
        }
        let labels = vec![Label::new("job", job.to_owned()), Label::new("worker", worker.to_owned())];
        Exporter { labels, known: Mutex::new(vec![0; FIGURES.len()]) }
    }

    /// Gives all counters and gauges.
    pub fn publish(&self, stats: &Stats) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        for (figure, known) in FIGURES.iter().zip(&mut *known) {
            let Some(value) = (figure.take)(stats) else { continue };
            match figure.form {
                Form::Gauge => metrics::gauge!(figure.name, self.labels.clone()).set(value),
                Form::Counter => {
                    let value = value as u64;
                    metrics::counter!(figure.name, self.labels.clone()).increment(value.saturating_sub(*known));
                    *known = value;
                }
            }
        }
    }

    /// Gives how long the parts of a checkpoint took.
    pub fn record_timings(&self, timings: &Timings) {
        for (name, take) in TIMINGS {
            metrics::histogram!(name, self.labels.clone()).record(take(timings) as f64 / 1e6);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn the_guide_names_each_metric_with_its_unit_and_meaning_and_no_other() {
        let rows = include_str!("guide.md").lines().filter(|line| line.starts_with("| `bedload_"));
        let cells = |row: &'static str| -> Vec<&'static str> { row.split('|').map(str::trim).collect() };
        let documented: BTreeMap<&str, (String, String)> = rows
            .map(cells)
            .map(|cells| (cells[1].trim_matches('`'), (cells[2].to_owned(), cells[3].to_owned())))
            .collect();
        let unit = |unit: Unit| match unit {
            Unit::Count => String::new(),
            unit => unit.as_str().to_owned(),
        };
        let figures = FIGURES.iter().map(|figure| {
            let form = if figure.form == Form::Counter { "counter" } else { "gauge" };
            (figure.name, (form.to_owned(), unit(figure.unit)))
        });
        let timings = TIMINGS.iter().map(|(name, _)| (*name, ("histogram".to_owned(), unit(Unit::Seconds))));
        assert_eq!(documented, figures.chain(timings).collect());
        for name in documented.keys() {
            assert!(meaning(name).len() > 10, "{name}: {:?}", meaning(name));
        }
    }
}
