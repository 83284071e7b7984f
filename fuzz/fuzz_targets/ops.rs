//! Bytes are an option set, operations and a crash point: the store says what the oracle says, and a process that dies there
//! finds a state of the past.
#![no_main]

use std::sync::Arc;

use bedload_lsm::fs::MemoryFs;
use libfuzzer_sys::fuzz_target;
use tests::crash::{Image, check_image};
use tests::{Driver, Operation, Random, variants};

fuzz_target!(|bytes: &[u8]| {
    let Some((&[choice, crash], rest)) = bytes.split_first_chunk::<2>() else { return };
    let operations = Operation::list(&rest[..rest.len().min(6 * 300)]);
    // Those without threads: a finding must be found again.
    let variants: Vec<_> = variants().into_iter().filter(|variant| variant.threads == 0).collect();
    let variant = &variants[usize::from(choice) % variants.len()];
    let fs = MemoryFs::new();
    let mut driver = Driver::open(Arc::new(fs.clone()), variant, 1).expect("an empty disk opens");
    driver.history = Some(vec![driver.oracle.clone()]);
    let crash_at = operations.len() * usize::from(crash) / 256;
    let mut random = Random::new(u64::from(crash));
    for (index, operation) in operations.iter().enumerate() {
        if let Err(failure) = driver.apply(*operation) {
            panic!("variant {:?}, operation {index} {operation:?}: {failure}", variant.name);
        }
        if index == crash_at && operations[..=index].iter().all(|operation| operation.is_one_step()) {
            let done = driver.history.as_ref().map_or(0, Vec::len) - 1;
            let image = Image {
                fs: fs.crash_image(&mut || random.draw()),
                operation: "the fuzzer's choice".to_owned(),
                done,
                flushed_at: driver.flushed_at,
            };
            if let Err(failure) = check_image(&image, variant, &driver) {
                panic!("variant {:?}, crash after operation {index}: {failure}", variant.name);
            }
        }
    }
    if let Err(failure) = driver.check_everything() {
        panic!("variant {:?}, at the end: {failure}", variant.name);
    }
});
