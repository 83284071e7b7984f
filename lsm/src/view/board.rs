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
use crate::key::KeyRange;
use crate::memtable::Memtable;
use crate::metrics::Metrics;
use crate::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use crate::sync::{Condvar, Mutex, MutexGuard};
use crate::version::{Area, Edit, Ending, Manifest, Pins, RunFile, Seals, Version};

/// For how many versions a merge that failed is not tried again.
const REST_VERSIONS: u64 = 16;

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
    /// Deltas were let go since the last look at what can be deleted.
    let_go: AtomicBool,
    /// The next memtable, made by a worker: memory for its index would take most of a seal's time.
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
    /// Seals that one flush joined into a run: their memtables are forgotten together.
    joined: Vec<Seals>,
    /// Areas of running merges.
    merging: Vec<Area>,
    /// Areas whose last merge failed, and the version it failed at.
    failed: Vec<(Area, u64)>,
    /// Somebody waits for all merges to end: none begins, and those that run give up.
    exclusive: bool,
    flushing: bool,
    /// Somebody waits until nothing is unflushed.
    draining: bool,
    /// Flushes that ended, well or not: whoever waits for one knows a failure from before.
    flush_attempts: u64,
    /// The last failure of a flush, until one succeeds.
    flush_failure: Option<Error>,
    /// Memtables are flushed one by one: those of the last try could not be folded together.
    flush_alone: bool,
    /// The last failure of background work, for people to read.
    last_failure: Option<Error>,
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

/// A merge's claim on an area; given back when it is dropped, however the merge ends.
pub(crate) struct Reservation<'a> {
    board: &'a Board,
    area: Area,
}

impl Drop for Reservation<'_> {
    fn drop(&mut self) {
        let mut state = self.board.lock();
        if let Some(at) = state.merging.iter().position(|running| *running == self.area) {
            state.merging.swap_remove(at);
        }
        self.board.changed.notify_all();
    }
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
                joined: Vec::new(),
                merging: Vec::new(),
                failed: Vec::new(),
                exclusive: false,
                flushing: false,
                draining: false,
                flush_attempts: 0,
                flush_failure: None,
                flush_alone: false,
                last_failure: None,
                closing: false,
                broken: None,
                working: 0,
            }),
            changed: Condvar::new(),
            generation: CachePadded::new(AtomicU64::new(0)),
            retired: SegQueue::new(),
            let_go: AtomicBool::new(false),
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

    /// Puts a sealed memtable on top, and gives what is seen from then on. One that is sealed as frozen gets the cell of its freeze.
    /// Wakes nobody. The writer's.
    pub fn seal(&self, table: SealedTable) -> (Option<Arc<FrozenCell>>, (Arc<Snapshot>, u64)) {
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
        (cell, (Arc::clone(&state.snapshot), self.generation()))
    }

    /// Wakes merges that rest: a memtable waits for its flush.
    pub fn wake(&self) {
        self.changed.notify_all();
    }

    /// Lets go of the deltas up to `seal`. The writer's.
    pub fn release(&self, seal: u64) {
        if let Some(deltas) = &mut self.lock().deltas {
            deltas.complete_after = deltas.complete_after.max(seal);
            deltas.runs.retain(|delta| delta.seals.last > seal);
        }
        self.let_go.store(true, Ordering::Relaxed);
    }

    /// Lets go of all deltas and keeps none until the next freeze.
    pub fn release_all(&self) {
        self.lock().deltas = None;
        self.let_go.store(true, Ordering::Relaxed);
    }

    /// The memtable that a worker has prepared.
    pub fn take_spare(&self) -> Option<Memtable> {
        lock(&self.spare).take()
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
            if !taken.is_empty() && (across_freeze || bytes > bytes_max || state.flush_alone) {
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
        state.flush_attempts += 1;
        // Operands that do not fold with what is under them: apart, each memtable is written as it is.
        state.flush_alone |= error.kind() == ErrorKind::Fix;
        state.last_failure = Some(error.clone());
        state.flush_failure = Some(error);
        self.changed.notify_all();
    }

    /// Reserves an area for a merge, until the reservation is dropped; `None` when a running one is in the way.
    pub fn begin_merge(&self, area: &Area) -> Option<Reservation<'_>> {
        let mut state = self.lock();
        if state.exclusive || state.merging.iter().any(|running| running.meets(area)) {
            return None;
        }
        state.merging.push(area.clone());
        Some(Reservation { board: self, area: area.clone() })
    }

    /// Reserves everything: waits for running merges to end, which give up when they are asked next. The writer's.
    pub fn begin_exclusive(&self) -> Reservation<'_> {
        let mut state = self.lock();
        state.exclusive = true;
        let busy = |state: &mut State| !state.merging.is_empty();
        let mut state = self.changed.wait_while(state, busy).unwrap_or_else(PoisonError::into_inner);
        state.exclusive = false;
        let area = Area { range: KeyRange::all(), seals: Seals { first: 0, last: u64::MAX } };
        state.merging.push(area.clone());
        Reservation { board: self, area }
    }

    /// Says that a merge failed. Its area is left alone for some versions, so that other merges get their turn.
    pub fn merge_failed(&self, area: &Area, error: Error) {
        self.metrics.failures.add(1);
        let mut state = self.lock();
        let number = state.snapshot.version.number;
        state.failed.push((area.clone(), number));
        state.last_failure = Some(error);
    }

    /// The areas that no merge may touch now: of running merges, and of those that failed lately.
    pub fn busy_areas(&self) -> Vec<Area> {
        let mut state = self.lock();
        let number = state.snapshot.version.number;
        state.failed.retain(|(_, at)| number.saturating_sub(*at) < REST_VERSIONS);
        state.merging.iter().chain(state.failed.iter().map(|(area, _)| area)).cloned().collect()
    }

    /// Whether a running merge should end as soon as it can.
    pub fn merges_must_end(&self) -> bool {
        let state = self.lock();
        state.closing || state.exclusive
    }

    /// Blocks for `at_most`, or until a flush waits or merges must end: how a merge rests.
    pub fn rest(&self, at_most: Duration) {
        let rests = |state: &mut State| {
            let flush_waits = !state.flushing && !state.unflushed.is_empty();
            !flush_waits && !state.closing && !state.exclusive
        };
        let state = self.lock();
        drop(self.changed.wait_timeout_while(state, at_most, rests).unwrap_or_else(PoisonError::into_inner));
    }

    /// The last failure of background work.
    pub fn last_failure(&self) -> Option<Error> {
        self.lock().last_failure.clone()
    }

    /// Makes the version after `edit` durable, then current; then deletes what nothing reaches any more.
    ///
    /// # Errors
    /// Nothing has changed in memory when it fails; the manifest decides whether the store is read-only from now on.
    pub fn install(&self, fs: &dyn Fs, edit: &Edit) -> Result<()> {
        let mut manifest = lock(&self.manifest);
        let current = {
            let state = self.lock();
            if let Some(error) = &state.broken {
                return Err(error.clone());
            }
            Arc::clone(&state.snapshot.version)
        };
        let next = Arc::new(current.apply(edit));
        let written = manifest.write(fs, &next, Ending::Open);
        if written.is_err()
            && let Some(error) = manifest.broken()
        {
            tracing::error!(%error, "nothing can be made durable any more: the store is read-only from now on");
            // Told here, so that a writer that asks never waits for the IO of a version.
            let mut state = self.lock();
            state.broken = Some(error.clone());
            self.generation.fetch_add(1, Ordering::Relaxed);
            self.changed.notify_all();
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
                // Counted before whoever waits for this flush goes on.
                let flushed = state.unflushed.iter().filter(|table| table.seal <= seals.last);
                self.metrics.written_bytes.add(flushed.map(|table| table.written_bytes).sum());
                self.metrics.flushes.add(1);
                state.unflushed.retain(|table| table.seal > seals.last);
                state.flushing = false;
                state.flush_attempts += 1;
                state.flush_failure = None;
                state.flush_alone = false;
                if seals.first < seals.last {
                    state.joined.push(*seals);
                }
                if let (Some(deltas), Some(run)) = (&mut state.deltas, run)
                    && seals.last > deltas.complete_after
                {
                    deltas.runs.push(Delta { seals: *seals, run: Arc::clone(run) });
                }
            }
            // A memtable is the cache of its own run only: where runs were merged, moved or cut it would shadow them.
            Edit::Merge { area, .. } => memtables.retain(|table| table.seal > area.seals.last),
            Edit::Adopt { .. } | Edit::Clip { .. } => {
                memtables.clear();
                if let Some(deltas) = &mut state.deltas {
                    // What came or went is in no delta: no older state leads here by deltas.
                    *deltas = Deltas { complete_after: next.seal + 1, runs: Vec::new() };
                }
            }
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
            // Those that one run holds go together: else the run would be read, and some of its entries from memory too.
            let first_kept =
                state.joined.iter().find(|joined| joined.cover(Seals { first: oldest.seal, last: oldest.seal }));
            let last_gone = first_kept.map_or(oldest.seal, |joined| joined.last);
            while let Some(oldest) = memtables.pop_if(|table| table.seal <= last_gone) {
                // A reader may have ordered its keys since they were summed.
                bytes = bytes.saturating_sub(oldest.table.used_bytes());
            }
        }
        if memtables.len() == state.snapshot.memtables.len() {
            return false;
        }
        let snapshot = Snapshot::new(memtables, Arc::clone(&state.snapshot.version));
        self.swap(&mut state, snapshot);
        let covered_from = state.snapshot.covered_from;
        state.joined.retain(|joined| joined.first >= covered_from);
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
        if self.let_go.swap(false, Ordering::Relaxed) || !self.retired.is_empty() {
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
        if let Err(error) = self.pins.collect(fs) {
            // The files stay registered and are tried again.
            tracing::warn!(%error, "a run that nothing reaches could not be deleted; it is tried again");
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

    /// Says whether somebody waits until nothing is unflushed.
    pub fn want_flushed(&self, wanted: bool) {
        self.lock().draining = wanted;
    }

    /// Whether a flush may not be put off: somebody waits for it, or a checkpoint.
    pub fn flush_is_urgent(&self) -> bool {
        let state = self.lock();
        state.draining || state.unflushed.iter().any(|table| table.frozen)
    }

    /// Whether a merge runs.
    pub fn is_merging(&self) -> bool {
        !self.lock().merging.is_empty()
    }

    /// Whether nothing is unflushed.
    pub fn is_flushed(&self) -> bool {
        let state = self.lock();
        !state.flushing && state.unflushed.is_empty()
    }

    /// Blocks until `ready` holds of what is unflushed, a flush fails, or for `at_most`; tells the failure, none from before.
    pub fn wait_for_flush(&self, at_most: Duration, ready: impl Fn(&[Arc<SealedTable>]) -> bool) -> Option<Error> {
        let state = self.lock();
        let seen = state.flush_attempts;
        let failed = |state: &State| state.flush_attempts > seen && state.flush_failure.is_some();
        let waits = |state: &mut State| !ready(&state.unflushed) && !failed(state) && state.broken.is_none();
        let (state, _) = self.changed.wait_timeout_while(state, at_most, waits).unwrap_or_else(PoisonError::into_inner);
        let failure = if failed(&state) { &state.flush_failure } else { &state.broken };
        failure.clone()
    }

    /// The failure after which nothing can be made durable any more.
    pub fn broken(&self) -> Option<Error> {
        self.lock().broken.clone()
    }

    /// Says that a worker panicked in this store: what it was doing is in doubt, so nothing more is written.
    pub fn worker_panicked(&self) {
        let message = "a worker panicked while it worked for this store, and printed where: please report it";
        let defect = Error::new(ErrorKind::Bug, message);
        tracing::error!(error = %defect, "the store is read-only from now on");
        let mut state = self.lock();
        state.flushing = false;
        state.flush_failure = Some(defect.clone());
        state.broken = Some(defect);
        self.generation.fetch_add(1, Ordering::Relaxed);
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
        self.changed.notify_all();
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

    /// Blocks until no worker works for this store.
    pub fn wait_until_idle(&self) {
        let state = self.lock();
        let busy = |state: &mut State| state.flushing || !state.merging.is_empty() || state.working > 0;
        drop(self.changed.wait_while(state, busy).unwrap_or_else(PoisonError::into_inner));
    }

    /// Writes the version once more, marked as closed in order, or as open: what is found after a crash tells which.
    pub fn mark(&self, fs: &dyn Fs, ending: Ending) -> Result<()> {
        let mut manifest = lock(&self.manifest);
        let version = Arc::clone(&self.lock().snapshot.version);
        manifest.write(fs, &version, ending).map(drop)
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
