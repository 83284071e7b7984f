//! Ordered reads: tile after tile, each a merge of the memtables and the tile's slices.

use std::borrow::Cow;

use super::snapshot::Snapshot;
use crate::entry::{Clocks, Entry, Kind};
use crate::error::Result;
use crate::fold::Rules;
use crate::iter::{Cursor, Direction, Merge, Source};
use crate::key::KeyRange;
use crate::memtable::{MemCursor, Memtable, SealedCursor};
use crate::run::RunCursor;

/// A cursor over one source of a store.
pub(crate) enum AnyCursor<'a> {
    Memtable(MemCursor<'a>),
    Sealed(SealedCursor<'a>),
    Run(RunCursor<'a>),
}

macro_rules! each {
    ($self:ident, $cursor:ident => $call:expr) => {
        match $self {
            AnyCursor::Memtable($cursor) => $call,
            AnyCursor::Sealed($cursor) => $call,
            AnyCursor::Run($cursor) => $call,
        }
    };
}

impl Cursor for AnyCursor<'_> {
    fn seek(&mut self, key: &[u8]) -> Result<()> {
        each!(self, cursor => cursor.seek(key))
    }

    fn seek_before(&mut self, bound: Option<&[u8]>) -> Result<()> {
        each!(self, cursor => cursor.seek_before(bound))
    }

    fn next(&mut self) -> Result<()> {
        each!(self, cursor => cursor.next())
    }

    fn prev(&mut self) -> Result<()> {
        each!(self, cursor => cursor.prev())
    }

    #[inline]
    fn key(&self) -> Option<&[u8]> {
        each!(self, cursor => cursor.key())
    }

    #[inline]
    fn entry(&self) -> Result<Entry<'_>> {
        each!(self, cursor => cursor.entry())
    }

    #[inline]
    fn kind(&self) -> Result<Kind> {
        each!(self, cursor => cursor.kind())
    }

    #[inline]
    fn expires(&self) -> bool {
        each!(self, cursor => cursor.expires())
    }
}

/// The entries of a range in key order, from either end.
///
/// [`Scan::next_entry`] lends key and value without copying them; the [`Iterator`] copies both, for convenience.
///
/// ```
/// # let directory = tempfile::tempdir().unwrap();
/// let mut store = bedload_lsm::Store::options().open(directory.path())?;
/// for key in ["a", "b", "c"] {
///     store.put(key.as_bytes(), b"1")?;
/// }
/// let mut scan = store.scan("b".as_bytes()..)?;
/// while let Some((key, value)) = scan.next_entry()? {
///     assert!(key >= b"b");
///     assert_eq!(value, b"1");
/// }
/// let backwards: Result<Vec<_>, _> = store.scan(..)?.backwards().collect();
/// assert_eq!(backwards?[0].0, b"c");
/// # Ok::<(), bedload_lsm::Error>(())
/// ```
pub struct Scan<'a> {
    snapshot: &'a Snapshot,
    active: Option<&'a Memtable>,
    rules: &'a dyn Rules,
    clocks: &'a Clocks,
    range: Cow<'a, KeyRange>,
    /// Only scanned keys can be inside: indexes of point keys need not be looked at.
    scanned_only: bool,
    /// A whole scan prefix that all keys of the range share, as the length of the start that is it: runs without it are left out.
    prefix_bytes: Option<usize>,
    direction: Direction,
    /// Whether one tile has all of the range.
    is_in_one_tile: bool,
    /// Tiles not yet begun.
    tiles: std::ops::Range<usize>,
    merge: Option<Merge<'a, AnyCursor<'a>>>,
    /// Whether the merge stands at an entry that was handed out.
    lent: bool,
    failed: bool,
}

/// What a scan is made of, beside its range.
pub(crate) struct ScanParts<'a> {
    pub snapshot: &'a Snapshot,
    pub active: Option<&'a Memtable>,
    pub rules: &'a dyn Rules,
    pub clocks: &'a Clocks,
    pub scanned_only: bool,
    pub prefix_bytes: Option<usize>,
}

impl<'a> Scan<'a> {
    pub(crate) fn new(range: Cow<'a, KeyRange>, parts: ScanParts<'a>) -> Scan<'a> {
        let ScanParts { snapshot, active, rules, clocks, scanned_only, prefix_bytes } = parts;
        let tiles = snapshot.version.tiles_in(&range);
        let direction = Direction::Forward;
        let merge = None;
        Scan {
            snapshot,
            active,
            rules,
            clocks,
            range,
            scanned_only,
            prefix_bytes,
            direction,
            is_in_one_tile: tiles.len() == 1,
            tiles,
            merge,
            lent: false,
            failed: false,
        }
    }

    /// The same range from its end to its start. Before the first entry only.
    ///
    /// # Panics
    /// When entries were read already.
    pub fn backwards(mut self) -> Scan<'a> {
        assert!(self.merge.is_none(), "a scan turns before its first entry");
        self.direction = Direction::Backward;
        self
    }

    /// The next key and value, lent until the next call. Costs a few comparisons for each source that holds the range.
    ///
    /// # Errors
    /// `Damaged` when a run is; the scan is over then.
    pub fn next_entry(&mut self) -> Result<Option<(&[u8], &[u8])>> {
        if self.failed || !self.advance().inspect_err(|_| self.failed = true)? {
            return Ok(None);
        }
        let merge = self.merge.as_ref().expect("advance stands at an entry");
        let key = merge.key().expect("advance stands at an entry");
        let entry = merge.entry().inspect_err(|_| self.failed = true)?;
        Ok(Some((key, entry.value)))
    }

    /// Goes to the next entry that a reader sees.
    fn advance(&mut self) -> Result<bool> {
        loop {
            if self.lent {
                self.merge.as_mut().expect("a lent entry stands in a merge").step()?;
                self.lent = false;
            }
            let Some(merge) = &self.merge else {
                if self.tiles.is_empty() {
                    return Ok(false);
                }
                self.open_tile()?;
                continue;
            };
            if merge.key().is_none() {
                self.merge = None;
                continue;
            }
            self.lent = true;
            if merge.is_visible(self.clocks)? {
                return Ok(true);
            }
        }
    }

    fn open_tile(&mut self) -> Result<()> {
        let tile = match self.direction {
            Direction::Forward => self.tiles.next(),
            Direction::Backward => self.tiles.next_back(),
        }
        .expect("the caller saw a tile");
        let range = match &self.range {
            Cow::Borrowed(range) if self.is_in_one_tile => Cow::Borrowed(*range),
            range => Cow::Owned(range.intersect(&self.snapshot.version.range_of(tile))),
        };
        let mut merge = Merge::new(self.sources(tile), self.rules, range);
        match self.direction {
            Direction::Forward => merge.seek_first()?,
            Direction::Backward => merge.seek_last()?,
        }
        self.merge = Some(merge);
        self.lent = false;
        Ok(())
    }

    fn sources(&self, tile: usize) -> Vec<Source<'a, AnyCursor<'a>>> {
        let snapshot = self.snapshot;
        let slices = snapshot.slices(tile);
        let mut sources = Vec::with_capacity(1 + snapshot.memtables.len() + slices.len());
        if let Some(active) = self.active {
            let cursor = AnyCursor::Memtable(active.cursor(self.scanned_only));
            sources.push(Source { cursor, ranges: active.ranges() });
        }
        for memtable in &snapshot.memtables {
            let table = &memtable.table;
            sources.push(Source { cursor: AnyCursor::Sealed(table.cursor(self.scanned_only)), ranges: table.ranges() });
        }
        for slice in slices {
            let run = &slice.run;
            // Without the prefix it holds no entry of the range, but its range tombstones may reach into it.
            let holds =
                self.prefix_bytes.is_none_or(|prefix_bytes| run.may_contain_prefix(&self.range.start[..prefix_bytes]));
            if holds || !run.ranges().is_empty() {
                sources.push(Source { cursor: AnyCursor::Run(run.cursor()), ranges: run.ranges() });
            }
        }
        sources
    }
}

impl Iterator for Scan<'_> {
    type Item = Result<(Vec<u8>, Vec<u8>)>;

    fn next(&mut self) -> Option<Self::Item> {
        let copied = self.next_entry().map(|entry| entry.map(|(key, value)| (key.to_vec(), value.to_vec())));
        copied.transpose()
    }
}
