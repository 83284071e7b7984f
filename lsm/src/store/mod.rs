//! The store: one writer's face to all of the above.

mod adopt;
mod batch;
mod builder;
mod core;
mod cursor;
mod env;
mod frozen;
mod queue;
mod read;
mod stats;
mod update;
mod write;

pub use adopt::{AdoptedRun, AdoptedSource, AdoptedStack};
pub use batch::Batch;
pub use builder::StoreOptions;
pub use cursor::Cursor;
pub use env::{Env, EnvBuilder};
pub use frozen::{Delta, Frozen, FrozenSlice, FrozenStacks, FrozenTile, RunRef};
pub use stats::{Stats, TileStats};
pub use update::Slot;

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use self::core::{Core, memtable_bytes};
use crate::codec::RunId;
use crate::entry::{ClockId, Clocks};
use crate::error::{Error, ErrorKind, Result};
use crate::fs::{Fs, FsKind, FsLock};
use crate::memtable::{ChunkPool, Memtable};
use crate::options::Durability;
use crate::run::RunSettings;
use crate::version::{
    Ending, LOCK_FILE, Manifest, Pins, RunFile, RunFiles, StoredRun, StoredVersion, VERSION_FILE, Version,
    remove_orphans,
};
use crate::view::{Board, FrozenCell, SealedTable, Snapshot, View};
use crate::worker::Work;

/// How long a writer waits for memory while flushes fail, before it is told so.
const FULL_AFTER: Duration = Duration::from_secs(5);

/// A seal takes microseconds: one that takes this long is worth a line in a log.
const SLOW_SEAL: Duration = Duration::from_millis(10);

/// A sorted map of bytes with one writer, made of immutable runs on a local disk.
///
/// Writes take `&mut self`, reads `&self`; a store can move to another thread, and [`View`]s read it from many. What a store
/// itself reads changes only in `&mut self` calls, so values can be borrowed.
///
/// ```
/// use bedload_lsm::Store;
///
/// # let directory = tempfile::tempdir().unwrap();
/// let mut store = Store::options().memory(64 << 20).open(directory.path())?;
/// store.put(b"plane", b"N725MQ")?;
/// store.update(b"flights", |slot| {
///     let flights = slot.value().map_or(0, |value| u64::from_le_bytes(value.try_into().unwrap()));
///     slot.put(&(flights + 1).to_le_bytes());
/// })?;
/// assert_eq!(store.get(b"plane")?.as_deref(), Some(&b"N725MQ"[..]));
/// store.close()?;
/// # Ok::<(), bedload_lsm::Error>(())
/// ```
///
/// Dropping a store does what [`Store::close`] does, and says on standard error when that fails.
pub struct Store {
    active: Memtable,
    clocks: Clocks,
    snapshot: Arc<Snapshot>,
    generation: u64,
    /// The number that the active memtable's seal will have.
    seal: u64,
    /// Bytes of keys and values written into the active memtable.
    written_bytes: u64,
    /// When the active memtable is full.
    memtable_bytes: usize,
    /// Up to here the active memtable has the memory it needs.
    checked_bytes: usize,
    /// Counts writes: tells a detached cursor whether what it read ahead still holds.
    stamp: u64,
    scratch: Vec<u8>,
    /// The last view that may be given again, and until when.
    shared_view: Option<SharedView>,
    /// A panic inside an update may have left a value half-written.
    torn: bool,
    /// Torn, or nothing can be made durable any more: each write asks.
    halted: bool,
    closed: bool,
    opened_clean: bool,
    warning: Option<String>,
    core: Arc<Core>,
    _locks: Vec<Box<dyn FsLock>>,
}

/// A view that several readers are given.
struct SharedView {
    view: View,
    taken: Duration,
    /// When nobody who asked so far would accept it any more.
    wanted_until: Duration,
}

impl Store {
    /// The settings to open one with.
    pub fn options() -> StoreOptions {
        StoreOptions::default()
    }

    fn open(directory: &Path, options: StoreOptions) -> Result<Store> {
        let env = match options.env {
            Some(env) => env,
            None => {
                let builder = Env::builder().merge_bytes_per_second(options.tuning.merge_bytes_per_second);
                builder.memory(options.memory.unwrap_or(256 << 20)).build()?
            }
        };
        let fs = Arc::clone(&env.inner.fs);
        let mut directories = vec![directory.to_owned()];
        directories.extend(options.more_directories);
        let warning = check_directories(&*fs, &directories, options.allow_remote)?;
        let owner = owner();
        let locks = directories.iter().map(|directory| fs.lock(&directory.join(LOCK_FILE), &owner));
        let locks = locks.collect::<Result<Vec<_>>>()?;
        check_order(&*fs, &directories)?;
        let settings = RunSettings {
            block_bytes: options.tuning.block_bytes,
            section_bytes: options.tuning.section_bytes,
            filter_bits: options.tuning.filter_bits,
            codec: options.tuning.codec,
        };
        let (opening, cache) = (env.inner.random(), Arc::clone(&env.inner.cache));
        let mut files =
            RunFiles::new(Arc::clone(&fs), directories, opening, Arc::clone(&options.shape), cache, settings);
        files.read_mode = options.read_mode;
        files.synced = options.durability == Durability::Synced;
        let pins = Pins::default();
        let stored = StoredVersion::read(&*fs, directory)?;
        let opened_clean = stored.as_ref().is_none_or(|stored| stored.clean);
        let version = recover(&files, &pins, stored.as_ref(), options.sources.as_deref())?;
        let (seal, clocks) = (version.seal + 1, version.clocks);
        let manifest = Manifest::new(directory, files.synced, &*options.shape);
        let is_marked_open = stored.is_some() && !opened_clean;
        let core = Arc::new(Core {
            chunks: ChunkPool::new(memtable_bytes(&env.inner, env.inner.pool.stores() + 1, &options.tuning)),
            board: Board::new(version, manifest, pins),
            files,
            ruled: options.rules.any(),
            rules: options.rules,
            shape: options.shape,
            tuning: options.tuning,
            expected_entries: AtomicUsize::new(0),
            behind: AtomicBool::new(false),
            flush_again_at_ns: AtomicU64::new(0),
            env: env.inner,
        });
        if !is_marked_open {
            core.board.mark(&*core.files.fs, Ending::Open)?;
        }
        let as_work: Arc<dyn Work> = core.clone();
        core.env.pool.serve(Arc::downgrade(&as_work));
        let (snapshot, generation) = core.board.snapshot();
        let memtable_bytes = core.memtable_bytes();
        let store = Store {
            active: Memtable::new(&core.shape, &core.chunks, 0),
            clocks,
            snapshot,
            generation,
            seal,
            written_bytes: 0,
            memtable_bytes,
            checked_bytes: 0,
            stamp: 0,
            scratch: Vec::new(),
            shared_view: None,
            torn: false,
            halted: false,
            closed: false,
            opened_clean,
            warning,
            core,
            _locks: locks,
        };
        store.core.env.pool.wake();
        let (runs, bytes) = (store.core.board.pins.count(), store.core.board.pins.bytes());
        tracing::debug!(directory = %directory.display(), runs, bytes, opened_clean, "opened a store");
        if let Some(warning) = &store.warning {
            tracing::warn!(directory = %directory.display(), "{warning}");
        }
        Ok(store)
    }

    /// Whether the store was closed in order before it was opened (or is new): else it holds the state of some flush, and
    /// what was written behind that flush is gone.
    pub fn opened_clean(&self) -> bool {
        self.opened_clean
    }

    /// What is doubtful about the working directory, such as a tmpfs; worth a line in a log.
    pub fn warning(&self) -> Option<&str> {
        self.warning.as_deref()
    }

    /// The reading of every clock.
    pub fn clocks(&self) -> &Clocks {
        &self.clocks
    }

    /// Moves a clock forward: what expires by then is gone at once. An older reading changes nothing. Costs nothing: entries
    /// leave the disk when merges meet them.
    ///
    /// # Errors
    /// `Fix` when there is no such clock.
    pub fn set_clock(&mut self, clock: ClockId, now: u64) -> Result<()> {
        check_clock(clock)?;
        self.clocks.advance(clock, now);
        self.stamp += 1;
        Ok(())
    }

    /// Looks at the newest version: what flushes and merges have done since the last write. Writes do this by themselves; a
    /// store that only reads should call it now and then, so that old files can go.
    pub fn refresh(&mut self) {
        if self.look() {
            // What was seen before may have been the last to reach some memtable or file.
            self.core.env.pool.wake();
        }
    }

    /// As [`Store::refresh`], and wakes nobody; tells whether there was a newer version.
    fn look(&mut self) -> bool {
        if self.core.board.generation() == self.generation {
            return false;
        }
        let seen = self.core.board.snapshot();
        self.show(seen);
        self.halted |= self.core.board.broken().is_some();
        true
    }

    fn show(&mut self, (snapshot, generation): (Arc<Snapshot>, u64)) {
        let before = std::mem::replace(&mut self.snapshot, snapshot);
        self.generation = generation;
        self.core.board.retire(before);
    }

    /// Swaps the active memtable for an empty one and returns a view of everything written so far.
    ///
    /// Microseconds, independent of state size. Nothing is durable because of it. An untouched memtable is not swapped.
    ///
    /// # Errors
    /// `Closed` when the store is read-only.
    pub fn view(&mut self) -> Result<View> {
        if !self.active.is_empty() || self.clocks != self.core.board.clocks() {
            self.seal_active(false)?;
        }
        self.refresh();
        Ok(View::new(Arc::clone(&self.snapshot), Arc::clone(&self.core.rules), Arc::clone(&self.core.shape)))
    }

    /// The last view taken this way if it is at most this old, else a new one: for many readers of a store that must not seal
    /// for each. The store itself holds such a view until the first seal behind that age.
    ///
    /// # Errors
    /// As [`Store::view`].
    pub fn view_at_most_old(&mut self, age: Duration) -> Result<View> {
        let now = self.core.env.time.now();
        if let Some(shared) = &mut self.shared_view
            && now.saturating_sub(shared.taken) <= age
        {
            shared.wanted_until = shared.wanted_until.max(shared.taken.saturating_add(age));
            return Ok(shared.view.clone());
        }
        let view = self.view()?;
        self.shared_view = Some(SharedView { view: view.clone(), taken: now, wanted_until: now.saturating_add(age) });
        Ok(view)
    }

    /// Seals and starts the flush of everything written so far; blocks until it is done.
    ///
    /// With [`Durability::Synced`] all of it survives a power loss afterwards.
    ///
    /// # Errors
    /// Those of the flush: `Full`, `Closed`, or of the disk. What was written stays in memory and is flushed later.
    pub fn flush(&mut self) -> Result<()> {
        if !self.active.is_empty() || self.clocks != self.core.board.clocks() {
            self.seal_active(false)?;
        }
        self.drain()?;
        self.refresh();
        Ok(())
    }

    /// Blocks until every sealed memtable is flushed.
    fn drain(&mut self) -> Result<()> {
        self.core.board.want_flushed(true);
        let mut result = Ok(());
        while result.is_ok() && !self.core.board.is_flushed() {
            result = self.wait_for_flush(<[_]>::is_empty);
        }
        self.core.board.want_flushed(false);
        result
    }

    /// Lets flushes go on until `ready` holds of what is unflushed, or some time has passed.
    fn wait_for_flush(&self, ready: impl Fn(&[Arc<SealedTable>]) -> bool) -> Result<()> {
        if let Some(error) = self.core.board.broken() {
            return Err(closed(&error));
        }
        if self.core.env.pool.is_stepped() {
            return self.core.flush().map(drop);
        }
        self.core.wake();
        match self.core.board.wait_for_flush(Duration::from_millis(100), ready) {
            Some(error) => Err(error),
            None => Ok(()),
        }
    }

    /// Seals the active memtable. On error nothing has changed.
    ///
    /// A freeze wakes no worker: where all processors are busy, the one that is woken takes the writer's for some ms. Who waits
    /// for what was frozen wakes it. Locks are few for the same reason: to wait for one is to give the processor away.
    fn seal_active(&mut self, frozen: bool) -> Result<Option<Arc<FrozenCell>>> {
        self.look();
        if self.halted {
            self.check_open()?;
        }
        let start = self.core.env.time.now();
        if self.shared_view.as_ref().is_some_and(|shared| shared.wanted_until < start) {
            self.shared_view = None;
        }
        let cell = self.swap_active(frozen);
        let took = self.core.env.time.now().saturating_sub(start);
        self.core.board.metrics.seal_time.record(took);
        if took >= SLOW_SEAL {
            let seal_us = took.as_micros() as u64;
            tracing::warn!(seal_us, frozen, "a seal took long: are all processors busy, or memory short?");
        }
        Ok(cell)
    }

    fn swap_active(&mut self, frozen: bool) -> Option<Arc<FrozenCell>> {
        self.core.expected_entries.store(self.active.hashed().max(1), Ordering::Relaxed);
        let spare = self.core.board.take_spare();
        // Without a spare the index starts small: memory for a large one takes ms, and its shards grow one by one.
        let next = spare.unwrap_or_else(|| Memtable::new(&self.core.shape, &self.core.chunks, 0));
        let table = std::mem::replace(&mut self.active, next);
        let sealed = SealedTable {
            table: table.seal(),
            seal: self.seal,
            clocks: self.clocks,
            frozen,
            written_bytes: std::mem::take(&mut self.written_bytes),
        };
        self.seal += 1;
        let (cell, seen) = self.core.board.seal(sealed);
        self.show(seen);
        self.checked_bytes = 0;
        if !frozen {
            self.core.wake();
        }
        cell
    }

    /// Makes way for `bytes` more in the active memtable: seals a full one, waits for memory, and forgets memtables that are
    /// kept as caches only. Asked once for each chunk of memory.
    ///
    /// # Errors
    /// `Full` when sealed memtables hold the whole budget and flushes fail; `Closed` when the store is read-only.
    #[cold]
    fn make_way(&mut self, bytes: usize) -> Result<()> {
        self.check_open()?;
        self.memtable_bytes = self.core.memtable_bytes();
        if !self.active.is_empty() && self.active.used_bytes() + bytes > self.memtable_bytes {
            self.seal_active(false)?;
        }
        let used = self.active.used_bytes();
        let wanted = used + bytes.max(self.core.chunks.chunk_bytes());
        self.wait_for_memory(wanted)?;
        let share = self.core.memtable_share();
        self.core.chunks.limit(share);
        let kept = if self.core.tuning.keep_flushed { share.saturating_sub(wanted) } else { 0 };
        if self.core.board.forget_flushed(kept) {
            self.refresh();
        }
        if self.core.chunks.is_low() {
            self.core.env.pool.wake();
        }
        self.checked_bytes = wanted.min(self.memtable_bytes).max(used + bytes);
        Ok(())
    }

    /// Blocks while the memtables that wait for their flush leave no room for an active one of `wanted` bytes.
    fn wait_for_memory(&mut self, wanted: usize) -> Result<()> {
        let share = self.core.memtable_share();
        let ready = |unflushed: usize| unflushed == 0 || unflushed + wanted <= share;
        if ready(self.core.board.unflushed_bytes()) {
            return Ok(());
        }
        let start = self.core.env.time.now();
        let waited = || self.core.env.time.now().saturating_sub(start);
        let result = loop {
            let failure = self.wait_for_flush(|tables| ready(used_bytes(tables))).err();
            if ready(self.core.board.unflushed_bytes()) {
                break Ok(());
            }
            match failure {
                Some(error) if error.kind() == ErrorKind::Closed => break Err(error),
                Some(error) if self.core.env.pool.is_stepped() || waited() > FULL_AFTER => break Err(full(error)),
                _ => {}
            }
        };
        let waited = waited();
        self.core.board.metrics.wait_time.record(waited);
        tracing::debug!(wait_us = waited.as_micros() as u64, "the writer waited for memory");
        result
    }

    /// How hard the store is pressed, 0 to 1: at 1 the next write may block. Rises with memtables that wait for their flush
    /// and with tiles that wait for their merge; a source that reads slower from 0.5 on never sees a block.
    ///
    /// Costs a look at every tile's stack.
    pub fn pressure(&self) -> f64 {
        let share = self.core.memtable_share().saturating_sub(self.memtable_bytes).max(1);
        let unflushed = self.core.board.unflushed_bytes();
        let waiting =
            if unflushed == 0 { 0 } else { (unflushed + self.active.used_bytes()).saturating_sub(self.memtable_bytes) };
        let memory = waiting as f64 / share as f64;
        let merges = crate::compaction::pressure(&self.core.board.snapshot().0.version, &self.core.tuning);
        memory.max(merges).min(1.0)
    }

    fn check_open(&self) -> Result<()> {
        if self.torn {
            let message =
                "a panic inside an update left the store in doubt: drop it and restore from the last checkpoint";
            return Err(Error::new(ErrorKind::Closed, message));
        }
        match self.core.board.broken() {
            Some(error) => Err(closed(&error)),
            None => Ok(()),
        }
    }

    /// Flushes everything, ends background work, and marks the directory as closed in order.
    ///
    /// # Errors
    /// Those of the last flush; the state of the flush before it is on disk then.
    pub fn close(mut self) -> Result<()> {
        self.shut()
    }

    fn shut(&mut self) -> Result<()> {
        if self.closed {
            return Ok(());
        }
        self.closed = true;
        let flushed = if self.torn { self.check_open() } else { self.flush() };
        self.shared_view = None;
        self.core.board.begin_close();
        self.core.board.wait_until_idle();
        let fs = Arc::clone(&self.core.files.fs);
        let result = flushed.and_then(|()| self.core.board.mark(&*fs, Ending::Closed));
        self.refresh();
        self.core.board.collect(&*fs);
        result
    }
}

impl fmt::Debug for Store {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Store").field("directory", &self.core.files.directories[0]).finish_non_exhaustive()
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        if let Err(error) = self.shut()
            && !std::thread::panicking()
        {
            eprintln!("bedload: a store was dropped and could not be closed: {error}");
        }
    }
}

fn used_bytes(tables: &[Arc<SealedTable>]) -> usize {
    tables.iter().map(|table| table.table.used_bytes()).sum()
}

fn closed(cause: &Error) -> Error {
    Error::new(ErrorKind::Closed, format!("the store is read-only after a failure: {cause}"))
}

fn full(cause: Error) -> Error {
    let message =
        "sealed memtables hold the whole memory budget and cannot be flushed; writes go on by themselves once they can";
    match cause.kind() {
        ErrorKind::Full => cause.context(message),
        _ => Error::new(ErrorKind::Full, format!("{message}: {cause}")),
    }
}

fn check_clock(clock: ClockId) -> Result<()> {
    let max = crate::entry::CLOCKS_MAX;
    if usize::from(clock.0) < max {
        return Ok(());
    }
    Err(Error::new(ErrorKind::Fix, format!("clock {} does not exist: there are {max}, from 0", clock.0)))
}

/// Who holds a lock, for the message of who does not get it.
fn owner() -> String {
    let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
    format!("process {} on host {host}", std::process::id())
}

/// Creates the directories and refuses those that a store cannot work in; returns what is doubtful about them.
fn check_directories(fs: &dyn Fs, directories: &[PathBuf], allow_remote: bool) -> Result<Option<String>> {
    let mut warning = None;
    for directory in directories {
        fs.create_dir(directory)?;
        match fs.kind(directory)? {
            FsKind::Local => {}
            FsKind::Remote(_) if allow_remote => {}
            FsKind::Remote(name) => {
                let message = format!(
                    "is on {name}; working state belongs on a local disk (checkpoints are what every worker shares): \
                     choose a local directory, or allow it with allow_remote_directory"
                );
                return Err(Error::at(ErrorKind::Fix, directory, None, message));
            }
            FsKind::Doubtful(name) => {
                warning = Some(format!("{} is on {name}: slower or smaller than it looks", directory.display()));
            }
        }
    }
    Ok(warning)
}

/// Refuses directories that belong to stores of another arrangement: their runs would be taken for leftovers.
fn check_order(fs: &dyn Fs, directories: &[PathBuf]) -> Result<()> {
    let mut has_version = Vec::new();
    let mut with_run = None;
    for directory in directories {
        let files = fs.read_dir(directory)?;
        has_version.push(files.iter().any(|file| file.name == VERSION_FILE));
        if with_run.is_none() && files.iter().any(|file| RunId::from_file_name(&file.name).is_some()) {
            with_run = Some(directory);
        }
    }
    if let Some(other) = has_version.iter().skip(1).position(|has| *has) {
        let message = "is the first directory of a store: name it first, or choose another";
        return Err(Error::at(ErrorKind::Fix, &directories[other + 1], None, message));
    }
    match with_run {
        Some(directory) if !has_version[0] => {
            let what = "holds runs and no version names them: is it another store's further directory? if its version was lost, \
                        empty it and restore from the last checkpoint";
            Err(Error::damaged(directory, 0, what))
        }
        _ => Ok(()),
    }
}

/// Opens what the stored version names, and removes what it does not.
fn recover(
    files: &RunFiles,
    pins: &Pins,
    stored: Option<&StoredVersion>,
    sources: Option<&builder::FindSource>,
) -> Result<Version> {
    let mut runs: Vec<Arc<RunFile>> = Vec::new();
    if let Some(stored) = stored {
        let shape = (files.shape.name(), files.shape.version());
        if (stored.shape.0.as_str(), stored.shape.1) != shape {
            let message = format!(
                "was written with key shape {} version {}, and is opened with {} version {}: open it with the same shape",
                stored.shape.0, stored.shape.1, shape.0, shape.1
            );
            return Err(Error::at(ErrorKind::Fix, &files.directories[0], None, message));
        }
        let listed = files.list()?;
        for run in &stored.runs {
            runs.push(open_run(files, run, &listed, sources)?);
        }
    }
    for directory in &files.directories {
        remove_orphans(&*files.fs, directory, |id| runs.binary_search_by_key(&id, |run| run.id()).is_ok())?;
    }
    for run in &runs {
        pins.register(run);
    }
    Ok(stored.map_or_else(Version::empty, |stored| stored.resolve(&runs)))
}

fn open_run(
    files: &RunFiles,
    stored: &StoredRun,
    listed: &BTreeMap<RunId, usize>,
    sources: Option<&builder::FindSource>,
) -> Result<Arc<RunFile>> {
    if !stored.foreign {
        return files.open_stored(stored, listed);
    }
    match sources.and_then(|find| find(stored.id)) {
        Some(source) => files.open(source, stored, None),
        None => {
            let message = format!(
                "run {} was adopted from a foreign source that is not given: pass StoreOptions::sources, or restore again",
                stored.id
            );
            Err(Error::at(ErrorKind::Fix, &files.directories[0], None, message))
        }
    }
}
