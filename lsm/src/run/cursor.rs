//! Reads a run in key order, both ways; and hands out whole blocks to be copied.
//!
//! The key is kept whole in the cursor: what a block's keys share is put there once, then only suffixes change. The rest of
//! an entry is decoded when it is asked for.
//!
//! Invariants: * going forwards, a sweep shows keys that grow, and from a seek on none that is smaller than the one sought;
//!               where the file has others, it ends with `Damaged`. Merges rely on that. Readers find what is there.
//!             * a long value is read when it is asked for, not before.
//!
//! One thread per cursor. Measured as in `reader`: 21 ns an entry mapped, 40 through the cache.

use std::cell::OnceCell;
use std::ops::Range;

use super::block::{Block, EXPIRES, HAS_EXTENTS, HEADER_BYTES, Header, Layout, StoredEntry, StoredValue, kind_of};
use super::check::{check_entries, out_of_order};
use super::directory::Properties;
use super::flaw::Flaw;
use super::reader::{Keep, Run, RunBytes, check_block};
use super::section::{ClockSpan, ClockSpans};
use crate::entry::{Entry, Expiry, Kind};
use crate::error::Result;
use crate::iter::Cursor;

/// Most keys are not longer.
const KEY_BYTES: usize = 64;

/// How many blocks come from the disk together when a cursor goes through them.
const AHEAD_BLOCKS: usize = 16;

/// A position in a run.
pub(crate) struct RunCursor<'a> {
    run: &'a Run,
    keep: Keep,
    /// The section whose index is loaded.
    section: usize,
    index: Option<RunBytes<'a>>,
    /// The block that is loaded, if one is.
    block: usize,
    loaded: bool,
    image: RunBytes<'a>,
    offset: u64,
    layout: Layout,
    shared: usize,
    /// The entry, if the cursor stands at one.
    placed: bool,
    slot: usize,
    key: Vec<u8>,
    flags: u8,
    tail: usize,
    /// The long value of the entry, once it was asked for.
    extent: OnceCell<RunBytes<'a>>,
    /// The last key of the block before, where a sweep compares.
    before: Vec<u8>,
}

impl Run {
    /// A cursor whose blocks are kept in the cache: for readers.
    pub fn cursor(&self) -> RunCursor<'_> {
        RunCursor::new(self, Keep::Cached)
    }

    /// A cursor that leaves the cache as it is and checks the order of keys: for whoever reads everything once and writes it
    /// again.
    pub fn sweep(&self) -> RunCursor<'_> {
        RunCursor::new(self, Keep::Passing)
    }
}

impl<'a> RunCursor<'a> {
    fn new(run: &'a Run, keep: Keep) -> RunCursor<'a> {
        RunCursor {
            run,
            keep,
            section: 0,
            index: None,
            block: 0,
            loaded: false,
            image: RunBytes::Mapped(&[]),
            offset: 0,
            layout: Layout::default(),
            shared: 0,
            placed: false,
            slot: 0,
            key: Vec::with_capacity(KEY_BYTES),
            flags: 0,
            tail: 0,
            extent: OnceCell::new(),
            before: Vec::new(),
        }
    }

    /// The block that starts here, when it can be copied whole. `None` at any other entry, and for blocks with long values.
    /// What its header tells is checked when it is copied.
    ///
    /// # Errors
    /// `Damaged` when its last key or its clocks cannot be decoded.
    ///
    /// # Panics
    /// When this is no sweep.
    pub fn block_ahead(&self) -> Result<Option<RunBlock<'a>>> {
        assert_eq!(self.keep, Keep::Passing, "blocks are copied by sweeps, which check the order of keys");
        if !self.placed || self.slot != 0 {
            return Ok(None);
        }
        let block = || {
            let header = Header::read(self.image.as_slice())?;
            if header.flags & HAS_EXTENTS != 0 {
                return Ok(None);
            }
            let view = self.view();
            let clocks = clocks_of(&header, view)?;
            let (first, last) = (self.key.clone(), view.key(view.count() - 1)?);
            let (run, image, offset) = (self.run, self.image.clone(), self.offset);
            Ok(Some(RunBlock { run, image, offset, header, first, last, clocks }))
        };
        block().map_err(|flaw| self.run.damaged(self.offset, flaw))
    }

    /// Goes to the first entry of the next block.
    pub fn skip_block(&mut self) -> Result<()> {
        assert!(self.placed, "a block is skipped from an entry");
        self.enter_next_block()
    }

    fn view(&self) -> Block<'_> {
        Block::with_layout(self.image.as_slice(), self.layout)
    }

    /// Loads a block of a section; the cursor stands nowhere then.
    fn load(&mut self, section: usize, block: usize) -> Result<()> {
        self.placed = false;
        self.load_index(section)?;
        if self.loaded && self.block == block {
            return Ok(());
        }
        self.loaded = false;
        let index = self.index.as_ref().map_or(&[][..], RunBytes::as_slice);
        let (image, offset) = self.run.block(&self.run.directory.sections[section], index, block, self.keep)?;
        let view = Block::read(image.as_slice()).map_err(|flaw| self.run.damaged(offset, flaw))?;
        self.key.clear();
        self.key.extend_from_slice(view.prefix());
        self.shared = self.key.len();
        self.layout = view.layout();
        (self.image, self.offset, self.block, self.loaded) = (image, offset, block, true);
        Ok(())
    }

    fn load_index(&mut self, section: usize) -> Result<()> {
        if self.index.is_none() || self.section != section {
            self.loaded = false;
            self.index = Some(self.run.index(section)?);
            self.section = section;
        }
        Ok(())
    }

    /// Stands at a slot of the loaded block.
    #[inline]
    fn place(&mut self, slot: usize) -> Result<()> {
        let spot = Block::with_layout(self.image.as_slice(), self.layout).spot(slot);
        match spot {
            Ok(spot) => {
                self.key.truncate(self.shared);
                self.key.extend_from_slice(spot.suffix);
                (self.slot, self.flags, self.tail, self.placed) = (slot, spot.flags, spot.tail, true);
                self.extent.take();
                Ok(())
            }
            Err(flaw) => {
                self.placed = false;
                Err(self.run.damaged(self.offset, flaw))
            }
        }
    }

    /// Goes on to the next slot of the loaded block, whose key must be larger.
    fn place_in_order(&mut self) -> Result<()> {
        let spot = self.view().spot(self.slot + 1);
        if spot.is_ok_and(|spot| self.key.get(self.shared..).is_none_or(|here| spot.suffix <= here)) {
            return self.not_in_order();
        }
        self.place(self.slot + 1)
    }

    fn enter_next_block(&mut self) -> Result<()> {
        let is_sweep = self.keep == Keep::Passing;
        if is_sweep {
            // Not the key here: of a block that was copied it is the first.
            let mut before = std::mem::take(&mut self.before);
            let last = self.view().spot(self.layout.count - 1).map_err(|flaw| self.run.damaged(self.offset, flaw))?;
            before.clear();
            before.extend_from_slice(self.view().prefix());
            before.extend_from_slice(last.suffix);
            self.before = before;
        }
        let sections = &self.run.directory.sections;
        if self.block + 1 < sections[self.section].blocks {
            self.read_ahead();
            self.load(self.section, self.block + 1)?;
        } else if self.section + 1 < sections.len() {
            self.load(self.section + 1, 0)?;
        } else {
            self.placed = false;
            return Ok(());
        }
        self.place(0)?;
        if is_sweep && self.key <= self.before { self.not_in_order() } else { Ok(()) }
    }

    /// Brings blocks on their way that will be entered some blocks later.
    fn read_ahead(&self) {
        let next = self.block + 1;
        if (next + AHEAD_BLOCKS / 2).is_multiple_of(AHEAD_BLOCKS) {
            let section = &self.run.directory.sections[self.section];
            let index = self.index.as_ref().map_or(&[][..], RunBytes::as_slice);
            let start = next + AHEAD_BLOCKS / 2;
            self.run.read_ahead_blocks(section, index, start..start + AHEAD_BLOCKS);
        }
    }

    /// The cursor stands at a key that cannot be where it is.
    #[cold]
    fn not_in_order(&mut self) -> Result<()> {
        self.placed = false;
        Err(self.run.damaged(self.offset, out_of_order()))
    }

    fn enter_previous_block(&mut self) -> Result<()> {
        if self.block > 0 {
            self.load(self.section, self.block - 1)?;
        } else if self.section > 0 {
            let section = self.section - 1;
            self.load(section, self.run.directory.sections[section].blocks - 1)?;
        } else {
            self.placed = false;
            return Ok(());
        }
        self.place(self.layout.count - 1)
    }

    /// Loads the block of a section that would hold `key`, which is not behind the section's end.
    fn load_block_of(&mut self, number: usize, key: &[u8]) -> Result<()> {
        let section = &self.run.directory.sections[number];
        self.load_index(number)?;
        let index = self.index.as_ref().map_or(&[][..], RunBytes::as_slice);
        let block = if *key <= *section.first { 0 } else { self.run.block_of(section, index, key)? };
        self.load(number, block)
    }

    /// The first slot of the loaded block whose key is not smaller than `key`.
    fn lower_bound(&self, key: &[u8]) -> Result<usize> {
        self.view().lower_bound(key).map_err(|flaw| self.run.damaged(self.offset, flaw))
    }

    /// The slot for `key` when the loaded block holds keys on both sides of its place.
    fn slot_here(&self, key: &[u8]) -> Result<Option<usize>> {
        if !self.loaded {
            return Ok(None);
        }
        let slot = self.lower_bound(key)?;
        Ok((1..self.layout.count).contains(&slot).then_some(slot))
    }
}

impl Cursor for RunCursor<'_> {
    fn seek(&mut self, key: &[u8]) -> Result<()> {
        if let Some(slot) = self.slot_here(key)? {
            self.place(slot)?;
        } else {
            let number = self.run.directory.ending_from(key);
            if number == self.run.directory.sections.len() {
                self.placed = false;
                return Ok(());
            }
            self.load_block_of(number, key)?;
            match self.lower_bound(key)? {
                slot if slot < self.layout.count => self.place(slot)?,
                _ => self.enter_next_block()?,
            }
        }
        let is_behind = self.keep == Keep::Cached || !self.placed || *self.key >= *key;
        if is_behind { Ok(()) } else { self.not_in_order() }
    }

    fn seek_before(&mut self, bound: Option<&[u8]>) -> Result<()> {
        let sections = &self.run.directory.sections;
        if let Some(bound) = bound
            && let Some(slot) = self.slot_here(bound)?
        {
            return self.place(slot - 1);
        }
        let end = bound.map_or(sections.len(), |bound| self.run.directory.starting_from(bound));
        let Some(number) = end.checked_sub(1) else {
            self.placed = false;
            return Ok(());
        };
        let section = &sections[number];
        match bound.filter(|bound| **bound <= *section.last) {
            None => {
                self.load(number, section.blocks - 1)?;
                self.place(self.layout.count - 1)
            }
            Some(bound) => {
                self.load_block_of(number, bound)?;
                match self.lower_bound(bound)?.checked_sub(1) {
                    Some(slot) => self.place(slot),
                    None => self.enter_previous_block(),
                }
            }
        }
    }

    #[inline]
    fn next(&mut self) -> Result<()> {
        assert!(self.placed, "a cursor moves from a key");
        match self.slot + 1 {
            next if next >= self.layout.count => self.enter_next_block(),
            next if self.keep == Keep::Cached => self.place(next),
            _ => self.place_in_order(),
        }
    }

    #[inline]
    fn prev(&mut self) -> Result<()> {
        assert!(self.placed, "a cursor moves from a key");
        if self.slot > 0 { self.place(self.slot - 1) } else { self.enter_previous_block() }
    }

    #[inline]
    fn key(&self) -> Option<&[u8]> {
        self.placed.then_some(&*self.key)
    }

    #[inline]
    fn entry(&self) -> Result<Entry<'_>> {
        assert!(self.placed, "only at a key there is an entry");
        let entry = self.view().entry(self.flags, self.tail);
        let StoredEntry { kind, expiry, written, value } = entry.map_err(|flaw| self.run.damaged(self.offset, flaw))?;
        let value = match value {
            StoredValue::Inline(Range { start, end }) => self.image.as_slice().get(start..end).unwrap_or(&[]),
            StoredValue::Extent(extent) => {
                if self.extent.get().is_none() {
                    // Just seen to be empty, so this cannot fail.
                    self.extent.set(self.run.extent(extent, self.keep)?).ok();
                }
                self.extent.get().map_or(&[][..], RunBytes::as_slice)
            }
        };
        Ok(Entry { kind, value, expiry, written })
    }

    #[inline]
    fn kind(&self) -> Result<Kind> {
        assert!(self.placed, "only at a key there is an entry");
        kind_of(self.flags).map_err(|flaw| self.run.damaged(self.offset, flaw))
    }

    #[inline]
    fn expires(&self) -> bool {
        self.flags & EXPIRES != 0
    }
}

/// The clocks of a block's entries; decodes them only when the header cannot tell.
fn clocks_of(header: &Header, block: Block<'_>) -> Result<ClockSpans, Flaw> {
    let mut clocks = ClockSpans::default();
    if let Some(span) = ClockSpan::of(header) {
        clocks.add_span(span);
    } else if header.is_mixed() {
        for slot in 0..block.count() {
            let spot = block.spot(slot)?;
            if let Some(expiry) = block.entry(spot.flags, spot.tail)?.expiry {
                clocks.add(expiry);
            }
        }
    }
    Ok(clocks)
}

/// A whole verified block, for [`super::RunWriter::add_block`].
pub(crate) struct RunBlock<'a> {
    run: &'a Run,
    image: RunBytes<'a>,
    offset: u64,
    pub(super) header: Header,
    first: Vec<u8>,
    last: Vec<u8>,
    clocks: ClockSpans,
}

impl RunBlock<'_> {
    pub fn first_key(&self) -> &[u8] {
        &self.first
    }

    pub fn last_key(&self) -> &[u8] {
        &self.last
    }

    /// How many entries it has.
    pub fn count(&self) -> u16 {
        self.header.count
    }

    pub fn tombstones(&self) -> u16 {
        self.header.tombstones.into()
    }

    pub fn operands(&self) -> u16 {
        self.header.operands.into()
    }

    /// How many entries have an expiry.
    #[cfg(test)]
    pub fn expiring(&self) -> u16 {
        self.header.expiring.into()
    }

    /// Bytes in the file.
    pub fn bytes(&self) -> u64 {
        HEADER_BYTES as u64 + u64::from(self.header.stored)
    }

    /// The earliest expiry by each clock; `None` when nothing expires.
    pub fn first_expiry(&self) -> Option<impl Iterator<Item = Expiry>> {
        let expiries = self.clocks.iter().map(|span| Expiry { clock: span.clock, at: span.first_at });
        (self.header.expiring > 0).then_some(expiries)
    }

    /// The latest expiry by each clock; `None` when nothing expires.
    #[cfg(test)]
    pub fn last_expiry(&self) -> Option<impl Iterator<Item = Expiry>> {
        let expiries = self.clocks.iter().map(|span| Expiry { clock: span.clock, at: span.last_at });
        (self.header.expiring > 0).then_some(expiries)
    }

    pub(super) fn clocks(&self) -> &ClockSpans {
        &self.clocks
    }

    pub(super) fn properties(&self) -> &Properties {
        self.run.properties()
    }

    pub(super) fn image(&self) -> &[u8] {
        self.image.as_slice()
    }

    pub(super) fn view(&self) -> Result<Block<'_>> {
        self.checked(Block::read(self.image()))
    }

    /// Checks all that [`check_entries`] does; shows `visit` the hash of each key, and the key.
    pub(super) fn check(&self, mut visit: impl FnMut(u32, &[u8])) -> Result<()> {
        let view = self.view()?;
        let entries = check_entries(view, &self.header, |hash, key| {
            visit(hash, key);
            Ok(())
        });
        self.checked(entries.map(drop))
    }

    fn checked<T>(&self, result: Result<T, Flaw>) -> Result<T> {
        result.map_err(|flaw| self.run.damaged(self.offset, flaw))
    }

    /// The body as it stands in the file.
    pub(super) fn stored_body(&self) -> Result<RunBytes<'_>> {
        let body = HEADER_BYTES..self.bytes() as usize;
        if self.header.codec == 0 {
            return Ok(self.image.clone().narrow(body));
        }
        let stored = self.run.read(self.offset, body.end)?;
        self.checked(check_block(self.run.id, self.offset, self.properties().codec, stored.clone()))?;
        Ok(stored.narrow(body))
    }
}
