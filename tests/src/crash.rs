//! Power loss: images of the disk while a store works, and what may be found on them.

use std::sync::{Arc, Mutex};

use bedload_lsm::fs::MemoryFs;
use bedload_lsm::{Durability, ErrorKind, KeyRange};

use crate::driver::{Driver, Failure, contents};
use crate::operation::Operation;
use crate::oracle::Oracle;
use crate::random::Random;
use crate::variants::Variant;

/// An image, and what the driver had done when it was drawn.
pub struct Image {
    /// The disk as the power loss left it.
    pub fs: MemoryFs,
    /// The file operation that was about to happen.
    pub operation: String,
    /// How many operations of the driver were done.
    pub done: usize,
    /// After which of them everything was last said to be durable.
    pub flushed_at: usize,
}

/// Runs a scenario and draws images before each mutating file operation.
pub fn images_of(variant: &Variant, seed: u64, count: usize, images: usize) -> (Driver, Vec<Image>) {
    let fs = MemoryFs::new();
    let mut driver = Driver::open(Arc::new(fs.clone()), variant, seed).expect("an empty disk opens");
    driver.history = Some(vec![driver.oracle.clone()]);
    driver.flushed_at = 0;
    let drawn: Arc<Mutex<Vec<Image>>> = Arc::default();
    let progress = Arc::new(Mutex::new((0usize, 0usize)));
    let (sink, seen) = (Arc::clone(&drawn), Arc::clone(&progress));
    let mut random = Random::new(seed ^ 0xc4a5);
    fs.before_mutations(Some(Box::new(move |disk, operation| {
        let (done, flushed_at) = *seen.lock().expect("no panic inside");
        for _ in 0..images {
            let fs = disk.crash_image(&mut || random.draw());
            let image = Image { fs, operation: operation.to_owned(), done, flushed_at };
            sink.lock().expect("no panic inside").push(image);
        }
    })));
    for operation in Operation::random_list(&mut Random::new(seed), count) {
        if !operation.is_one_step() {
            continue;
        }
        driver.apply(operation).unwrap_or_else(|failure| panic!("seed {seed}: {operation:?}: {failure}"));
        let done = driver.history.as_ref().map_or(0, Vec::len) - 1;
        *progress.lock().expect("no panic inside") = (done, driver.flushed_at);
    }
    fs.before_mutations(None);
    let images = std::mem::take(&mut *drawn.lock().expect("no panic inside"));
    (driver, images)
}

/// Opens an image and says what is wrong with what it finds.
pub fn check_image(image: &Image, variant: &Variant, driver: &Driver) -> Result<(), String> {
    let history = driver.history.as_ref().expect("the driver keeps its history");
    let opened = Driver::open(Arc::new(image.fs.clone()), variant, 1);
    let mut recovered = match opened {
        Ok(recovered) => recovered,
        Err(Failure::Error(error))
            if variant.durability == Durability::Disposable && error.kind() == ErrorKind::Damaged =>
        {
            return Ok(());
        }
        Err(failure) => return Err(failure.to_string()),
    };
    let clocks = *recovered.store().clocks();
    let found = match contents(recovered.store()) {
        Ok(found) => found,
        Err(error) if variant.durability == Durability::Disposable && error.kind() == ErrorKind::Damaged => {
            return Ok(());
        }
        Err(error) => return Err(error.to_string()),
    };
    let oldest = if variant.durability == Durability::Synced { image.flushed_at } else { 0 };
    // The operation that ran when the image was drawn may have sealed what it had not been told done yet.
    let newest = (image.done + 1).min(history.len() - 1);
    let fits = |state: &&Oracle| state.clocks == clocks && state.scan(&KeyRange::all()) == found;
    match history[oldest..=newest].iter().rev().find(fits) {
        Some(_) => Ok(()),
        None => Err(format!(
            "found {} entries: no state between operation {oldest} and {newest} of the history",
            found.len()
        )),
    }
}

/// Draws images while a store works and checks all of them; returns how many there were.
pub fn check_scenario(variant: &Variant, seed: u64, count: usize, images: usize) -> Result<usize, String> {
    let (driver, images) = images_of(variant, seed, count, images);
    for image in &images {
        check_image(image, variant, &driver).map_err(|failure| {
            format!("variant {:?}, seed {seed}, power lost before `{}`: {failure}", variant.name, image.operation)
        })?;
    }
    Ok(images.len())
}
