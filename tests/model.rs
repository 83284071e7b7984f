//! Random operations against the oracle, under every option set: one history.

use std::sync::Arc;

use bedload_lsm::fs::MemoryFs;
use proptest::prelude::*;
use tests::{Driver, Operation, Random, Variant, variants};

/// Operations of one case.
const OPERATIONS: usize = 200;
/// Cases for each option set; all together a few hundred.
const CASES_PER_VARIANT: u64 = 18;

fn run(variant: &Variant, seed: u64, operations: &[Operation]) -> Result<(), String> {
    let fs = Arc::new(MemoryFs::new());
    let mut driver = Driver::open(fs, variant, seed).map_err(|failure| failure.to_string())?;
    driver.apply_all(operations)
}

/// Under each option set, many lists from seeds; the first seed of a failure is printed with the line that reruns it.
#[test]
fn every_option_set_gives_the_history_of_the_oracle() {
    let only = std::env::var("BEDLOAD_SEED").ok().map(|seed| seed.parse::<u64>().expect("BEDLOAD_SEED is a number"));
    let seeds: Vec<u64> = only.map_or_else(|| (0..CASES_PER_VARIANT).collect(), |seed| vec![seed]);
    let variants = variants();
    let failures: Vec<String> = std::thread::scope(|scope| {
        let halves = variants.chunks(variants.len().div_ceil(2)).map(|half| {
            let seeds = &seeds;
            scope.spawn(move || run_variants(half, seeds))
        });
        let threads: Vec<_> = halves.collect();
        threads.into_iter().flat_map(|thread| thread.join().expect("a failure is returned, not thrown")).collect()
    });
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

fn run_variants(variants: &[Variant], seeds: &[u64]) -> Vec<String> {
    let mut failures = Vec::new();
    for variant in variants {
        for &seed in seeds {
            // All variants get the lists of the same seeds: one history.
            let operations = Operation::random_list(&mut Random::new(seed), OPERATIONS);
            if let Err(failure) = run(variant, seed, &operations) {
                failures.push(format!(
                    "{failure}\n  rerun: BEDLOAD_SEED={seed} cargo test -p tests every_option_set_gives_the_history"
                ));
                break;
            }
        }
    }
    failures
}

fn operations() -> impl Strategy<Value = Vec<Operation>> {
    let operation = (any::<u8>(), any::<u16>(), any::<u16>(), any::<u8>());
    proptest::collection::vec(operation.prop_map(|(kind, a, b, c)| Operation { kind, a, b, c }), 0..120)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    /// The same with lists that shrink: the smallest failing one is printed and kept.
    #[test]
    fn a_shrinking_list_gives_the_history_of_the_oracle(list in operations(), seed: u64, variant in 0usize..24) {
        let variant = &variants()[variant];
        prop_assert_eq!(run(variant, seed, &list), Ok(()));
    }
}
