//! Any bytes as a version, with their checksum set right so that the fuzzer gets behind it.
#![no_main]

use bedload_lsm::ErrorKind;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let sealed = bedload_lsm::testing::seal_version(bytes);
    for bytes in [bytes, &sealed] {
        if let Err(error) = bedload_lsm::testing::check_version(bytes) {
            assert!(matches!(error.kind(), ErrorKind::Damaged | ErrorKind::Fix), "{error:?}");
            assert!(error.place().is_some(), "{error:?}");
        }
    }
});
