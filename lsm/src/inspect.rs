//! Looks into the directory of a store without its lock: also while a writer works there. Nothing is written or created.
//!
//! ```text
//!   read VERSION ──► list the files ──► footer and directory of each run ──► done
//!        ▲                                       │ one is not there
//!        └────────── VERSION is another one ◄────┘ else it is missing indeed
//! ```
//!
//! The version is read as a whole, because it is replaced by renaming. Files of its runs are deleted when a later version no longer names
//! them: a file that is not there says that the version was replaced meanwhile, and then all is read again. One file is open at a
//! time. From any thread.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use crate::cache::BlockCache;
use crate::codec::RunId;
use crate::entry::Clocks;
use crate::error::{Error, ErrorKind, Result};
use crate::fs::{Fs, LockInfo, ReadMode};
use crate::key::{KeyRange, PointKeys};
use crate::run::Run;
use crate::version::{LOCK_FILE, StoredRun, StoredVersion};

/// How often a version is read that is replaced before its runs have been looked at. A merge takes milliseconds, a look much less.
const TRIES: u32 = 20;
/// Indexes of sections that a tile cuts.
const CACHE_BYTES: usize = 1 << 20;

/// What a store's directory holds. Given by [`inspect`].
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Inspection {
    /// Counts the changes of runs and tiles over the life of the directory.
    pub version: u64,
    /// The newest seal that is flushed.
    pub seal: u64,
    /// The clocks of that seal.
    pub clocks: Clocks,
    /// Whether the store was closed in order behind this version; not so one that is open.
    pub is_closed: bool,
    /// Name and version of the key shape.
    pub shape: (String, u32),
    /// The runs that the version names, in the order of their names.
    pub runs: Vec<InspectedRun>,
    /// The tiles, in key order.
    pub tiles: Vec<InspectedTile>,
    /// Files of runs that the version does not name: being written, kept for a checkpoint or a view, or left by a process that died.
    pub other_runs: usize,
    /// Their bytes.
    pub other_bytes: u64,
    /// Its lock; none when there is no such file.
    pub lock: Option<LockInfo>,
}

/// A run of a store.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct InspectedRun {
    /// Its name.
    pub id: RunId,
    /// The length of its file.
    pub bytes: u64,
    /// Where it is.
    pub place: RunPlace,
}

/// Where a run is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RunPlace {
    /// In the directory.
    Here,
    /// It was adopted from a source that the opener gives: the run of a lazy restore that is not here as a whole yet.
    Foreign,
    /// It should be in the directory and is not: deleted, or in another working directory of the same store.
    Missing,
}

/// A tile of a store.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct InspectedTile {
    /// Its keys.
    pub range: KeyRange,
    /// Its slices, newest first.
    pub slices: Vec<InspectedSlice>,
}

/// A slice of a tile. Counts are none where the run is not in the directory, and estimated where the tile cuts a section.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct InspectedSlice {
    /// Its run.
    pub run: RunId,
    /// Bytes of its entries.
    pub bytes: Option<u64>,
    /// Its entries.
    pub entries: Option<u64>,
    /// Tombstones among them.
    pub tombstones: Option<u64>,
}

/// Looks into the directory of a store without taking its lock, whether it is open, closed, or was left by a process that died. None when
/// no store is there.
///
/// Costs a read of the version, and of footer and directory of each run.
///
/// ```
/// use bedload_lsm::fs::DiskFs;
/// use bedload_lsm::{Store, inspect};
///
/// # let directory = tempfile::tempdir().unwrap();
/// # let directory = directory.path();
/// let mut store = Store::options().open(directory)?;
/// store.put(b"plane", b"N725MQ")?;
/// store.flush()?;
/// let seen = inspect(&DiskFs, directory)?.expect("there is a store");
/// assert_eq!((seen.runs.len(), seen.tiles[0].slices[0].entries), (1, Some(1)));
/// assert!(!seen.is_closed);
/// # Ok::<(), bedload_lsm::Error>(())
/// ```
///
/// # Errors
/// `Retry` when versions follow each other so fast that none could be looked at; `Damaged` with the place; those of the disk.
pub fn inspect(fs: &dyn Fs, directory: impl AsRef<Path>) -> Result<Option<Inspection>> {
    let directory = directory.as_ref();
    let mut before = StoredVersion::read(fs, directory);
    for _ in 0..TRIES {
        let looked = match &before {
            Ok(None) => return Ok(None),
            Ok(Some(stored)) => look(fs, directory, stored).map(Some),
            Err(error) => Err(error.clone()),
        };
        let is_whole = matches!(&looked, Ok(Some(seen)) if seen.runs.iter().all(|run| run.place != RunPlace::Missing));
        if is_whole {
            return looked;
        }
        let now = StoredVersion::read(fs, directory);
        match (&before, &now) {
            (Ok(before), Ok(now)) if before == now => return looked,
            (Err(_), Err(_)) => return looked,
            _ => before = now,
        }
    }
    let message = format!("its version was replaced {TRIES} times while it was looked at: try again");
    Err(Error::at(ErrorKind::Retry, directory, None, message))
}

fn look(fs: &dyn Fs, directory: &Path, stored: &StoredVersion) -> Result<Inspection> {
    let mut files: BTreeMap<RunId, u64> = fs
        .read_dir(directory)?
        .into_iter()
        .filter_map(|file| Some((RunId::from_file_name(&file.name)?, file.bytes)))
        .collect();
    let mut tiles: Vec<InspectedTile> = Vec::with_capacity(stored.tiles.len());
    // Which slices each run has: its tile, and its place in the stack.
    let mut slices_of: Vec<Vec<(usize, usize)>> = vec![Vec::new(); stored.runs.len()];
    for (index, (start, slices)) in stored.tiles.iter().enumerate() {
        let end = stored.tiles.get(index + 1).map(|(start, _)| start.clone());
        for (place, (run, _)) in slices.iter().enumerate() {
            slices_of[*run].push((index, place));
        }
        let unknown =
            |run: usize| InspectedSlice { run: stored.runs[run].id, bytes: None, entries: None, tombstones: None };
        let slices = slices.iter().map(|(run, _)| unknown(*run)).collect();
        tiles.push(InspectedTile { range: KeyRange { start: start.clone(), end }, slices });
    }
    let cache = Arc::new(BlockCache::new(CACHE_BYTES));
    let mut runs = Vec::with_capacity(stored.runs.len());
    for (run, slices) in stored.runs.iter().zip(&slices_of) {
        let is_here = files.remove(&run.id).is_some();
        let place = match (run.foreign, is_here) {
            (true, _) => RunPlace::Foreign,
            (false, true) => RunPlace::Here,
            (false, false) => RunPlace::Missing,
        };
        if place == RunPlace::Here {
            count(fs, directory, run, &cache, slices, &mut tiles)?;
        }
        runs.push(InspectedRun { id: run.id, bytes: run.bytes, place });
    }
    Ok(Inspection {
        version: stored.number,
        seal: stored.seal,
        clocks: stored.clocks,
        is_closed: stored.clean,
        shape: stored.shape.clone(),
        runs,
        tiles,
        other_runs: files.len(),
        other_bytes: files.values().sum(),
        lock: fs.look_at_lock(&directory.join(LOCK_FILE))?,
    })
}

/// Counts what the slices of a run show.
fn count(
    fs: &dyn Fs,
    directory: &Path,
    stored: &StoredRun,
    cache: &Arc<BlockCache>,
    slices: &[(usize, usize)],
    tiles: &mut [InspectedTile],
) -> Result<()> {
    // Not mapped: the owner may do what it likes with its files.
    let source = fs.open(&directory.join(stored.id.file_name()), ReadMode::Pread)?;
    if source.bytes() != stored.bytes {
        let what = format_args!("run of {} bytes, expected {}", source.bytes(), stored.bytes);
        return Err(Error::damaged(source.path(), source.bytes(), what));
    }
    // No key is looked for, so that any shape will do.
    let run = Run::open(source, stored.id, Arc::clone(cache), Arc::new(PointKeys))?;
    for (tile, place) in slices {
        let tile = &mut tiles[*tile];
        let stats = run.stats_in(&tile.range);
        let slice = &mut tile.slices[*place];
        slice.bytes = Some(stats.bytes);
        slice.entries = Some(stats.entries);
        slice.tombstones = Some(stats.tombstones);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fs::DiskFs;
    use crate::store::{Env, Store};

    fn names(directory: &Path) -> Vec<(String, u64)> {
        DiskFs.read_dir(directory).unwrap().into_iter().map(|file| (file.name, file.bytes)).collect()
    }

    #[test]
    fn it_counts_what_the_store_counts_and_changes_nothing() {
        let directory = tempfile::tempdir().unwrap();
        // No thread merges between the look and the count.
        let env = Env::builder().threads(0).build().unwrap();
        let mut store = Store::options().env(&env).open(directory.path()).unwrap();
        for seal in 0..3u64 {
            for key in 0..1000u64 {
                store.put(&(key * (seal + 1)).to_be_bytes(), &[7; 40]).unwrap();
            }
            store.delete(&seal.to_be_bytes()).unwrap();
            store.flush().unwrap();
        }
        let before = names(directory.path());
        let (seen, stats) = (inspect(&DiskFs, directory.path()).unwrap().unwrap(), store.stats());
        assert_eq!(names(directory.path()), before);
        assert_eq!(seen.tiles.len(), stats.tiles.len());
        for (seen, told) in seen.tiles.iter().zip(&stats.tiles) {
            let sum = |count: fn(&InspectedSlice) -> Option<u64>| seen.slices.iter().filter_map(count).sum::<u64>();
            assert_eq!(seen.range, told.range);
            assert_eq!((seen.slices.len(), sum(|slice| slice.bytes)), (told.slices, told.bytes));
            assert_eq!((sum(|slice| slice.entries), sum(|slice| slice.tombstones)), (told.entries, told.tombstones));
        }
        assert_eq!(seen.runs.iter().map(|run| run.bytes).sum::<u64>() + seen.other_bytes, stats.run_bytes);
        assert!(seen.runs.iter().all(|run| run.place == RunPlace::Here));
        assert_eq!((seen.is_closed, seen.shape.0.as_str()), (false, "points"));
        store.close().unwrap();
        assert!(inspect(&DiskFs, directory.path()).unwrap().unwrap().is_closed);
    }

    #[test]
    fn what_is_missing_and_what_nobody_names_is_told() {
        let directory = tempfile::tempdir().unwrap();
        assert!(inspect(&DiskFs, directory.path()).unwrap().is_none());
        let mut store = Store::options().open(directory.path()).unwrap();
        store.put(b"a", b"1").unwrap();
        store.close().unwrap();
        let run = inspect(&DiskFs, directory.path()).unwrap().unwrap().runs[0].id;
        let other = RunId { opening: 1, sequence: 1 };
        DiskFs.rename(&directory.path().join(run.file_name()), &directory.path().join(other.file_name())).unwrap();
        let seen = inspect(&DiskFs, directory.path()).unwrap().unwrap();
        assert_eq!((seen.runs[0].place, seen.other_runs), (RunPlace::Missing, 1));
        assert_eq!(seen.tiles[0].slices[0].bytes, None);
    }

    #[test]
    fn looks_go_on_while_a_writer_flushes_and_merges() {
        let directory = tempfile::tempdir().unwrap();
        let mut store = Store::options().memory(4 << 20).open(directory.path()).unwrap();
        let is_done = std::sync::atomic::AtomicBool::new(false);
        let (mut versions, mut looks) = (std::collections::BTreeSet::new(), 0);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for round in 0..120u64 {
                    for key in 0..200u64 {
                        store.put(&(key ^ round).to_be_bytes(), &round.to_le_bytes()).unwrap();
                    }
                    store.flush().unwrap();
                }
                is_done.store(true, std::sync::atomic::Ordering::SeqCst);
            });
            while !is_done.load(std::sync::atomic::Ordering::SeqCst) {
                if let Some(seen) = inspect(&DiskFs, directory.path()).unwrap() {
                    assert!(seen.runs.iter().all(|run| run.place == RunPlace::Here), "{seen:?}");
                    versions.insert(seen.version);
                    looks += 1;
                }
            }
        });
        assert!(versions.len() > 3, "{looks} looks saw {} versions", versions.len());
    }
}
