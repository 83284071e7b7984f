//! Directories of store files: copying them, sharing them by hard links, pushing them out of the page cache.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use rustix::fs::{Advice, fadvise};

/// A file below a directory.
#[derive(Clone, Debug)]
pub struct FoundFile {
    pub path: PathBuf,
    pub bytes: u64,
    /// Bytes that it takes on the disk, which differ from its length when it has holes.
    pub disk_bytes: u64,
    /// What tells a file from another of the same name.
    pub inode: u64,
}

/// All files below `directory`. One that vanishes while looking is not there.
pub fn list_files(directory: &Path) -> Result<Vec<FoundFile>> {
    let mut found = Vec::new();
    let mut open = vec![directory.to_owned()];
    while let Some(next) = open.pop() {
        let Ok(entries) = fs::read_dir(&next) else { continue };
        for entry in entries {
            let entry = entry.with_context(|| format!("reading {}", next.display()))?;
            let Ok(metadata) = fs::symlink_metadata(entry.path()) else { continue };
            if metadata.is_dir() {
                open.push(entry.path());
            } else {
                let (bytes, inode) = (metadata.len(), metadata.ino());
                found.push(FoundFile { path: entry.path(), bytes, disk_bytes: metadata.blocks() * 512, inode });
            }
        }
    }
    Ok(found)
}

/// Makes `to` a copy of `from`. Files that never change are shared by hard link, the others copied.
pub fn share_directory(from: &Path, to: &Path, is_immutable: impl Fn(&Path) -> bool) -> Result<()> {
    fs::create_dir_all(to).with_context(|| format!("creating {}", to.display()))?;
    for file in list_files(from)? {
        let relative = file.path.strip_prefix(from).expect("it was listed below");
        let target = to.join(relative);
        let parent = target.parent().expect("it lies below the target");
        fs::create_dir_all(parent).with_context(|| format!("creating {}", parent.display()))?;
        if is_immutable(&file.path) {
            fs::hard_link(&file.path, &target).with_context(|| format!("linking {}", target.display()))?;
        } else {
            fs::copy(&file.path, &target).with_context(|| format!("copying to {}", target.display()))?;
        }
    }
    Ok(())
}

/// Writes back what is dirty in all files below `directory`.
pub fn sync_files(directory: &Path) -> Result<()> {
    for_each_open(directory, |file| file.sync_data())
}

/// Writes back what is dirty and asks the system to forget the pages of all files below `directory`. Pages that a process
/// has mapped stay.
pub fn evict_files(directory: &Path) -> Result<()> {
    sync_files(directory)?;
    for_each_open(directory, |file| Ok(fadvise(file, 0, None, Advice::DontNeed)?))
}

/// Opens all files below `directory`. One that vanishes meanwhile is left out.
fn for_each_open(directory: &Path, act: impl Fn(&fs::File) -> std::io::Result<()>) -> Result<()> {
    for found in list_files(directory)? {
        let Ok(file) = fs::File::open(&found.path) else { continue };
        act(&file).with_context(|| format!("syncing or evicting {}", found.path.display()))?;
    }
    Ok(())
}
