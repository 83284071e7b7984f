//! What everyone but the writer reads: sealed memtables and a version; and point reads through it.
//!
//! ```text
//!   newest   [sealed 12] [sealed 11] [sealed 10, flushed]  memtables, newest first
//!   oldest   tile: [9..10] [5..8] [1..4]                   slices; those whose seals a memtable above covers are skipped
//! ```
//!
//! Invariants: * memtables are the newest seals without a gap, so that age is position.
//!             * a slice lies wholly at or behind the oldest memtable's seal, or wholly before it: else an operand in both
//!               would be folded twice. `Board` drops flushed memtables before it installs a merge that reaches into them.

use std::sync::Arc;

use super::value::ValueRef;
use crate::entry::{Clocks, Entry, Expiry, Kind};
use crate::error::Result;
use crate::fold::{Folded, Rule, Rules, fold};
use crate::iter::no_rule;
use crate::key::KeyRange;
use crate::memtable::Sealed;
use crate::version::{Slice, Version};

/// A memtable after its seal, with what was sealed along with it.
pub(crate) struct SealedTable {
    pub table: Sealed,
    pub seal: u64,
    /// The clocks when it was sealed.
    pub clocks: Clocks,
    /// Sealed by a freeze: no flush reaches across it.
    pub frozen: bool,
    /// Bytes of keys and values that went in.
    pub written_bytes: u64,
}

/// Sealed memtables, newest first, and a version.
pub(crate) struct Snapshot {
    pub memtables: Vec<Arc<SealedTable>>,
    pub version: Arc<Version>,
    /// Slices from this seal on are in `memtables` as well.
    pub covered_from: u64,
    /// Clocks of the newest seal.
    pub clocks: Clocks,
}

impl Snapshot {
    /// A snapshot of these parts.
    pub fn new(memtables: Vec<Arc<SealedTable>>, version: Arc<Version>) -> Snapshot {
        debug_assert!(memtables.is_sorted_by(|newer, older| newer.seal == older.seal + 1), "seals without a gap");
        let covered_from = memtables.last().map_or(u64::MAX, |oldest| oldest.seal);
        let clocks = memtables.first().map_or(version.clocks, |newest| newest.clocks);
        Snapshot { memtables, version, covered_from, clocks }
    }

    /// The slices of a tile that no memtable stands for, newest first.
    #[inline]
    pub fn slices(&self, tile: usize) -> &[Slice] {
        let slices = &self.version.tiles()[tile].slices;
        let covered = slices.iter().take_while(|slice| slice.seals.first >= self.covered_from).count();
        debug_assert!(slices[covered..].iter().all(|slice| slice.seals.last < self.covered_from), "no slice straddles");
        &slices[covered..]
    }

    /// Looks for `key`, folding what is found onto `newer` operands.
    pub fn get<'a>(&'a self, hash: u32, key: &[u8], search: Search<'a>) -> Result<Option<Seen<'a>>> {
        let mut search = search;
        for memtable in &self.memtables {
            if let Some(entry) = memtable.table.get(hash, key)
                && search.meet_borrowed(key, entry)?
            {
                return search.finish();
            }
            if memtable.table.ranges().contains(key) {
                return search.finish();
            }
        }
        let slices = self.slices(self.version.tile_of(key));
        if slices.len() > 1 {
            // The filters' cache lines travel while the first is tested.
            for slice in slices {
                slice.run.prefetch(hash, key);
            }
        }
        for slice in slices {
            if let Some(found) = slice.run.get(hash, key)?
                && search.meet_found(key, found)?
            {
                return search.finish();
            }
            if slice.run.ranges().contains(key) {
                return search.finish();
            }
        }
        search.finish()
    }

    /// Brings on their way what a get of `key` will read first: filters' cache lines, or filters from the disk.
    pub fn prefetch(&self, hash: u32, key: &[u8]) {
        for slice in self.slices(self.version.tile_of(key)) {
            slice.run.prefetch(hash, key);
            slice.run.read_ahead_section(key);
        }
    }

    /// Brings on their way what it will read then: the blocks that filters let through.
    pub fn read_ahead(&self, hash: u32, key: &[u8]) {
        self.slices(self.version.tile_of(key)).iter().for_each(|slice| slice.run.read_ahead(hash, key));
    }

    /// Whether an entry of `key` may exist; false is certain. Reads filters only.
    pub fn may_contain(&self, hash: u32, key: &[u8]) -> bool {
        self.memtables.iter().any(|memtable| memtable.table.get(hash, key).is_some())
            || self.slices(self.version.tile_of(key)).iter().any(|slice| slice.run.may_contain(hash, key))
    }

    /// Whether an entry inside `range` may exist; false is certain. `prefix` is a whole scan prefix that all keys of the
    /// range share, where there is one.
    pub fn may_overlap(&self, range: &KeyRange, prefix: Option<&[u8]>) -> bool {
        let in_run = |slice: &Slice| {
            prefix.is_none_or(|prefix| slice.run.may_contain_prefix(prefix)) && slice.run.overlaps(range)
        };
        self.memtables.iter().any(|memtable| memtable.table.may_overlap(range))
            || self.version.tiles_in(range).any(|tile| self.slices(tile).iter().any(in_run))
    }
}

/// A value that a reader sees, and when it ends.
pub(crate) struct Seen<'a> {
    pub value: ValueRef<'a>,
    pub expiry: Option<Expiry>,
}

/// A point read on its way from newer to older entries.
pub(crate) struct Search<'a> {
    rules: &'a dyn Rules,
    clocks: &'a Clocks,
    state: State<'a>,
}

enum State<'a> {
    /// Nothing yet.
    Nothing,
    /// The newest entry decides.
    Done(Option<Seen<'a>>),
    /// Operands so far, folded into one, with its rule.
    Operand { rule: Rule, folded: Folded, bytes: Vec<u8> },
    /// Operands on their base.
    Based { folded: Folded, bytes: Vec<u8> },
}

impl<'a> Search<'a> {
    /// A search that has met nothing.
    pub fn new(rules: &'a dyn Rules, clocks: &'a Clocks) -> Search<'a> {
        Search { rules, clocks, state: State::Nothing }
    }

    /// Meets the next older entry, borrowed for long; true when nothing older matters.
    #[inline]
    pub fn meet_borrowed(&mut self, key: &[u8], entry: Entry<'a>) -> Result<bool> {
        if let State::Nothing = self.state
            && entry.kind != Kind::Operand
        {
            let lives = entry.kind == Kind::Value && !entry.expired(self.clocks);
            self.state =
                State::Done(lives.then_some(Seen { value: ValueRef::borrowed(entry.value), expiry: entry.expiry }));
            return Ok(true);
        }
        self.meet(key, entry)
    }

    fn meet_found(&mut self, key: &[u8], found: crate::run::Found<'a>) -> Result<bool> {
        let entry = found.entry();
        if let State::Nothing = self.state
            && entry.kind != Kind::Operand
        {
            let lives = entry.kind == Kind::Value && !entry.expired(self.clocks);
            let expiry = found.expiry;
            self.state = State::Done(lives.then(|| Seen { value: ValueRef::from_run(found.value), expiry }));
            return Ok(true);
        }
        self.meet(key, entry)
    }

    #[cold]
    fn meet(&mut self, key: &[u8], entry: Entry<'_>) -> Result<bool> {
        let (rule, folded, bytes) = match std::mem::replace(&mut self.state, State::Nothing) {
            State::Nothing => {
                let rule = self.rules.rule(key).ok_or_else(|| no_rule(key))?;
                let folded = Folded { kind: entry.kind, expiry: entry.expiry, written: entry.written };
                (rule, folded, entry.value.to_vec())
            }
            State::Operand { rule, folded, bytes } => {
                let mut out = Vec::new();
                let folded = fold(&rule, Some(entry), folded.with(&bytes), &mut out)?;
                (rule, folded, out)
            }
            State::Done(_) | State::Based { .. } => unreachable!("a finished search meets nothing"),
        };
        let based = folded.kind != Kind::Operand;
        self.state = if based { State::Based { folded, bytes } } else { State::Operand { rule, folded, bytes } };
        Ok(based)
    }

    /// The value, when everything older has been met or cannot matter.
    #[inline]
    pub fn finish(self) -> Result<Option<Seen<'a>>> {
        match self.state {
            State::Nothing => Ok(None),
            State::Done(value) => Ok(value),
            State::Operand { folded, bytes, .. } | State::Based { folded, bytes } => {
                let lives = !folded.expiry.is_some_and(|expiry| self.clocks.expired(expiry));
                Ok(lives.then(|| Seen { value: ValueRef::owned(bytes), expiry: folded.expiry }))
            }
        }
    }
}
