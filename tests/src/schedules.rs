//! Schedules of writer, workers, readers and a checkpoint, tried out by shuttle: built only with `--cfg shuttle`.
//!
//! One scenario is a list of operations from a seed: writes, seals, views read elsewhere, freezes whose runs must stay on
//! disk while they are held, a close with work under way. One exploration runs it under many schedules. Shuttle runs one
//! thread at a time and switches at each lock, condition and atomic of the store; it also finds threads that wait for each
//! other for ever, since its waits never time out.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bedload_lsm::fs::MemoryFs;
use bedload_lsm::{Env, Frozen, Store, Time, Tuning, View};
use shuttle::scheduler::{PctScheduler, RandomScheduler};
use shuttle::thread::{self, JoinHandle};
use shuttle::{Config, FailurePersistence, Runner};

use crate::Random;

type Content = BTreeMap<Vec<u8>, Vec<u8>>;

const OPERATIONS: usize = 24;

/// Time stands still: no schedule depends on it.
struct NoTime;

impl Time for NoTime {
    fn now(&self) -> Duration {
        Duration::ZERO
    }
}

/// Runs the scenario of `seed` under this many schedules, half of them random, half with few switches of priority (PCT).
///
/// # Errors
/// What went wrong, with shuttle's description of the schedule.
pub fn explore(seed: u64, schedules: usize) -> Result<(), String> {
    let mut config = Config::new();
    // Frames of an unoptimised build are large.
    config.stack_size = 1 << 20;
    config.failure_persistence = FailurePersistence::None;
    let random = Runner::new(RandomScheduler::new_from_seed(seed, schedules.div_ceil(2)), config.clone());
    let priority = Runner::new(PctScheduler::new_from_seed(seed, 3, schedules / 2), config);
    let run = || {
        random.run(move || scenario(seed));
        priority.run(move || scenario(seed));
    };
    catch_unwind(AssertUnwindSafe(run)).map_err(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned())).unwrap_or_default()
    })
}

fn open(disk: &MemoryFs, threads: usize, openings: Arc<AtomicU64>) -> Store {
    let env = Env::builder().fs(Arc::new(disk.clone())).time(Arc::new(NoTime)).threads(threads).memory(64 << 10);
    let env = env.random(move || openings.fetch_add(1, Ordering::Relaxed)).build().expect("threads are simulated");
    let mut tuning = Tuning::default();
    tuning.memtable_bytes = 2 << 10;
    tuning.block_bytes = 512;
    tuning.section_bytes = 512;
    tuning.tile_bytes_max = 2 << 10;
    tuning.fan_in = 2;
    tuning.stack_max = 3;
    Store::options().env(&env).tuning(tuning).open("store").expect("a healthy disk")
}

fn scenario(seed: u64) {
    let disk = MemoryFs::new();
    let openings = Arc::new(AtomicU64::new(1));
    let mut store = open(&disk, 2, Arc::clone(&openings));
    let mut random = Random::new(seed);
    let mut model = Content::new();
    let mut others: Vec<JoinHandle<()>> = Vec::new();
    for _ in 0..OPERATIONS {
        let key = vec![b'a' + random.below(6) as u8, b'0' + random.below(4) as u8];
        match random.below(16) {
            0..8 => {
                let value = vec![random.draw() as u8; 100 + random.below(300) as usize];
                store.put(&key, &value).expect("a healthy disk");
                model.insert(key, value);
            }
            8..10 => {
                store.delete(&key).expect("a healthy disk");
                model.remove(&key);
            }
            10..12 => {
                let (view, content) = (store.view().expect("a healthy disk"), model.clone());
                others.push(thread::spawn(move || check_view(&view, &content)));
            }
            12..14 => {
                let frozen = store.freeze().expect("a healthy disk");
                let disk = disk.clone();
                others.push(thread::spawn(move || check_frozen(&frozen, &disk)));
            }
            14 => store.release(random.below(20)),
            _ => store.refresh(),
        }
    }
    for other in others.drain(..others.len() / 2) {
        other.join().expect("a check panics by itself");
    }
    store.close().expect("a healthy disk");
    for other in others {
        other.join().expect("a check panics by itself");
    }
    check_reopened(&disk, openings, &model);
}

fn check_view(view: &View, content: &Content) {
    let found = view.scan(..).map(|entry| entry.map(|(key, value)| (key.to_vec(), value.to_vec())));
    let found: Content = found.collect::<Result<_, _>>().expect("a healthy disk");
    assert_eq!(found, *content, "a view shows its moment");
    for (key, value) in content {
        assert_eq!(view.get(key).expect("a healthy disk").as_deref(), Some(&value[..]));
    }
}

/// What a checkpoint holds stays on disk for as long as it holds it, whatever is merged meanwhile.
fn check_frozen(frozen: &Frozen, disk: &MemoryFs) {
    let stacks = match frozen.wait() {
        Ok(stacks) => stacks,
        Err(error) if error.kind() == bedload_lsm::ErrorKind::Closed => return,
        Err(error) => panic!("a healthy disk: {error}"),
    };
    for _ in 0..3 {
        thread::yield_now();
        for slice in stacks.tiles().flat_map(|tile| tile.slices) {
            let path = slice.run.path().expect("the run is a file of this store");
            assert!(disk.read(path).is_ok(), "{} is held and gone", path.display());
        }
    }
}

fn check_reopened(disk: &MemoryFs, openings: Arc<AtomicU64>, model: &Content) {
    let mut store = open(disk, 0, openings);
    assert!(store.opened_clean(), "a closed store opens clean");
    let view = store.view().expect("a healthy disk");
    check_view(&view, model);
    drop(view);
    let is_run = |path: &&PathBuf| path.extension().is_some_and(|end| end == "run");
    let files = disk.paths().iter().filter(is_run).count();
    assert_eq!(files, store.stats().runs, "no file is left behind");
    store.close().expect("a healthy disk");
}
