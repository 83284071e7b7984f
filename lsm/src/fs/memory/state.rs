//! The in-memory disk without its lock: inodes, directories, and what of both a power loss may undo.
//!
//! ```text
//! directory   entries  VERSION -> inode 9           what a process sees
//!             pending  VERSION -> [inode 4]         what the disk may still have, oldest first (None: no such name)
//! inode 9     [======= synced =======|-- tail --]   a power loss leaves the first part and anything of the second
//! ```
//!
//! Invariants: * every inode that an entry, a pending state or a writer refers to is in the table, and no other;
//!             * `pending` has a name only if it changed since the directory was last synced.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use rustix::io::Errno;

use crate::fs::FsKind;

/// Changes between two sweeps of a disk without a limit.
const SWEEP_EVERY: u32 = 256;

/// Identifies the bytes of a file, whatever its names.
pub(super) type InodeId = u64;

/// How many earlier states of one name are remembered; the oldest, which is durable, always is.
const PENDING_STATES_MAX: usize = 8;

/// The bytes of a file.
#[derive(Clone, Debug, Default)]
pub(super) struct Inode {
    /// Shared with open sources and crash images; copied when appended to.
    pub(super) content: Arc<Vec<u8>>,
    /// How many of them are durable.
    pub(super) synced_bytes: usize,
    /// Appenders that have it open.
    pub(super) writers: usize,
    /// Whether no process can reach it any more and its space was given back; a crash may still bring it back.
    pub(super) is_unlinked: bool,
}

/// The names of a directory.
#[derive(Clone, Debug, Default)]
pub(super) struct Directory {
    pub(super) entries: BTreeMap<String, InodeId>,
    pub(super) pending: BTreeMap<String, Vec<Option<InodeId>>>,
}

impl Directory {
    /// Points `name` to `to`, or to nothing, and remembers what it was.
    fn set(&mut self, name: &str, to: Option<InodeId>) {
        let old = match to {
            Some(inode) => self.entries.insert(name.to_owned(), inode),
            None => self.entries.remove(name),
        };
        let states = self.pending.entry(name.to_owned()).or_default();
        states.push(old);
        if states.len() > PENDING_STATES_MAX {
            states.remove(1);
        }
    }
}

/// A whole disk.
#[derive(Clone, Debug)]
pub(super) struct Disk {
    pub(super) inodes: BTreeMap<InodeId, Inode>,
    pub(super) directories: BTreeMap<PathBuf, Directory>,
    /// Inodes with a held lock.
    pub(super) locked: BTreeSet<InodeId>,
    /// What can still be appended; `None` is no limit.
    pub(super) free_bytes: Option<u64>,
    pub(super) kind: FsKind,
    next_inode: InodeId,
    /// Changes since the last sweep.
    unswept: u32,
}

impl Disk {
    /// An empty disk: one directory, the root.
    pub(super) fn new() -> Disk {
        Disk {
            inodes: BTreeMap::new(),
            directories: BTreeMap::from([(PathBuf::from("/"), Directory::default())]),
            locked: BTreeSet::new(),
            free_bytes: None,
            kind: FsKind::Local,
            next_inode: 1,
            unswept: 0,
        }
    }

    /// Makes an empty file under a name that must be free.
    pub(super) fn create(&mut self, path: &Path) -> Result<InodeId, Errno> {
        let (parent, name) = self.place(path)?;
        if self.directories.contains_key(&parent.join(&name)) || self.directory(&parent).entries.contains_key(&name) {
            return Err(Errno::EXIST);
        }
        let inode = self.next_inode;
        self.next_inode += 1;
        self.inodes.insert(inode, Inode::default());
        self.directory(&parent).set(&name, Some(inode));
        Ok(inode)
    }

    /// Finds a file.
    pub(super) fn find(&mut self, path: &Path) -> Result<InodeId, Errno> {
        let (parent, name) = self.place(path)?;
        if self.directories.contains_key(&parent.join(&name)) {
            return Err(Errno::ISDIR);
        }
        self.directory(&parent).entries.get(&name).copied().ok_or(Errno::NOENT)
    }

    /// Appends what there is room for; an error when that is not all.
    pub(super) fn append(&mut self, inode: InodeId, bytes: &[u8]) -> Result<(), Errno> {
        let room = self.free_bytes.unwrap_or(u64::MAX);
        let fitting = usize::try_from(room).unwrap_or(usize::MAX).min(bytes.len());
        self.free_bytes = self.free_bytes.map(|free| free - fitting as u64);
        Arc::make_mut(&mut self.inode(inode).content).extend_from_slice(&bytes[..fitting]);
        if fitting < bytes.len() { Err(Errno::NOSPC) } else { Ok(()) }
    }

    /// Replaces a file's bytes, none of which are durable then. Takes and gives no space.
    pub(super) fn replace(&mut self, inode: InodeId, bytes: Vec<u8>) {
        let inode = self.inode(inode);
        inode.content = Arc::new(bytes);
        inode.synced_bytes = 0;
    }

    /// Gives a file a second name.
    pub(super) fn link(&mut self, from: &Path, to: &Path) -> Result<(), Errno> {
        let inode = self.find(from)?;
        let (parent, name) = self.place(to)?;
        if self.directories.contains_key(&parent.join(&name)) || self.directory(&parent).entries.contains_key(&name) {
            return Err(Errno::EXIST);
        }
        self.directory(&parent).set(&name, Some(inode));
        Ok(())
    }

    /// Renames a file; like the system call, does nothing when both names are of one file already.
    pub(super) fn rename(&mut self, from: &Path, to: &Path) -> Result<(), Errno> {
        let inode = self.find(from)?;
        let replaced = match self.find(to) {
            Ok(replaced) => Some(replaced),
            Err(Errno::NOENT) => None,
            Err(errno) => return Err(errno),
        };
        if replaced == Some(inode) {
            return Ok(());
        }
        let (from_parent, from_name) = self.place(from)?;
        let (to_parent, to_name) = self.place(to)?;
        self.directory(&to_parent).set(&to_name, Some(inode));
        self.directory(&from_parent).set(&from_name, None);
        self.sweep();
        Ok(())
    }

    /// Removes a name.
    pub(super) fn remove(&mut self, path: &Path) -> Result<(), Errno> {
        self.find(path)?;
        let (parent, name) = self.place(path)?;
        self.directory(&parent).set(&name, None);
        self.sweep();
        Ok(())
    }

    /// Creates a directory and its missing parents, durably.
    pub(super) fn create_dir(&mut self, path: &Path) -> Result<(), Errno> {
        let path = normal(path)?;
        let mut missing: Vec<&Path> = path.ancestors().take_while(|at| !self.directories.contains_key(*at)).collect();
        missing.reverse();
        for directory in missing {
            let (parent, name) = self.place(directory)?;
            if self.directory(&parent).entries.contains_key(&name) {
                return Err(Errno::EXIST);
            }
            self.directories.insert(directory.to_owned(), Directory::default());
        }
        Ok(())
    }

    /// Makes the names of a directory durable.
    pub(super) fn sync_dir(&mut self, path: &Path) -> Result<(), Errno> {
        let path = normal(path)?;
        self.check_directory(&path)?;
        self.directory(&path).pending.clear();
        self.sweep();
        Ok(())
    }

    /// Makes one name durable as it is.
    pub(super) fn settle(&mut self, path: &Path) -> Result<(), Errno> {
        let (parent, name) = self.place(path)?;
        self.directory(&parent).pending.remove(&name);
        self.sweep();
        Ok(())
    }

    /// The names and lengths of the files of a directory.
    pub(super) fn list(&mut self, path: &Path) -> Result<Vec<(String, u64)>, Errno> {
        let path = normal(path)?;
        self.check_directory(&path)?;
        let entries = self.directory(&path).entries.clone();
        Ok(entries.into_iter().map(|(name, inode)| (name, self.inode(inode).content.len() as u64)).collect())
    }

    /// Checks that there is something, file or directory, at `path`.
    pub(super) fn check_exists(&mut self, path: &Path) -> Result<(), Errno> {
        match normal(path)? {
            path if self.directories.contains_key(&path) => Ok(()),
            path => self.find(&path).map(drop),
        }
    }

    /// The inode of an id that an entry or a writer refers to.
    pub(super) fn inode(&mut self, inode: InodeId) -> &mut Inode {
        self.inodes.get_mut(&inode).expect("the table has every inode that is referred to")
    }

    /// Gives back the space of inodes that no process can reach, and forgets those that no crash can bring back either.
    ///
    /// At once on a disk with a limit; now and then on one without, where it only saves memory and looks at every name.
    pub(super) fn sweep(&mut self) {
        self.unswept += 1;
        if self.free_bytes.is_none() && self.unswept < SWEEP_EVERY {
            return;
        }
        self.unswept = 0;
        let mut live = self.locked.clone();
        let mut durable = BTreeSet::new();
        for directory in self.directories.values() {
            live.extend(directory.entries.values().copied());
            durable.extend(directory.pending.values().flatten().flatten().copied());
        }
        let mut given_back = 0;
        self.inodes.retain(|id, inode| {
            if live.contains(id) || inode.writers > 0 {
                return true;
            }
            if !inode.is_unlinked {
                inode.is_unlinked = true;
                given_back += inode.content.len() as u64;
            }
            durable.contains(id)
        });
        self.free_bytes = self.free_bytes.map(|free| free.saturating_add(given_back));
    }

    /// Splits a path into its directory, which is there, and the name in it.
    fn place(&self, path: &Path) -> Result<(PathBuf, String), Errno> {
        let path = normal(path)?;
        let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else { return Err(Errno::ISDIR) };
        self.check_directory(parent)?;
        let name = name.to_str().ok_or(Errno::INVAL)?;
        Ok((parent.to_owned(), name.to_owned()))
    }

    fn check_directory(&self, path: &Path) -> Result<(), Errno> {
        if self.directories.contains_key(path) {
            return Ok(());
        }
        let is_file = |at: &Path| {
            let (Some(parent), Some(name)) = (at.parent(), at.file_name().and_then(|name| name.to_str())) else {
                return false;
            };
            self.directories.get(parent).is_some_and(|directory| directory.entries.contains_key(name))
        };
        Err(if path.ancestors().any(is_file) { Errno::NOTDIR } else { Errno::NOENT })
    }

    fn directory(&mut self, path: &Path) -> &mut Directory {
        self.directories.get_mut(path).expect("the directory was checked before")
    }
}

/// The one form of a path: absolute, the working directory being the root. Refuses `..`, which no caller needs.
pub(super) fn normal(path: &Path) -> Result<PathBuf, Errno> {
    let mut normal = PathBuf::from("/");
    for component in path.components() {
        match component {
            Component::Normal(name) => normal.push(name),
            Component::RootDir | Component::CurDir => {}
            Component::ParentDir | Component::Prefix(_) => return Err(Errno::INVAL),
        }
    }
    Ok(normal)
}
