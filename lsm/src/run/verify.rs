//! Reads a whole run and checks everything that can be checked: for `verify` of a store, and for adopted files.

use super::block::{Block, Header, StoredEntry, StoredValue};
use super::filter;
use super::flaw::{Flaw, flaw};
use super::footer::{FOOTER_BYTES, Footer};
use super::reader::{Keep, Run, RunBytes, check_block, check_crc};
use super::section::{ClockSpan, ClockSpans, Counts, Index, Section};
use crate::codec::{checksum, hash32};
use crate::entry::Kind;
use crate::error::Result;

/// What has been read so far.
#[derive(Default)]
struct Progress {
    /// Behind the last byte that belongs to a block or extent.
    at: u64,
    last_key: Option<Vec<u8>>,
    counts: Counts,
    clocks: ClockSpans,
    key_bytes: u64,
    value_bytes: u64,
}

impl Run {
    /// Reads every byte of the file again and checks all checksums, the order of the keys, and that hashes, tables, filters,
    /// indexes and counts agree with the entries.
    ///
    /// # Errors
    /// `Damaged`, naming the first place; those of the source.
    pub fn verify(&self) -> Result<()> {
        self.verify_frame()?;
        let mut progress = Progress::default();
        let (mut key_bytes, mut value_bytes) = (0, 0);
        for number in 0..self.directory.sections.len() {
            let last_key = progress.last_key.take();
            progress = Progress { at: progress.at, last_key, ..Progress::default() };
            self.verify_section(number, &mut progress)?;
            key_bytes += progress.key_bytes;
            value_bytes += progress.value_bytes;
        }
        let properties = self.properties();
        if (key_bytes, value_bytes) != (properties.key_bytes, properties.value_bytes) {
            let what = format_args!("{key_bytes} bytes of keys and {value_bytes} of values, expected {properties:?}");
            return Err(self.damaged(self.bytes(), flaw(what)));
        }
        Ok(())
    }

    /// Footer and directory as they are now, not as they were when the run was opened.
    fn verify_frame(&self) -> Result<()> {
        let at = self.bytes() - FOOTER_BYTES as u64;
        let bytes = self.read(at, FOOTER_BYTES)?;
        let footer = bytes.as_slice().first_chunk().ok_or_else(|| flaw("footer that is cut"));
        let footer = footer.and_then(|bytes| Footer::read(bytes, self.id, self.bytes()));
        let footer = footer.map_err(|flaw| self.damaged(at, flaw))?;
        self.read_checked(footer.directory_offset, footer.directory_bytes as usize, footer.directory_crc, "directory")?;
        Ok(())
    }

    fn read_checked(&self, at: u64, bytes: usize, crc: u32, what: &str) -> Result<RunBytes<'_>> {
        let read = self.read(at, bytes)?;
        check_crc(what, crc, checksum(self.id, at, read.as_slice())).map_err(|flaw| self.damaged(at, flaw))?;
        Ok(read)
    }

    fn verify_section(&self, number: usize, progress: &mut Progress) -> Result<()> {
        let section = &self.directory.sections[number];
        let places = section.places;
        let filter = self.read_checked(places.filter, section.filter_bytes(), section.filter_crc, "filter")?;
        let lines = filter.as_slice().get((places.lines - places.filter) as usize..).unwrap_or(&[]);
        let index = self.read_checked(places.index, section.index_bytes(), section.index_crc, "index")?;
        let index = Index::new(index.as_slice());
        for block in 0..section.blocks {
            let Some((start, length)) = index.span(block) else {
                return Err(self.damaged(places.index, flaw("index that is cut")));
            };
            let at = places.data + start;
            let image = check_block(self.id, at, self.read(at, length)?);
            let image = image.map_err(|flaw| self.damaged(at, flaw))?;
            let first = Block::read(image.as_slice()).and_then(|block| block.key(0));
            let first = first.map_err(|flaw| self.damaged(at, flaw))?;
            let table =
                Header::read(image.as_slice()).is_ok_and(|header| usize::from(header.table) == index.table(block));
            let is_first = block > 0 || *first == *section.first;
            if !is_first || index.prefix(block) != Some(section.prefix_of(&first)) || !table {
                return Err(self.damaged(at, flaw("block that starts with another key than its index says")));
            }
            self.verify_block(image.as_slice(), at, lines, progress)?;
            progress.at = at + length as u64;
        }
        self.verify_counts(section, progress)
    }

    fn verify_counts(&self, section: &Section, progress: &Progress) -> Result<()> {
        let end = section.places.data + section.bytes;
        let same_clocks = progress.clocks.iter().count() == section.clocks.iter().count()
            && progress.clocks.iter().all(|span| section.clocks.iter().any(|other| other == span));
        let same_end = progress.at == end && progress.last_key.as_deref() == Some(&*section.last);
        if progress.counts != section.counts || !same_clocks || !same_end {
            let what = format_args!("section of {:?}, expected {:?}", progress.counts, section.counts);
            return Err(self.damaged(section.places.data, flaw(what)));
        }
        Ok(())
    }

    fn verify_block(&self, image: &[u8], at: u64, lines: &[u8], progress: &mut Progress) -> Result<()> {
        let located = |flaw| self.damaged(at, flaw);
        let header = Header::read(image).map_err(located)?;
        let block = Block::read(image).map_err(located)?;
        let mut counts = Counts { entries: u64::from(header.count), ..Counts::default() };
        let (mut clocks, mut key_bytes) = (ClockSpans::default(), 0);
        for slot in 0..block.count() {
            let (key, entry) = verify_slot(block, slot, lines).map_err(located)?;
            if progress.last_key.as_ref().is_some_and(|last| *last >= key) {
                return Err(located(flaw("keys that are not in order")));
            }
            match entry.value {
                StoredValue::Inline(value) => progress.value_bytes += value.len() as u64,
                StoredValue::Extent(extent) => {
                    if extent.offset != progress.at {
                        return Err(located(flaw(format_args!(
                            "long value at byte {}, expected {}",
                            extent.offset, progress.at
                        ))));
                    }
                    self.extent(extent, Keep::Passing)?;
                    progress.at += u64::from(extent.length);
                    progress.value_bytes += u64::from(extent.length);
                }
            }
            counts.tombstones += u64::from(entry.kind == Kind::Tombstone);
            counts.operands += u64::from(entry.kind == Kind::Operand);
            if let Some(expiry) = entry.expiry {
                clocks.add(expiry);
                progress.clocks.add(expiry);
            }
            key_bytes += key.len() as u64;
            progress.last_key = Some(key);
        }
        counts.expiring = clocks.count();
        let told = Counts {
            entries: counts.entries,
            tombstones: header.tombstones.into(),
            operands: header.operands.into(),
            expiring: header.expiring.into(),
        };
        if counts != told || clocks.only() != ClockSpan::of(&header) || key_bytes != u64::from(header.key_bytes) {
            return Err(located(flaw(format_args!("block of {counts:?}, expected {told:?}"))));
        }
        if progress.at != at {
            return Err(located(flaw(format_args!("block behind a gap that starts at byte {}", progress.at))));
        }
        progress.counts.add(counts);
        progress.key_bytes += key_bytes;
        Ok(())
    }
}

fn verify_slot(block: Block<'_>, slot: usize, lines: &[u8]) -> Result<(Vec<u8>, StoredEntry), Flaw> {
    let key = block.key(slot)?;
    let (stored, _) = block.slot(slot)?;
    let hash = hash32(&key);
    if stored != hash || !filter::contains(lines, hash) {
        return Err(flaw(format_args!("key of hash {hash:08x} under {stored:08x}, or not in the filter")));
    }
    let spot = block.spot(slot)?;
    if block.find(hash, &key)?.map(|found| found.tail) != Some(spot.tail) {
        return Err(flaw("key that its block's table does not find"));
    }
    let entry = block.entry(spot.flags, spot.tail)?;
    Ok((key, entry))
}
