//! Damage: every byte of a store's files flipped, every cut: right data or a clear error, never a panic, never wrong data.

use std::path::PathBuf;
use std::sync::Arc;

use bedload_lsm::ErrorKind;
use bedload_lsm::fs::MemoryFs;
use tests::{Content, Driver, Failure, Operation, Random, Variant, contents, variant};

/// A store on a disk in memory, and what it holds.
fn sample(variant: &Variant) -> (MemoryFs, Content) {
    let disk = MemoryFs::new();
    let mut driver = Driver::open(Arc::new(disk.clone()), variant, 3).expect("an empty disk opens");
    for operation in Operation::random_list(&mut Random::new(5), 90) {
        if operation.is_one_step() && operation.kind % 64 != 61 {
            driver.apply(operation).expect("a healthy disk");
        }
    }
    let content = contents(driver.store()).expect("a healthy disk");
    drop(driver);
    assert!(content.len() > 10, "the sample is too small to show anything");
    (disk, content)
}

/// Opens a damaged disk and reads everything in every way; an error must be about damage, and data must be right.
fn check(disk: &MemoryFs, variant: &Variant, content: &Content) -> Result<bool, String> {
    let opened = Driver::open(Arc::new(disk.clone()), variant, 4);
    let mut driver = match opened {
        Ok(driver) => driver,
        Err(Failure::Error(error)) => return expect_damage(&error),
        Err(failure) => return Err(failure.to_string()),
    };
    match contents(driver.store()) {
        Ok(found) if found == *content => {}
        Ok(_) => return Err("wrong data from a scan".to_owned()),
        Err(error) => return expect_damage(&error),
    }
    for (key, value) in content {
        match driver.store().get(key) {
            Ok(Some(found)) if *found == **value => {}
            Ok(_) => return Err(format!("wrong data from a get of {}", key.escape_ascii())),
            Err(error) => return expect_damage(&error),
        };
    }
    Ok(true)
}

fn expect_damage(error: &bedload_lsm::Error) -> Result<bool, String> {
    let right_kind = matches!(error.kind(), ErrorKind::Damaged | ErrorKind::Fix);
    if right_kind && error.place().is_some() { Ok(false) } else { Err(format!("not a located error: {error:?}")) }
}

fn files(disk: &MemoryFs) -> Vec<PathBuf> {
    disk.paths()
        .into_iter()
        .filter(|path| path.ends_with("VERSION") || path.extension().is_some_and(|end| end == "run"))
        .collect()
}

fn check_all(name: &str, damage: impl Fn(&[u8]) -> Vec<Vec<u8>>) {
    let variant = variant(name);
    let (disk, content) = sample(&variant);
    assert_eq!(check(&disk, &variant, &content), Ok(true), "the sample itself is whole");
    let mut caught = 0;
    for path in files(&disk) {
        let original = disk.read(&path).expect("the file is there");
        for (index, damaged) in damage(&original).into_iter().enumerate() {
            let image = disk.process_crash_image();
            image.write(&path, damaged).expect("the disk in memory takes it");
            match check(&image, &variant, &content) {
                Ok(whole) => caught += usize::from(!whole),
                Err(failure) => panic!("{name}, {}, damage {index}: {failure}", path.display()),
            }
        }
    }
    assert!(caught > 100, "only {caught} damages were noticed");
}

/// Every byte of the ends of a file (header, directory, footer), and each seventh between.
fn flips(original: &[u8]) -> Vec<Vec<u8>> {
    let near_end = |at: usize| at < 64 || at + 600 > original.len();
    let chosen = (0..original.len()).filter(|at| near_end(*at) || at % 7 == 0);
    let flip = |at: usize| {
        let mut bytes = original.to_vec();
        bytes[at] ^= [0x01, 0x80, 0xff][at % 3];
        bytes
    };
    chosen.map(flip).collect()
}

fn cuts(original: &[u8]) -> Vec<Vec<u8>> {
    (0..original.len()).filter(|at| *at < 100 || at % 5 == 0).map(|at| original[..at].to_vec()).collect()
}

#[test]
fn a_flipped_byte_is_right_data_or_a_located_error_when_mapped() {
    check_all("base", flips);
}

#[test]
fn a_flipped_byte_is_right_data_or_a_located_error_by_pread() {
    check_all("pread", flips);
}

#[test]
fn a_flipped_byte_is_right_data_or_a_located_error_when_compressed() {
    check_all("lz4", flips);
}

#[test]
fn a_cut_file_is_a_located_error() {
    check_all("base", cuts);
}

/// Two runs that changed places are noticed: names and checksums go together.
#[test]
fn swapped_runs_are_a_located_error() {
    let variant = variant("flushed memtables forgotten");
    let (disk, content) = sample(&variant);
    let runs: Vec<PathBuf> = files(&disk).into_iter().filter(|path| !path.ends_with("VERSION")).collect();
    assert!(runs.len() >= 2, "the sample has {} runs", runs.len());
    let image = disk.process_crash_image();
    image.write(&runs[0], disk.read(&runs[1]).expect("it is there")).expect("the disk takes it");
    image.write(&runs[1], disk.read(&runs[0]).expect("it is there")).expect("the disk takes it");
    assert_eq!(check(&image, &variant, &content), Ok(false));
}

/// The canary: wrong data without an error must be called wrong.
#[test]
fn the_check_sees_wrong_data() {
    let variant = &variant("base");
    let (disk, mut content) = sample(variant);
    content[3].1.push(1);
    assert!(check(&disk, variant, &content).is_err(), "wrong data passed the check");
}
