//! Sets the checksums of a changed file right, so that tests and fuzz targets get behind them.

use std::ops::Range;

use super::directory::Directory;
use super::footer::{FOOTER_BYTES, Footer};
use super::section::Index;
use crate::codec::{RunId, checksum, put_varint};

/// Where the checksums of a file stand, and over what.
#[derive(Clone, Debug)]
pub(crate) struct Seals {
    id: RunId,
    /// Places of blocks, which start with theirs.
    pub blocks: Vec<Range<usize>>,
    /// Places of filters and indexes, and of their checksums.
    parts: Vec<(Range<usize>, usize)>,
    pub directory: Range<usize>,
}

impl Seals {
    /// Those of a whole file of run `id`.
    ///
    /// # Panics
    /// When it is not whole.
    pub fn of(file: &[u8], id: RunId) -> Seals {
        let footer_at = file.len() - FOOTER_BYTES;
        let footer = Footer::read(file[footer_at..].first_chunk().expect("a whole footer"), id, file.len() as u64);
        let at = footer.expect("a right footer").directory_offset;
        let directory = Directory::read(&file[at as usize..footer_at], at, file.len() as u64);
        let directory = directory.expect("a right directory");
        let (mut blocks, mut parts, mut encoded) = (Vec::new(), Vec::new(), Vec::new());
        put_varint(&mut encoded, directory.sections.len() as u64);
        for section in &directory.sections {
            section.put(&mut encoded);
            let crcs = at as usize + encoded.len() - 8;
            let (filter, index) = (section.places.filter as usize, section.places.index as usize);
            parts.push((filter..index, crcs));
            parts.push((index..index + section.index_bytes(), crcs + 4));
            let index = Index::new(&file[index..index + section.index_bytes()]);
            blocks.extend((0..section.blocks).map(|block| {
                let (start, length) = index.span(block).expect("a right index");
                let start = (section.places.data + start) as usize;
                start..start + length
            }));
        }
        Seals { id, blocks, parts, directory: at as usize..footer_at }
    }

    /// Makes all checksums of `file`, which is as long as the one it was made from, right.
    pub fn seal(&self, file: &mut [u8]) {
        for Range { start, end } in self.blocks.iter().cloned() {
            let crc = checksum(self.id, start as u64, &file[start + 4..end]);
            file[start..start + 4].copy_from_slice(&crc.to_le_bytes());
        }
        for (part, at) in &self.parts {
            let crc = checksum(self.id, part.start as u64, &file[part.clone()]);
            file[*at..at + 4].copy_from_slice(&crc.to_le_bytes());
        }
        let Range { start, end } = self.directory;
        let crc = checksum(self.id, start as u64, &file[start..end]);
        file[end + 48..end + 52].copy_from_slice(&crc.to_le_bytes());
        let crc = checksum(self.id, end as u64, &file[end..end + 60]);
        file[end + 60..end + 64].copy_from_slice(&crc.to_le_bytes());
    }
}
