//! Where the writer and the workers meet: the current snapshot, what waits for its flush, what is pinned.
//!
//! ```text
//!   writer   seal ──────▶ [unflushed] ──▶ worker: flush ──▶ install(edit): version file, then swap
//!   writer   refresh ◀──────────────────────────────────────  generation + 1
//! ```
//!
//! Only this module swaps versions. Thread rule: `seal`, `freeze` and `release` are the writer's; `install` is any worker's;
//! everything else is anybody's. Locks, in this order: `manifest` (held over the IO of a version, by one worker at a time),
//! then `state` (never held over IO). `spare` is a leaf: nothing is
//! locked under it.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use crossbeam::queue::SegQueue;
use crossbeam::utils::CachePadded;

use super::snapshot::{SealedTable, Snapshot};
use crate::entry::Clocks;
use crate::error::{Error, ErrorKind, Result};
use crate::fs::Fs;
use crate::memtable::Memtable;
use crate::metrics::Metrics;
use crate::sync::atomic::{AtomicU64, Ordering};
use crate::sync::{Condvar, Mutex, MutexGuard};
use crate::version::{Area, Edit, Manifest, Pins, RunFile, Seals, Version};

/// The shared state of one store.
pub(crate) struct Board {
    manifest: Mutex<Manifest>,
    state: Mutex<State>,
    /// Signalled whenever a flush or merge was installed or failed.
    changed: Condvar,
    /// Counts swaps of the snapshot; the writer compares it at each write, so it has a cache line of its own.
    generation: CachePadded<AtomicU64>,
    /// Snapshots that nobody needs: freeing a memtable takes longer than a write may, so workers do it.
    retired: SegQueue<Arc<Snapshot>>,
    /// The next memtable, made by a worker: clearing its index would take most of a seal's time.
    spare: Mutex<Option<Memtable>>,
    pub pins: Pins,
    pub metrics: Metrics,
}

struct State {
    snapshot: Arc<Snapshot>,
    /// Sealed and not flushed, oldest first.
    unflushed: Vec<Arc<SealedTable>>,
    /// Freezes whose seal is not installed yet.
    freezes: BTreeMap<u64, Arc<FrozenCell>>,
    /// Runs of seals since the last release, while somebody takes checkpoints.
    deltas: Option<Deltas>,
    /// Areas of running merges.
    merging: Vec<Area>,
    flushing: bool,
    /// The last failure of a flush, until one succeeds.
    flush_failure: Option<Error>,
    closing: bool,
    /// Why nothing can be made durable any more.
    broken: Option<Error>,
    /// Workers inside a piece of work, also where it is neither flush nor merge.
    working: usize,
}

/// Pinned deltas.
struct Deltas {
    /// No delta of a seal up to this one is kept.
    complete_after: u64,
    runs: Vec<Delta>,
}

/// The run that one seal became (or several, when a flush coalesced them).
#[derive(Clone, Debug)]
pub(crate) struct Delta {
    pub seals: Seals,
    pub run: Arc<RunFile>,
}

/// What a freeze pinned, once its seal is installed.
#[derive(Clone)]
pub(crate) struct FrozenState {
    pub version: Arc<Version>,
    /// Deltas still pinned at that moment, and the seal after which they are complete.
    pub deltas: Vec<Delta>,
    pub complete_after: u64,
}

/// Filled once by the flush that installs the seal, or by its failure at close.
#[derive(Default)]
pub(crate) struct FrozenCell {
    state: Mutex<Option<Result<FrozenState>>>,
    filled: Condvar,
}

impl FrozenCell {
    /// What was frozen, if it is installed.
    pub fn get(&self) -> Option<Result<FrozenState>> {
        lock(&self.state).clone()
    }

    /// Blocks until it is installed, or for `at_most`.
    pub fn wait(&self, at_most: Duration) -> Option<Result<FrozenState>> {
        let state = lock(&self.state);
        let waits = |state: &mut Option<_>| state.is_none();
        let (state, _) = self.filled.wait_timeout_while(state, at_most, waits).unwrap_or_else(PoisonError::into_inner);
        state.clone()
    }

    fn fill(&self, result: Result<FrozenState>) {
        *lock(&self.state) = Some(result);
        self.filled.notify_all();
    }
}

impl Board {
    /// A board that shows `version`.
    pub fn new(version: Version, manifest: Manifest, pins: Pins) -> Board {
        let snapshot = Arc::new(Snapshot::new(Vec::new(), Arc::new(version)));
        Board {
            manifest: Mutex::new(manifest),
            state: Mutex::new(State {
                snapshot,
                unflushed: Vec::new(),
                freezes: BTreeMap::new(),
                deltas: None,
                merging: Vec::new(),
                flushing: false,
                flush_failure: None,
                closing: false,
                broken: None,
                working: 0,
            }),
            changed: Condvar::new(),
            generation: CachePadded::new(AtomicU64::new(0)),
            retired: SegQueue::new(),
            spare: Mutex::new(None),
            pins,
            metrics: Metrics::default(),
        }
    }

    /// Counts swaps of the snapshot.
    #[inline]
    pub fn generation(&self) -> u64 {
        // Relaxed: a reader that sees an old number refreshes a little later, nothing else.
        self.generation.load(Ordering::Relaxed)
    }

    /// The newest snapshot and its generation.
    pub fn snapshot(&self) -> (Arc<Snapshot>, u64) {
        let state = self.lock();
        (Arc::clone(&state.snapshot), self.generation())
    }

    /// Puts a sealed memtable on top. One that is sealed as frozen gets the cell of its freeze. The writer's.
    pub fn seal(&self, table: SealedTable) -> Option<Arc<FrozenCell>> {
        let table = Arc::new(table);
        let mut state = self.lock();
        assert!(!state.closing, "nothing is sealed behind a close");
        let mut memtables = Vec::with_capacity(state.snapshot.memtables.len() + 1);
        memtables.push(Arc::clone(&table));
        memtables.extend_from_slice(&state.snapshot.memtables);
        let next = Snapshot::new(memtables, Arc::clone(&state.snapshot.version));
        let cell = table.frozen.then(|| {
            // The first checkpoint: deltas are kept from its seal on.
            state.deltas.get_or_insert(Deltas { complete_after: table.seal, runs: Vec::new() });
            let cell = Arc::new(FrozenCell::default());
            state.freezes.insert(table.seal, Arc::clone(&cell));
            cell
        });
        state.unflushed.push(table);
        self.swap(&mut state, next);
        cell
    }

    /// Lets go of the deltas up to `seal`. The writer's.
    pub fn release(&self, seal: u64) {
        if let Some(deltas) = &mut self.lock().deltas {
            deltas.complete_after = deltas.complete_after.max(seal);
            deltas.runs.retain(|delta| delta.seals.last > seal);
        }
    }

    /// Lets go of all deltas and keeps none until the next freeze.
    pub fn release_all(&self) {
        self.lock().deltas = None;
    }

    /// The memtable that a worker has prepared, if it has the capacity asked for.
    pub fn take_spare(&self, capacity: usize) -> Option<Memtable> {
        lock(&self.spare).take().filter(|spare| spare.capacity() == capacity)
    }

    /// Prepares the next memtable unless there is one; `make` may take its time.
    pub fn prepare_spare(&self, make: impl FnOnce() -> Memtable) {
        let missing = lock(&self.spare).is_none();
        if missing {
            let made = make();
            *lock(&self.spare) = Some(made);
        }
    }

    /// Takes the oldest sealed memtables that one flush may write, oldest first, at most `bytes_max` together (but one).
    pub fn begin_flush(&self, bytes_max: usize) -> Option<Vec<Arc<SealedTable>>> {
        let mut state = self.lock();
        if state.flushing || state.unflushed.is_empty() {
            return None;
        }
        let mut bytes = 0;
        let mut taken: Vec<Arc<SealedTable>> = Vec::new();
        for table in &state.unflushed {
            bytes += table.table.used_bytes();
            let across_freeze = taken.last().is_some_and(|before| before.frozen);
            if !taken.is_empty() && (across_freeze || bytes > bytes_max) {
                break;
            }
            taken.push(Arc::clone(table));
        }
        state.flushing = true;
        Some(taken)
    }

    /// Ends a flush that failed; its memtables stay where they are.
    pub fn flush_failed(&self, error: Error) {
        self.metrics.failures.add(1);
        let mut state = self.lock();
        state.flushing = false;
        state.flush_failure = Some(error);
        self.changed.notify_all();
    }

    /// Reserves an area for a merge; false when a running one is in the way.
    pub fn begin_merge(&self, area: &Area) -> bool {
        let mut state = self.lock();
        let free = !state.merging.iter().any(|running| running.meets(area));
        if free {
            state.merging.push(area.clone());
        }
        free
    }

    /// Gives an area back.
    pub fn end_merge(&self, area: &Area) {
        let mut state = self.lock();
        state.merging.retain(|running| running != area);
        self.changed.notify_all();
    }

    /// The areas of running merges.
    pub fn merging(&self) -> Vec<Area> {
        self.lock().merging.clone()
    }

    /// Makes the version after `edit` durable, then current; then deletes what nothing reaches any more.
    ///
    /// # Errors
    /// Nothing has changed in memory when it fails; the manifest decides whether the store is read-only from now on.
    pub fn install(&self, fs: &dyn Fs, edit: &Edit) -> Result<()> {
        let mut manifest = lock(&self.manifest);
        let current = Arc::clone(&self.lock().snapshot.version);
        let next = Arc::new(current.apply(edit));
        let written = manifest.write(fs, &next, false);
        if written.is_err() {
            // Told here, so that a writer that asks never waits for the IO of a version.
            self.lock().broken = manifest.broken().cloned();
        }
        let bytes = written?;
        self.metrics.version_bytes.add(bytes);
        let mut state = self.lock();
        self.swap_version(&mut state, next, edit);
        drop(state);
        drop((manifest, current));
        self.changed.notify_all();
        self.collect(fs);
        Ok(())
    }

    fn swap_version(&self, state: &mut MutexGuard<'_, State>, next: Arc<Version>, edit: &Edit) {
        let mut memtables = state.snapshot.memtables.clone();
        match edit {
            Edit::Flush { run, seals, .. } => {
                state.unflushed.retain(|table| table.seal > seals.last);
                state.flushing = false;
                state.flush_failure = None;
                if let (Some(deltas), Some(run)) = (&mut state.deltas, run)
                    && seals.last > deltas.complete_after
                {
                    deltas.runs.push(Delta { seals: *seals, run: Arc::clone(run) });
                }
            }
            // A memtable is the cache of its own run only: where runs were merged, moved or cut it would shadow them.
            Edit::Merge { area, .. } => memtables.retain(|table| table.seal > area.seals.last),
            Edit::Adopt { .. } | Edit::Clip { .. } => memtables.clear(),
            Edit::Split { .. } => {}
        }
        let snapshot = Snapshot::new(memtables, next);
        self.swap(state, snapshot);
        self.fill_freezes(state);
    }

    fn fill_freezes(&self, state: &mut MutexGuard<'_, State>) {
        let seal = state.snapshot.version.seal;
        while let Some(first) = state.freezes.first_entry()
            && *first.key() <= seal
        {
            let cell = first.remove();
            let (deltas, complete_after) = match &state.deltas {
                Some(deltas) => (deltas.runs.clone(), deltas.complete_after),
                None => (Vec::new(), seal),
            };
            cell.fill(Ok(FrozenState { version: Arc::clone(&state.snapshot.version), deltas, complete_after }));
        }
    }

    /// Forgets the oldest flushed memtables until those kept hold at most `bytes_max`; returns whether any was forgotten.
    pub fn forget_flushed(&self, bytes_max: usize) -> bool {
        let mut state = self.lock();
        let mut bytes: usize = state.snapshot.memtables.iter().map(|table| table.table.used_bytes()).sum();
        let mut memtables = state.snapshot.memtables.clone();
        let flushed = state.snapshot.version.seal;
        while bytes > bytes_max
            && let Some(oldest) = memtables.last()
            && oldest.seal <= flushed
        {
            bytes -= oldest.table.used_bytes();
            memtables.pop();
        }
        if memtables.len() == state.snapshot.memtables.len() {
            return false;
        }
        let snapshot = Snapshot::new(memtables, Arc::clone(&state.snapshot.version));
        self.swap(&mut state, snapshot);
        true
    }

    fn swap(&self, state: &mut MutexGuard<'_, State>, snapshot: Snapshot) {
        let before = std::mem::replace(&mut state.snapshot, Arc::new(snapshot));
        self.retired.push(before);
        self.generation.fetch_add(1, Ordering::Relaxed);
    }

    /// Takes a snapshot off the writer's hands. No lock.
    pub fn retire(&self, snapshot: Arc<Snapshot>) {
        self.retired.push(snapshot);
    }

    /// As [`Board::collect`], when the writer has let go of something since the last time.
    pub fn collect_retired(&self, fs: &dyn Fs) {
        if !self.retired.is_empty() {
            self.collect(fs);
        }
    }

    /// Frees what the writer let go and deletes files that nothing reaches. For workers.
    pub fn collect(&self, fs: &dyn Fs) {
        while let Some(snapshot) = self.retired.pop() {
            drop(snapshot);
        }
        // After a failure to publish, the disk may hold a version that names what nothing in memory reaches.
        if self.broken().is_some() {
            return;
        }
        if self.pins.collect(fs).is_err() {
            // The files stay registered and are tried again.
            self.metrics.failures.add(1);
        }
    }

    /// Bytes of memtables sealed and not flushed.
    pub fn unflushed_bytes(&self) -> usize {
        self.lock().unflushed.iter().map(|table| table.table.used_bytes()).sum()
    }

    /// Whether a flush could start now.
    pub fn flush_waits(&self) -> bool {
        let state = self.lock();
        !state.flushing && !state.unflushed.is_empty()
    }

    /// Whether nothing is unflushed.
    pub fn is_flushed(&self) -> bool {
        let state = self.lock();
        !state.flushing && state.unflushed.is_empty()
    }

    /// Blocks until something changes, or for `at_most`; tells the failure that keeps flushes from succeeding.
    pub fn wait_for_change(&self, at_most: Duration, ready: impl Fn(usize) -> bool) -> Option<Error> {
        let state = self.lock();
        let bytes = |state: &State| state.unflushed.iter().map(|table| table.table.used_bytes()).sum();
        let waits = |state: &mut State| !ready(bytes(state)) && state.flush_failure.is_none();
        let (state, _) = self.changed.wait_timeout_while(state, at_most, waits).unwrap_or_else(PoisonError::into_inner);
        state.flush_failure.clone()
    }

    /// The failure after which nothing can be made durable any more.
    pub fn broken(&self) -> Option<Error> {
        self.lock().broken.clone()
    }

    /// Says that a worker panicked in this store: what it was doing is in doubt, so nothing more is written.
    pub fn worker_panicked(&self) {
        let mut state = self.lock();
        let message = "a worker panicked while it worked for this store, and printed where: please report it";
        let defect = Error::new(ErrorKind::Bug, message);
        state.flushing = false;
        state.merging.clear();
        state.flush_failure = Some(defect.clone());
        state.broken = Some(defect);
        self.changed.notify_all();
    }

    /// The failure of the last flush, until one succeeds.
    pub fn flush_failure(&self) -> Option<Error> {
        self.lock().flush_failure.clone()
    }

    /// Tells workers to start nothing new, and waiting freezes that they will not be installed.
    pub fn begin_close(&self) {
        let mut state = self.lock();
        state.closing = true;
        let failure = || Error::new(ErrorKind::Closed, "the store was closed before this seal was flushed");
        for cell in std::mem::take(&mut state.freezes).into_values() {
            cell.fill(Err(failure()));
        }
    }

    /// Says that a worker begins a piece of work; false when the store is being closed, and then it must not.
    pub fn begin_work(&self) -> bool {
        let mut state = self.lock();
        state.working += usize::from(!state.closing);
        !state.closing
    }

    /// Says that it has ended, whatever came of it.
    pub fn end_work(&self) {
        self.lock().working -= 1;
        self.changed.notify_all();
    }

    /// Whether the store is being closed.
    pub fn is_closing(&self) -> bool {
        self.lock().closing
    }

    /// Blocks until no worker works for this store.
    pub fn wait_until_idle(&self) {
        let state = self.lock();
        let busy = |state: &mut State| state.flushing || !state.merging.is_empty() || state.working > 0;
        drop(self.changed.wait_while(state, busy).unwrap_or_else(PoisonError::into_inner));
    }

    /// Writes the version once more, marked as closed in order.
    pub fn write_clean(&self, fs: &dyn Fs) -> Result<()> {
        let mut manifest = lock(&self.manifest);
        let version = Arc::clone(&self.lock().snapshot.version);
        manifest.write(fs, &version, true).map(drop)
    }

    /// Clocks of the newest seal.
    pub fn clocks(&self) -> Clocks {
        self.lock().snapshot.clocks
    }

    /// Bytes and number of pinned deltas.
    pub fn deltas(&self) -> (u64, usize) {
        let state = self.lock();
        let runs = state.deltas.as_ref().map_or(&[][..], |deltas| &deltas.runs);
        (runs.iter().map(|delta| delta.run.bytes()).sum(), runs.len())
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }
}

/// Locks, also after a panic elsewhere: every critical section here leaves a whole state behind.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
