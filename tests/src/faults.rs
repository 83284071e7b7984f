//! Disks that fail while a store works, and what must be true afterwards.

use std::sync::Arc;

use bedload_lsm::fs::{Fault, FaultFs, FaultPlan, FaultWhen, MemoryFs};
use bedload_lsm::{ErrorKind, KeyRange};

use crate::driver::{Driver, Failure, contents};
use crate::operation::Operation;
use crate::oracle::Oracle;
use crate::random::Random;
use crate::variants::Variant;

/// Every kind of fault.
pub const FAULTS: [Fault; 5] = [Fault::Eio, Fault::NoSpace, Fault::ShortWrite, Fault::ShortRead, Fault::SyncFailure];

/// What became of one run with faults.
pub struct Outcome {
    /// Faults that the disk delivered.
    pub injected: u64,
    /// Errors that a caller saw, and failures that the store counted.
    pub surfaced: u64,
}

/// Applies operations while faults occur; then the disk is healthy again, and everything acknowledged must be there.
pub fn run_with_faults(
    variant: &Variant,
    seed: u64,
    count: usize,
    fault: Fault,
    when: FaultWhen,
) -> Result<Outcome, String> {
    let disk = MemoryFs::new();
    let fs = FaultFs::new(Arc::new(disk.clone()));
    let mut driver = Driver::open(Arc::new(fs.clone()), variant, seed).map_err(|failure| failure.to_string())?;
    let mut states: Vec<Oracle> = vec![driver.oracle.clone()];
    let mut flushed = 0;
    fs.set_plan(Some(FaultPlan { fault, when }));
    let mut surfaced = 0;
    for operation in Operation::random_list(&mut Random::new(seed), count) {
        // A store that fails to close cannot be opened again by the driver: the end of the run does that.
        if !operation.is_one_step() || operation.kind % 64 == 61 {
            continue;
        }
        let before = driver.flushed_at;
        driver.history = Some(Vec::new());
        match driver.apply(operation) {
            Ok(()) => {
                states.push(driver.oracle.clone());
                if driver.flushed_at != before || operation.kind % 64 == 60 {
                    flushed = states.len() - 1;
                }
            }
            Err(Failure::Error(error)) => {
                surfaced += 1;
                if error.kind() == ErrorKind::Bug {
                    return Err(format!("{operation:?}: {error}"));
                }
            }
            Err(failure) => return Err(format!("{operation:?}: {failure}")),
        }
    }
    let injected = fs.injected();
    fs.set_plan(None);
    surfaced += driver.store().stats().failures;
    driver.check_everything().map_err(|failure| format!("with a healthy disk again: {failure}"))?;
    check_recovery(driver, &disk, variant, &states, flushed)?;
    Ok(Outcome { injected, surfaced })
}

/// Closes, reopens and finds the newest state, or one since the last flush when the store had become read-only.
pub fn check_recovery(
    mut driver: Driver,
    disk: &MemoryFs,
    variant: &Variant,
    states: &[Oracle],
    flushed: usize,
) -> Result<(), String> {
    let newest = driver.store().flush().is_ok();
    drop(driver);
    // Without threads: files are counted below, and workers would make and remove some meanwhile.
    let still = Variant { threads: 0, ..variant.clone() };
    let mut reopened =
        Driver::open(Arc::new(disk.clone()), &still, 7).map_err(|failure| format!("reopen: {failure}"))?;
    let found = contents(reopened.store()).map_err(|error| format!("reopened: {error}"))?;
    let oldest = if newest { states.len() - 1 } else { flushed };
    let clocks = *reopened.store().clocks();
    let fits = |state: &Oracle| state.clocks == clocks && state.scan(&KeyRange::all()) == found;
    if !states[oldest..].iter().any(fits) {
        return Err(format!("reopened: {} entries, no state of operation {oldest} or later", found.len()));
    }
    let runs = disk.paths().into_iter().filter(|path| path.extension().is_some_and(|end| end == "run")).count();
    if runs != reopened.store().stats().runs {
        return Err(format!(
            "{runs} run files for {} runs: a failure left files behind",
            reopened.store().stats().runs
        ));
    }
    Ok(())
}
