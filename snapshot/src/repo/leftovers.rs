//! What a killed writer leaves in a directory: files that were not finished, which listings of objects do not show.
//!
//! The store of local files writes `<name>#<number>` and gives it its name at the end. A killed process leaves the former.

use std::fs;
use std::io;
use std::path::Path;
use std::time::UNIX_EPOCH;

use super::{Listed, Meta, Repo};
use crate::error::{Error, ErrorKind, Result};

impl Repo {
    /// Unfinished files below `folder`, for a repo that is a directory; their paths are below the root of the repo.
    pub(crate) async fn leftovers(&self, folder: &object_store::path::Path) -> Result<Vec<Listed>> {
        let Some(root) = self.0.directory.clone() else { return Ok(Vec::new()) };
        let folder = root.join(folder.as_ref());
        let found = tokio::task::spawn_blocking(move || {
            let mut found = Vec::new();
            walk(&root, &folder, &mut found).map(|()| found).map_err(|cause| Error::io("list", &folder, cause))
        });
        found.await.map_err(|cause| Error::new(ErrorKind::Bug, format!("listing a directory: {cause}")))?
    }

    /// Removes an unfinished file that [`Repo::leftovers`] has told.
    pub(crate) fn remove_leftover(&self, path: &str) -> Result<()> {
        use bedload_lsm::fs::Fs;
        match &self.0.directory {
            Some(root) => bedload_lsm::fs::DiskFs.remove(&root.join(path)),
            None => Ok(()),
        }
    }
}

impl Repo {
    /// Removes `folder`, what is below it, and what is above it in the repo as far as they are empty, for a repo that is a directory: object
    /// stores have no folders.
    pub(crate) async fn remove_empty_folders(&self, folder: &object_store::path::Path) -> Result<()> {
        let Some(root) = self.0.directory.clone() else { return Ok(()) };
        let folder = root.join(folder.as_ref());
        let removed = tokio::task::spawn_blocking(move || {
            let mut above = folder.ancestors().skip(1).take_while(|above| *above != root);
            let removed = remove_empty(&folder).and_then(|()| above.try_for_each(remove_if_empty));
            removed.map_err(|cause| Error::io("remove empty folders", &folder, cause))
        });
        removed.await.map_err(|cause| Error::new(ErrorKind::Bug, format!("removing folders: {cause}")))?
    }
}

fn remove_empty(folder: &Path) -> io::Result<()> {
    let entries = match fs::read_dir(folder) {
        Err(cause) if cause.kind() == io::ErrorKind::NotFound => return Ok(()),
        entries => entries?,
    };
    for entry in entries {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            remove_empty(&entry.path())?;
        }
    }
    remove_if_empty(folder)
}

fn remove_if_empty(folder: &Path) -> io::Result<()> {
    match fs::remove_dir(folder) {
        Err(cause) if ![io::ErrorKind::DirectoryNotEmpty, io::ErrorKind::NotFound].contains(&cause.kind()) => {
            Err(cause)
        }
        // Something is in it, or somebody else was faster.
        _ => Ok(()),
    }
}

fn walk(root: &Path, folder: &Path, found: &mut Vec<Listed>) -> io::Result<()> {
    let entries = match fs::read_dir(folder) {
        Err(cause) if cause.kind() == io::ErrorKind::NotFound => return Ok(()),
        entries => entries?,
    };
    for entry in entries {
        let entry = entry?;
        let kind = entry.file_type()?;
        if kind.is_dir() {
            walk(root, &entry.path(), found)?;
        } else if kind.is_file() && is_unfinished(&entry.file_name().to_string_lossy()) {
            // Finished, or gone, since it was listed.
            let Ok(metadata) = entry.metadata() else { continue };
            let modified = metadata.modified()?.duration_since(UNIX_EPOCH).unwrap_or_default();
            let path = entry.path();
            let path = path.strip_prefix(root).unwrap_or(&path).to_string_lossy().into_owned();
            let modified_ms = u64::try_from(modified.as_millis()).unwrap_or(u64::MAX);
            found.push(Listed { path, meta: Meta { bytes: metadata.len(), modified_ms } });
        }
    }
    Ok(())
}

fn is_unfinished(name: &str) -> bool {
    name.rsplit_once('#')
        .is_some_and(|(_, number)| !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit()))
}
