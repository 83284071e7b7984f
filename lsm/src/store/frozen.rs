//! A checkpoint's seal, and what it pins.

use std::fmt;
use std::ops::RangeInclusive;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::{Core, Store};
use crate::codec::RunId;
use crate::entry::Clocks;
use crate::error::{Error, ErrorKind, Result};
use crate::fs::Source;
use crate::key::KeyRange;
use crate::version::RunFile;
use crate::view::{FrozenCell, FrozenState, View};

impl Store {
    /// Swaps the active memtable for an empty one and pins the state of this moment: the synchronous part of a checkpoint.
    ///
    /// Microseconds, independent of state size. [`Frozen::wait`] starts the flush, and gives the runs once it is through, on any
    /// thread: call it soon.
    /// From the first freeze on, the run of each seal stays pinned until [`Store::release`] lets it go.
    ///
    /// # Errors
    /// `Closed` when the store is read-only.
    pub fn freeze(&mut self) -> Result<Frozen> {
        self.stamp += 1;
        let seal = self.seal;
        let cell = self.seal_active(true)?;
        let cell = cell.ok_or_else(|| Error::new(ErrorKind::Bug, "a frozen seal has no cell"))?;
        let view = View::new(Arc::clone(&self.snapshot), Arc::clone(&self.core.rules), Arc::clone(&self.core.shape));
        Ok(Frozen { seal, cell, view, core: Arc::clone(&self.core) })
    }

    /// Says that the checkpoint of `seal` is confirmed: its deltas and those before need no pin any more.
    pub fn release(&mut self, seal: u64) {
        self.core.board.release(seal);
        self.core.env.pool.wake();
    }

    /// Says that nobody takes checkpoints any more: lets go of all deltas, and keeps none until the next freeze.
    pub fn release_all(&mut self) {
        self.core.board.release_all();
        self.core.env.pool.wake();
    }
}

/// The seal of a checkpoint. `Send`: wait for it on another thread.
///
/// ```
/// # let directory = tempfile::tempdir().unwrap();
/// let mut store = bedload_lsm::Store::options().open(directory.path())?;
/// store.put(b"a", b"1")?;
/// let frozen = store.freeze()?;
/// store.put(b"a", b"2")?; // not part of it
/// let stacks = frozen.wait()?;
/// for tile in stacks.tiles() {
///     for slice in &tile.slices {
///         println!("{:?}: {} with {} bytes", tile.range, slice.run.id(), slice.run.bytes());
///     }
/// }
/// store.release(stacks.seal());
/// # Ok::<(), bedload_lsm::Error>(())
/// ```
pub struct Frozen {
    seal: u64,
    cell: Arc<FrozenCell>,
    view: View,
    core: Arc<Core>,
}

impl Frozen {
    /// The number of the seal; later seals have greater numbers.
    pub fn seal(&self) -> u64 {
        self.seal
    }

    /// The content of this moment, readable at once.
    pub fn view(&self) -> &View {
        &self.view
    }

    /// Blocks until the seal is flushed and installed; the stacks are those of that very version.
    ///
    /// # Errors
    /// Those of the flush, which goes on trying: wait again later. `Closed` when the store was closed before.
    pub fn wait(&self) -> Result<FrozenStacks> {
        loop {
            while self.core.env.pool.is_stepped() && self.cell.get().is_none() {
                self.core.flush()?;
            }
            self.core.wake();
            if let Some(state) = self.cell.wait(Duration::from_millis(100)) {
                return Ok(FrozenStacks { seal: self.seal, clocks: *self.view.clocks(), state: state? });
            }
            if let Some(error) = self.core.board.broken().or_else(|| self.core.board.flush_failure()) {
                return Err(error);
            }
        }
    }
}

impl fmt::Debug for Frozen {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Frozen").field("seal", &self.seal).finish_non_exhaustive()
    }
}

/// The runs of a frozen state; pinned until dropped.
///
/// For a checkpoint that builds on one before it, only what is new has to be shipped:
///
/// ```
/// # let directory = tempfile::tempdir().unwrap();
/// let mut store = bedload_lsm::Store::options().open(directory.path())?;
/// store.put(b"a", b"1")?;
/// let first = store.freeze()?.wait()?;
///
/// store.put(b"b", b"2")?;
/// let second = store.freeze()?.wait()?;
/// match second.deltas_since(first.seal()) {
///     Some(deltas) => assert_eq!(deltas.len(), 1), // lay these over the first
///     None => unreachable!("nothing was released: else ship the stacks of all tiles"),
/// }
/// store.release(second.seal()); // once the second checkpoint is confirmed
/// # Ok::<(), bedload_lsm::Error>(())
/// ```
#[derive(Clone)]
pub struct FrozenStacks {
    seal: u64,
    clocks: Clocks,
    state: FrozenState,
}

impl FrozenStacks {
    /// The number of the seal.
    pub fn seal(&self) -> u64 {
        self.seal
    }

    /// The clocks at the seal.
    pub fn clocks(&self) -> &Clocks {
        &self.clocks
    }

    /// The tiles in key order; together they cover every key.
    pub fn tiles(&self) -> impl Iterator<Item = FrozenTile> + '_ {
        let version = &self.state.version;
        version.tiles().iter().enumerate().map(|(index, tile)| {
            let slice = |slice: &crate::version::Slice| FrozenSlice {
                run: RunRef(Arc::clone(&slice.run)),
                seals: slice.seals.first..=slice.seals.last,
                bytes: slice.bytes,
                entries: slice.entries,
            };
            FrozenTile { range: version.range_of(index), slices: tile.slices.iter().map(slice).collect() }
        })
    }

    /// The runs of the seals behind `seal`, oldest first: what must be laid over the state of `seal` to get this one.
    /// `None` when some of them are not pinned: released since, or from before the first freeze.
    pub fn deltas_since(&self, seal: u64) -> Option<Vec<Delta>> {
        if seal < self.state.complete_after {
            return None;
        }
        let behind = self.state.deltas.iter().filter(|delta| delta.seals.first > seal);
        let delta = |delta: &crate::view::Delta| Delta {
            run: RunRef(Arc::clone(&delta.run)),
            seals: delta.seals.first..=delta.seals.last,
        };
        Some(behind.map(delta).collect())
    }
}

/// A tile of a frozen state.
///
/// See [`AdoptedStack`](crate::AdoptedStack) for an example.
#[derive(Clone, Debug)]
pub struct FrozenTile {
    /// Its keys: what clips the runs of its slices.
    pub range: KeyRange,
    /// Its stack, newest first.
    pub slices: Vec<FrozenSlice>,
}

/// A run as a tile sees it.
///
/// See [`AdoptedStack`](crate::AdoptedStack) for an example.
#[derive(Clone, Debug)]
pub struct FrozenSlice {
    /// The run.
    pub run: RunRef,
    /// The seals it covers.
    pub seals: RangeInclusive<u64>,
    /// Bytes of its entries inside the tile.
    pub bytes: u64,
    /// How many entries those are.
    pub entries: u64,
}

/// The run that one seal became.
///
/// See [`FrozenStacks`] for an example.
#[derive(Clone, Debug)]
pub struct Delta {
    /// The run.
    pub run: RunRef,
    /// The seals it covers: several when one flush wrote them together.
    pub seals: RangeInclusive<u64>,
}

/// A pinned run: its file stays for as long as this lives.
///
/// ```
/// # let directory = tempfile::tempdir().unwrap();
/// let mut store = bedload_lsm::Store::options().open(directory.path())?;
/// store.put(b"a", b"1")?;
/// let frozen = store.freeze()?.wait()?;
/// let run = frozen.tiles().next().expect("tiles cover every key").slices[0].run.clone();
/// run.verify()?; // reads all of it
/// let file = std::fs::read(run.path().expect("it is a file of the store"))?;
/// assert_eq!(file.len() as u64, run.bytes());
/// assert_eq!(blake3::hash(&file).as_bytes(), run.digest());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct RunRef(pub(super) Arc<RunFile>);

impl RunRef {
    /// Its name.
    pub fn id(&self) -> RunId {
        self.0.id()
    }

    /// The length of its file.
    pub fn bytes(&self) -> u64 {
        self.0.bytes()
    }

    /// BLAKE3 of its file.
    pub fn digest(&self) -> &[u8; 32] {
        &self.0.digest
    }

    /// Its local file; `None` while it is read from a foreign source, which [`RunRef::source`] gives.
    pub fn path(&self) -> Option<&Path> {
        self.0.path.as_deref()
    }

    /// What its bytes are read through, wherever they are. Bytes of a run that is being fetched are there only when
    /// [`Source::ensure`] has been asked for them.
    pub fn source(&self) -> &Arc<dyn Source> {
        self.0.source()
    }

    /// Bytes of its entries in `range`, by its directory and, at the edges, its indexes; `None` when nothing at all is inside,
    /// also no deletion of a range.
    pub fn bytes_in(&self, range: &KeyRange) -> Option<u64> {
        self.0.overlaps(range).then(|| self.0.stats_in(range).bytes)
    }

    /// Reads every byte and verifies every checksum.
    ///
    /// # Errors
    /// `Damaged` with the place.
    pub fn verify(&self) -> Result<()> {
        self.0.verify()
    }
}

impl fmt::Debug for RunRef {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0.id(), out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Env;
    use crate::fs::MemoryFs;

    /// One pause of a checkpoint in three took ms while other processes used the processors: the freeze woke a worker, and the
    /// system gave it the processor of the writer, in the middle of the freeze.
    #[test]
    fn a_freeze_wakes_no_worker_and_who_waits_for_it_does() {
        let env = Env::builder().fs(Arc::new(MemoryFs::new())).threads(1).build().unwrap();
        let mut store = Store::options().env(&env).open("state").unwrap();
        store.put(b"a", b"1").unwrap();
        let before = env.inner.pool.wakes();
        let frozen = store.freeze().unwrap();
        assert_eq!(env.inner.pool.wakes(), before);
        assert_eq!(frozen.wait().unwrap().seal(), frozen.seal());
        assert!(env.inner.pool.wakes() > before);
    }
}
