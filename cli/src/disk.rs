//! What lies in a working directory, seen from outside: of an engine, or of a store alone. Nothing there is changed, and no lock is taken.
//!
//! ```text
//!  DIR/LOCK, DIR/state/ (a store), DIR/local/ (runs of checkpoints)    an engine's
//!  DIR/LOCK, DIR/VERSION, DIR/*.run                                    a store's
//! ```

use std::path::{Path, PathBuf};

use bedload::{Error, ErrorKind, Result};
use bedload_lsm::fs::{DiskFs, Fs, FsKind, LockInfo};
use bedload_lsm::{InspectedSlice, Inspection, RunPlace, inspect};
use bedload_snapshot::{InspectedCopy, LocalInspection, inspect_local};
use serde::Serialize;

/// What is in a working directory.
#[derive(Debug, Serialize)]
pub struct Directory {
    pub directory: String,
    pub kind: Kind,
    pub lock: Lock,
    pub disk: Disk,
    /// None while an engine is opened, and empties it; and where only copies of checkpoints are, for an engine that starts there.
    pub store: Option<StoreSeen>,
    /// None where an engine has no repo, and for a store alone.
    pub local: Option<LocalSeen>,
}

/// Whose directory it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    Engine,
    Store,
}

/// Whether somebody works in it.
#[derive(Debug, Serialize)]
pub struct Lock {
    pub state: LockState,
    pub process: Option<u32>,
    /// What the last one who opened it wrote.
    pub owner: Option<String>,
    /// When that was.
    pub taken_at_ms: Option<u64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum LockState {
    Held,
    Free,
    /// The system does not tell, or not of processes of other containers.
    Unknown,
}

/// The file system that it lies on.
#[derive(Debug, Serialize)]
pub struct Disk {
    /// `local`, or the name of one that is slower or smaller than it looks.
    pub kind: String,
    pub free_bytes: u64,
    pub total_bytes: u64,
}

/// A store, as its version tells.
#[derive(Debug, Serialize)]
pub struct StoreSeen {
    /// Counts changes of runs and tiles.
    pub version: u64,
    pub seal: u64,
    /// Whether it was closed in order.
    pub is_closed: bool,
    pub key_shape: String,
    /// Runs of the version, and where they are.
    pub runs: u64,
    pub run_bytes: u64,
    /// Of these, runs of a lazy restore that are not here as a whole yet.
    pub foreign_runs: u64,
    pub foreign_bytes: u64,
    /// Of these, runs whose file is not there.
    pub missing_runs: Vec<String>,
    pub missing_bytes: u64,
    /// Files of runs that the version does not name.
    pub other_runs: u64,
    pub other_bytes: u64,
    pub tiles: u64,
    pub slices: u64,
    pub slices_of_a_tile_max: u64,
    /// Entries that slices show, hidden ones included; not those of runs that are not here.
    pub entries: u64,
    pub tombstones: u64,
    pub reached_bytes: u64,
    /// The slices by their height in the stack of their tile, the oldest ones first.
    pub layers: Vec<Layer>,
}

/// The slices at one height of all stacks.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Layer {
    pub slices: u64,
    pub bytes: u64,
    pub entries: u64,
    pub tombstones: u64,
    /// Slices of runs that are not here: they count for nothing in the others.
    pub unknown_slices: u64,
}

/// Runs and copies of checkpoints beside the working state.
#[derive(Debug, Serialize)]
pub struct LocalSeen {
    pub copies: Vec<CopySeen>,
    pub damaged_copies: Vec<String>,
    /// Complete runs, most of them the same files as those of the store.
    pub runs: u64,
    pub run_bytes: u64,
    /// Runs that are fetched as they are read.
    pub arriving_runs: u64,
    pub arriving_bytes: u64,
    /// How many of these bytes are here.
    pub arrived_bytes: u64,
    pub unfinished: u64,
}

/// A copy of a worker's part of a checkpoint.
#[derive(Debug, Serialize)]
pub struct CopySeen {
    pub job: String,
    pub checkpoint: String,
    pub key_groups: String,
    pub runs: u64,
    pub bytes: u64,
    pub missing_runs: u64,
    /// Whether it was made since the start of the machine: else each run is compared with its digest before it is used.
    pub is_of_this_start: bool,
}

impl Directory {
    /// Looks into `path`.
    ///
    /// # Errors
    /// `Missing` when there is nothing of the kind; those of the disk, and of damaged files.
    pub fn look(path: &Path) -> Result<Directory> {
        let fs = DiskFs;
        let missing = |what: &str| Error::at(ErrorKind::Missing, path, None, what);
        if !path.is_dir() {
            return Err(missing("there is no such directory"));
        }
        let (state, local) = (path.join("state"), path.join("local"));
        let is_store = path.join("VERSION").is_file();
        let is_engine = !is_store && (state.is_dir() || local.is_dir());
        let (kind, store) = match is_engine {
            true if state.is_dir() => (Kind::Engine, inspect(&fs, &state)?),
            true => (Kind::Engine, None),
            false => (Kind::Store, inspect(&fs, path)?),
        };
        let mut lock = fs.look_at_lock(&path.join("LOCK"))?;
        if store.is_none() && (kind == Kind::Store || lock.is_none()) {
            let inside = std::fs::read_dir(path).into_iter().flatten().filter_map(|entry| Some(entry.ok()?.path()));
            let proposal = inside.filter(|inside| inside.join("LOCK").is_file()).min();
            let proposal = proposal.map_or_else(String::new, |inside| format!(", such as {}", inside.display()));
            return Err(missing(&format!(
                "here is no store and no engine: name the working directory of one{proposal}"
            )));
        }
        if let (Kind::Engine, Some(lock), Some(inner)) =
            (kind, &mut lock, store.as_ref().and_then(|store| store.lock.as_ref()))
        {
            // The engine's own lock does not say who it is.
            lock.owner.clone_from(&inner.owner);
        }
        let local = if kind == Kind::Engine { inspect_local(&fs, &local)? } else { None };
        let space = fs.space(path)?;
        let disk = Disk {
            kind: match fs.kind(path)? {
                FsKind::Local => "local".to_owned(),
                FsKind::Remote(name) | FsKind::Doubtful(name) => name,
            },
            free_bytes: space.free_bytes,
            total_bytes: space.total_bytes,
        };
        Ok(Directory {
            directory: path.display().to_string(),
            kind,
            lock: Lock::new(lock.unwrap_or_default()),
            disk,
            store: store.map(|seen| StoreSeen::new(&seen)),
            local: local.map(LocalSeen::new),
        })
    }
}

impl Lock {
    fn new(seen: LockInfo) -> Lock {
        let state = match seen.is_held {
            Some(true) => LockState::Held,
            Some(false) => LockState::Free,
            None => LockState::Unknown,
        };
        Lock { state, process: seen.process, owner: seen.owner, taken_at_ms: seen.taken_at_ms }
    }
}

impl StoreSeen {
    fn new(seen: &Inspection) -> StoreSeen {
        let heights = seen.tiles.iter().map(|tile| tile.slices.len()).max().unwrap_or(0);
        let mut layers = vec![Layer::default(); heights];
        for tile in &seen.tiles {
            for (layer, slice) in layers.iter_mut().zip(tile.slices.iter().rev()) {
                layer.add(slice);
            }
        }
        let sum = |count: fn(&Layer) -> u64| layers.iter().map(count).sum::<u64>();
        let foreign = || seen.runs.iter().filter(|run| run.place == RunPlace::Foreign);
        let missing = || seen.runs.iter().filter(|run| run.place == RunPlace::Missing);
        StoreSeen {
            version: seen.version,
            seal: seen.seal,
            is_closed: seen.is_closed,
            key_shape: format!("{} {}", seen.shape.0, seen.shape.1),
            runs: seen.runs.len() as u64,
            run_bytes: seen.runs.iter().map(|run| run.bytes).sum(),
            foreign_runs: foreign().count() as u64,
            foreign_bytes: foreign().map(|run| run.bytes).sum(),
            missing_runs: missing().map(|run| run.id.file_name()).collect(),
            missing_bytes: missing().map(|run| run.bytes).sum(),
            other_runs: seen.other_runs as u64,
            other_bytes: seen.other_bytes,
            tiles: seen.tiles.len() as u64,
            slices: sum(|layer| layer.slices),
            slices_of_a_tile_max: heights as u64,
            entries: sum(|layer| layer.entries),
            tombstones: sum(|layer| layer.tombstones),
            reached_bytes: sum(|layer| layer.bytes),
            layers,
        }
    }
}

impl Layer {
    fn add(&mut self, slice: &InspectedSlice) {
        self.slices += 1;
        self.unknown_slices += u64::from(slice.bytes.is_none());
        self.bytes += slice.bytes.unwrap_or(0);
        self.entries += slice.entries.unwrap_or(0);
        self.tombstones += slice.tombstones.unwrap_or(0);
    }
}

impl LocalSeen {
    fn new(seen: LocalInspection) -> LocalSeen {
        let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
        let copy = |copy: InspectedCopy| CopySeen {
            job: copy.job.to_string(),
            checkpoint: copy.checkpoint.to_string(),
            key_groups: copy.groups.to_string(),
            runs: copy.runs as u64,
            bytes: copy.bytes,
            missing_runs: copy.missing_runs as u64,
            is_of_this_start: !copy.boot.is_empty() && copy.boot == boot.trim(),
        };
        LocalSeen {
            runs: seen.runs as u64,
            run_bytes: seen.run_bytes,
            arriving_runs: seen.partial.len() as u64,
            arriving_bytes: seen.partial.iter().map(|run| run.bytes).sum(),
            arrived_bytes: seen.partial.iter().map(|run| run.here_bytes).sum(),
            unfinished: seen.unfinished as u64,
            damaged_copies: seen.damaged,
            copies: seen.copies.into_iter().map(copy).collect(),
        }
    }
}

/// The time by this machine's clock, in milliseconds since 1970.
#[expect(
    clippy::disallowed_methods,
    reason = "how long ago something was is told to people, where no repo tells the time"
)]
pub fn now_ms() -> u64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    now.map_or(0, |since| u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

/// The directory as an absolute path: what is shown elsewhere does not depend on where the command runs.
pub fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}
