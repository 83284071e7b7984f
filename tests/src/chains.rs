//! Schedules of all that write a job's chain, tried out by shuttle: built only with `--cfg shuttle`.
//!
//! Coordinators that fence each other off and complete checkpoints, somebody who expires checkpoints and voids leases,
//! makers of boundaries, a sweeper that deletes what lies before them without any grace, and readers; on a store whose requests
//! fail, before or after they took effect. A witness in the store sees what was created, in order. The rule: the slots that
//! were created with the number that was next are one history, and everybody reads that history and nothing else.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex};

use bedload_snapshot::testing::{FaultStore, ObjectFault, Operation, TestAmbient};
use bedload_snapshot::{
    Attempt, Chain, ChainState, CheckpointId, ClaimRef, Completion, Error, ErrorKind, Event, Fence, Folder, Hex,
    JobName, KeyGroups, LeaseId, ObjectName, Patience, Repo, RepoOptions, WorkerName,
};
use shuttle::future::block_on;
use shuttle::scheduler::{PctScheduler, RandomScheduler};
use shuttle::thread;
use shuttle::{Config, FailurePersistence, Runner};

use crate::Random;

/// How many checkpoints a coordinator completes.
const CHECKPOINTS: u64 = 2;

/// What the witness saw.
#[derive(Debug, Default)]
struct History {
    /// The events of the slots that were created in turn.
    events: Vec<Event>,
    /// How many slots were created again after they had been deleted.
    ghosts: usize,
}

/// Runs the scenario of `seed` under this many schedules, half of them random, half with few switches of priority (PCT).
///
/// # Errors
/// What went wrong.
pub fn explore_chain(seed: u64, schedules: usize, store: fn(u64) -> FaultStore) -> Result<(), String> {
    let mut config = Config::new();
    config.stack_size = 1 << 20;
    config.failure_persistence = FailurePersistence::None;
    let random = Runner::new(RandomScheduler::new_from_seed(seed, schedules.div_ceil(2)), config.clone());
    let priority = Runner::new(PctScheduler::new_from_seed(seed, 3, schedules / 2), config);
    let run = || {
        random.run(move || scenario(seed, store(seed)));
        priority.run(move || scenario(seed, store(seed)));
    };
    catch_unwind(AssertUnwindSafe(run)).map_err(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned())).unwrap_or_default()
    })
}

/// A store whose requests fail now and then, before or after they took effect.
pub fn failing_store(seed: u64) -> FaultStore {
    let one_in = [0, 40, 12][(seed % 3) as usize];
    FaultStore::new(move |request| {
        let fails = one_in > 0 && request.random % one_in == 0 && request.operation != Operation::List;
        fails.then(|| match request.random / one_in % 4 {
            0 => ObjectFault::FailBefore,
            // The sweeper asks the store itself, without a time limit.
            1 if request.operation != Operation::Delete => ObjectFault::HangAfter,
            2 => ObjectFault::WrongBytes,
            _ => ObjectFault::FailAfter,
        })
    })
}

/// A store that creates what exists.
pub fn unfenced_store(_: u64) -> FaultStore {
    FaultStore::default().ignoring_conditions()
}

fn scenario(seed: u64, store: FaultStore) {
    let history = Arc::new(Mutex::new(History::default()));
    let store = store.with_switch(thread::yield_now).with_witness({
        let history = Arc::clone(&history);
        move |path, payload| {
            if let Some(ObjectName::Slot(_, number)) = ObjectName::parse(path) {
                let bytes: Vec<u8> = payload.iter().flatten().copied().collect();
                history.lock().unwrap().saw(number, &bytes);
            }
        }
    });
    let options = RepoOptions::default().ambient(Arc::new(TestAmbient::new(seed))).allow_unfenced();
    let options = options.patience(Patience { tries: 8, ..Patience::default() });
    let repo = block_on(options.open_store(Arc::new(store.clone()), "memory://")).expect("eight tries are enough");
    let job = JobName::new("job").expect("a fine name");
    let mut random = Random::new(seed);
    let mut threads = Vec::new();
    for coordinator in 0..2 {
        let (repo, job, marks) = (repo.clone(), job.clone(), random.below(2) == 0);
        let history = Arc::clone(&history);
        threads.push(thread::spawn(move || block_on(coordinate(&repo, &job, coordinator, marks, &history))));
    }
    let (one_repo, one_job, one_history) = (repo.clone(), job.clone(), Arc::clone(&history));
    threads.push(thread::spawn(move || block_on(expire_and_void(&one_repo, &one_job, &one_history))));
    let (one_repo, one_job, one_store) = (repo.clone(), job.clone(), store.clone());
    threads.push(thread::spawn(move || block_on(sweep(&one_repo, &one_job, &one_store))));
    for thread in threads {
        thread.join().expect("a check panics by itself");
    }
    store.choose(|_| None);
    let chain = block_on(Chain::read(&repo, &job)).expect("nothing fails any more");
    let history = history.lock().unwrap();
    history.check_reading(chain.state());
    assert_eq!(chain.state().next_slot(), history.events.len() as u64 + 1, "a reading goes to the end");
    history.check_events();
}

async fn coordinate(repo: &Repo, job: &JobName, coordinator: u64, marks: bool, history: &Mutex<History>) {
    let Some(mut chain) = bearable(Chain::read(repo, job).await) else { return };
    history.lock().unwrap().check_reading(chain.state());
    let fence = Fence { holder: format!("coordinator {coordinator}"), started_at_ms: 0 };
    let Some(epoch) = bearable(chain.fence(fence).await) else { return };
    for number in 1..=CHECKPOINTS {
        let completion = completion(CheckpointId { epoch, number }, coordinator);
        // Not knowing whether it exists, ask again: it must not come to exist twice.
        for _ in 0..3 {
            match chain.complete(completion.clone()).await {
                Ok(slot) => {
                    let history = history.lock().unwrap();
                    assert!(
                        matches!(&history.events[slot as usize - 1], Event::Completion(found) if *found == completion)
                    );
                    history.check_reading(chain.state());
                    break;
                }
                Err(error) if error.kind() == ErrorKind::Fenced => return,
                Err(error) => assert!(bearable::<()>(Err(error)).is_none()),
            }
        }
        if marks {
            bearable(chain.mark_boundary().await);
        }
    }
}

async fn expire_and_void(repo: &Repo, job: &JobName, history: &Mutex<History>) {
    for round in 0..2 {
        let Some(mut chain) = bearable(Chain::read(repo, job).await) else { return };
        history.lock().unwrap().check_reading(chain.state());
        let live = chain.state().live().keys().copied().collect();
        bearable(chain.expire(live, "a person said so").await);
        if round == 0 {
            let lease = lease_of(CheckpointId { epoch: chain.state().epoch(), number: CHECKPOINTS });
            bearable(chain.void(lease, "its holder is gone").await);
        } else {
            bearable(chain.retire(chain.state().epoch(), "the job is over").await);
        }
        bearable(chain.mark_boundary().await);
    }
}

/// Deletes what lies before the newest boundary, at once.
async fn sweep(repo: &Repo, job: &JobName, store: &FaultStore) {
    use object_store::ObjectStoreExt;
    for _ in 0..3 {
        let Some(mut chain) = bearable(Chain::read(repo, job).await) else { return };
        bearable(chain.mark_boundary().await);
        let (number, start) = chain.boundary();
        for path in store.paths() {
            let is_past = match ObjectName::parse(&path) {
                Some(ObjectName::Slot(_, slot)) => slot < start,
                Some(ObjectName::Boundary(_, boundary)) => boundary < number,
                _ => false,
            };
            if is_past && path.starts_with(Folder::Job.path(job).as_ref()) {
                // A failure leaves it for another time.
                store.delete(&object_store::path::Path::from(path)).await.ok();
            }
        }
    }
}

/// What may happen on a store that fails: to be fenced off, to have no answer, or a wrong one twice in a row.
fn bearable<T>(result: Result<T, Error>) -> Option<T> {
    match result {
        Ok(value) => Some(value),
        Err(error) => {
            let kinds = [ErrorKind::Fenced, ErrorKind::Retry, ErrorKind::Damaged];
            assert!(kinds.contains(&error.kind()), "{error}");
            None
        }
    }
}

fn completion(checkpoint: CheckpointId, coordinator: u64) -> Completion {
    let claim = ClaimRef {
        worker: WorkerName::new("w").expect("a fine name"),
        attempt: Attempt(coordinator),
        groups: KeyGroups::all(8),
        bytes: 1,
        digest: Hex([0; 32]),
    };
    Completion {
        checkpoint,
        key_groups: 8,
        claims: vec![claim],
        base: None,
        lease: lease_of(checkpoint),
        completed_at_ms: 0,
    }
}

/// A lease is taken behind the fence of its coordinator.
fn lease_of(checkpoint: CheckpointId) -> LeaseId {
    LeaseId(u128::from(checkpoint.epoch) << 64 | u128::from(checkpoint.number))
}

impl History {
    fn saw(&mut self, number: u64, bytes: &[u8]) {
        let next = self.events.len() as u64 + 1;
        assert!(number <= next, "slot {number} was created before slot {next}");
        if number < next {
            self.ghosts += 1;
            return;
        }
        self.events.push(bedload_snapshot::testing::read_slot(bytes).expect("what was just written").event);
    }

    /// What was read must be what the slots before say.
    fn check_reading(&self, state: &ChainState) {
        let mut live: BTreeMap<u64, &Completion> = BTreeMap::new();
        let mut epoch = 0;
        for (event, slot) in self.events.iter().zip(1..state.next_slot()) {
            match event {
                Event::Fence(_) => epoch = slot,
                Event::Completion(completion) => {
                    live.insert(slot, completion);
                }
                Event::Expiry(expiry) => {
                    let newest = live.keys().next_back().copied();
                    live.retain(|slot, _| Some(*slot) == newest || !expiry.completions.contains(slot));
                }
                Event::Void(_) => {}
                Event::Retirement(_) => {
                    epoch = slot;
                    live.clear();
                }
            }
        }
        assert!(state.next_slot() <= self.events.len() as u64 + 1, "a reading knows slots that do not exist");
        assert_eq!(state.epoch(), epoch, "the newest fence before slot {}", state.next_slot());
        let found: BTreeMap<u64, &Completion> = state.live().iter().map(|(slot, found)| (*slot, found)).collect();
        assert_eq!(found, live, "the checkpoints before slot {} of {:?}: {state:?}", state.next_slot(), self.events);
    }

    /// Completions stand under the newest fence and no void lease, and none stands twice.
    fn check_events(&self) {
        let (mut epoch, mut voided, mut completed) = (0, Vec::new(), Vec::new());
        for (event, slot) in self.events.iter().zip(1..) {
            match event {
                Event::Fence(_) => epoch = slot,
                Event::Void(void) => voided.push(void.lease),
                Event::Completion(completion) => {
                    assert_eq!(completion.checkpoint.epoch, epoch, "a completion under an old fence");
                    assert!(!voided.contains(&completion.lease), "a completion under a void lease");
                    assert!(!completed.contains(&completion.checkpoint), "a checkpoint exists twice");
                    completed.push(completion.checkpoint);
                }
                Event::Expiry(_) => {}
                Event::Retirement(retirement) => {
                    assert_eq!(retirement.epoch, epoch, "the retirement of an epoch that was over");
                    epoch = slot;
                }
            }
        }
    }
}
