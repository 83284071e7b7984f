//! LMDB, through `heed`: a memory-mapped copy-on-write B-tree.
//!
//! Set-up: a writable map, no syncs, no zeroing of fresh pages: the fastest it can be, and it may lose everything at a power
//! failure, as all stores here may. It has no cache of its own and takes no budget: its file is mapped, and lives in the page
//! cache (see "mapped" in the table). A turn is one write transaction.
//!
//! A list is a key with duplicates, numbered so that they keep their order and are appended without a search. A checkpoint
//! copies the whole file, which is what LMDB offers: it pays there for its reads.

use std::ops::Bound;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use heed::types::Bytes;
use heed::{CompactionOption, Database, DatabaseFlags, Env, EnvFlags, EnvOpenOptions, PutFlags, RwTxn};

use crate::data::State;
use crate::store::{Rest, Setup, Store, Turn, merge_by_copying, open_half_by_copying};

/// Address space of the map: more than any of these stores grows to.
const MAP_BYTES: usize = 64 << 30;
const FILE: &str = "data.mdb";

type Rows = Database<Bytes, Bytes>;

pub struct Lmdb {
    env: Env,
    rows: Rows,
    setup: Setup,
    /// Numbers elements of lists.
    elements: u64,
    scratch: Vec<u8>,
}

/// An open write transaction.
pub struct LmdbTurn<'a> {
    transaction: RwTxn<'a>,
    rows: Rows,
    elements: &'a mut u64,
    scratch: &'a mut Vec<u8>,
}

impl Store for Lmdb {
    type Turn<'a> = LmdbTurn<'a>;
    type Image = (PathBuf, Setup);

    fn open(setup: &Setup) -> Result<Lmdb> {
        let env = open_env(&setup.directory)?;
        let mut transaction = env.write_txn()?;
        let lists = if setup.state == State::Lists { DatabaseFlags::DUP_SORT } else { DatabaseFlags::empty() };
        let rows = env.database_options().types::<Bytes, Bytes>().name("rows").flags(lists).create(&mut transaction)?;
        transaction.commit()?;
        Ok(Lmdb { env, rows, setup: setup.clone(), elements: 0, scratch: Vec::new() })
    }

    fn turn<T>(&mut self, work: impl FnOnce(&mut LmdbTurn<'_>) -> Result<T>) -> Result<T> {
        let (elements, scratch) = (&mut self.elements, &mut self.scratch);
        let mut turn = LmdbTurn { transaction: self.env.write_txn()?, rows: self.rows, elements, scratch };
        let result = work(&mut turn)?;
        turn.transaction.commit()?;
        Ok(result)
    }

    fn checkpoint(&mut self, into: &Path) -> Result<Rest<(PathBuf, Setup)>> {
        std::fs::create_dir_all(into)?;
        self.env.copy_to_path(into.join(FILE), CompactionOption::Disabled)?;
        let image = (into.to_owned(), self.setup.at(into));
        Ok(Box::new(move || Ok(image)))
    }

    fn settle(&mut self) -> Result<()> {
        // Nothing happens in the background.
        Ok(())
    }

    fn close(self) -> Result<()> {
        let used_bytes = (self.env.info().last_page_number as u64 + 1) * u64::from(self.env.stat().page_size);
        self.env.prepare_for_closing().wait();
        // A writable map makes the file as long as the map, nearly all of it a hole that copies would fill.
        let path = self.setup.directory.join(FILE);
        let file = std::fs::OpenOptions::new().write(true).open(&path);
        file.and_then(|file| file.set_len(used_bytes)).with_context(|| format!("cutting {}", path.display()))
    }

    fn open_half(image: &(PathBuf, Setup), half: usize, setup: &Setup) -> Result<Lmdb> {
        open_half_by_copying(&image.1, half, setup)
    }

    fn merge(images: &[(PathBuf, Setup); 2], whole: &Setup) -> Result<Lmdb> {
        std::fs::copy(images[0].0.join(FILE), whole.directory.join(FILE)).context("copying the file")?;
        merge_by_copying(Lmdb::open(whole)?, &images[1].1, 1)
    }
}

#[expect(unsafe_code, reason = "LMDB maps a file that others could change; heed leaves that promise to its caller")]
fn open_env(directory: &Path) -> Result<Env> {
    let mut options = EnvOpenOptions::new();
    options.map_size(MAP_BYTES).max_dbs(2);
    let flags = EnvFlags::WRITE_MAP | EnvFlags::NO_SYNC | EnvFlags::NO_META_SYNC | EnvFlags::NO_MEM_INIT;
    // SAFETY: the directory was made for this run alone; no other process opens or changes its files, they lie on a local
    // disk, and what an unsynced map may lose is lost with the run.
    unsafe {
        options.flags(flags);
        Ok(options.open(directory)?)
    }
}

impl Turn for LmdbTurn<'_> {
    fn put(&mut self, key: &[u8], value: &[u8]) -> Result<()> {
        Ok(self.rows.put(&mut self.transaction, key, value)?)
    }

    fn get<T>(&mut self, key: &[u8], read: impl FnOnce(&[u8]) -> T) -> Result<Option<T>> {
        Ok(self.rows.get(&self.transaction, key)?.map(read))
    }

    fn update(&mut self, key: &[u8], change: impl FnOnce(&mut [u8])) -> Result<bool> {
        let Some(value) = self.rows.get(&self.transaction, key)? else { return Ok(false) };
        self.scratch.clear();
        self.scratch.extend_from_slice(value);
        change(self.scratch);
        self.rows.put(&mut self.transaction, key, self.scratch)?;
        Ok(true)
    }

    fn delete(&mut self, key: &[u8]) -> Result<()> {
        self.rows.delete(&mut self.transaction, key)?;
        Ok(())
    }

    fn append(&mut self, key: &[u8], element: &[u8]) -> Result<()> {
        self.scratch.clear();
        self.scratch.extend_from_slice(&self.elements.to_be_bytes());
        self.scratch.extend_from_slice(element);
        *self.elements += 1;
        Ok(self.rows.put_with_flags(&mut self.transaction, PutFlags::APPEND_DUP, key, self.scratch)?)
    }

    fn take_list(&mut self, key: &[u8], mut read: impl FnMut(&[u8])) -> Result<()> {
        if let Some(elements) = self.rows.get_duplicates(&self.transaction, key)? {
            for element in elements {
                read(&element?.1[8..]);
            }
        }
        self.rows.delete(&mut self.transaction, key)?;
        Ok(())
    }

    fn scan_prefix(&mut self, prefix: &[u8], mut each: impl FnMut(&[u8], &[u8])) -> Result<()> {
        for row in self.rows.prefix_iter(&self.transaction, prefix)? {
            let (key, value) = row?;
            each(key, value);
        }
        Ok(())
    }

    fn pop_due(&mut self, _queue: &[u8], behind: &[u8], until: &[u8], mut take: impl FnMut(&[u8])) -> Result<()> {
        let due = (Bound::Included(behind), Bound::Excluded(until));
        for row in self.rows.range(&self.transaction, &due)? {
            take(row?.0);
        }
        self.rows.delete_range(&mut self.transaction, &due)?;
        Ok(())
    }

    fn scan_range(&mut self, start: &[u8], end: Option<&[u8]>, mut each: impl FnMut(&[u8], &[u8])) -> Result<()> {
        // An empty key is no key to it.
        let start = if start.is_empty() { Bound::Unbounded } else { Bound::Included(start) };
        let range = (start, end.map_or(Bound::Unbounded, Bound::Excluded));
        for row in self.rows.range(&self.transaction, &range)? {
            let (key, value) = row?;
            each(key, value);
        }
        Ok(())
    }
}
