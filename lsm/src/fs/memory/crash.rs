//! What a power loss leaves of a disk, by chance.
//!
//! Names: each one that changed since its directory was synced is, independently of the others, as it is now or as it was at
//! any moment since. So a rename can lose its old name without showing the new one, but a name that always pointed to some
//! file still points to one of them.
//!
//! Bytes: what was synced stays. The tail behind it is kept, dropped, cut, or has holes of zeros or garbage; file systems with
//! delayed allocation leave all of these.

use std::sync::Arc;

use super::state::{Directory, Disk, Inode};

/// Zeroed holes have the granularity of the page cache.
const PAGE_BYTES: usize = 4096;

/// Draws what a power loss would leave of `disk`. The same numbers give the same image.
pub(super) fn image(disk: &Disk, random: &mut dyn FnMut() -> u64) -> Disk {
    let mut image = disk.clone();
    image.locked.clear();
    for directory in image.directories.values_mut() {
        choose_names(directory, random);
    }
    for inode in image.inodes.values_mut() {
        inode.writers = 0;
        inode.is_unlinked = false;
        if inode.synced_bytes < inode.content.len() {
            damage_tail(inode, random);
        }
        inode.synced_bytes = inode.content.len();
    }
    image.sweep();
    image
}

/// Copies a disk as a killed process leaves it: everything arrived, nothing is held. What was not synced still is not.
pub(super) fn process_image(disk: &Disk) -> Disk {
    let mut image = disk.clone();
    image.locked.clear();
    for inode in image.inodes.values_mut() {
        inode.writers = 0;
    }
    image.sweep();
    image
}

fn choose_names(directory: &mut Directory, random: &mut dyn FnMut() -> u64) {
    for (name, states) in std::mem::take(&mut directory.pending) {
        // Half the images have the name as it is now.
        if random().is_multiple_of(2) {
            continue;
        }
        match states[below(random, states.len())] {
            Some(inode) => drop(directory.entries.insert(name, inode)),
            None => drop(directory.entries.remove(&name)),
        }
    }
}

fn damage_tail(inode: &mut Inode, random: &mut dyn FnMut() -> u64) {
    let (start, end) = (inode.synced_bytes, inode.content.len());
    assert!(start < end, "a tail that is empty cannot be damaged");
    let content = Arc::make_mut(&mut inode.content);
    match random() % 7 {
        0 => {}
        1 => content.truncate(start),
        2 => content.truncate(start + below(random, end - start)),
        3 => content[start + below(random, end - start)..].fill(0),
        4 => content[start..].fill(0),
        5 => {
            for page in start / PAGE_BYTES..end.div_ceil(PAGE_BYTES) {
                if random().is_multiple_of(2) {
                    content[(page * PAGE_BYTES).max(start)..((page + 1) * PAGE_BYTES).min(end)].fill(0);
                }
            }
        }
        _ => {
            let first = start + below(random, end - start);
            let last = first + below(random, end - first);
            for byte in &mut content[first..=last] {
                *byte = random() as u8;
            }
        }
    }
}

fn below(random: &mut dyn FnMut() -> u64, bound: usize) -> usize {
    usize::try_from(random() % bound as u64).expect("a remainder is below its divisor, which is a usize")
}
