//! Directories of workers that a job had and has no more.

use std::path::Path;

use bedload_lsm::fs::{DiskFs, Fs};

/// Removes the directories of workers from number `workers` on. What cannot be removed, or is in use, stays: it takes room, and nothing
/// else.
pub fn remove_dropped(directory: &Path, workers: usize) {
    let Ok(entries) = std::fs::read_dir(directory) else { return };
    for entry in entries.flatten() {
        let is_directory = entry.file_type().is_ok_and(|kind| kind.is_dir());
        if !is_directory || number_of(entry.file_name().to_str()).is_none_or(|number| number < workers) {
            continue;
        }
        let path = entry.path();
        // Whatever else has such a name is not ours.
        if !path.join("state").is_dir() || !path.join("LOCK").is_file() {
            continue;
        }
        // Held while it goes, so that nobody opens an engine in it.
        if let Ok(_lock) = DiskFs.lock(&path.join("LOCK"), "a job that removes it") {
            std::fs::remove_dir_all(&path).ok();
        }
    }
}

/// The number of the worker whose directory has this name.
fn number_of(name: Option<&str>) -> Option<usize> {
    let number = name?.strip_prefix("w-")?.parse().ok()?;
    (name == Some(&format!("w-{number}"))).then_some(number)
}
