//! A finished file as shared memory: reads without a copy or a system call.
//!
//! The one place of this directory with `unsafe`. A mapping is sound only while nobody changes the file: the store never
//! writes to or truncates a finished file, its directories are closed to other users, and its lock keeps a second store out.
//! What is left is somebody who cuts a file short behind the store's back, or a disk that cannot deliver a page: the kernel
//! then ends the process with SIGBUS, and state comes back from the last checkpoint. Who wants an error instead reads with
//! [`ReadMode::Pread`](super::ReadMode::Pread).
#![expect(unsafe_code, reason = "a memory map cannot be made without")]

use std::fs::File;
use std::path::{Path, PathBuf};

use memmap2::Mmap;

use super::Source;
use super::checks::check_range;
use crate::error::{Error, Result};

/// A finished file, mapped whole. From any thread; takes no lock.
#[derive(Debug)]
pub(super) struct MappedSource {
    map: Mmap,
    path: PathBuf,
}

impl MappedSource {
    /// Maps all of `file`, which was opened from `path`; an empty file gives an empty slice.
    pub(super) fn new(file: &File, path: &Path) -> Result<MappedSource> {
        // SAFETY: the bytes of a map must not change while it lives. Files are written by append only before they are
        // finished and immutable afterwards: `Fs` has no operation that truncates or overwrites one, and who maps a file asks
        // for a finished one. Directories of mode 0700 and the lock keep others from doing it. Cutting the file from outside
        // all the same ends the process with SIGBUS (see the head of this file).
        let map = unsafe { Mmap::map(file) }.map_err(|cause| Error::io("map", path, cause))?;
        Ok(MappedSource { map, path: path.to_owned() })
    }
}

impl Source for MappedSource {
    fn bytes(&self) -> u64 {
        self.map.len() as u64
    }

    fn read_exact_at(&self, into: &mut [u8], offset: u64) -> Result<()> {
        check_range(&self.path, self.bytes(), offset, into.len())?;
        let start = usize::try_from(offset).expect("an offset inside a map fits an address");
        into.copy_from_slice(&self.map[start..start + into.len()]);
        Ok(())
    }

    fn mapped(&self) -> Option<&[u8]> {
        Some(&self.map)
    }

    fn path(&self) -> &Path {
        &self.path
    }
}
