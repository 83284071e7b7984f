//! Damage: every byte of a store's files flipped, every cut: right data or a clear error, never a panic, never wrong data.

use std::path::PathBuf;

use tests::damage::{Noticed, PATTERNS, Sample};
use tests::variant;

fn sample(name: &str) -> Sample {
    let sample = Sample::new(&variant(name), 5);
    assert!(sample.content.len() > 10, "the sample is too small to show anything");
    assert_eq!(sample.check(&sample.disk), Ok(Noticed::Harmless), "the sample itself is whole");
    sample
}

fn check_all(name: &str, damage: impl Fn(&[u8]) -> Vec<Vec<u8>>) {
    let sample = sample(name);
    let mut noticed = 0;
    for path in sample.files() {
        let original = sample.disk.read(&path).expect("the file is there");
        for (index, damaged) in damage(&original).into_iter().enumerate() {
            match sample.check_with(&path, damaged) {
                Ok(what) => noticed += usize::from(what == Noticed::Yes),
                Err(failure) => panic!("{name}, {}, damage {index}: {failure}", path.display()),
            }
        }
    }
    assert!(noticed > 100, "only {noticed} damages were noticed");
}

/// Every byte of the ends of a file (header, directory, footer), and each seventh between.
fn flips(original: &[u8]) -> Vec<Vec<u8>> {
    let near_end = |at: usize| at < 64 || at + 600 > original.len();
    let chosen = (0..original.len()).filter(|at| near_end(*at) || at % 7 == 0);
    let flip = |at: usize| {
        let mut bytes = original.to_vec();
        bytes[at] ^= PATTERNS[at % 3];
        bytes
    };
    chosen.map(flip).collect()
}

fn cuts(original: &[u8]) -> Vec<Vec<u8>> {
    (0..original.len()).map(|at| original[..at].to_vec()).collect()
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
fn a_file_cut_at_any_length_is_a_located_error() {
    check_all("base", cuts);
}

/// Two runs that changed places are noticed: names and checksums go together.
#[test]
fn swapped_runs_are_a_located_error() {
    let sample = sample("flushed memtables forgotten");
    let runs: Vec<PathBuf> = sample.files().into_iter().filter(|path| !path.ends_with("VERSION")).collect();
    assert!(runs.len() >= 2, "the sample has {} runs", runs.len());
    assert_eq!(sample.check_swapped(&runs[0], &runs[1]), Ok(Noticed::Yes));
}

/// The canary: wrong data without an error must be called wrong.
#[test]
fn the_check_sees_wrong_data() {
    let mut sample = sample("base");
    sample.content[3].1.push(1);
    assert!(sample.check(&sample.disk).is_err(), "wrong data passed the check");
}
