//! The part of a store that workers share with the writer.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use super::env::EnvInner;
use crate::compaction::{Compaction, Stage, pressure};
use crate::error::Result;
use crate::flush::flush;
use crate::fold::Rules;
use crate::key::KeyShape;
use crate::memtable::{ChunkPool, Memtable};
use crate::options::Tuning;
use crate::version::RunFiles;
use crate::view::Board;
use crate::worker::{Class, Outcome, REST_AFTER_FAILURE, Work};

/// Everything but what only the writer may touch.
pub(super) struct Core {
    pub board: Board,
    pub files: RunFiles,
    pub rules: Arc<dyn Rules>,
    /// Whether there are any: most values are written without asking.
    pub ruled: bool,
    pub shape: Arc<dyn KeyShape>,
    pub tuning: Tuning,
    /// Memory of memtables.
    pub chunks: Arc<ChunkPool>,
    /// Entries found by hash of the last sealed memtable, at least one: what the next one is prepared for. 0 before the first.
    pub expected_entries: AtomicUsize,
    /// Whether merges are so far behind that flushes wait for them.
    pub behind: AtomicBool,
    /// When a flush that failed is tried again, in ns of the environment's time; 0: none has failed.
    pub flush_again_at_ns: AtomicU64,
    pub env: Arc<EnvInner>,
}

impl Core {
    /// Bytes of memtables this store may hold: its share of the budget.
    pub fn memtable_share(&self) -> usize {
        self.env.memtable_budget() / self.env.pool.stores().max(1)
    }

    /// Bytes at which a memtable is sealed.
    pub fn memtable_bytes(&self) -> usize {
        memtable_bytes(&self.env, self.env.pool.stores(), &self.tuning)
    }

    /// Says that a memtable waits for its flush.
    pub fn wake(&self) {
        self.board.wake();
        self.env.pool.wake();
    }

    /// Makes the memtable that the next seal will need, and memory for it.
    fn prepare_spare(&self) {
        self.chunks.prepare();
        let expected = self.expected_entries.load(Ordering::Relaxed);
        // Nothing was sealed yet: a store that is never written to needs none.
        if expected > 0 {
            self.board.prepare_spare(|| Memtable::new(&self.shape, &self.chunks, expected));
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
        if self.env.pool.is_stepped() {
            return true;
        }
        if !rest.is_zero() {
            self.board.rest(rest.min(Duration::from_secs(1)));
        }
        // Of any store: with few workers, flushes of others would wait for the end of this merge.
        self.env.pool.flush_all();
        !self.board.merges_must_end()
    }
}

/// Bytes at which a memtable is sealed, of each of `stores`.
pub(super) fn memtable_bytes(env: &EnvInner, stores: usize, tuning: &Tuning) -> usize {
    match tuning.memtable_bytes {
        // One half is written to while the other is flushed.
        0 => (env.memtable_budget() / stores.max(1) / 2).min(Tuning::MEMTABLE_BYTES_USUAL),
        bytes => bytes,
    }
}

impl Work for Core {
    fn work(&self, class: Class) -> Outcome {
        if self.board.broken().is_some() || !self.board.begin_work() {
            return Outcome::Nothing;
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
        if !self.env.pool.is_stepped() {
            self.prepare_spare();
            self.board.collect_retired(&*self.files.fs);
            if matches!(class, Class::Flush | Class::LateFlush) && self.flush_rests() {
                return Outcome::Failed;
            }
        }
        let put_off = self.behind.load(Ordering::Relaxed) && !self.board.flush_is_urgent();
        let result = match class {
            Class::Flush | Class::LateFlush if put_off && (class == Class::Flush || self.board.is_merging()) => {
                Ok(false)
            }
            Class::Flush | Class::LateFlush => self.flush(),
            Class::YoungMerge => self.merge(Stage::Young),
            Class::Rebase => self.merge(Stage::Rebase),
        };
        match result {
            Ok(true) => {
                let version = Arc::clone(&self.board.snapshot().0.version);
                self.behind.store(pressure(&version, &self.tuning) >= 1.0, Ordering::Relaxed);
                Outcome::Done
            }
            Ok(false) => Outcome::Nothing,
            // The board knows why.
            Err(_) => {
                if matches!(class, Class::Flush | Class::LateFlush) {
                    let next = self.env.time.now() + REST_AFTER_FAILURE;
                    self.flush_again_at_ns.store(u64::try_from(next.as_nanos()).unwrap_or(u64::MAX), Ordering::Relaxed);
                }
                Outcome::Failed
            }
        }
    }

    /// Whether the last flush failed just now: another would fail as well, and cost a whole run.
    fn flush_rests(&self) -> bool {
        let again_at = self.flush_again_at_ns.load(Ordering::Relaxed);
        again_at > 0
            && self.board.flush_failure().is_some()
            && self.env.time.now() < Duration::from_nanos(again_at)
            && self.board.flush_waits()
    }
}
