//! Counts checkpoints for an engine and for its shipments, which end on other threads.
//!
//! From any thread. One lock, held for some additions.

use std::sync::{Mutex, MutexGuard, PoisonError};

use bedload_snapshot::ShipReport;

#[cfg(feature = "metrics")]
use crate::metrics::Exporter;
use crate::stats::CheckpointStats;
#[cfg(feature = "metrics")]
use crate::stats::Stats;

/// What an engine and its shipments count together.
pub(crate) struct Tally {
    checkpoints: Mutex<CheckpointStats>,
    #[cfg(feature = "metrics")]
    exporter: Exporter,
}

impl Tally {
    #[cfg_attr(not(feature = "metrics"), expect(unused_variables, reason = "labels of metrics alone"))]
    pub fn new(job: &str, worker: &str) -> Tally {
        Tally {
            checkpoints: Mutex::default(),
            #[cfg(feature = "metrics")]
            exporter: Exporter::new(job, worker),
        }
    }

    /// The counts.
    pub fn checkpoints(&self) -> MutexGuard<'_, CheckpointStats> {
        self.checkpoints.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts a part of a checkpoint that was shipped, or that failed.
    pub fn shipped(&self, report: Option<&ShipReport>) {
        self.checkpoints().shipped(report);
        #[cfg(feature = "metrics")]
        if let Some(report) = report {
            self.exporter.record_timings(&report.timings);
        }
    }

    /// Gives the figures to the recorder of metrics.
    #[cfg(feature = "metrics")]
    pub fn publish(&self, stats: &Stats) {
        self.exporter.publish(stats);
    }
}
