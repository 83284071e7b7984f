//! What a directory is like as a place of working state: tried out in a folder of its own, which is removed.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bedload::{Error, ErrorKind, Result};
use bedload_lsm::fs::{DiskFs, Fs, FsKind};
use serde::Serialize;
use tokio::time::Instant;

use super::report::{Findings, Latency, line};
use crate::text::{size, span};

/// How often a file is appended to and synced at most, how much at a time, and for how long in all.
const APPENDS: usize = 300;
const APPEND_BYTES: usize = 512;
const APPENDS_LIMIT: Duration = Duration::from_secs(2);
/// What is slow for a sync.
const SLOW_SYNC: Duration = Duration::from_millis(20);
/// What is little room, whatever the size of the disk; and what is enough, whatever that is.
const ROOM_LEAST: u64 = 1 << 30;
const ROOM_ENOUGH: u64 = 20 << 30;
/// What part of a disk should be free, between the two.
const ROOM_PART: u64 = 20;

#[derive(Debug, Serialize)]
pub struct Directory {
    path: PathBuf,
    /// By the name that the system has for it.
    file_system: String,
    /// `local`, `doubtful` or `remote`.
    kind: &'static str,
    mounted_at: Option<PathBuf>,
    /// None when that could not be tried.
    hard_links: Option<bool>,
    sync: Option<Latency>,
    free_bytes: u64,
    total_bytes: u64,
}

/// Looks at a directory and tries it out; waits as threads do.
///
/// # Errors
/// `Missing` when there is none.
pub fn examine(directory: &Path, stop: &AtomicBool, findings: &mut Findings) -> Result<Directory> {
    let path = std::fs::canonicalize(directory).map_err(|cause| match cause.kind() {
        std::io::ErrorKind::NotFound => {
            let message = "there is no such directory: make it, or name the one that working state is to lie in";
            Error::at(ErrorKind::Missing, directory, None, message)
        }
        _ => Error::io("look at", directory, cause),
    })?;
    if !path.is_dir() {
        return Err(Error::at(ErrorKind::Fix, directory, None, "this is no directory: name one"));
    }
    let (kind, space) = (DiskFs.kind(&path)?, DiskFs.space(&path)?);
    let mount = mount_of(&path);
    let (kind, name) = judge_kind(&kind, findings);
    let enough = (space.total_bytes / ROOM_PART).clamp(ROOM_LEAST, ROOM_ENOUGH);
    if space.free_bytes < enough {
        findings.problem(
            format!("only {} are free", size(space.free_bytes)),
            "make room, or name a directory on another disk: a store that finds none stands still until there is",
        );
    }
    let mut found = Directory {
        file_system: name
            .or_else(|| mount.as_ref().map(|(_, kind)| kind.clone()))
            .unwrap_or_else(|| "unknown".to_owned()),
        kind,
        mounted_at: mount.map(|(at, _)| at),
        hard_links: None,
        sync: None,
        free_bytes: space.free_bytes,
        total_bytes: space.total_bytes,
        path,
    };
    if let Err(error) = try_out(&mut found, stop, findings) {
        let advice = "let this user write there, or name another directory";
        findings.problem(format!("the directory cannot be used: {error}"), advice);
    }
    Ok(found)
}

/// What kinds of file system mean for working state; gives a word for it, and the name where it is known.
fn judge_kind(kind: &FsKind, findings: &mut Findings) -> (&'static str, Option<String>) {
    match kind {
        FsKind::Local => ("local", None),
        FsKind::Doubtful(name) => {
            let (what, advice) = match name.as_str() {
                "tmpfs" | "ramfs" => (
                    "lies in memory: state there takes memory that it is meant to spare, and is gone when the machine starts anew",
                    "name a directory on a disk",
                ),
                _ => (
                    "lies in the layers of a container: slower than the disk below, and gone with the container",
                    "mount a volume, and name a directory in it",
                ),
            };
            findings.problem(format!("the directory is on {name}, which {what}"), advice);
            ("doubtful", Some(name.clone()))
        }
        FsKind::Remote(name) => {
            findings.problem(
                format!("the directory is on {name}: too slow for working state, and its locks cannot be relied on; stores refuse it"),
                "name a directory on a local disk; the repo may lie on such a file system",
            );
            ("remote", Some(name.clone()))
        }
    }
}

fn try_out(found: &mut Directory, stop: &AtomicBool, findings: &mut Findings) -> Result<()> {
    let failed = |cause| Error::io("make a folder in", &found.path, cause);
    let folder = tempfile::Builder::new().prefix(".bedload-doctor-").tempdir_in(&found.path).map_err(failed)?;
    let path = folder.path().join("file");
    let mut file = DiskFs.create_new(&path)?;
    let (start, mut took) = (Instant::now(), Vec::new());
    while took.len() < APPENDS && start.elapsed() < APPENDS_LIMIT && !stop.load(Ordering::Relaxed) {
        file.append(&[0x5a; APPEND_BYTES])?;
        let start = Instant::now();
        file.sync_data()?;
        took.push(start.elapsed());
    }
    file.finish()?;
    found.sync = Latency::of(&took);
    let linked = DiskFs.hard_link(&path, &folder.path().join("link"));
    found.hard_links = Some(linked.is_ok());
    if let Err(error) = linked {
        findings.problem(
            format!("hard links are refused: {error}"),
            "name a directory on a file system that has them: checkpoints keep runs on this machine by links",
        );
    }
    if let Some(sync) = found.sync.as_ref().filter(|sync| sync.p99() > SLOW_SYNC) {
        findings.remark(format!(
            "one sync in a hundred takes {} or more: stores do not sync unless they are told to, but a repo in a directory of this disk \
             syncs every object",
            span(sync.p99())
        ));
    }
    let failed = |cause| Error::io("remove a folder in", &found.path, cause);
    folder.close().map_err(failed)
}

/// Where the file system that holds a path is mounted, and its kind; nothing where the system does not tell.
fn mount_of(path: &Path) -> Option<(PathBuf, String)> {
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").ok()?;
    find_mount(&mounts, path)
}

/// The lines of mountinfo have the mount's path in their fifth field, and the kind behind a lone hyphen; later mounts hide earlier ones.
fn find_mount(mounts: &str, path: &Path) -> Option<(PathBuf, String)> {
    let read = |line: &str| {
        let (before, behind) = line.split_once(" - ")?;
        let at = before.split(' ').nth(4)?;
        let at = [("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")]
            .iter()
            .fold(at.to_owned(), |at, (code, mark)| at.replace(code, mark));
        Some((PathBuf::from(at), behind.split(' ').next()?.to_owned()))
    };
    let mounts = mounts.lines().filter_map(read).filter(|(at, _)| path.starts_with(at));
    mounts.max_by_key(|(at, _)| at.components().count())
}

impl Directory {
    pub fn text(&self) -> String {
        let mounted = self.mounted_at.as_ref().map_or_else(String::new, |at| format!(", mounted at {}", at.display()));
        let hard_links = match self.hard_links {
            Some(true) => "yes",
            Some(false) => "no",
            None => "not tried",
        };
        let sync = self.sync.as_ref().map_or_else(
            || "not tried".to_owned(),
            |sync| format!("{sync}, of {} appends of {}", sync.count, size(APPEND_BYTES as u64)),
        );
        let free = format!("{} of {}", size(self.free_bytes), size(self.total_bytes));
        let mut text = format!("directory {}\n", self.path.display());
        text += &line("file system", &format!("{} ({}){mounted}", self.file_system, self.kind));
        text += &line("hard links", hard_links);
        text += &line("sync", &sync);
        text += &line("free", &free);
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_mount_above_a_path_is_the_one_that_holds_it() {
        let mounts = "22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw\n\
                      23 22 8:2 / /var rw - xfs /dev/sda2 rw\n\
                      24 23 0:5 / /var/my\\040state rw - tmpfs tmpfs rw\n\
                      25 22 0:6 / /va rw - btrfs none rw\n";
        let kind = |path: &str| find_mount(mounts, Path::new(path)).unwrap().1;
        assert_eq!(
            ["/", "/usr/x", "/var/lib", "/var/my state/x", "/va/x"].map(kind),
            ["ext4", "ext4", "xfs", "tmpfs", "btrfs"]
        );
    }

    #[test]
    fn doubtful_and_remote_are_problems_that_say_what_to_do() {
        let mut findings = Findings::default();
        assert_eq!(judge_kind(&FsKind::Local, &mut findings), ("local", None));
        assert!(findings.problems.is_empty());
        for (kind, told) in [
            (FsKind::Doubtful("tmpfs".into()), "name a directory on a disk"),
            (FsKind::Doubtful("overlayfs".into()), "mount a volume"),
            (FsKind::Remote("nfs".into()), "the repo may lie on such a file system"),
        ] {
            judge_kind(&kind, &mut findings);
            let problem = findings.problems.last().unwrap();
            assert!(problem.advice.contains(told), "{problem:?}");
        }
    }
}
