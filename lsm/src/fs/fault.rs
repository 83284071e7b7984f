//! A file system that fails on demand, around any other, and writes down what was done.
//!
//! A [`FaultPlan`] says which fault hits which operation. Only operations that the fault *can* hit are counted for it (a
//! `SyncFailure` counts syncs), so that a test finds every place by counting up:
//!
//! ```text
//! for n in 0.. { plan: Nth(n); run the scenario; if injected() == 0 { break } check that the fault surfaced }
//! ```
//!
//! A fault comes *instead of* the operation, but for the short ones, which do half of it. Bit flips are apart from plans: they
//! deliver wrong bytes with a good conscience.
//!
//! Mapped reads go past any wrapper: while a plan or a flip could hit the reads of a source, [`Source::mapped`] gives nothing
//! and the bytes come through [`Source::read_exact_at`].

mod journal;
#[cfg(test)]
mod tests;

use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustix::io::Errno;

use self::journal::Journal;
use super::checks::{Abandoned, check_range, file_name};
use super::{Appender, FileInfo, Fs, FsKind, FsLock, ReadMode, Source, Space, SparseFile};
use crate::error::{Error, Result};

/// What goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The device fails: hits every operation.
    Eio,
    /// The disk is full: hits creating, appending, syncing, linking, renaming and locking.
    NoSpace,
    /// Half of the bytes are appended before the device fails: hits appends.
    ShortWrite,
    /// Half of the bytes are read before the file ends: hits reads; the error is `Damaged`, as for a file that was cut.
    ShortRead,
    /// Nothing becomes durable: hits syncs of files and of directories.
    SyncFailure,
}

/// When it goes wrong, counting from 0 the operations that the fault can hit since the plan was set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FaultWhen {
    /// At this one.
    Nth(u64),
    /// At this one and all after it.
    FromNth(u64),
    /// At one in `n` by chance; the same seed chooses the same ones.
    OneIn {
        /// The mean distance between two faults, at least 1.
        n: u64,
        /// Chooses which.
        seed: u64,
    },
}

/// Which fault happens when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FaultPlan {
    /// What goes wrong.
    pub fault: Fault,
    /// When.
    pub when: FaultWhen,
}

/// A byte that is read wrong from now on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BitFlip {
    /// Hits the files whose name (without directory) contains this.
    pub name_part: String,
    /// The byte's place in the file.
    pub offset: u64,
    /// The bits that are wrong.
    pub mask: u8,
}

/// What an operation does, as far as faults differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Class {
    /// Asks or opens.
    Ask,
    Read,
    Append,
    /// Makes bytes or names durable.
    Sync,
    /// Changes names that take space.
    Name,
    /// Removes a name or closes a file.
    Remove,
}

impl Fault {
    fn can_hit(self, class: Class) -> bool {
        match self {
            Fault::Eio => true,
            Fault::NoSpace => matches!(class, Class::Append | Class::Sync | Class::Name),
            Fault::ShortWrite => class == Class::Append,
            Fault::ShortRead => class == Class::Read,
            Fault::SyncFailure => class == Class::Sync,
        }
    }

    fn error(self, operation: &str, path: &Path) -> Error {
        let errno = if self == Fault::NoSpace { Errno::NOSPC } else { Errno::IO };
        Error::io(operation, path, errno.into())
    }
}

impl FaultWhen {
    fn chooses(self, index: u64) -> bool {
        match self {
            FaultWhen::Nth(n) => index == n,
            FaultWhen::FromNth(n) => index >= n,
            FaultWhen::OneIn { n, seed } => mix(seed, index).is_multiple_of(n),
        }
    }
}

/// Wraps a file system, makes its operations fail as planned, and logs those that change something.
///
/// A clone is another handle on the same plan, counters and log. From any thread; one lock, never held over an operation of the
/// inner file system, so that with several threads the log has *an* order that was possible.
#[derive(Clone)]
pub struct FaultFs {
    inner: Arc<dyn Fs>,
    control: Arc<Control>,
}

#[derive(Default)]
struct Control {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    plan: Option<FaultPlan>,
    /// Operations that the plan's fault could have hit.
    candidates: u64,
    flips: Vec<BitFlip>,
    operations: u64,
    injected: u64,
    flipped: u64,
    journal: Journal,
}

impl FaultFs {
    /// Wraps `inner`; nothing fails yet.
    pub fn new(inner: Arc<dyn Fs>) -> FaultFs {
        FaultFs { inner, control: Arc::default() }
    }

    /// Sets what goes wrong from now on, or nothing; starts counting anew, also [`FaultFs::injected`].
    ///
    /// # Panics
    /// When the plan asks for one in 0.
    pub fn set_plan(&self, plan: Option<FaultPlan>) {
        if let Some(FaultPlan { when: FaultWhen::OneIn { n, .. }, .. }) = plan {
            assert!(n > 0, "a fault happens in one of at least 1 operations");
        }
        let mut state = self.control.state();
        state.plan = plan;
        state.candidates = 0;
        state.injected = 0;
    }

    /// Replaces the set of bytes that are read wrong, also through sources that are open; starts counting
    /// [`FaultFs::flipped`] anew.
    pub fn set_flips(&self, flips: Vec<BitFlip>) {
        let mut state = self.control.state();
        state.flips = flips;
        state.flipped = 0;
    }

    /// How many faults of the current plan were delivered as errors.
    pub fn injected(&self) -> u64 {
        self.control.state().injected
    }

    /// How many reads got at least one wrong bit since the flips were set.
    pub fn flipped(&self) -> u64 {
        self.control.state().flipped
    }

    /// How many operations were begun, reads and failed ones too.
    pub fn operations(&self) -> u64 {
        self.control.state().operations
    }

    /// What was changed, in order, by names without directories; the newest 100,000 lines.
    ///
    /// ```text
    /// create VERSION.tmp
    /// append VERSION.tmp 812            appends in a row to one file are one line with the sum
    /// sync VERSION.tmp
    /// finish VERSION.tmp
    /// rename VERSION.tmp VERSION
    /// sync_dir .
    /// remove 9.run failed               with its own line also when appending
    /// ```
    ///
    /// The others are `link a b`, `create_dir .` and `lock LOCK`.
    pub fn log(&self) -> Vec<String> {
        self.control.state().journal.lines()
    }

    /// Forgets what was logged.
    pub fn clear_log(&self) {
        self.control.state().journal = Journal::default();
    }
}

impl fmt::Debug for FaultFs {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.control.state();
        write!(out, "FaultFs({:?}, {} injected, around {:?})", state.plan, state.injected, self.inner)
    }
}

impl Control {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts an operation and decides whether it goes wrong.
    fn begin(&self, class: Class) -> Option<Fault> {
        let mut state = self.state();
        state.operations += 1;
        let plan = state.plan.filter(|plan| plan.fault.can_hit(class))?;
        let index = state.candidates;
        state.candidates += 1;
        if !plan.when.chooses(index) {
            return None;
        }
        state.injected += 1;
        Some(plan.fault)
    }

    /// Runs an operation that changes nothing.
    fn ask<T>(&self, operation: &str, path: &Path, run: impl FnOnce() -> Result<T>) -> Result<T> {
        match self.begin(Class::Ask) {
            Some(fault) => Err(fault.error(operation, path)),
            None => run(),
        }
    }

    /// Runs an operation that changes something and logs it as `text`.
    fn change<T>(
        &self,
        class: Class,
        operation: &str,
        path: &Path,
        text: String,
        run: impl FnOnce() -> Result<T>,
    ) -> Result<T> {
        let result = match self.begin(class) {
            Some(fault) => Err(fault.error(operation, path)),
            None => run(),
        };
        self.state().journal.note(text, result.is_ok());
        result
    }

    /// Whether reads of the file must come through `read_exact_at`.
    fn watches_reads(&self, path: &Path) -> bool {
        let state = self.state();
        let name = file_name(path);
        state.plan.is_some_and(|plan| plan.fault.can_hit(Class::Read))
            || state.flips.iter().any(|flip| name.contains(&flip.name_part))
    }

    fn flip(&self, path: &Path, into: &mut [u8], offset: u64) {
        let mut state = self.state();
        let name = file_name(path);
        let mut hit = false;
        for flip in state.flips.iter().filter(|flip| name.contains(&flip.name_part)) {
            let place = flip.offset.checked_sub(offset).and_then(|place| usize::try_from(place).ok());
            if let Some(byte) = place.and_then(|place| into.get_mut(place)) {
                *byte ^= flip.mask;
                hit = true;
            }
        }
        state.flipped += u64::from(hit);
    }
}

impl Fs for FaultFs {
    fn create_new(&self, path: &Path) -> Result<Box<dyn Appender>> {
        let text = format!("create {}", file_name(path));
        let inner = self.control.change(Class::Name, "create", path, text, || self.inner.create_new(path))?;
        let control = Arc::clone(&self.control);
        Ok(Box::new(FaultAppender { inner, control, path: path.to_owned(), abandoned: Abandoned::default() }))
    }

    fn create_sparse(&self, path: &Path, bytes: u64) -> Result<Arc<dyn SparseFile>> {
        let text = format!("create {}", file_name(path));
        let inner = self.control.change(Class::Name, "create", path, text, || self.inner.create_sparse(path, bytes))?;
        Ok(Arc::new(FaultSparseFile { inner, control: Arc::clone(&self.control), path: path.to_owned() }))
    }

    fn open_sparse(&self, path: &Path) -> Result<Arc<dyn SparseFile>> {
        let inner = self.control.ask("open", path, || self.inner.open_sparse(path))?;
        Ok(Arc::new(FaultSparseFile { inner, control: Arc::clone(&self.control), path: path.to_owned() }))
    }

    fn open(&self, path: &Path, mode: ReadMode) -> Result<Arc<dyn Source>> {
        let inner = self.control.ask("open", path, || self.inner.open(path, mode))?;
        Ok(Arc::new(FaultSource { inner, control: Arc::clone(&self.control) }))
    }

    fn hard_link(&self, from: &Path, to: &Path) -> Result<()> {
        let text = format!("link {} {}", file_name(from), file_name(to));
        self.control.change(Class::Name, "link", to, text, || self.inner.hard_link(from, to))
    }

    fn rename(&self, from: &Path, to: &Path) -> Result<()> {
        let text = format!("rename {} {}", file_name(from), file_name(to));
        self.control.change(Class::Name, "rename", from, text, || self.inner.rename(from, to))
    }

    fn remove(&self, path: &Path) -> Result<()> {
        let text = format!("remove {}", file_name(path));
        self.control.change(Class::Remove, "remove", path, text, || self.inner.remove(path))
    }

    fn read_dir(&self, path: &Path) -> Result<Vec<FileInfo>> {
        self.control.ask("list", path, || self.inner.read_dir(path))
    }

    fn create_dir(&self, path: &Path) -> Result<()> {
        let text = "create_dir .".to_owned();
        self.control.change(Class::Name, "create directory", path, text, || self.inner.create_dir(path))
    }

    fn sync_dir(&self, path: &Path) -> Result<()> {
        let text = "sync_dir .".to_owned();
        self.control.change(Class::Sync, "sync directory", path, text, || self.inner.sync_dir(path))
    }

    fn lock(&self, path: &Path, owner: &str) -> Result<Box<dyn FsLock>> {
        let text = format!("lock {}", file_name(path));
        self.control.change(Class::Name, "lock", path, text, || self.inner.lock(path, owner))
    }

    fn space(&self, path: &Path) -> Result<Space> {
        self.control.ask("ask for free space", path, || self.inner.space(path))
    }

    fn kind(&self, path: &Path) -> Result<FsKind> {
        self.control.ask("ask for the kind of file system", path, || self.inner.kind(path))
    }
}

/// A file that is filled in any order.
struct FaultSparseFile {
    inner: Arc<dyn SparseFile>,
    control: Arc<Control>,
    path: PathBuf,
}

impl fmt::Debug for FaultSparseFile {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.inner, out)
    }
}

impl SparseFile for FaultSparseFile {
    fn write_at(&self, bytes: &[u8], offset: u64) -> Result<()> {
        let text = format!("write {}", file_name(&self.path));
        self.control.change(Class::Append, "write", &self.path, text, || self.inner.write_at(bytes, offset))
    }

    fn read_exact_at(&self, into: &mut [u8], offset: u64) -> Result<()> {
        match self.control.begin(Class::Read) {
            Some(fault) => Err(fault.error("read", &self.path)),
            None => self.inner.read_exact_at(into, offset),
        }
    }

    fn sync_data(&self) -> Result<()> {
        let text = format!("sync {}", file_name(&self.path));
        self.control.change(Class::Sync, "sync", &self.path, text, || self.inner.sync_data())
    }
}

/// A file that is being written. It is abandoned by itself: the inner file does not know of injected faults.
struct FaultAppender {
    inner: Box<dyn Appender>,
    control: Arc<Control>,
    path: PathBuf,
    abandoned: Abandoned,
}

impl Appender for FaultAppender {
    fn append(&mut self, bytes: &[u8]) -> Result<()> {
        self.abandoned.check("append", &self.path)?;
        let result = match self.control.begin(Class::Append) {
            Some(Fault::ShortWrite) => {
                let half = self.inner.append(&bytes[..bytes.len() / 2]);
                half.and(Err(Fault::ShortWrite.error("append", &self.path)))
            }
            Some(fault) => Err(fault.error("append", &self.path)),
            None => self.inner.append(bytes),
        };
        self.control.state().journal.note_append(&file_name(&self.path), bytes.len() as u64, result.is_ok());
        self.abandoned.note(result)
    }

    fn sync_data(&mut self) -> Result<()> {
        self.abandoned.check("sync", &self.path)?;
        let text = format!("sync {}", file_name(&self.path));
        let result = self.control.change(Class::Sync, "sync", &self.path, text, || self.inner.sync_data());
        self.abandoned.note(result)
    }

    fn finish(self: Box<Self>) -> Result<()> {
        self.abandoned.check("finish", &self.path)?;
        let text = format!("finish {}", file_name(&self.path));
        let FaultAppender { inner, control, path, .. } = *self;
        control.change(Class::Remove, "finish", &path, text, || inner.finish())
    }
}

/// A finished file whose reads may fail or lie.
struct FaultSource {
    inner: Arc<dyn Source>,
    control: Arc<Control>,
}

impl fmt::Debug for FaultSource {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_tuple("FaultSource").field(&self.inner).finish()
    }
}

impl Source for FaultSource {
    fn bytes(&self) -> u64 {
        self.inner.bytes()
    }

    fn read_exact_at(&self, into: &mut [u8], offset: u64) -> Result<()> {
        match self.control.begin(Class::Read) {
            Some(Fault::ShortRead) => {
                let half = into.len() / 2;
                self.inner.read_exact_at(&mut into[..half], offset)?;
                // The smallest request that this cut file cannot serve, so that also an empty read fails.
                return check_range(self.path(), offset.saturating_add(half as u64), offset, into.len().max(1));
            }
            Some(fault) => return Err(fault.error("read", self.path())),
            None => self.inner.read_exact_at(into, offset)?,
        }
        self.control.flip(self.path(), into, offset);
        Ok(())
    }

    fn mapped(&self) -> Option<&[u8]> {
        if self.control.watches_reads(self.path()) { None } else { self.inner.mapped() }
    }

    fn ensure(&self, range: Range<u64>) -> Result<()> {
        self.inner.ensure(range)
    }

    fn is_complete(&self) -> bool {
        self.inner.is_complete()
    }

    fn path(&self) -> &Path {
        self.inner.path()
    }
}

/// A number that looks random, from a seed and an index (SplitMix64).
fn mix(seed: u64, index: u64) -> u64 {
    let mut state = seed.wrapping_add(index.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    state = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    state = (state ^ (state >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    state ^ (state >> 31)
}
