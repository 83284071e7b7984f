//! One job takes another one's place: nothing that can be reached is deleted on the way, and at last nothing of the other one is left. And
//! the end of a job without one: no more checkpoints are left than it keeps.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bedload::{
    CheckpointId, Cleaned, Coordinator, CoordinatorOptions, Engine, ErrorKind, FromWorker, JobName, Repo, Spec, Start,
    ToWorker, Value, write_probe,
};
use bedload_snapshot::testing::{FaultStore, ObjectFault};
use bedload_snapshot::{
    Chain, CollectOptions, Deletes, Epoch, ObjectName, RepoOptions, VerifyLevel, collect, pins, retire, verify,
};

const DAY_MS: u64 = 24 * 3600 * 1000;
const KEYS: u64 = 200;
const VALUE: Spec<Value<u64>> = Value::named("value");

struct Place {
    objects: FaultStore,
    repo: Repo,
    directory: tempfile::TempDir,
}

/// A job that runs.
struct Running {
    coordinator: Coordinator,
    engines: Vec<Engine>,
}

fn name(job: &str) -> JobName {
    JobName::new(job).expect("a fine name")
}

impl Place {
    async fn new() -> Place {
        let objects = FaultStore::default();
        let repo =
            RepoOptions::default().open_store(Arc::new(objects.clone()), "memory://").await.expect("a fine store");
        Place { objects, repo, directory: tempfile::tempdir().expect("a directory") }
    }

    fn pass_ms(&self, milliseconds: u64) {
        self.objects.pass_ms(milliseconds);
    }

    async fn start(&self, job: &str, workers: u32, start: Start) -> bedload::Result<Running> {
        let collect = CollectOptions { deletes: Deletes::UpToHalf, ..CollectOptions::default() };
        let options = CoordinatorOptions {
            workers,
            start,
            collect: Some((Duration::ZERO, collect)),
            ..CoordinatorOptions::default()
        };
        let mut coordinator = Coordinator::start(&self.repo, &name(job), options).await?;
        let mut engines = Vec::new();
        for assigned in coordinator.assignments().to_vec() {
            let directory = self.directory.path().join(format!("{job}-{}", assigned.worker));
            let builder = assigned.engine(Path::new(&directory), &self.repo).memory(16 << 20);
            let engine = builder.open().await?;
            let probe = write_probe(&self.repo, &assigned.job, &assigned.name).await?;
            let opened_from = engine.opened_from().map(|opened| opened.checkpoint);
            let (epoch, worker) = (assigned.epoch, assigned.worker);
            coordinator.receive(FromWorker::Ready { epoch, worker, opened_from, probe }, Duration::ZERO).await?;
            engines.push(engine);
        }
        Ok(Running { coordinator, engines })
    }

    /// What is left of a job.
    fn left(&self, job: &str) -> Vec<ObjectName> {
        let paths = self.objects.paths().into_iter().filter(|path| path.starts_with(&format!("jobs/{job}/")));
        paths.map(|path| ObjectName::parse(&path).expect("all of it is ours")).collect()
    }

    /// Reads every byte of the checkpoints of a job; gives how many there are.
    async fn verify_all(&self, job: &str) -> usize {
        let chain = Chain::read(&self.repo, &name(job)).await.expect("nothing fails");
        for live in chain.state().live().values() {
            let verified = verify(&self.repo, &name(job), live.checkpoint, VerifyLevel::Everything).await;
            let faults = verified.expect("nothing fails").faults;
            assert!(faults.is_empty(), "checkpoint {} of {job}: {faults:?}", live.checkpoint);
        }
        chain.state().live().len()
    }
}

impl Running {
    fn write(&mut self, number: u64) {
        for engine in &mut self.engines {
            let value = engine.state(VALUE).expect("it is as it was");
            for key in 0..KEYS {
                if let Ok(mut key) = engine.with_key(&key) {
                    key.set(&value, &number).expect("memory has room");
                }
            }
        }
    }

    /// The value that all keys have.
    fn read(&mut self) -> Option<u64> {
        let (mut found, mut keys) = (None, 0);
        for engine in &mut self.engines {
            let value = engine.state(VALUE).expect("it is as it was");
            for key in 0..KEYS {
                if let Ok(mut key) = engine.with_key(&key) {
                    let there = key.get(&value).expect("nothing is damaged");
                    assert!(keys == 0 || found == there, "all keys have one value");
                    (found, keys) = (there, keys + 1);
                }
            }
        }
        assert_eq!(keys, KEYS, "each key has a worker");
        found
    }

    async fn checkpoint(&mut self) -> bedload::Result<CheckpointId> {
        let now = Duration::ZERO;
        self.coordinator.ask();
        let told = self.coordinator.step(now).await?;
        let [ToWorker::Checkpoint(barrier)] = &told[..] else { panic!("{told:?} is not one barrier") };
        for (worker, engine) in (0..).zip(&mut self.engines) {
            let claim = engine.checkpoint(barrier, b"")?.ship().await?.claim;
            let claimed = FromWorker::Claimed { worker, checkpoint: barrier.checkpoint, claim };
            self.coordinator.receive(claimed, now).await?;
        }
        for engine in &mut self.engines {
            engine.confirm(barrier.checkpoint).await;
        }
        Ok(barrier.checkpoint)
    }

    /// Ends it in order; gives what was cleaned last.
    async fn end(mut self) -> bedload::Result<Cleaned> {
        self.coordinator.finish().await;
        match self.coordinator.cleaned().expect("it completed a checkpoint") {
            Ok(cleaned) => Ok(cleaned.clone()),
            Err(error) => panic!("{error}"),
        }
    }
}

fn take_over() -> Start {
    Start::TakeOver(name("old"), None)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_was_taken_over_is_let_go_when_the_other_one_stands_alone() {
    let place = Place::new().await;
    let mut old = place.start("old", 2, Start::Empty).await.unwrap();
    old.write(1);
    old.checkpoint().await.unwrap();
    old.write(2);
    let newest = old.checkpoint().await.unwrap();

    // A first try ends before it has completed anything.
    let mut new = place.start("new", 3, take_over()).await.unwrap();
    assert_eq!(new.engines[0].opened_from().unwrap().checkpoint, newest);
    old.coordinator.ask();
    assert_eq!(old.coordinator.step(Duration::ZERO).await.unwrap_err().kind(), ErrorKind::Fenced, "it was replaced");
    new.write(3);
    drop((old, new));
    place.pass_ms(2 * DAY_MS);
    let everything = CollectOptions { deletes: Deletes::Everything, ..CollectOptions::default() };
    collect(&place.repo, &name("old"), &everything).await.unwrap();
    assert!(place.verify_all("old").await > 0, "what is being taken stays");

    let mut new = place.start("new", 3, take_over()).await.unwrap();
    assert_eq!(new.read(), Some(2));
    assert_eq!(pins(&place.repo, &name("old")).await.unwrap().len(), 1);
    new.write(4);
    let first = new.checkpoint().await.unwrap();
    new.end().await.unwrap();
    // It stands alone: the old one has no checkpoints any more.
    assert!(pins(&place.repo, &name("old")).await.unwrap().is_empty());
    assert!(Chain::read(&place.repo, &name("old")).await.unwrap().state().live().is_empty());
    let error = place.start("old", 1, Start::Latest).await.err().unwrap().to_string();
    assert!(error.contains("no checkpoint exists"), "{error}");

    // Later starts with the same options go on from its own checkpoints, and clean up there too.
    place.pass_ms(2 * DAY_MS);
    let mut new = place.start("new", 2, take_over()).await.unwrap();
    assert_eq!((new.engines[0].opened_from().unwrap().checkpoint, new.read()), (first, Some(4)));
    for number in 5..9 {
        new.write(number);
        new.checkpoint().await.unwrap();
        assert!(place.verify_all("new").await > 0);
    }
    let cleaned = new.end().await.unwrap();
    assert!(cleaned.collected.is_some() && cleaned.collected_there.is_some());
    let is_chain = |object: &ObjectName| matches!(object, ObjectName::Slot(..) | ObjectName::Boundary(..));
    let is_small = |object: &ObjectName| is_chain(object) || matches!(object, ObjectName::Deletions(..));
    assert!(place.left("old").iter().all(is_small), "{:?}", place.left("old"));

    place.pass_ms(8 * DAY_MS);
    for _ in 0..2 {
        let mut new = place.start("new", 1, take_over()).await.unwrap();
        assert_eq!(new.read(), Some(8));
        new.checkpoint().await.unwrap();
        new.end().await.unwrap();
        place.pass_ms(2 * DAY_MS);
    }
    let is_last = |object: &ObjectName| matches!(object, ObjectName::Boundary(..) | ObjectName::Deletions(..));
    // Slots are those of the coordinator that was refused above.
    let left = place.left("old");
    let is_slot = |object: &ObjectName| matches!(object, ObjectName::Slot(..));
    assert!(left.len() <= 4 && left.iter().all(|object| is_last(object) || is_slot(object)), "{left:?}");
    assert_eq!(place.start("new", 4, Start::Latest).await.unwrap().read(), Some(8));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_runs_again_is_not_let_go() {
    let place = Place::new().await;
    let mut old = place.start("old", 1, Start::Empty).await.unwrap();
    old.write(1);
    old.checkpoint().await.unwrap();
    let mut new = place.start("new", 1, take_over()).await.unwrap();
    drop(old);
    let mut again = place.start("old", 1, Start::Latest).await.unwrap();
    again.write(2);
    again.checkpoint().await.unwrap();
    new.write(3);
    new.checkpoint().await.unwrap();
    new.coordinator.finish().await;
    let error = new.coordinator.cleaned().unwrap().as_ref().unwrap_err().to_string();
    assert!(error.contains("it runs again"), "{error}");
    again.checkpoint().await.unwrap();
    drop((new, again));
    assert_eq!(place.start("old", 2, Start::Latest).await.unwrap().read(), Some(2));

    // What cannot be taken over is told before anything is ended.
    let gone = CheckpointId { epoch: 77, number: 1 };
    for (job, start) in [
        ("old", take_over()),
        ("newer", Start::TakeOver(name("none"), None)),
        ("newer", Start::TakeOver(name("old"), Some(gone))),
    ] {
        assert_eq!(place.start(job, 1, start).await.err().unwrap().kind(), ErrorKind::Fix);
    }
    let mut old = place.start("old", 1, Start::Latest).await.unwrap();
    old.checkpoint().await.unwrap();
    let start = Start::TakeOver(name("old"), Some(gone));
    assert!(place.start("newer", 1, start).await.is_err());
    old.checkpoint().await.expect("nobody has fenced it off");
    let builder = Engine::builder(place.directory.path().join("alone")).repo(&place.repo, "alone").start(take_over());
    assert_eq!(builder.open().await.err().unwrap().kind(), ErrorKind::Fix, "one worker alone");
}

/// A coordinator stood still for longer than slots stay behind a boundary, while its job was retired and all of it collected.
#[tokio::test(flavor = "multi_thread")]
async fn a_coordinator_of_a_retired_job_completes_nothing_however_long_it_stood_still() {
    let place = Place::new().await;
    let job = name("old");
    let mut old = place.start("old", 1, Start::Empty).await.unwrap();
    old.write(1);
    let checkpoint = old.checkpoint().await.unwrap();
    let epoch = Epoch::start(&place.repo, &job, 128, "one that stands still").await.unwrap();
    let mut stalled = Chain::read(&place.repo, &job).await.unwrap();
    let retired = retire(&place.repo, &job, "nobody needs it").await.unwrap();
    assert_eq!((retired.ended, retired.pins), (vec![checkpoint], vec![]));
    assert!(retire(&place.repo, &job, "once more").await.unwrap().ended.is_empty());
    let everything = CollectOptions { deletes: Deletes::Everything, ..CollectOptions::default() };
    for _ in 0..3 {
        place.pass_ms(9 * DAY_MS);
        collect(&place.repo, &job, &everything).await.unwrap();
    }
    let is_last = |object: &ObjectName| matches!(object, ObjectName::Boundary(..) | ObjectName::Deletions(..));
    let left = place.left("old");
    assert!(left.len() <= 2 && left.iter().all(is_last), "{left:?}");
    let (_, completion) = stalled.state().newest().expect("it has not heard of the end");
    let completion = bedload_snapshot::Completion {
        checkpoint: CheckpointId { epoch: epoch.number(), number: 1 },
        base: None,
        ..completion.clone()
    };
    assert_eq!(stalled.complete(completion).await.unwrap_err().kind(), ErrorKind::Fenced);
    assert!(Chain::read(&place.repo, &job).await.unwrap().state().live().is_empty());

    // The name may be used again.
    drop(old);
    let mut anew = place.start("old", 1, Start::LatestOrEmpty).await.unwrap();
    assert_eq!(anew.read(), None);
    anew.write(9);
    anew.checkpoint().await.unwrap();
    drop(anew);
    assert_eq!(place.start("old", 2, Start::Latest).await.unwrap().read(), Some(9));
}

/// Checkpoints that were completed while an earlier cleaning went on were left by the end.
#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_ends_leaves_no_more_checkpoints_than_it_keeps() {
    let place = Place::new().await;
    let mut job = place.start("old", 1, Start::Empty).await.unwrap();
    let mut is_first = true;
    place.objects.choose(move |request| {
        let is_met = is_first && request.path.contains("/pins");
        is_first &= !is_met;
        is_met.then_some(ObjectFault::Late)
    });
    for number in 0..6 {
        job.write(number);
        job.checkpoint().await.unwrap();
        // The first one cleans, and has read which checkpoints there are.
        while place.objects.late() == 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
    place.objects.let_go();
    job.end().await.unwrap();
    assert_eq!(place.verify_all("old").await, 3);
}
