//! Damage in a repo, and in copies on a worker's machine: right data or a clear error, never a panic, never wrong data.

use std::sync::OnceLock;

use bedload_snapshot::testing::{ManifestKind, edit_claim};
use bedload_snapshot::{KeyGroups, Start};
use tests::Random;
use tests::shipped::{CHANGE_BYTES, Came, DamagedRepo, KEY_GROUPS, Restoring, ShippedSample};

const EAGER: Restoring = Restoring {
    is_lazy: false,
    has_copies: false,
    is_mapped: true,
    groups: KeyGroups { first: 0, last: KEY_GROUPS as u16 - 1 },
    start: Start::Latest,
};
const LAZY: Restoring = Restoring { is_lazy: true, is_mapped: false, ..EAGER };

/// Restores in both ways; says whether one of them noticed something.
fn check(damaged: &DamagedRepo<'_>, with: Restoring) -> Result<bool, String> {
    let eager = damaged.restore(Restoring { is_lazy: false, is_mapped: true, ..with })?;
    let lazy = damaged.restore(Restoring { is_lazy: true, is_mapped: false, ..with })?;
    Ok(eager == Came::Told || lazy == Came::Told)
}

#[test]
fn the_sample_is_whole() {
    let sample = ShippedSample::new();
    let count = |part: &str| sample.paths().iter().filter(|path| path.contains(part)).count();
    let counts = (count("/chain/"), count("/boundary/"), count("/checkpoints/"), count("/runs/"), count("/leases/"));
    assert!(matches!(counts, (5, 1, 6, 6.., 0)), "{counts:?}: {sample:?}");
    for how in [EAGER, LAZY] {
        for has_copies in [false, true] {
            for (first, last) in [(0, 3), (0, 1), (2, 3), (1, 2)] {
                let how = Restoring { has_copies, groups: KeyGroups { first, last }, ..how };
                assert_eq!(sample.copy().restore(how), Ok(Came::Right), "{how:?}");
                let mut rebooted = sample.copy();
                rebooted.reboot();
                assert_eq!(rebooted.restore(how), Ok(Came::Right), "{how:?}");
            }
        }
        let [first, second, third] = sample.checkpoints()[..] else { panic!("{:?}", sample.checkpoints()) };
        assert_eq!(
            sample.copy().restore(Restoring { start: Start::At(first), ..how }),
            Ok(Came::Told),
            "it has expired"
        );
        for checkpoint in [second, third] {
            assert_eq!(sample.copy().restore(Restoring { start: Start::At(checkpoint), ..how }), Ok(Came::Right));
        }
    }
}

/// The first bytes, the last ones, and some between.
fn places(length: usize) -> impl Iterator<Item = usize> {
    (0..length).filter(move |at| *at < 8 || at + 80 > length || at % 61 == 0)
}

#[test]
fn a_flipped_byte_of_an_object_is_right_data_or_a_located_error() {
    let sample = ShippedSample::new();
    let (mut noticed, mut flips) = (0, 0);
    for path in sample.paths() {
        let bytes = sample.bytes(&path);
        for at in places(bytes.len()) {
            let damaged = sample.copy();
            let mut flipped = bytes.clone();
            flipped[at] ^= [0x01, 0x20, 0x80][at % 3];
            damaged.overwrite(&path, flipped);
            match check(&damaged, EAGER) {
                Ok(told) => noticed += usize::from(told),
                Err(failure) => panic!("{path}, byte {at} of {}: {failure}", bytes.len()),
            }
            flips += 1;
        }
    }
    assert!(noticed * 2 > flips, "only {noticed} of {flips} were noticed");
}

/// A parcel that was cut was taken for an object store that is not reachable just now.
#[test]
fn an_object_that_is_cut_or_missing_is_right_data_or_a_located_error() {
    let sample = ShippedSample::new();
    let mut noticed = 0;
    for path in sample.paths() {
        let bytes = sample.bytes(&path);
        for at in places(bytes.len()).step_by(7) {
            let damaged = sample.copy();
            damaged.overwrite(&path, bytes[..at].to_vec());
            let told = check(&damaged, EAGER);
            noticed += usize::from(told.unwrap_or_else(|failure| panic!("{path}, cut at {at}: {failure}")));
        }
        let damaged = sample.copy();
        damaged.remove(&path);
        check(&damaged, EAGER).unwrap_or_else(|failure| panic!("{path}, missing: {failure}"));
    }
    assert!(noticed > 100, "only {noticed} were noticed");
}

/// The number behind the last one that there is was counted to.
#[test]
fn a_chain_at_the_end_of_all_numbers_is_a_located_error() {
    let (sample, last) = (ShippedSample::new(), u64::MAX);
    let boundary = format!(
        "{{\"job\": \"late-board\", \"number\": 2, \"start\": {last}, \"epoch\": 1, \"live\": [], \"voided\": []}}"
    );
    let slot = format!(
        "{{\"job\": \"late-board\", \"number\": {last}, \"event\": {{\"fence\": {{\"holder\": \"x\", \"started_at_ms\": 1}}}}}}"
    );
    let mut damaged = sample.copy();
    damaged.overwrite("jobs/late-board/boundary/000000000002.json", ManifestKind::Boundary.sign(1, &boundary).unwrap());
    damaged.overwrite(&format!("jobs/late-board/chain/{last}.json"), ManifestKind::Slot.sign(1, &slot).unwrap());
    damaged.resign();
    assert_eq!(check(&damaged, EAGER), Ok(true));
    let far =
        boundary.replace(&format!("\"number\": 2, \"start\": {last}"), &format!("\"number\": {last}, \"start\": 9"));
    let mut damaged = sample.copy();
    damaged.overwrite(&format!("jobs/late-board/boundary/{last}.json"), ManifestKind::Boundary.sign(1, &far).unwrap());
    damaged.resign();
    assert_eq!(check(&damaged, EAGER), Ok(true));
}

/// What is found here without a fuzzer is found by everybody who runs the tests.
#[test]
fn random_damage_is_right_data_or_a_located_error() {
    static SAMPLE: OnceLock<ShippedSample> = OnceLock::new();
    let mut counts = [0; 3];
    for seed in 0..400 {
        let mut random = Random::new(seed);
        let mut damaged = SAMPLE.get_or_init(ShippedSample::new).copy();
        let choices: Vec<u8> = (0..CHANGE_BYTES * (1 + seed as usize % 4)).map(|_| random.draw() as u8).collect();
        damaged.change(&choices);
        if seed % 3 == 0 {
            damaged.reboot();
        }
        if seed % 2 == 0 {
            damaged.renew_claims();
        }
        for how in [EAGER, LAZY] {
            let how = Restoring { has_copies: seed % 5 < 2, ..how };
            let came = damaged.restore(how).unwrap_or_else(|failure| panic!("seed {seed}, {how:?}: {failure}"));
            counts[came as usize] += 1;
        }
    }
    assert!(counts.iter().all(|count| *count > 40), "{counts:?} were right, told, and something");
}

/// The canary: wrong data without an error must be called wrong.
#[test]
fn the_check_sees_wrong_data() {
    let sample = ShippedSample::new();
    let mut damaged = sample.copy();
    // All claims lose their newest deltas, under right digests.
    for path in sample.paths().iter().filter(|path| path.contains("/checkpoints/")) {
        let without = edit_claim(&sample.bytes(path), |claim| {
            for stack in claim.stacks.iter_mut().filter(|stack| stack.slices.len() > 1) {
                stack.slices.remove(0);
            }
        });
        damaged.overwrite(path, without.expect("a claim"));
    }
    damaged.renew_claims();
    for how in [EAGER, LAZY] {
        let failure = damaged.restore(how).expect_err("the deltas are gone");
        assert!(failure.starts_with("wrong data"), "{failure}");
    }
    // As long as nobody said so.
    damaged.resign();
    assert_eq!(damaged.restore(EAGER), Ok(Came::Something));
}
