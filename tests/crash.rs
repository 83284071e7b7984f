//! Power loss at every mutating file operation: the next open finds one state of the past, none older than was promised.

use std::path::Path;
use std::sync::{Arc, Mutex};

use bedload_lsm::Durability;
use bedload_lsm::fs::{Fs, MemoryFs};
use tests::crash::{Image, check_image, check_scenario, images_of};
use tests::{Driver, Operation, Random, Variant, variant};

/// Images drawn at each mutating operation.
const IMAGES: usize = 20;

fn check(name: &str, seed: u64, count: usize) -> usize {
    check_scenario(&variant(name), seed, count, IMAGES).unwrap_or_else(|failure| panic!("{failure}"))
}

#[test]
fn a_synced_store_survives_power_loss_at_every_file_operation() {
    let mut images = 0;
    for seed in 0..4 {
        images += check("synced", seed, 120);
        images += check("synced, pread, tiny tiles", seed, 120);
    }
    assert!(images > 2000, "only {images} images were drawn");
}

#[test]
fn a_disposable_store_is_whole_or_says_that_it_is_not() {
    for seed in 10..12 {
        check("base", seed, 120);
        check("pread", seed, 120);
    }
}

#[test]
fn power_loss_during_a_recovery_is_no_worse() {
    let variant = variant("synced");
    let (driver, images) = images_of(&variant, 20, 150, 1);
    for image in images.iter().step_by(5) {
        let again: Arc<Mutex<Vec<Image>>> = Arc::default();
        let sink = Arc::clone(&again);
        let mut random = Random::new(99);
        let (done, flushed_at) = (image.done, image.flushed_at);
        let disk = image.fs.process_crash_image();
        disk.before_mutations(Some(Box::new(move |disk, operation| {
            let fs = disk.crash_image(&mut || random.draw());
            let image = Image { fs, operation: operation.to_owned(), done, flushed_at };
            sink.lock().expect("no panic inside").push(image);
        })));
        let mut recovered = Driver::open(Arc::new(disk.clone()), &variant, 1).expect("a synced store opens");
        recovered.store().flush().expect("a healthy disk flushes");
        drop(recovered);
        disk.before_mutations(None);
        for image in again.lock().expect("no panic inside").iter() {
            if let Err(failure) = check_image(image, &variant, &driver) {
                panic!("power lost during recovery before `{}`: {failure}", image.operation);
            }
        }
    }
}

#[test]
fn what_survives_the_process_is_the_last_flush_or_newer() {
    for name in ["base", "pread", "synced"] {
        let variant = variant(name);
        let fs = MemoryFs::new();
        let mut driver = Driver::open(Arc::new(fs.clone()), &variant, 30).expect("an empty disk opens");
        driver.history = Some(vec![driver.oracle.clone()]);
        for operation in Operation::random_list(&mut Random::new(31), 150) {
            if !operation.is_one_step() {
                continue;
            }
            driver.apply(operation).expect("a healthy disk");
            let done = driver.history.as_ref().map_or(0, Vec::len) - 1;
            let image = Image {
                fs: fs.process_crash_image(),
                operation: "kill -9".to_owned(),
                done,
                flushed_at: driver.flushed_at,
            };
            let synced = Variant { durability: Durability::Synced, ..variant.clone() };
            if let Err(failure) = check_image(&image, &synced, &driver) {
                panic!("{name}: {failure}");
            }
        }
    }
}

/// The canary: a disk that forgets to make names durable must be caught by the images.
#[test]
fn images_catch_a_disk_that_never_syncs_directories() {
    let variant = variant("synced");
    let caught = (0..6u64).any(|seed| {
        let (driver, images) = images_of_forgetful(&variant, seed);
        images.iter().any(|image| check_image(image, &variant, &driver).is_err())
    });
    assert!(caught, "no image showed the missing sync_dir: the harness sees nothing");
}

fn images_of_forgetful(variant: &Variant, seed: u64) -> (Driver, Vec<Image>) {
    let fs = MemoryFs::new();
    let forgetful = Arc::new(Forgetful(fs.clone()));
    let mut driver = Driver::open(forgetful, variant, seed).expect("an empty disk opens");
    driver.history = Some(vec![driver.oracle.clone()]);
    let mut random = Random::new(seed);
    let mut images = Vec::new();
    for operation in Operation::random_list(&mut Random::new(seed), 200) {
        if !operation.is_one_step() {
            continue;
        }
        driver.apply(operation).expect("a healthy disk");
        let done = driver.history.as_ref().map_or(0, Vec::len) - 1;
        for _ in 0..4 {
            let fs = fs.crash_image(&mut || random.draw());
            images.push(Image { fs, operation: "any".to_owned(), done, flushed_at: driver.flushed_at });
        }
    }
    (driver, images)
}

/// A disk whose `sync_dir` does nothing.
#[derive(Debug)]
struct Forgetful(MemoryFs);

impl Fs for Forgetful {
    fn create_new(&self, path: &Path) -> bedload_lsm::Result<Box<dyn bedload_lsm::fs::Appender>> {
        self.0.create_new(path)
    }

    fn create_sparse(&self, path: &Path, bytes: u64) -> bedload_lsm::Result<Arc<dyn bedload_lsm::fs::SparseFile>> {
        self.0.create_sparse(path, bytes)
    }

    fn open_sparse(&self, path: &Path) -> bedload_lsm::Result<Arc<dyn bedload_lsm::fs::SparseFile>> {
        self.0.open_sparse(path)
    }

    fn open(
        &self,
        path: &Path,
        mode: bedload_lsm::fs::ReadMode,
    ) -> bedload_lsm::Result<Arc<dyn bedload_lsm::fs::Source>> {
        self.0.open(path, mode)
    }

    fn hard_link(&self, from: &Path, to: &Path) -> bedload_lsm::Result<()> {
        self.0.hard_link(from, to)
    }

    fn rename(&self, from: &Path, to: &Path) -> bedload_lsm::Result<()> {
        self.0.rename(from, to)
    }

    fn remove(&self, path: &Path) -> bedload_lsm::Result<()> {
        self.0.remove(path)
    }

    fn read_dir(&self, path: &Path) -> bedload_lsm::Result<Vec<bedload_lsm::fs::FileInfo>> {
        self.0.read_dir(path)
    }

    fn create_dir(&self, path: &Path) -> bedload_lsm::Result<()> {
        self.0.create_dir(path)
    }

    fn sync_dir(&self, _path: &Path) -> bedload_lsm::Result<()> {
        Ok(())
    }

    fn lock(&self, path: &Path, owner: &str) -> bedload_lsm::Result<Box<dyn bedload_lsm::fs::FsLock>> {
        self.0.lock(path, owner)
    }

    fn space(&self, path: &Path) -> bedload_lsm::Result<bedload_lsm::fs::Space> {
        self.0.space(path)
    }

    fn kind(&self, path: &Path) -> bedload_lsm::Result<bedload_lsm::fs::FsKind> {
        self.0.kind(path)
    }
}
