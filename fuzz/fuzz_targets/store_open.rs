//! A whole directory with mutated files: right data, or an error with a place.
#![no_main]

use std::sync::{Arc, OnceLock};

use bedload_lsm::fs::MemoryFs;
use bedload_lsm::{Error, ErrorKind};
use libfuzzer_sys::fuzz_target;
use tests::{Content, Driver, Failure, Operation, Random, contents, variant};

fn sample() -> &'static (MemoryFs, Content) {
    static SAMPLE: OnceLock<(MemoryFs, Content)> = OnceLock::new();
    SAMPLE.get_or_init(|| {
        let disk = MemoryFs::new();
        let mut driver = Driver::open(Arc::new(disk.clone()), &variant("pread"), 3).expect("an empty disk opens");
        for operation in Operation::random_list(&mut Random::new(5), 90) {
            if operation.is_one_step() {
                driver.apply(operation).expect("a healthy disk");
            }
        }
        let content = contents(driver.store()).expect("a healthy disk");
        drop(driver);
        (disk, content)
    })
}

fn expect_damage(error: &Error) {
    let expected = matches!(error.kind(), ErrorKind::Damaged | ErrorKind::Fix) && error.place().is_some();
    assert!(expected, "not a located error: {error:?}");
}

// Four bytes are one mutation: which file, where (in 1/65536 of its length), and what.
fuzz_target!(|bytes: &[u8]| {
    let (disk, content) = sample();
    let disk = disk.process_crash_image();
    let files: Vec<_> = disk.paths().into_iter().filter(|path| !path.ends_with("LOCK")).collect();
    for mutation in bytes.chunks_exact(4).take(64) {
        let path = &files[usize::from(mutation[0]) % files.len()];
        let Ok(mut file) = disk.read(path) else { continue };
        let at = file.len() * usize::from(u16::from_le_bytes([mutation[1], mutation[2]])) / 65536;
        match mutation[3] {
            0 => file.truncate(at),
            1 => file.insert(at, 0),
            mask => {
                if let Some(byte) = file.get_mut(at) {
                    *byte ^= mask;
                }
            }
        }
        disk.write(path, file).expect("the disk in memory takes it");
    }
    let mut driver = match Driver::open(Arc::new(disk), &variant("pread"), 4) {
        Ok(driver) => driver,
        Err(Failure::Error(error)) => return expect_damage(&error),
        Err(failure) => panic!("{failure}"),
    };
    match contents(driver.store()) {
        Ok(found) => assert!(found == *content, "wrong data"),
        Err(error) => expect_damage(&error),
    }
});
