//! A finished file as shared memory: reads without a copy or a system call.
//!
//! The one place of this directory with `unsafe`. A mapping is sound only while nobody changes the file:
//!
//! | who could | what keeps them from it |
//! |---|---|
//! | the store | it never writes to or truncates a file that has a run's name; removing a name leaves a map as it is |
//! | a second store | the lock of the directory |
//! | another user | mode 0600 of each file that the store creates, wherever links to it stand; directories that it creates have 0700 |
//! | a file that came from elsewhere, by a link | the mode it has there: whoever hands it over answers for its writers |
//! | the same user, root | nothing: they must not touch the files of a store that is open |
//!
//! What happens if they do: a file that was cut short, like a disk that cannot deliver a page, ends the process with SIGBUS at
//! the next read behind its new end; its state comes back from the last checkpoint. Bytes that are overwritten in place under
//! a map are undefined behaviour to the compiler; in practice a read sees old or new ones, and checksums are not asked again
//! for blocks that were verified before. Who wants errors instead reads with [`ReadMode::Pread`](super::ReadMode::Pread).
#![expect(unsafe_code, reason = "a memory map cannot be made without")]

use std::fs::File;
use std::ops::Range;
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
        // SAFETY: the bytes of a map must not change while it lives. `Fs` appends to a file only until it is finished, and who
        // maps one asks for a finished one; the one operation that truncates, `lock`, is for lock files, which are not mapped.
        // Other stores are kept away by the lock of the directory, other users by the mode 0600 of the file; that the same
        // user and root do not change it is what `ReadMode::Mmap` asks of them. The head of this file says what happens if
        // they do.
        let map = unsafe { Mmap::map(file) }.map_err(|cause| Error::io("map", path, cause))?;
        // Where a device reads ahead by megabytes, each page that had to leave memory would bring them back with it. What is read
        // in order, or as a whole, is asked for by `will_need`. Only advice: a failure changes nothing.
        map.advise(memmap2::Advice::Random).ok();
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

    fn will_need(&self, range: Range<u64>) {
        // Without, each page that is touched is a read of its own.
        if let (Ok(start), Ok(end)) = (usize::try_from(range.start), usize::try_from(range.end.min(self.bytes())))
            && start < end
        {
            self.map.advise_range(memmap2::Advice::WillNeed, start, end - start).ok();
        }
    }

    fn path(&self) -> &Path {
        &self.path
    }
}
