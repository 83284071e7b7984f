//! A worker of a driven job: a store on a machine in memory whose background work is stepped.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bedload_lsm::fs::MemoryFs;
use bedload_lsm::{Env, Error, Store, Time, Tuning};
use bedload_snapshot::Worker;

use crate::{GroupedKeys, Random};

/// What a job's state holds.
pub type State = BTreeMap<Vec<u8>, Vec<u8>>;

/// Time stands still: nothing in a driven store may depend on it.
struct Still;

impl Time for Still {
    fn now(&self) -> Duration {
        Duration::ZERO
    }
}

/// A worker and its machine.
pub struct Member {
    /// Its store.
    pub store: Store,
    /// Where the store's background work waits.
    pub env: Env,
    /// Its part in checkpoints.
    pub worker: Worker,
}

/// Opens a store of small memtables, runs and tiles on `machine`, in a directory of its own for each `opening`. Its runs are named
/// after `opening`: openings of one number name other runs alike.
///
/// # Errors
/// Those of the store.
pub fn open_stepped(machine: &MemoryFs, opening: u64) -> Result<(Store, Env), Error> {
    let names = AtomicU64::new(opening << 10);
    let env = Env::builder()
        .fs(Arc::new(machine.clone()))
        .time(Arc::new(Still))
        .threads(0)
        .memory(256 << 10)
        .random(move || names.fetch_add(1, Ordering::Relaxed))
        .build()?;
    let mut tuning = Tuning::default();
    tuning.memtable_bytes = 8 << 10;
    tuning.block_bytes = 512;
    tuning.section_bytes = 1 << 10;
    tuning.tile_bytes_max = 16 << 10;
    tuning.fan_in = 3;
    let store = Store::options().env(&env).tuning(tuning).shape(GroupedKeys).open(format!("state-{opening}"))?;
    Ok((store, env))
}

impl Member {
    /// All that its store holds.
    ///
    /// # Errors
    /// Those of the store.
    pub fn contents(&mut self) -> Result<State, Error> {
        self.store.scan(..)?.map(|entry| entry.map(|(key, value)| (key.to_vec(), value.to_vec()))).collect()
    }

    /// Does up to `steps` pieces of background work.
    pub fn work_in_background(&self, steps: u64, random: &mut Random) {
        for _ in 0..steps {
            self.env.step_background(&mut || random.draw());
        }
    }
}
