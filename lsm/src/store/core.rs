//! The part of a store that workers share with the writer.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use super::env::EnvInner;
use crate::compaction::{Compaction, Stage};
use crate::error::Result;
use crate::flush::flush;
use crate::fold::Rules;
use crate::key::KeyShape;
use crate::memtable::Memtable;
use crate::options::Tuning;
use crate::version::RunFiles;
use crate::view::Board;
use crate::worker::{Class, Outcome, Work};

/// Everything but what only the writer may touch.
pub(super) struct Core {
    pub board: Board,
    pub files: RunFiles,
    pub rules: Arc<dyn Rules>,
    pub shape: Arc<dyn KeyShape>,
    pub tuning: Tuning,
    /// Entries of the last sealed memtable: what the next one is prepared for.
    pub expected_entries: AtomicUsize,
    pub env: Arc<EnvInner>,
}

impl Core {
    /// Bytes of memtables this store may hold: its share of the budget.
    pub fn memtable_share(&self) -> usize {
        self.env.memtable_budget() / self.env.pool.stores().max(1)
    }

    /// Bytes at which a memtable is sealed.
    pub fn memtable_bytes(&self) -> usize {
        match self.tuning.memtable_bytes {
            0 => (self.memtable_share() / 3).min(Tuning::MEMTABLE_BYTES_USUAL),
            bytes => bytes,
        }
    }

    /// Makes the memtable that the next seal will need.
    fn prepare_spare(&self) {
        let expected = self.expected_entries.load(Ordering::Relaxed);
        // Nothing was sealed yet: a store that is never written to needs none.
        if expected > 0 {
            self.board.prepare_spare(|| Memtable::with_capacity(self.memtable_bytes(), expected));
        }
    }

    /// Flushes one batch of sealed memtables.
    pub fn flush(&self) -> Result<bool> {
        let bytes_max = self.memtable_bytes();
        flush(&self.board, &self.files, &*self.rules, &*self.env.time, bytes_max)
    }

    fn merge(&self, stage: Stage) -> Result<bool> {
        let compaction = Compaction {
            board: &self.board,
            files: &self.files,
            rules: &*self.rules,
            tuning: &self.tuning,
            time: &*self.env.time,
            between: &|written| self.between(written),
        };
        compaction.work(stage)
    }

    /// What a merge does between blocks; false asks it to give up.
    fn between(&self, written: u64) -> bool {
        let rest = self.env.rate.pay(written);
        if !rest.is_zero() && !self.env.pool.is_stepped() {
            self.board.wait_for_change(rest.min(Duration::from_secs(1)), |_| self.board.is_closing());
        }
        if !self.env.pool.is_stepped() && self.board.flush_waits() {
            // Its failure is on the board; the merge has no part in it.
            self.flush().ok();
        }
        if !self.env.pool.is_stepped() {
            self.prepare_spare();
        }
        !self.board.is_closing()
    }
}

impl Work for Core {
    fn work(&self, class: Class) -> Outcome {
        if self.board.broken().is_some() || !self.board.begin_work() {
            return Outcome::Nothing;
        }
        if !self.env.pool.is_stepped() {
            self.prepare_spare();
            self.board.collect_retired(&*self.files.fs);
        }
        // A panic is a defect; it must not leave the writer waiting for work that never ends.
        let outcome = catch_unwind(AssertUnwindSafe(|| self.work_on(class)));
        if outcome.is_err() {
            self.board.worker_panicked();
        }
        self.board.end_work();
        match outcome {
            Err(panic) if self.env.pool.is_stepped() => resume_unwind(panic),
            outcome => outcome.unwrap_or(Outcome::Failed),
        }
    }
}

impl Core {
    fn work_on(&self, class: Class) -> Outcome {
        let result = match class {
            Class::Flush => self.flush(),
            Class::YoungMerge => self.merge(Stage::Young),
            Class::Rebase => self.merge(Stage::Rebase),
        };
        match result {
            Ok(true) => Outcome::Done,
            Ok(false) => Outcome::Nothing,
            Err(_) => {
                if class != Class::Flush {
                    self.board.metrics.failures.add(1);
                }
                Outcome::Failed
            }
        }
    }
}
