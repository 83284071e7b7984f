//! A whole small repo with changed objects, restored in both ways: right data, or an error with a place; and where a manifest says
//! something else under a right digest, no panic at least.
#![no_main]

use std::sync::OnceLock;

use bedload_snapshot::{KeyGroups, Start};
use libfuzzer_sys::fuzz_target;
use tests::shipped::{CHANGE_BYTES, Came, Restoring, ShippedSample};

/// All, those of each worker, and some of both.
const GROUPS: [(u16, u16); 4] = [(0, 3), (0, 1), (2, 3), (1, 2)];

fn sample() -> &'static ShippedSample {
    static SAMPLE: OnceLock<ShippedSample> = OnceLock::new();
    SAMPLE.get_or_init(ShippedSample::new)
}

// The bits of the first byte say how it is restored; then eight bytes are one change.
fuzz_target!(|bytes: &[u8]| {
    let Some((&how, rest)) = bytes.split_first() else { return };
    let is = |bit: u8| how & 1 << bit != 0;
    let (first, last) = GROUPS[usize::from(how >> 4 & 3)];
    let start = match how >> 6 {
        0 => Start::Latest,
        number => Start::At(sample().checkpoints()[usize::from(number) - 1]),
    };
    let mut damaged = sample().copy();
    let changes = &rest[..rest.len().min(16 * CHANGE_BYTES)];
    damaged.change(changes);
    if is(1) {
        damaged.renew_claims();
    }
    if is(2) {
        damaged.reboot();
    }
    for is_lazy in [false, true] {
        let groups = KeyGroups { first, last };
        let how = Restoring { is_lazy, has_copies: is(0), is_mapped: is(3), groups, start };
        match damaged.restore(how) {
            Ok(came) => assert!(came == Came::Right || changes.len() >= CHANGE_BYTES || start != Start::Latest),
            Err(failure) => panic!("{how:?}: {failure}"),
        }
    }
});
