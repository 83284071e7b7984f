//! redb: a copy-on-write B-tree in Rust.
//!
//! Set-up: the whole budget is its cache. A turn is one write transaction without durability, which is how its
//! documentation speeds up writes that can be lost. A value is changed through `get_mut`: one descent. Lists are a multimap
//! whose elements are numbered, since it sorts them; timers are taken by `extract_from_if`: one pass.
//!
//! Pages freed by commits without durability come back only with a durable one, which happens at checkpoints and else every
//! hundredth turn, so that the file stays bounded. A checkpoint is a durable commit and a copy of the file.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use redb::{
    Database, Durability, MultimapTable, MultimapTableDefinition, ReadableMultimapTable, ReadableTable, Table,
    TableDefinition,
};

use crate::data::State;
use crate::store::{Rest, Setup, Store, Turn, merge_by_copying, open_half_by_copying};

const ROWS: TableDefinition<&[u8], &[u8]> = TableDefinition::new("rows");
const LISTS: MultimapTableDefinition<&[u8], &[u8]> = MultimapTableDefinition::new("lists");
/// Turns between durable commits.
const DURABLE_EVERY: u64 = 100;
const FILE: &str = "redb";

pub struct Redb {
    database: Database,
    setup: Setup,
    turns: u64,
    /// Numbers elements of lists.
    elements: u64,
    scratch: Vec<u8>,
}

/// Tables of an open write transaction.
pub struct RedbTurn<'a> {
    rows: Table<'a, &'static [u8], &'static [u8]>,
    lists: MultimapTable<'a, &'static [u8], &'static [u8]>,
    holds_lists: bool,
    elements: &'a mut u64,
    scratch: &'a mut Vec<u8>,
}

impl Store for Redb {
    type Turn<'a> = RedbTurn<'a>;
    type Image = (PathBuf, Setup);

    fn open(setup: &Setup) -> Result<Redb> {
        let mut builder = Database::builder();
        builder.set_cache_size(setup.memory_bytes);
        let database = builder.create(setup.directory.join(FILE))?;
        Ok(Redb { database, setup: setup.clone(), turns: 0, elements: 0, scratch: Vec::new() })
    }

    fn turn<T>(&mut self, work: impl FnOnce(&mut RedbTurn<'_>) -> Result<T>) -> Result<T> {
        self.turns += 1;
        let mut transaction = self.database.begin_write()?;
        if !self.turns.is_multiple_of(DURABLE_EVERY) {
            transaction.set_durability(Durability::None)?;
        }
        let result = {
            let (rows, lists) = (transaction.open_table(ROWS)?, transaction.open_multimap_table(LISTS)?);
            let holds_lists = self.setup.state == State::Lists;
            let (elements, scratch) = (&mut self.elements, &mut self.scratch);
            work(&mut RedbTurn { rows, lists, holds_lists, elements, scratch })?
        };
        transaction.commit()?;
        Ok(result)
    }

    fn checkpoint(&mut self, into: &Path) -> Result<Rest<(PathBuf, Setup)>> {
        let mut transaction = self.database.begin_write()?;
        // The copy opens as after a crash: this spares it a walk over the whole tree.
        transaction.set_quick_repair(true);
        transaction.commit()?;
        std::fs::create_dir_all(into)?;
        std::fs::copy(self.setup.directory.join(FILE), into.join(FILE)).context("copying the file")?;
        let image = (into.to_owned(), self.setup.at(into));
        Ok(Box::new(move || Ok(image)))
    }

    fn settle(&mut self) -> Result<()> {
        // Nothing happens in the background; a durable commit frees what the others left.
        Ok(self.database.begin_write()?.commit()?)
    }

    fn close(self) -> Result<()> {
        Ok(self.database.close()?)
    }

    fn open_half(image: &(PathBuf, Setup), half: usize, setup: &Setup) -> Result<Redb> {
        open_half_by_copying(&image.1, half, setup)
    }

    fn merge(images: &[(PathBuf, Setup); 2], whole: &Setup) -> Result<Redb> {
        std::fs::copy(images[0].0.join(FILE), whole.directory.join(FILE)).context("copying the file")?;
        merge_by_copying(Redb::open(whole)?, &images[1].1, 1)
    }
}

impl Turn for RedbTurn<'_> {
    fn put(&mut self, key: &[u8], value: &[u8]) -> Result<()> {
        self.rows.insert(key, value)?;
        Ok(())
    }

    fn get<T>(&mut self, key: &[u8], read: impl FnOnce(&[u8]) -> T) -> Result<Option<T>> {
        Ok(self.rows.get(key)?.map(|value| read(value.value())))
    }

    fn update(&mut self, key: &[u8], change: impl FnOnce(&mut [u8])) -> Result<bool> {
        let Some(mut value) = self.rows.get_mut(key)? else { return Ok(false) };
        self.scratch.clear();
        self.scratch.extend_from_slice(value.value());
        change(self.scratch);
        value.insert(self.scratch.as_slice())?;
        Ok(true)
    }

    fn delete(&mut self, key: &[u8]) -> Result<()> {
        self.rows.remove(key)?;
        Ok(())
    }

    fn append(&mut self, key: &[u8], element: &[u8]) -> Result<()> {
        self.scratch.clear();
        self.scratch.extend_from_slice(&self.elements.to_be_bytes());
        self.scratch.extend_from_slice(element);
        *self.elements += 1;
        self.lists.insert(key, self.scratch.as_slice())?;
        Ok(())
    }

    fn take_list(&mut self, key: &[u8], mut read: impl FnMut(&[u8])) -> Result<()> {
        for element in self.lists.remove_all(key)? {
            read(&element?.value()[8..]);
        }
        Ok(())
    }

    fn scan_prefix(&mut self, prefix: &[u8], mut each: impl FnMut(&[u8], &[u8])) -> Result<()> {
        for row in self.rows.range(prefix..)? {
            let (key, value) = row?;
            if !key.value().starts_with(prefix) {
                break;
            }
            each(key.value(), value.value());
        }
        Ok(())
    }

    fn pop_due(&mut self, _queue: &[u8], behind: &[u8], until: &[u8], mut take: impl FnMut(&[u8])) -> Result<()> {
        for row in self.rows.extract_from_if(behind..until, |_, _| true)? {
            take(row?.0.value());
        }
        Ok(())
    }

    fn scan_range(&mut self, start: &[u8], end: Option<&[u8]>, mut each: impl FnMut(&[u8], &[u8])) -> Result<()> {
        let is_inside = |key: &[u8]| end.is_none_or(|end| key < end);
        if self.holds_lists {
            for list in self.lists.range(start..)? {
                let (key, elements) = list?;
                for element in elements.take_while(|_| is_inside(key.value())) {
                    each(key.value(), element?.value());
                }
            }
            return Ok(());
        }
        for row in self.rows.range(start..)? {
            let (key, value) = row?;
            if !is_inside(key.value()) {
                break;
            }
            each(key.value(), value.value());
        }
        Ok(())
    }
}
