//! fjall: an LSM in Rust.
//!
//! Set-up, as its documentation advises: half of the budget for memtables (two of 64 MiB for 256 MiB), half for the block
//! cache, as much worker threads as cores, filters of 10 bits a key for all levels, a hash index in data blocks (its
//! documentation: "cached workloads benefit more"). Its journal cannot be switched off; it is told to leave it in its
//! buffer, so that no write is a system call.
//!
//! It has no merge operator, so a list is its elements under the list's key and a number: an append writes blindly, a fire
//! scans and removes. It has no checkpoint either; its files are taken after a flush: tables never change and are linked,
//! the rest is copied, again when its version changed meanwhile.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use fjall::config::{BloomConstructionPolicy, FilterPolicy, FilterPolicyEntry, HashRatioPolicy};
use fjall::{Database, Keyspace, KeyspaceCreateOptions, PersistMode};

use super::links::{list_files, share_directory};
use crate::data::KEY_BYTES;
use crate::store::{Rest, Setup, Store, Turn, merge_by_copying, open_half_by_copying};

/// How often a checkpoint that met a changing version tries again.
const TRIES: u32 = 20;

pub struct Fjall {
    database: Database,
    rows: Keyspace,
    setup: Setup,
    /// Numbers elements of lists.
    elements: u64,
    scratch: Vec<u8>,
}

impl Store for Fjall {
    type Turn<'a> = &'a mut Fjall;
    type Image = (PathBuf, Setup);

    fn open(setup: &Setup) -> Result<Fjall> {
        let database = Database::builder(&setup.directory)
            .cache_size(setup.memory_bytes as u64 / 2)
            .manual_journal_persist(true)
            .open()?;
        let memtable = (setup.memory_bytes as u64 / 4).min(64 << 20);
        let filter = FilterPolicyEntry::Bloom(BloomConstructionPolicy::BitsPerKey(10.0));
        let options = || {
            KeyspaceCreateOptions::default()
                .manual_journal_persist(true)
                .max_memtable_size(memtable)
                .filter_policy(FilterPolicy::all(filter))
                .data_block_hash_ratio_policy(HashRatioPolicy::all(1.33))
        };
        let rows = database.keyspace("rows", options)?;
        Ok(Fjall { database, rows, setup: setup.clone(), elements: 0, scratch: Vec::new() })
    }

    fn turn<T>(&mut self, work: impl FnOnce(&mut &mut Fjall) -> Result<T>) -> Result<T> {
        let mut this = self;
        work(&mut this)
    }

    fn checkpoint(&mut self, into: &Path) -> Result<Rest<(PathBuf, Setup)>> {
        self.rows.rotate_memtable_and_wait()?;
        self.database.persist(PersistMode::Buffer)?;
        for _ in 0..TRIES {
            let before = versions(&self.setup.directory)?;
            let copied = share_directory(&self.setup.directory, into, Self::is_immutable);
            if copied.is_ok() && versions(&self.setup.directory)? == before {
                let image = (into.to_owned(), self.setup.at(into));
                return Ok(Box::new(move || Ok(image)));
            }
            std::fs::remove_dir_all(into).with_context(|| format!("removing {}", into.display()))?;
        }
        bail!("its files changed during each of {TRIES} tries to copy them")
    }

    fn settle(&mut self) -> Result<()> {
        self.rows.rotate_memtable_and_wait()?;
        let mut before = usize::MAX;
        while before != self.database.compactions_completed() || self.database.active_compactions() > 0 {
            before = self.database.compactions_completed();
            std::thread::park_timeout(Duration::from_millis(500));
        }
        Ok(())
    }

    fn close(self) -> Result<()> {
        self.rows.rotate_memtable_and_wait()?;
        Ok(self.database.persist(PersistMode::Buffer)?)
    }

    fn open_half(image: &(PathBuf, Setup), half: usize, setup: &Setup) -> Result<Fjall> {
        open_half_by_copying(&image.1, half, setup)
    }

    fn merge(images: &[(PathBuf, Setup); 2], whole: &Setup) -> Result<Fjall> {
        share_directory(&images[0].0, &whole.directory, Self::is_immutable)?;
        merge_by_copying(Fjall::open(whole)?, &images[1].1, 1)
    }

    fn is_immutable(file: &Path) -> bool {
        file.parent().and_then(Path::file_name).is_some_and(|directory| directory == "tables")
    }
}

/// Which files there are, and how long those are that name the others.
fn versions(directory: &Path) -> Result<Vec<(PathBuf, u64)>> {
    let mut files: Vec<(PathBuf, u64)> =
        list_files(directory)?.into_iter().map(|file| (file.path, file.bytes)).collect();
    files.sort();
    Ok(files)
}

impl Turn for &mut Fjall {
    fn put(&mut self, key: &[u8], value: &[u8]) -> Result<()> {
        Ok(self.rows.insert(key, value)?)
    }

    fn get<T>(&mut self, key: &[u8], read: impl FnOnce(&[u8]) -> T) -> Result<Option<T>> {
        Ok(self.rows.get(key)?.map(|value| read(&value)))
    }

    fn update(&mut self, key: &[u8], change: impl FnOnce(&mut [u8])) -> Result<bool> {
        let Some(value) = self.rows.get(key)? else { return Ok(false) };
        self.scratch.clear();
        self.scratch.extend_from_slice(&value);
        change(&mut self.scratch);
        self.rows.insert(key, self.scratch.as_slice())?;
        Ok(true)
    }

    fn delete(&mut self, key: &[u8]) -> Result<()> {
        Ok(self.rows.remove(key)?)
    }

    fn append(&mut self, key: &[u8], element: &[u8]) -> Result<()> {
        let mut numbered = [0; KEY_BYTES + 8];
        numbered[..KEY_BYTES].copy_from_slice(key);
        numbered[KEY_BYTES..].copy_from_slice(&self.elements.to_be_bytes());
        self.elements += 1;
        Ok(self.rows.insert(numbered.as_slice(), element)?)
    }

    fn take_list(&mut self, key: &[u8], mut read: impl FnMut(&[u8])) -> Result<()> {
        for row in self.rows.prefix(key) {
            let (key, element) = row.into_inner()?;
            read(&element);
            self.rows.remove(key)?;
        }
        Ok(())
    }

    fn scan_prefix(&mut self, prefix: &[u8], mut each: impl FnMut(&[u8], &[u8])) -> Result<()> {
        for row in self.rows.prefix(prefix) {
            let (key, value) = row.into_inner()?;
            each(&key, &value);
        }
        Ok(())
    }

    fn pop_due(&mut self, _queue: &[u8], behind: &[u8], until: &[u8], mut take: impl FnMut(&[u8])) -> Result<()> {
        for row in self.rows.range(behind..until) {
            let key = row.key()?;
            take(&key);
            self.rows.remove(key)?;
        }
        Ok(())
    }

    fn scan_range(&mut self, start: &[u8], end: Option<&[u8]>, mut each: impl FnMut(&[u8], &[u8])) -> Result<()> {
        for row in self.rows.range(start..) {
            let (key, value) = row.into_inner()?;
            if end.is_some_and(|end| *key >= *end) {
                break;
            }
            each(&key, &value);
        }
        Ok(())
    }
}
