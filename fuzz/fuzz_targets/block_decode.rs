//! Any bytes as the image of a block: entries or errors, never a panic.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    bedload_lsm::testing::check_block(bytes);
    // With lengths that fit, so that what stands behind the header is reached.
    if bytes.len() >= 48 {
        let mut fitting = bytes.to_vec();
        let body = (bytes.len() - 48) as u32;
        fitting[4..8].copy_from_slice(&body.to_le_bytes());
        fitting[8..12].copy_from_slice(&body.to_le_bytes());
        bedload_lsm::testing::check_block(&fitting);
    }
});
