//! Damaged files: what a store may say about them. Right data or a located error; never a panic, never wrong data.

use std::path::PathBuf;
use std::sync::Arc;

use bedload_lsm::fs::MemoryFs;
use bedload_lsm::{Error, ErrorKind};

use crate::driver::{Driver, Failure, contents};
use crate::operation::Operation;
use crate::oracle::Content;
use crate::random::Random;
use crate::variants::Variant;

/// What a byte is xored with: its lowest bit, its highest, all of them.
pub const PATTERNS: [u8; 3] = [0x01, 0x80, 0xff];

/// A closed store on a disk in memory, what it holds, and how it is opened.
pub struct Sample {
    /// The disk.
    pub disk: MemoryFs,
    /// All entries.
    pub content: Content,
    variant: Variant,
}

/// What came of a damage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Noticed {
    /// An error said where.
    Yes,
    /// All data was right.
    Harmless,
}

impl Sample {
    /// A store after the operations of `seed`.
    ///
    /// # Panics
    /// When the store holds too little to show anything.
    pub fn new(variant: &Variant, seed: u64) -> Sample {
        let disk = MemoryFs::new();
        let mut driver = Driver::open(Arc::new(disk.clone()), variant, 3).expect("an empty disk opens");
        for operation in Operation::random_list(&mut Random::new(seed), 90) {
            if operation.is_one_step() && operation.kind % 64 != 61 {
                driver.apply(operation).expect("a healthy disk");
            }
        }
        let content = contents(driver.store()).expect("a healthy disk");
        drop(driver);
        Sample { disk, content, variant: variant.clone() }
    }

    /// The version and the runs.
    pub fn files(&self) -> Vec<PathBuf> {
        let is_ours = |path: &PathBuf| path.ends_with("VERSION") || path.extension().is_some_and(|end| end == "run");
        self.disk.paths().into_iter().filter(is_ours).collect()
    }

    /// Opens the store on another disk and reads everything in every way.
    ///
    /// # Errors
    /// Wrong data, or an error that is not about damage or names no place.
    pub fn check(&self, disk: &MemoryFs) -> Result<Noticed, String> {
        let opened = Driver::open(Arc::new(disk.clone()), &self.variant, 4);
        let mut driver = match opened {
            Ok(driver) => driver,
            Err(Failure::Error(error)) => return expect_damage(&error),
            Err(failure) => return Err(failure.to_string()),
        };
        match contents(driver.store()) {
            Ok(found) if found == self.content => {}
            Ok(_) => return Err("wrong data from a scan".to_owned()),
            Err(error) => return expect_damage(&error),
        }
        for (key, value) in &self.content {
            match driver.store().get(key) {
                Ok(Some(found)) if *found == **value => {}
                Ok(_) => return Err(format!("wrong data from a get of {}", key.escape_ascii())),
                Err(error) => return expect_damage(&error),
            };
        }
        Ok(Noticed::Harmless)
    }

    /// Puts `damaged` in the place of a file and checks.
    ///
    /// # Errors
    /// As [`Sample::check`].
    pub fn check_with(&self, path: &PathBuf, damaged: Vec<u8>) -> Result<Noticed, String> {
        let image = self.disk.process_crash_image();
        image.write(path, damaged).map_err(|error| error.to_string())?;
        self.check(&image)
    }

    /// Lets two files change places and checks.
    ///
    /// # Errors
    /// As [`Sample::check`].
    pub fn check_swapped(&self, one: &PathBuf, other: &PathBuf) -> Result<Noticed, String> {
        let image = self.disk.process_crash_image();
        let read = |path| self.disk.read(path).map_err(|error| error.to_string());
        image.write(one, read(other)?).map_err(|error| error.to_string())?;
        image.write(other, read(one)?).map_err(|error| error.to_string())?;
        self.check(&image)
    }
}

fn expect_damage(error: &Error) -> Result<Noticed, String> {
    let right_kind = matches!(error.kind(), ErrorKind::Damaged | ErrorKind::Fix);
    match right_kind && error.place().is_some() {
        true => Ok(Noticed::Yes),
        false => Err(format!("not a located error: {error:?}")),
    }
}

/// Flips every byte of a sample's files under one pattern, cuts them at every length, swaps what can be swapped; returns how
/// many damages that were.
///
/// # Errors
/// The first damage that was neither noticed nor harmless.
pub fn check_all_damage(variant: &Variant, seed: u64) -> Result<usize, String> {
    let sample = Sample::new(variant, seed);
    if sample.check(&sample.disk)? != Noticed::Harmless {
        return Err("the sample itself is not whole".to_owned());
    }
    let pattern = PATTERNS[seed as usize % PATTERNS.len()];
    let files = sample.files();
    let mut count = 0;
    for path in &files {
        let original = sample.disk.read(path).map_err(|error| error.to_string())?;
        for at in 0..original.len() {
            let told = |failure| format!("{}, byte {at} of {}: {failure}", path.display(), original.len());
            let mut flipped = original.clone();
            flipped[at] ^= pattern;
            sample.check_with(path, flipped).map_err(told)?;
            sample.check_with(path, original[..at].to_vec()).map_err(told)?;
            count += 2;
        }
    }
    for pair in files.windows(2) {
        sample.check_swapped(&pair[0], &pair[1]).map_err(|failure| format!("files swapped: {failure}"))?;
        count += 1;
    }
    Ok(count)
}
