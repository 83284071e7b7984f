//! A valid run with mutations: what it yields is right or an error with a place.
#![no_main]

use std::sync::OnceLock;

use bedload_lsm::{Codec, ErrorKind};
use libfuzzer_sys::fuzz_target;

fn sample() -> &'static [u8] {
    static SAMPLE: OnceLock<Vec<u8>> = OnceLock::new();
    SAMPLE.get_or_init(|| bedload_lsm::testing::sample_run(Codec::None).expect("memory takes it"))
}

// The first byte says how it is read; then four bytes are one mutation: where (three bytes), and what.
fuzz_target!(|bytes: &[u8]| {
    let Some((&how, rest)) = bytes.split_first() else { return };
    let mut file = sample().to_vec();
    for mutation in rest.chunks_exact(4).take(64) {
        let at = u32::from_le_bytes([mutation[0], mutation[1], mutation[2], 0]) as usize % (file.len() + 1);
        match mutation[3] {
            0 => file.truncate(at),
            1 => file.insert(at, 0),
            mask => {
                if let Some(byte) = file.get_mut(at) {
                    *byte ^= mask;
                }
            }
        }
    }
    let whole = file == sample();
    match bedload_lsm::testing::read_run(file, how & 1 == 0) {
        Ok(entries) => assert_eq!(entries, 61),
        Err(error) => {
            assert!(!whole, "the sample itself is whole: {error}");
            let expected = matches!(error.kind(), ErrorKind::Damaged | ErrorKind::Fix) && error.place().is_some();
            assert!(expected, "not a located error: {error:?}");
        }
    }
});
