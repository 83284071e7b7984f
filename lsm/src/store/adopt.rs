//! Foreign runs become part of a store without being rewritten: restore and rescale.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use super::Store;
use super::write::check_bounds;
use crate::codec::RunId;
use crate::entry::Clocks;
use crate::error::{Error, ErrorKind, Result};
use crate::fs::Source;
use crate::key::KeyRange;
use crate::version::{Edit, RunFile, RunStack, Seals, StoredRun};

/// A stack of foreign runs for a range of keys.
///
/// A worker takes over the keys from `m` on from another one, whose runs it can reach as local files:
///
/// ```
/// use bedload_lsm::{AdoptedRun, AdoptedSource, AdoptedStack, KeyRange, Store};
///
/// # let directory = tempfile::tempdir().unwrap();
/// let mut old = Store::options().open(directory.path().join("old"))?;
/// for stop in ["Cambridge", "Ely", "March", "Peterborough"] {
///     old.put(stop.to_lowercase().as_bytes(), stop.as_bytes())?;
/// }
/// let frozen = old.freeze()?.wait()?; // keeps the files until it is dropped
///
/// let wanted = KeyRange::from("m".as_bytes()..);
/// let mut stacks = Vec::new();
/// for tile in frozen.tiles() {
///     let range = tile.range.intersect(&wanted); // the clip: what else the runs hold stays out of sight
///     if range.is_empty() {
///         continue;
///     }
///     let mut runs = Vec::new();
///     for slice in &tile.slices {
///         let path = slice.run.path().expect("none of them was adopted lazily");
///         runs.push(AdoptedRun {
///             id: slice.run.id(),
///             bytes: slice.run.bytes(),
///             digest: *slice.run.digest(),
///             source: AdoptedSource::File(path.to_owned()),
///         });
///     }
///     stacks.push(AdoptedStack { range, runs });
/// }
///
/// let mut new = Store::options().open(directory.path().join("new"))?;
/// new.adopt(&stacks, frozen.clocks())?;
/// assert_eq!(new.get(b"march")?.as_deref(), Some(&b"March"[..]));
/// assert!(new.get(b"ely")?.is_none());
/// old.release(frozen.seal());
/// old.clip_to(.."m".as_bytes())?;
/// assert!(old.get(b"march")?.is_none());
/// # Ok::<(), bedload_lsm::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct AdoptedStack {
    /// The keys it is taken for; what else the runs hold stays out of sight.
    pub range: KeyRange,
    /// The runs, newest first.
    pub runs: Vec<AdoptedRun>,
}

/// A foreign run: name, what is known of its file, and where the bytes are.
///
/// See [`AdoptedStack`] for an example.
#[derive(Clone, Debug)]
pub struct AdoptedRun {
    /// Its name; also the name of the linked file.
    pub id: RunId,
    /// The length of the file.
    pub bytes: u64,
    /// BLAKE3 of the file.
    pub digest: [u8; 32],
    /// Where the bytes are.
    pub source: AdoptedSource,
}

/// Where the bytes of a foreign run are.
///
/// See [`AdoptedStack`] for an example of files, and [`Source`] for one that fetches.
#[derive(Clone, Debug)]
pub enum AdoptedSource {
    /// A complete local file: hard-linked into a working directory on the same device.
    File(PathBuf),
    /// Anything that fetches its bytes on demand. Until it is replaced the store reads through it, and a later open must be
    /// given it again.
    Lazy(Arc<dyn Source>),
}

impl Store {
    /// Takes stacks of foreign runs for ranges that hold nothing yet; reads their footers and directories, writes no entry. Returns
    /// the seal that the oldest run of each stack counts under; each newer one has the next.
    ///
    /// The ranges must not overlap; empty ones are passed over. `clocks` are those of the state that the runs come from; each of
    /// the store's clocks goes on from the later reading. Digests are kept as they are given: [`RunRef::verify`] compares every
    /// byte with its checksum, when there is time. The files' data must be durable already where the store is
    /// [`Synced`](crate::Durability::Synced).
    ///
    /// # Errors
    /// `Fix` when ranges overlap or hold something, or a file lies on no working directory's device; `Damaged` when a run is, or
    /// has another length; those of a flush. Nothing was adopted then.
    ///
    /// [`RunRef::verify`]: crate::RunRef::verify
    pub fn adopt(&mut self, stacks: &[AdoptedStack], clocks: &Clocks) -> Result<u64> {
        check_disjoint(stacks)?;
        stacks.iter().try_for_each(|stack| check_bounds(&stack.range))?;
        self.prepare(0)?;
        self.flush()?;
        for stack in stacks {
            if self.bytes_in(stack.range.clone()) > 0 {
                let message = format!("range {:?} holds entries: runs are adopted into empty ranges only", stack.range);
                return Err(Error::new(ErrorKind::Fix, message));
            }
        }
        let result = self.settle_merges(|store| store.adopt_settled(stacks, clocks));
        // What a failure left is named by nobody.
        self.core.board.collect(&*self.core.files.fs);
        result
    }

    fn adopt_settled(&mut self, stacks: &[AdoptedStack], clocks: &Clocks) -> Result<u64> {
        let mut opened = BTreeMap::new();
        let mut linked = Vec::new();
        let result = self.open_stacks(stacks, &mut opened, &mut linked).and_then(|(stacks, seals)| {
            let seal = seals.last;
            if self.core.files.synced {
                for directory in &self.core.files.directories {
                    self.core.files.fs.sync_dir(directory)?;
                }
            }
            for run in &linked {
                self.core.board.pins.register(run);
            }
            let mut advanced = self.clocks;
            advanced.advance_all(clocks);
            // No reading that an operand inside was written at lies ahead of the store's clocks.
            for run in stacks.iter().flat_map(|(_, stack)| stack).map(|(run, _)| run) {
                advanced.advance_all(&run.properties().clocks);
            }
            self.core.board.install(&*self.core.files.fs, &Edit::Adopt { stacks, seal, clocks: advanced })?;
            self.clocks = advanced;
            self.seal = seal + 1;
            Ok(seals.first)
        });
        if result.is_err() {
            for run in linked.iter().filter(|run| self.core.board.pins.find(run.id()).is_none()) {
                if let Some(path) = &run.path {
                    // Best effort: the next open removes it as an orphan.
                    self.core.files.fs.remove(path).ok();
                }
            }
        }
        result
    }

    /// Opens the runs of all stacks and gives them seals: the oldest of the deepest stack gets the first.
    fn open_stacks(
        &self,
        stacks: &[AdoptedStack],
        opened: &mut BTreeMap<RunId, Arc<RunFile>>,
        linked: &mut Vec<Arc<RunFile>>,
    ) -> Result<(Vec<(KeyRange, RunStack)>, Seals)> {
        let first = self.core.board.snapshot().0.version.seal.max(self.seal) + 1;
        let mut last = first;
        let mut result = Vec::new();
        for stack in stacks.iter().filter(|stack| !stack.range.is_empty()) {
            let mut slices = Vec::new();
            for (age, adopted) in stack.runs.iter().rev().enumerate() {
                let seal = first + age as u64;
                last = last.max(seal);
                // A run that comes back may still be here, pinned by the checkpoint that it comes from.
                let known = opened.get(&adopted.id).cloned().or_else(|| self.core.board.pins.find(adopted.id));
                let run = match known {
                    Some(run) => run,
                    None => {
                        let run = self.open_adopted(adopted)?;
                        linked.push(Arc::clone(&run));
                        opened.insert(adopted.id, Arc::clone(&run));
                        run
                    }
                };
                slices.push((run, Seals { first: seal, last: seal }));
            }
            slices.reverse();
            result.push((stack.range.clone(), slices));
        }
        Ok((result, Seals { first, last }))
    }

    fn open_adopted(&self, adopted: &AdoptedRun) -> Result<Arc<RunFile>> {
        let files = &self.core.files;
        let (source, path) = match &adopted.source {
            AdoptedSource::Lazy(source) => (Arc::clone(source), None),
            AdoptedSource::File(file) => {
                let path = files.link_in(file, adopted.id)?;
                (files.fs.open(&path, files.read_mode)?, Some(path))
            }
        };
        let foreign = path.is_none();
        let stored = StoredRun { id: adopted.id, bytes: adopted.bytes, digest: adopted.digest, foreign };
        files.open(source, &stored, path.clone()).inspect_err(|_| {
            if let Some(path) = &path {
                // Best effort: the next open removes it as an orphan.
                files.fs.remove(path).ok();
            }
        })
    }
}

fn check_disjoint(stacks: &[AdoptedStack]) -> Result<()> {
    for (index, stack) in stacks.iter().enumerate() {
        if let Some(other) = stacks[..index].iter().find(|other| other.range.overlaps(&stack.range)) {
            let message = format!("ranges {:?} and {:?} overlap: each key has one stack", other.range, stack.range);
            return Err(Error::new(ErrorKind::Fix, message));
        }
    }
    Ok(())
}
