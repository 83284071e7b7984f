//! Disks that fail: every kind of fault at every operation. Nothing is lost that was acknowledged, nothing wrong is read.

use std::sync::Arc;

use bedload_lsm::fs::{Fault, FaultFs, FaultPlan, FaultWhen, MemoryFs};
use bedload_lsm::{Durability, ErrorKind};
use tests::faults::{FAULTS, check_recovery, run_with_faults};
use tests::{Driver, Variant, contents, variant};

/// Every operation of a scenario fails once.
fn check_every_index(variant: &Variant, seed: u64, count: usize) {
    for fault in FAULTS {
        let mut injected = 0;
        for nth in 0.. {
            match run_with_faults(variant, seed, count, fault, FaultWhen::Nth(nth)) {
                Ok(outcome) if outcome.injected == 0 => break,
                Ok(outcome) => {
                    injected += outcome.injected;
                    // A failed write is told to somebody. A failed read may be of a filter, which then excludes nothing; a
                    // failed removal is tried again.
                    let of_reads = matches!(fault, Fault::Eio | Fault::ShortRead);
                    assert!(outcome.surfaced > 0 || of_reads, "{fault:?} at {nth} vanished");
                }
                Err(failure) => {
                    panic!("variant {:?}, seed {seed}, {fault:?} at operation {nth}: {failure}", variant.name)
                }
            }
        }
        let expects_syncs = variant.durability == Durability::Synced;
        assert!(injected > 0 || (fault == Fault::SyncFailure && !expects_syncs), "{fault:?} was never injected");
    }
}

#[test]
fn every_fault_at_every_operation_of_a_synced_store() {
    check_every_index(&variant("synced"), 40, 110);
}

#[test]
fn every_fault_at_every_operation_of_a_store_that_reads_by_pread() {
    check_every_index(&variant("pread, tiny cache"), 41, 90);
}

#[test]
fn frequent_faults_lose_nothing_that_was_acknowledged() {
    for seed in 50..56 {
        for n in [8, 32, 128] {
            for fault in FAULTS {
                for name in ["synced", "pread", "tiny tiles"] {
                    let when = FaultWhen::OneIn { n, seed };
                    run_with_faults(&variant(name), seed, 150, fault, when)
                        .unwrap_or_else(|failure| panic!("{name}, seed {seed}, {fault:?} 1 in {n}: {failure}"));
                }
            }
        }
    }
}

/// A full disk: writers get `Full`, reads go on, and all is well by itself once there is room.
#[test]
fn a_full_disk_is_full_and_recovers() {
    let disk = MemoryFs::new();
    let variant = variant("base");
    let mut driver = Driver::open(Arc::new(disk.clone()), &variant, 1).expect("an empty disk opens");
    driver.store().put(b"before", b"1").expect("there is room");
    driver.store().flush().expect("there is room");
    disk.set_free_bytes(Some(0));
    let mut written = 0u32;
    let error = loop {
        match driver.store().put(&written.to_be_bytes(), &[7; 100]) {
            Ok(()) => written += 1,
            Err(error) => break error,
        }
        assert!(written < 1_000_000, "memory is limited");
    };
    assert_eq!(error.kind(), ErrorKind::Full, "{error}");
    assert_eq!(driver.store().get(b"before").expect("reads go on").as_deref(), Some(&b"1"[..]));
    assert_eq!(driver.store().get(&0u32.to_be_bytes()).expect("reads go on").as_deref(), Some(&[7; 100][..]));
    let temporary = disk.paths().into_iter().filter(|path| path.to_string_lossy().contains(".new")).count();
    assert_eq!(temporary, 0, "a failed write left a temporary file");
    disk.set_free_bytes(None);
    driver.store().put(b"after", b"2").expect("there is room again");
    driver.store().flush().expect("there is room again");
    assert_eq!(contents(driver.store()).expect("a healthy disk").len(), written as usize + 2);
}

/// A failed sync of the version is final: writes are refused from then on, and reads go on.
#[test]
fn a_failed_sync_of_the_version_makes_the_store_read_only() {
    let disk = MemoryFs::new();
    let fs = FaultFs::new(Arc::new(disk));
    let mut driver = Driver::open(Arc::new(fs.clone()), &variant("synced"), 1).expect("an empty disk opens");
    driver.store().put(b"a", b"1").expect("a healthy disk");
    driver.store().flush().expect("a healthy disk");
    // Run, its directory, then the version: the third sync.
    fs.set_plan(Some(FaultPlan { fault: Fault::SyncFailure, when: FaultWhen::Nth(2) }));
    driver.store().put(b"b", b"2").expect("memory takes it");
    driver.store().flush().expect_err("the sync fails");
    fs.set_plan(None);
    let error = driver.store().flush().expect_err("a failed sync is final");
    assert_eq!(error.kind(), ErrorKind::Closed, "{error}");
    assert_eq!(driver.store().get(b"b").expect("reads go on").as_deref(), Some(&b"2"[..]));
}

/// The canary: a store that took errors for success would lose acknowledged writes, and the check would see it.
#[test]
fn the_check_sees_a_lost_write() {
    let disk = MemoryFs::new();
    let variant = variant("base");
    let mut driver = Driver::open(Arc::new(disk.clone()), &variant, 1).expect("an empty disk opens");
    let before = driver.oracle.clone();
    driver.store().put(b"ap01", b"acknowledged").expect("a healthy disk");
    driver.oracle.put(b"ap01", b"acknowledged", None);
    let after = driver.oracle.clone();
    let empty = MemoryFs::new();
    let result = check_recovery(driver, &empty, &variant, &[before, after], 0);
    assert!(result.is_err(), "an empty disk passed for one that holds an acknowledged write");
}
