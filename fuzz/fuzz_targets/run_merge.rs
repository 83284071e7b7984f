//! A valid run with mutations and right checksums: merging it ends with an error that has a place, or with a whole run.
#![no_main]

use std::sync::OnceLock;

use bedload_lsm::testing::{Merging, merge_run, reseal_run, sample_run};
use bedload_lsm::{Codec, ErrorKind};
use libfuzzer_sys::fuzz_target;

const CODECS: [Codec; 2] = [Codec::None, Codec::Lz4];

fn samples() -> &'static [Vec<u8>; 2] {
    static SAMPLES: OnceLock<[Vec<u8>; 2]> = OnceLock::new();
    SAMPLES.get_or_init(|| CODECS.map(|codec| sample_run(codec).expect("memory takes it")))
}

// The bits of the first byte say how it is merged; then three bytes are one mutation: where (two bytes), and what.
fuzz_target!(|bytes: &[u8]| {
    let Some((&how, rest)) = bytes.split_first() else { return };
    let is = |bit: u8| how & 1 << bit != 0;
    let sample = &samples()[usize::from(is(0))];
    let mut file = sample.clone();
    for mutation in rest.chunks_exact(3).take(64) {
        let at = usize::from(u16::from_le_bytes([mutation[0], mutation[1]])) % file.len();
        file[at] ^= mutation[2];
    }
    reseal_run(sample, &mut file);
    let whole = file == *sample;
    let merging = Merging { mapped: is(1), copies: is(2), codec: CODECS[usize::from(is(3))] };
    match merge_run(file, is(4).then(|| sample.clone()), merging) {
        Ok(entries) => assert!(!whole || entries == 61, "{entries} entries of the sample"),
        Err(error) => {
            assert!(!whole, "the sample itself is whole: {error}");
            let expected = matches!(error.kind(), ErrorKind::Damaged | ErrorKind::Fix) && error.place().is_some();
            assert!(expected, "not a located error: {error:?}");
        }
    }
});
