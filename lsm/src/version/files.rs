//! The working directories: where new runs are created and stored ones are opened.
//!
//! Runs are spread over the directories by free space. The names of runs come from here, so that none is ever used twice.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::{Pins, RunFile, StoredRun};
use crate::cache::BlockCache;
use crate::codec::RunId;
use crate::entry::Clocks;
use crate::error::{Error, ErrorKind, Result};
use crate::fs::{Fs, ReadMode, Source};
use crate::key::KeyShape;
use crate::run::{Run, RunSettings, RunWriter};

/// Creates and opens the runs of one store. Any thread.
pub(crate) struct RunFiles {
    pub fs: Arc<dyn Fs>,
    /// The first holds lock and version.
    pub directories: Vec<PathBuf>,
    pub shape: Arc<dyn KeyShape>,
    pub cache: Arc<BlockCache>,
    pub settings: RunSettings,
    pub read_mode: ReadMode,
    pub synced: bool,
    opening: u64,
    sequence: AtomicU64,
}

/// A run while it is written; its file is removed unless it is finished.
pub(crate) struct NewRun<'a> {
    files: &'a RunFiles,
    writer: Option<RunWriter>,
    id: RunId,
    path: PathBuf,
    directory: usize,
}

impl RunFiles {
    /// The files in `directories`; `opening` is random and new at each opening.
    pub fn new(
        fs: Arc<dyn Fs>,
        directories: Vec<PathBuf>,
        opening: u64,
        shape: Arc<dyn KeyShape>,
        cache: Arc<BlockCache>,
        settings: RunSettings,
    ) -> RunFiles {
        assert!(!directories.is_empty(), "a store has a working directory");
        let (read_mode, synced, sequence) = (ReadMode::default(), false, AtomicU64::new(1));
        RunFiles { fs, directories, shape, cache, settings, read_mode, synced, opening, sequence }
    }

    /// Starts a new run in the directory with the most room.
    pub fn create(&self) -> Result<NewRun<'_>> {
        let id = self.next_id();
        let directory = self.roomiest()?;
        let path = self.directories[directory].join(id.file_name());
        let file = self.fs.create_new(&path)?;
        let writer = RunWriter::new(file, path.clone(), id, Arc::clone(&self.shape), self.settings.clone());
        Ok(NewRun { files: self, writer: Some(writer), id, path, directory })
    }

    fn next_id(&self) -> RunId {
        RunId { opening: self.opening, sequence: self.sequence.fetch_add(1, Ordering::Relaxed) }
    }

    fn roomiest(&self) -> Result<usize> {
        if self.directories.len() == 1 {
            return Ok(0);
        }
        let mut best = (0, 0);
        for (index, directory) in self.directories.iter().enumerate() {
            let free = self.fs.space(directory)?.free_bytes;
            if free > best.1 {
                best = (index, free);
            }
        }
        Ok(best.0)
    }

    /// In which directory each run file lies.
    pub fn list(&self) -> Result<BTreeMap<RunId, usize>> {
        let mut listed = BTreeMap::new();
        for (index, directory) in self.directories.iter().enumerate() {
            let names = self.fs.read_dir(directory)?;
            listed.extend(names.iter().filter_map(|file| Some((RunId::from_file_name(&file.name)?, index))));
        }
        Ok(listed)
    }

    /// Opens a run whose file was listed.
    ///
    /// # Errors
    /// `Damaged` when the file is missing or is not what the version says.
    pub fn open_stored(&self, stored: &StoredRun, listed: &BTreeMap<RunId, usize>) -> Result<Arc<RunFile>> {
        let name = stored.id.file_name();
        if let Some(directory) = listed.get(&stored.id) {
            let path = self.directories[*directory].join(&name);
            let source = self.fs.open(&path, self.read_mode)?;
            return self.open(source, stored, Some(path));
        }
        let what = "the version names this run and the file is missing: was it deleted, or a directory left out?";
        Err(Error::damaged(self.directories[0].join(name), 0, what))
    }

    /// Opens a run over `source`; `path` is its file when the store owns one.
    pub fn open(&self, source: Arc<dyn Source>, stored: &StoredRun, path: Option<PathBuf>) -> Result<Arc<RunFile>> {
        if source.bytes() != stored.bytes {
            let what = format_args!("run of {} bytes, expected {}", source.bytes(), stored.bytes);
            return Err(Error::damaged(source.path(), source.bytes(), what));
        }
        let run = Run::open(source, stored.id, Arc::clone(&self.cache), Arc::clone(&self.shape))?;
        Ok(Arc::new(RunFile::new(run, path, stored.digest)))
    }

    /// Gives a foreign file a name in one of our directories, by a hard link on its own device.
    ///
    /// # Errors
    /// `Fix` when no directory is on the device of the file.
    pub fn link_in(&self, foreign: &Path, id: RunId) -> Result<PathBuf> {
        let mut failure = None;
        for directory in &self.directories {
            let path = directory.join(id.file_name());
            match self.fs.hard_link(foreign, &path) {
                Ok(()) => return Ok(path),
                Err(error) => failure = Some(error),
            }
        }
        let error = failure.expect("there is at least one directory");
        Err(error.context("no working directory could link the run"))
    }
}

impl NewRun<'_> {
    /// Where entries go.
    pub fn writer(&mut self) -> &mut RunWriter {
        self.writer.as_mut().expect("the writer is there until finish takes it")
    }

    /// Finishes the file, opens it for reading and hands it to `pins`.
    pub fn finish(mut self, clocks: &Clocks, pins: &Pins) -> Result<Arc<RunFile>> {
        let files = self.files;
        let writer = self.writer.take().ok_or_else(|| Error::new(ErrorKind::Bug, "a run is finished once"));
        let finished = writer.and_then(|writer| {
            let summary = writer.finish(clocks, files.synced)?;
            if files.synced {
                files.fs.sync_dir(&files.directories[self.directory])?;
            }
            let source = files.fs.open(&self.path, files.read_mode)?;
            let stored = StoredRun { id: self.id, bytes: summary.bytes, digest: summary.digest, foreign: false };
            files.open(source, &stored, Some(self.path.clone()))
        });
        match finished {
            Ok(run) => {
                pins.register(&run);
                Ok(run)
            }
            Err(error) => {
                // Best effort: the next open removes it as an orphan.
                files.fs.remove(&self.path).ok();
                Err(error)
            }
        }
    }
}

impl Drop for NewRun<'_> {
    fn drop(&mut self) {
        if self.writer.take().is_some() {
            // Abandoned: best effort, the next open removes it as an orphan.
            self.files.fs.remove(&self.path).ok();
        }
    }
}
