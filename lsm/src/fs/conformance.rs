//! What every implementation of [`Fs`] does alike: each test runs on each of them, in both ways of reading.

use std::path::PathBuf;
use std::sync::Arc;

use super::*;
use crate::error::ErrorKind;

/// An implementation and an empty directory of it.
struct Place {
    fs: Arc<dyn Fs>,
    root: PathBuf,
    mode: ReadMode,
    /// Removes the directory at the end.
    _directory: Option<tempfile::TempDir>,
}

impl Place {
    fn disk(mode: ReadMode) -> Place {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path().join("store");
        DiskFs.create_dir(&root).unwrap();
        Place { fs: Arc::new(DiskFs), root, mode, _directory: Some(directory) }
    }

    fn memory(mode: ReadMode) -> Place {
        let fs = MemoryFs::new();
        let root = PathBuf::from("/var/store");
        fs.create_dir(&root).unwrap();
        Place { fs: Arc::new(fs), root, mode, _directory: None }
    }

    fn fault(mode: ReadMode) -> Place {
        let inner = Place::memory(mode);
        Place { fs: Arc::new(FaultFs::new(inner.fs)), ..inner }
    }

    fn at(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    fn write(&self, name: &str, bytes: &[u8]) {
        let mut file = self.fs.create_new(&self.at(name)).unwrap();
        file.append(bytes).unwrap();
        file.sync_data().unwrap();
        file.finish().unwrap();
    }

    fn read(&self, name: &str) -> Vec<u8> {
        let source = self.fs.open(&self.at(name), self.mode).unwrap();
        let mut bytes = vec![0; usize::try_from(source.bytes()).unwrap()];
        source.read_exact_at(&mut bytes, 0).unwrap();
        bytes
    }

    fn names(&self) -> Vec<String> {
        self.fs.read_dir(&self.root).unwrap().into_iter().map(|file| file.name).collect()
    }
}

/// Makes a test of each function below for one implementation.
macro_rules! conforms {
    ($($implementation:ident: $place:expr;)*) => { $(conforms!(@ $implementation, $place,
        appended_bytes_are_read_back
        a_sparse_file_is_filled_in_any_order
        a_sparse_file_is_filled_on_after_a_restart
        an_empty_file_is_read
        reads_behind_the_end_are_damage
        only_mapped_sources_have_memory
        names_are_taken_once
        missing_files_and_directories_are_told
        a_link_is_a_second_name_of_the_same_bytes
        a_rename_replaces
        a_rename_between_two_names_of_one_file_does_nothing
        removing_twice_is_success
        an_open_source_outlives_its_name
        a_written_file_outlives_its_name
        listings_are_sorted_and_without_directories
        directories_come_with_their_parents
        a_directory_is_no_file
        a_file_is_no_directory
        a_lock_refuses_a_second_holder_in_the_same_process
        space_and_kind_are_told
    );)* };
    (@ $implementation:ident, $place:expr, $($test:ident)*) => {
        mod $implementation {
            use super::*;
            $(#[test] fn $test() { super::$test(&$place); })*
        }
    };
}

conforms! {
    disk_by_pread: Place::disk(ReadMode::Pread);
    disk_by_mmap: Place::disk(ReadMode::Mmap);
    memory_by_pread: Place::memory(ReadMode::Pread);
    memory_by_mmap: Place::memory(ReadMode::Mmap);
    fault_by_pread: Place::fault(ReadMode::Pread);
    fault_by_mmap: Place::fault(ReadMode::Mmap);
}

#[track_caller]
fn assert_kind<T>(result: Result<T>, kind: ErrorKind) {
    assert_eq!(result.err().expect("the operation fails").kind(), kind);
}

fn a_sparse_file_is_filled_in_any_order(place: &Place) {
    let file = place.fs.create_sparse(&place.at("a"), 10).unwrap();
    file.write_at(b"78", 7).unwrap();
    file.write_at(b"12", 1).unwrap();
    let mut bytes = [9; 10];
    file.read_exact_at(&mut bytes, 0).unwrap();
    assert_eq!(&bytes, b"\x0012\0\0\0\x0078\0");
    assert_kind(file.write_at(b"past", 8), ErrorKind::Damaged);
    assert_kind(place.fs.create_sparse(&place.at("a"), 10), ErrorKind::Fix);
    file.sync_data().unwrap();
    place.fs.rename(&place.at("a"), &place.at("b")).unwrap();
    file.write_at(b"9", 9).unwrap();
    drop(file);
    assert_eq!(place.read("b"), b"\x0012\0\0\0\x00789");
}

fn a_sparse_file_is_filled_on_after_a_restart(place: &Place) {
    assert_kind(place.fs.open_sparse(&place.at("a")), ErrorKind::Fix);
    place.fs.create_sparse(&place.at("a"), 6).unwrap().write_at(b"12", 1).unwrap();
    let file = place.fs.open_sparse(&place.at("a")).unwrap();
    file.write_at(b"45", 4).unwrap();
    let mut bytes = [9; 6];
    file.read_exact_at(&mut bytes, 0).unwrap();
    assert_eq!(&bytes, b"\x0012\x0045");
    assert_kind(file.write_at(b"past", 3), ErrorKind::Damaged);
    file.sync_data().unwrap();
    place.fs.create_dir(&place.at("directory")).unwrap();
    assert!(place.fs.open_sparse(&place.at("directory")).is_err());
    drop(file);
    assert_eq!(place.read("a"), b"\x0012\x0045");
}

fn appended_bytes_are_read_back(place: &Place) {
    let mut file = place.fs.create_new(&place.at("a")).unwrap();
    for part in [b"01".as_slice(), b"", b"234567", b"89"] {
        file.append(part).unwrap();
    }
    file.sync_data().unwrap();
    file.append(b"ab").unwrap();
    file.sync_data().unwrap();
    file.finish().unwrap();
    place.fs.sync_dir(&place.root).unwrap();

    let source = place.fs.open(&place.at("a"), place.mode).unwrap();
    assert_eq!(source.bytes(), 12);
    assert_eq!(source.path(), place.at("a"));
    assert!(source.is_complete());
    source.ensure(0..12).unwrap();
    let mut middle = [0; 5];
    source.read_exact_at(&mut middle, 6).unwrap();
    assert_eq!(&middle, b"6789a");
    assert_eq!(place.read("a"), b"0123456789ab");
}

fn an_empty_file_is_read(place: &Place) {
    place.fs.create_new(&place.at("a")).unwrap().finish().unwrap();
    let source = place.fs.open(&place.at("a"), place.mode).unwrap();
    assert_eq!(source.bytes(), 0);
    source.read_exact_at(&mut [], 0).unwrap();
    assert!(source.mapped().is_none_or(<[u8]>::is_empty));
    assert_kind(source.read_exact_at(&mut [0], 0), ErrorKind::Damaged);
}

fn reads_behind_the_end_are_damage(place: &Place) {
    place.write("a", b"0123456789");
    let source = place.fs.open(&place.at("a"), place.mode).unwrap();
    source.read_exact_at(&mut [], 10).unwrap();
    assert_kind(source.read_exact_at(&mut [0; 4], 7), ErrorKind::Damaged);
    assert_kind(source.read_exact_at(&mut [0; 1], u64::MAX), ErrorKind::Damaged);
    assert_kind(source.read_exact_at(&mut [], 11), ErrorKind::Damaged);
}

fn only_mapped_sources_have_memory(place: &Place) {
    place.write("a", b"0123456789");
    let source = place.fs.open(&place.at("a"), place.mode).unwrap();
    let expected = (place.mode == ReadMode::Mmap).then_some(b"0123456789".as_slice());
    assert_eq!(source.mapped(), expected);
}

fn names_are_taken_once(place: &Place) {
    place.write("a", b"first");
    place.write("b", b"other");
    assert_kind(place.fs.create_new(&place.at("a")), ErrorKind::Fix);
    assert_kind(place.fs.hard_link(&place.at("b"), &place.at("a")), ErrorKind::Fix);
    assert_eq!(place.read("a"), b"first");
}

fn missing_files_and_directories_are_told(place: &Place) {
    assert_kind(place.fs.open(&place.at("none"), place.mode), ErrorKind::Fix);
    assert_kind(place.fs.hard_link(&place.at("none"), &place.at("a")), ErrorKind::Fix);
    assert_kind(place.fs.rename(&place.at("none"), &place.at("a")), ErrorKind::Fix);
    assert_kind(place.fs.create_new(&place.at("none/a")), ErrorKind::Fix);
    assert_kind(place.fs.lock(&place.at("none/LOCK"), "me"), ErrorKind::Fix);
    assert_kind(place.fs.read_dir(&place.at("none")), ErrorKind::Fix);
    assert_kind(place.fs.sync_dir(&place.at("none")), ErrorKind::Fix);
    assert_kind(place.fs.space(&place.at("none")), ErrorKind::Fix);
    assert_kind(place.fs.kind(&place.at("none")), ErrorKind::Fix);
    assert!(place.names().is_empty());
    let error = place.fs.open(&place.at("none"), place.mode).unwrap_err();
    assert_eq!(error.place().unwrap().path, place.at("none"));
    assert!(error.to_string().contains("open: No such file or directory"), "{error}");
}

fn a_link_is_a_second_name_of_the_same_bytes(place: &Place) {
    place.write("a", b"bytes");
    place.fs.hard_link(&place.at("a"), &place.at("b")).unwrap();
    place.fs.remove(&place.at("a")).unwrap();
    assert_eq!(place.names(), ["b"]);
    assert_eq!(place.read("b"), b"bytes");
}

fn a_rename_replaces(place: &Place) {
    place.write("new", b"new");
    place.write("old", b"old");
    place.fs.rename(&place.at("new"), &place.at("old")).unwrap();
    assert_eq!(place.names(), ["old"]);
    assert_eq!(place.read("old"), b"new");
    place.fs.rename(&place.at("old"), &place.at("free")).unwrap();
    place.fs.rename(&place.at("free"), &place.at("free")).unwrap();
    assert_eq!(place.names(), ["free"]);
}

fn a_rename_between_two_names_of_one_file_does_nothing(place: &Place) {
    place.write("a", b"bytes");
    place.fs.hard_link(&place.at("a"), &place.at("b")).unwrap();
    place.fs.rename(&place.at("a"), &place.at("b")).unwrap();
    assert_eq!(place.names(), ["a", "b"]);
}

fn removing_twice_is_success(place: &Place) {
    place.write("a", b"bytes");
    place.fs.remove(&place.at("a")).unwrap();
    place.fs.remove(&place.at("a")).unwrap();
    place.fs.remove(&place.at("none/a")).unwrap();
    assert!(place.names().is_empty());
    place.write("a", b"again");
    assert_eq!(place.read("a"), b"again");
}

fn an_open_source_outlives_its_name(place: &Place) {
    place.write("a", b"first");
    let source = place.fs.open(&place.at("a"), place.mode).unwrap();
    place.fs.remove(&place.at("a")).unwrap();
    place.write("a", b"other");
    let mut bytes = [0; 5];
    source.read_exact_at(&mut bytes, 0).unwrap();
    assert_eq!(&bytes, b"first");
}

fn a_written_file_outlives_its_name(place: &Place) {
    let mut file = place.fs.create_new(&place.at("a")).unwrap();
    place.fs.remove(&place.at("a")).unwrap();
    place.fs.sync_dir(&place.root).unwrap();
    file.append(b"nobody reads this").unwrap();
    file.sync_data().unwrap();
    file.finish().unwrap();
    assert!(place.names().is_empty());
}

fn listings_are_sorted_and_without_directories(place: &Place) {
    for name in ["b", "a10", "a9", "B"] {
        place.write(name, name.as_bytes());
    }
    place.fs.create_dir(&place.at("directory")).unwrap();
    let expected = [("B", 1), ("a10", 3), ("a9", 2), ("b", 1)];
    let expected: Vec<FileInfo> =
        expected.into_iter().map(|(name, bytes)| FileInfo { name: name.to_owned(), bytes }).collect();
    assert_eq!(place.fs.read_dir(&place.root).unwrap(), expected);
    let bytes = |name| place.fs.file_bytes(&place.at(name)).unwrap();
    assert_eq!([bytes("a10"), bytes("a1"), bytes("directory")], [Some(3), None, None]);
}

fn directories_come_with_their_parents(place: &Place) {
    let inner = place.at("x/y/z");
    place.fs.create_dir(&inner).unwrap();
    place.fs.create_dir(&inner).unwrap();
    place.write("x/y/z/a", b"deep");
    assert_eq!(place.read("x/y/z/a"), b"deep");
    place.fs.sync_dir(&inner).unwrap();
    assert!(place.fs.read_dir(&place.at("x")).unwrap().is_empty());
}

fn a_directory_is_no_file(place: &Place) {
    place.fs.create_dir(&place.at("directory")).unwrap();
    place.write("a", b"bytes");
    let directory = place.at("directory");
    assert!(place.fs.open(&directory, place.mode).is_err());
    assert_kind(place.fs.create_new(&directory), ErrorKind::Fix);
    assert!(place.fs.remove(&directory).is_err());
    assert!(place.fs.rename(&place.at("a"), &directory).is_err());
    assert!(place.fs.hard_link(&place.at("a"), &directory).is_err());
    assert!(place.fs.lock(&directory, "me").is_err());
    assert_eq!(place.read("a"), b"bytes");
}

fn a_file_is_no_directory(place: &Place) {
    place.write("a", b"bytes");
    assert!(place.fs.create_dir(&place.at("a")).is_err());
    assert!(place.fs.create_dir(&place.at("a/b")).is_err());
    assert!(place.fs.create_new(&place.at("a/b")).is_err());
    assert!(place.fs.open(&place.at("a/b"), place.mode).is_err());
    assert!(place.fs.remove(&place.at("a/b")).is_err());
    assert!(place.fs.read_dir(&place.at("a")).is_err());
    assert!(place.fs.sync_dir(&place.at("a")).is_err());
}

fn a_lock_refuses_a_second_holder_in_the_same_process(place: &Place) {
    let path = place.at("LOCK");
    let held = place.fs.lock(&path, "process 4121 on host a").unwrap();
    let error = place.fs.lock(&path, "process 2").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Fenced);
    let text = error.to_string();
    let holder = format!("directory {}: locked by process 4121 on host a", place.root.display());
    assert!(text.starts_with(&holder), "{text}");
    assert!(text.ends_with("; one process owns a store: is the old task still running?"), "{text}");
    let elsewhere = place.at("OTHER");
    let _other = place.fs.lock(&elsewhere, "process 2").unwrap();
    drop(held);
    let _next = place.fs.lock(&path, "process 3").unwrap();
    assert_eq!(place.read("LOCK"), b"process 3");
}

fn space_and_kind_are_told(place: &Place) {
    let space = place.fs.space(&place.root).unwrap();
    assert!(space.free_bytes > 0 && space.free_bytes <= space.total_bytes);
    assert!(!matches!(place.fs.kind(&place.root).unwrap(), FsKind::Remote(_)));
}
