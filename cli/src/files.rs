//! Files that people asked for, written so that nobody ever sees a part of one; and folders for a while, removed whole.

use std::fs::Permissions;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use bedload::{Error, Result};
use bedload_lsm::fs::{DiskFs, Fs};
use tempfile::TempDir;

/// How often a folder is removed while somebody still writes into it, and how long it waits in between.
const REMOVE_TRIES: u32 = 100;
const REMOVE_PAUSE: Duration = Duration::from_millis(20);

/// Writes a file as a whole: first under a name of its own beside it, then under its name, in the place of what has that.
///
/// Others may read it as far as the umask lets them.
///
/// # Errors
/// Those of the disk; the file is what it was then.
pub fn write_whole(path: &Path, bytes: &[u8]) -> Result<()> {
    let failed = |cause| Error::io("write", path, cause);
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let unfinished = tempfile::Builder::new().permissions(Permissions::from_mode(0o666)).tempfile_in(folder);
    let mut unfinished = unfinished.map_err(failed)?;
    unfinished.write_all(bytes).map_err(failed)?;
    unfinished.as_file().sync_data().map_err(failed)?;
    unfinished.persist(path).map_err(|flaw| failed(flaw.error))?;
    DiskFs.sync_dir(folder)
}

/// Removes a folder. A request to a repo in it that was on its way when all was interrupted may still write a file: then it is tried again.
///
/// # Errors
/// Those of the disk.
pub async fn remove_folder(folder: TempDir) -> Result<()> {
    let path = folder.keep();
    let mut tries = 0;
    while let Err(cause) = std::fs::remove_dir_all(&path) {
        tries += 1;
        if cause.kind() != std::io::ErrorKind::DirectoryNotEmpty || tries == REMOVE_TRIES {
            return Err(Error::io("remove", &path, cause));
        }
        tokio::time::sleep(REMOVE_PAUSE).await;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_replaced_as_a_whole_and_nothing_else_is_left() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("page");
        write_whole(&path, b"one").unwrap();
        write_whole(&path, b"two").unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "two");
        assert_eq!(DiskFs.read_dir(folder.path()).unwrap().len(), 1);
        let error = write_whole(&folder.path().join("none/page"), b"").unwrap_err();
        assert!(error.to_string().contains("does the path exist?"), "{error}");
    }
}
