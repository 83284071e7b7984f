//! Reads a whole run and checks everything that can be checked: for `verify` of a store, and for adopted files.

use super::block::{Block, Extent, HAS_SCANNED, Header};
use super::check::{check_entries, out_of_order};
use super::filter;
use super::flaw::{Flaw, flaw};
use super::footer::{FOOTER_BYTES, Footer};
use super::reader::{Keep, Run, RunBytes, check_block, check_crc};
use super::section::{ClockSpans, Counts, Index, Section};
use crate::codec::{checksum, prefix_hash32};
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
    /// indexes, counts and flags agree with the entries. Which keys are scanned can be checked only under the shape that the
    /// run was written with.
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
            let image = check_block(self.id, at, self.properties().codec, self.read(at, length)?);
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
        let first = block.key(0).map_err(located)?;
        if progress.last_key.as_ref().is_some_and(|last| *last >= first) {
            return Err(located(out_of_order()));
        }
        let mut scanned = false;
        let found = check_entries(block, &header, |hash, key| {
            if !filter::contains(lines, hash) {
                return Err(flaw(format_args!("key of hash {hash:08x} that is not in the filter")));
            }
            scanned |= self.verify_scan(key, lines)?;
            Ok(())
        });
        let found = found.map_err(located)?;
        if self.same_shape && scanned != (header.flags & HAS_SCANNED != 0) {
            let flags = header.flags;
            return Err(located(flaw(format_args!("block with flags {flags:#x} and scanned keys: {scanned}"))));
        }
        for extent in found.extents {
            let Extent { offset, length, .. } = extent;
            if offset != progress.at {
                return Err(located(flaw(format_args!("long value at byte {offset}, expected {}", progress.at))));
            }
            self.extent(extent, Keep::Passing)?;
            progress.at += u64::from(length);
            progress.value_bytes += u64::from(length);
        }
        if progress.at != at {
            return Err(located(flaw(format_args!("block behind a gap that starts at byte {}", progress.at))));
        }
        progress.last_key = Some(block.key(block.count() - 1).map_err(located)?);
        progress.counts.add(found.counts);
        progress.clocks.add_all(&found.clocks);
        progress.key_bytes += found.key_bytes;
        progress.value_bytes += found.value_bytes;
        Ok(())
    }

    /// Whether `key` is scanned by the shape that the run was written under; its prefix must be in the filter then. False
    /// under another shape.
    fn verify_scan(&self, key: &[u8], lines: &[u8]) -> Result<bool, Flaw> {
        if !self.same_shape {
            return Ok(false);
        }
        let Some(bytes) = self.shape.scan_prefix_bytes(key) else { return Ok(false) };
        if filter::contains(lines, prefix_hash32(&key[..bytes])) {
            return Ok(true);
        }
        Err(flaw("scanned key whose prefix is not in the filter"))
    }
}
