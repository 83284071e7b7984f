//! What a power loss may and may not leave, and the other things that only the disk in memory has.

use std::collections::BTreeSet;

use super::*;
use crate::error::ErrorKind;

/// Numbers that look random and are the same each time (SplitMix64).
fn numbers(seed: u64) -> impl FnMut() -> u64 {
    let mut state = seed;
    move || {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut number = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        number = (number ^ (number >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        number ^ (number >> 31)
    }
}

fn images(fs: &MemoryFs) -> impl Iterator<Item = MemoryFs> {
    (0..500).map(|seed| fs.crash_image(&mut numbers(seed)))
}

fn write(fs: &MemoryFs, path: &str, bytes: &[u8], sync: bool) {
    let mut file = fs.create_new(Path::new(path)).unwrap();
    file.append(bytes).unwrap();
    if sync {
        file.sync_data().unwrap();
    }
    file.finish().unwrap();
}

fn store() -> MemoryFs {
    let fs = MemoryFs::new();
    fs.create_dir(Path::new("/s")).unwrap();
    fs
}

#[test]
fn synced_bytes_under_a_synced_name_always_survive() {
    let fs = store();
    let mut file = fs.create_new(Path::new("/s/a")).unwrap();
    file.append(b"durable").unwrap();
    file.sync_data().unwrap();
    fs.sync_dir(Path::new("/s")).unwrap();
    file.append(b" and not").unwrap();
    for image in images(&fs) {
        let bytes = image.read("/s/a").unwrap();
        assert!(bytes.starts_with(b"durable") && bytes.len() <= 15, "{bytes:?}");
    }
}

#[test]
fn an_unsynced_tail_is_kept_dropped_cut_zeroed_or_garbage() {
    let fs = store();
    let mut file = fs.create_new(Path::new("/s/a")).unwrap();
    file.append(&[7; 100]).unwrap();
    file.sync_data().unwrap();
    file.append(&[9; 10_000]).unwrap();
    fs.sync_dir(Path::new("/s")).unwrap();
    let (mut kept, mut dropped, mut cut, mut zeroed, mut garbage) = (0, 0, 0, 0, 0);
    for image in images(&fs) {
        let bytes = image.read("/s/a").unwrap();
        let tail = bytes.strip_prefix(&[7; 100]).unwrap();
        match tail.len() {
            0 => dropped += 1,
            1..10_000 => cut += 1,
            _ if tail.iter().all(|byte| *byte == 9) => kept += 1,
            _ if tail.iter().all(|byte| [0, 9].contains(byte)) => zeroed += 1,
            _ => garbage += 1,
        }
    }
    assert!([kept, dropped, cut, zeroed, garbage].into_iter().all(|count| count >= 20));
}

#[test]
fn a_file_whose_directory_was_not_synced_is_lost_in_some_image() {
    let fs = store();
    write(&fs, "/s/a", b"bytes", true);
    let survivors = images(&fs).filter(|image| image.read("/s/a").is_ok()).count();
    assert!((100..400).contains(&survivors), "{survivors}");
    fs.sync_dir(Path::new("/s")).unwrap();
    assert!(images(&fs).all(|image| image.read("/s/a").unwrap() == b"bytes"));
}

#[test]
fn a_removed_file_comes_back_until_its_directory_is_synced() {
    let fs = store();
    // With a limit, what nothing can reach is forgotten at once.
    fs.set_free_bytes(Some(1 << 20));
    write(&fs, "/s/a", b"bytes", true);
    fs.sync_dir(Path::new("/s")).unwrap();
    fs.remove(Path::new("/s/a")).unwrap();
    assert!(images(&fs).any(|image| image.read("/s/a").is_ok_and(|bytes| bytes == b"bytes")));
    assert!(images(&fs).any(|image| image.read("/s/a").is_err()));
    fs.sync_dir(Path::new("/s")).unwrap();
    assert!(images(&fs).all(|image| image.paths().is_empty()));
    assert!(fs.disk().inodes.is_empty());
}

#[test]
fn a_rename_over_a_name_leaves_one_of_the_files_that_had_it() {
    let fs = store();
    write(&fs, "/s/VERSION", b"0", true);
    fs.sync_dir(Path::new("/s")).unwrap();
    for version in ["1", "2"] {
        write(&fs, "/s/VERSION.tmp", version.as_bytes(), true);
        fs.rename(Path::new("/s/VERSION.tmp"), Path::new("/s/VERSION")).unwrap();
    }
    let found: BTreeSet<Vec<u8>> = images(&fs).map(|image| image.read("/s/VERSION").unwrap()).collect();
    assert_eq!(found, BTreeSet::from([b"0".to_vec(), b"1".to_vec(), b"2".to_vec()]));
    fs.sync_dir(Path::new("/s")).unwrap();
    assert!(images(&fs).all(|image| image.paths() == [Path::new("/s/VERSION")]));
}

#[test]
fn the_halves_of_a_rename_are_independent() {
    let fs = store();
    write(&fs, "/s/a", b"bytes", true);
    fs.sync_dir(Path::new("/s")).unwrap();
    fs.rename(Path::new("/s/a"), Path::new("/s/b")).unwrap();
    let found: BTreeSet<usize> = images(&fs).map(|image| image.paths().len()).collect();
    assert_eq!(found, BTreeSet::from([0, 1, 2]));
}

#[test]
fn an_unsynced_link_keeps_its_first_name() {
    let fs = store();
    write(&fs, "/s/a", b"bytes", true);
    fs.sync_dir(Path::new("/s")).unwrap();
    fs.hard_link(Path::new("/s/a"), Path::new("/s/b")).unwrap();
    assert!(images(&fs).all(|image| image.read("/s/a").unwrap() == b"bytes"));
    assert!(images(&fs).any(|image| image.read("/s/b").is_err()));
    assert!(images(&fs).any(|image| image.read("/s/b").is_ok()));
}

#[test]
fn the_same_numbers_give_the_same_image_and_an_image_is_durable() {
    let fs = store();
    for name in ["/s/a", "/s/b", "/s/c"] {
        write(&fs, name, &[5; 9000], false);
    }
    let content = |fs: &MemoryFs| fs.paths().iter().map(|path| fs.read(path).unwrap()).collect::<Vec<_>>();
    for seed in 0..50 {
        let image = fs.crash_image(&mut numbers(seed));
        assert_eq!(content(&image), content(&fs.crash_image(&mut numbers(seed))));
        assert_eq!(content(&image), content(&image.crash_image(&mut numbers(seed + 1))));
    }
}

#[test]
fn images_are_independent_and_hold_no_lock() {
    let fs = store();
    let _held = fs.lock(Path::new("/s/LOCK"), "me").unwrap();
    write(&fs, "/s/a", b"bytes", true);
    for image in [fs.process_crash_image(), fs.crash_image(&mut || 0)] {
        let _lock = image.lock(Path::new("/s/LOCK"), "you").unwrap();
        assert_eq!(image.read("/s/a").unwrap(), b"bytes");
        image.remove(Path::new("/s/a")).unwrap();
    }
    assert_eq!(fs.read("/s/a").unwrap(), b"bytes");
    assert_eq!(fs.lock(Path::new("/s/LOCK"), "you").unwrap_err().kind(), ErrorKind::Fenced);
}

#[test]
fn a_killed_process_loses_nothing_but_a_later_power_loss_may() {
    let fs = store();
    let mut file = fs.create_new(Path::new("/s/a")).unwrap();
    file.append(b"bytes").unwrap();
    let killed = fs.process_crash_image();
    assert_eq!(killed.read("/s/a").unwrap(), b"bytes");
    assert!(images(&killed).any(|image| image.paths().is_empty()));
}

#[test]
fn the_hook_sees_every_change_before_it_happens() {
    let fs = store();
    let seen = Arc::new(Mutex::new(Vec::new()));
    let told = Arc::clone(&seen);
    fs.before_mutations(Some(Box::new(move |fs, operation| {
        let image = fs.crash_image(&mut || 0);
        image.write("/s/own", "change").unwrap();
        drop(fs.lock(Path::new("/LOCK"), "hook"));
        fs.remove(Path::new("/none")).unwrap();
        lock(&told).push(format!("{operation} ({})", fs.read_dir(Path::new("/s")).unwrap().len()));
    })));
    write(&fs, "/s/a", b"bytes", true);
    fs.hard_link(Path::new("/s/a"), Path::new("/s/b")).unwrap();
    fs.rename(Path::new("/s/b"), Path::new("/s/c")).unwrap();
    fs.sync_dir(Path::new("/s")).unwrap();
    fs.remove(Path::new("/s/c")).unwrap();
    fs.create_dir(Path::new("/t")).unwrap();
    fs.before_mutations(None);
    fs.remove(Path::new("/s/a")).unwrap();
    let expected = [
        "create a (0)",
        "append a 5 (1)",
        "sync a (1)",
        "finish a (1)",
        "link a b (1)",
        "rename b c (2)",
        "sync_dir . (2)",
        "remove c (2)",
        "create_dir . (1)",
    ];
    assert_eq!(*lock(&seen), expected);
}

#[test]
fn a_full_disk_takes_what_fits_and_recovers_when_space_returns() {
    let fs = MemoryFs::with_capacity(10);
    let mut file = fs.create_new(Path::new("/a")).unwrap();
    file.append(b"123456").unwrap();
    assert_eq!(file.append(b"7890abc").unwrap_err().kind(), ErrorKind::Full);
    assert_eq!(fs.read("/a").unwrap(), b"1234567890");
    assert_eq!(fs.space(Path::new("/")).unwrap(), Space { free_bytes: 0, total_bytes: 10 });
    assert_eq!(fs.create_new(Path::new("/b")).err().unwrap().kind(), ErrorKind::Full);
    fs.remove(Path::new("/a")).unwrap();
    assert_eq!(fs.space(Path::new("/")).unwrap().free_bytes, 0, "somebody writes it still");
    assert_eq!(file.sync_data().unwrap_err().kind(), ErrorKind::Closed);
    assert_eq!(file.finish().unwrap_err().kind(), ErrorKind::Closed);
    assert_eq!(fs.space(Path::new("/")).unwrap(), Space { free_bytes: 10, total_bytes: 10 });
    write(&fs, "/b", b"1234567890", true);
    fs.set_free_bytes(None);
    write(&fs, "/c", b"more", true);
}

#[test]
fn write_replaces_the_bytes_under_all_names_but_not_of_open_sources() {
    let fs = store();
    write(&fs, "/s/a", b"first", false);
    fs.hard_link(Path::new("/s/a"), Path::new("/s/b")).unwrap();
    let source = fs.open(Path::new("/s/a"), ReadMode::Mmap).unwrap();
    fs.write("/s/a", "other").unwrap();
    assert_eq!(fs.read("/s/b").unwrap(), b"other");
    assert_eq!(source.mapped(), Some(b"first".as_slice()));
    assert!(images(&fs).all(|image| image.read("/s/a").unwrap() == b"other"));
    assert_eq!(fs.write("/none/a", "x").unwrap_err().kind(), ErrorKind::Fix);
}

#[test]
fn the_kind_is_what_a_test_says() {
    let fs = store();
    assert_eq!(fs.kind(Path::new("/s")).unwrap(), FsKind::Local);
    fs.set_kind(FsKind::Remote("nfs".to_owned()));
    assert_eq!(fs.kind(Path::new("/s")).unwrap(), FsKind::Remote("nfs".to_owned()));
}
