//! Restores that serve before the download ends.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bedload_lsm::fs::{DiskFs, Fs};
use bedload_lsm::{Error, Store};
use bedload_snapshot::testing::{FaultStore, ObjectFault, Operation};
use bedload_snapshot::{
    Base, Epoch, ErrorKind, Fetcher, JobName, KeyGroups, LocalPool, Patience, Repo, RepoOptions, RestoreOptions, Start,
    Worker, WorkerName, restore, restore_lazily,
};
use tests::{GroupedKeys, Random};
use tokio::runtime::Runtime;

const ENTRIES: u32 = 12_000;

fn key(number: u32) -> Vec<u8> {
    let mut key = ((number % 8) as u16).to_be_bytes().to_vec();
    key.extend(number.to_be_bytes());
    key
}

fn value(number: u32) -> Vec<u8> {
    let mut random = Random::new(u64::from(number));
    (0..100).flat_map(|_| random.draw().to_le_bytes()).collect()
}

/// A checkpoint of some MB of noise in a repo whose large reads fail while `stops` is set.
struct Scene {
    runtime: Runtime,
    objects: FaultStore,
    stops: Arc<AtomicBool>,
    repo: Repo,
    job: JobName,
    directory: tempfile::TempDir,
}

impl Scene {
    fn new() -> Result<Scene, Error> {
        let stops = Arc::new(AtomicBool::new(false));
        let is_stopped = Arc::clone(&stops);
        let objects = FaultStore::new(move |request| {
            let is_large = request.range.as_ref().is_some_and(|range| range.end - range.start > 1 << 20);
            let fails = request.operation == Operation::Get && is_large && is_stopped.load(Ordering::SeqCst);
            fails.then_some(ObjectFault::FailBefore)
        });
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("threads can be had");
        let patience = Patience { tries: 2, first_pause: Duration::from_millis(1), ..Patience::default() };
        let options = RepoOptions::default().patience(patience);
        let repo = runtime.block_on(options.open_store(Arc::new(objects.clone()), "memory://"))?;
        let scene = Scene {
            runtime,
            objects,
            stops,
            repo,
            job: JobName::new("job")?,
            directory: tempfile::tempdir().expect("a temporary directory"),
        };
        let mut store = scene.store("old")?;
        for number in 0..ENTRIES {
            store.put(&key(number), &value(number))?;
        }
        store.flush()?;
        let worker = scene.worker()?.keep_copies(&scene.pool("kept")?);
        let mut epoch = scene.runtime.block_on(Epoch::start(&scene.repo, &scene.job, 8, "test"))?;
        let barrier = scene.runtime.block_on(epoch.begin())?;
        let (claim, _) = scene.runtime.block_on(worker.ship(store.freeze()?, &barrier, 0))?;
        scene.runtime.block_on(epoch.complete(&barrier, vec![claim]))?;
        scene.runtime.block_on(worker.confirmed(barrier.checkpoint));
        Ok(scene)
    }

    fn store(&self, name: &str) -> Result<Store, Error> {
        Store::options().memory(16 << 20).shape(GroupedKeys).open(self.directory.path().join(name))
    }

    fn worker(&self) -> Result<Worker, Error> {
        let fs: Arc<dyn Fs> = Arc::new(DiskFs);
        Ok(Worker::new(&self.repo, &self.job, &WorkerName::new("w-0")?, KeyGroups::all(8), fs))
    }

    fn pool(&self, name: &str) -> Result<LocalPool, Error> {
        LocalPool::open(Arc::new(DiskFs), self.directory.path().join(name))
    }

    fn options(&self) -> RestoreOptions {
        RestoreOptions { start: Start::Latest, groups: KeyGroups::all(8), holder: "test".into(), runs_at_once: 4 }
    }
}

#[test]
fn a_store_serves_while_the_download_stands_still() -> Result<(), Error> {
    let scene = Scene::new()?;
    scene.stops.store(true, Ordering::SeqCst);
    let (_, before) = scene.objects.traffic();
    let fetcher = Fetcher::start(2)?;
    let pool = scene.pool("local")?;
    let (told, ended) = std::sync::mpsc::channel();
    let done = move |result| told.send(result).unwrap();
    let options = scene.options();
    let restored = restore_lazily(&scene.repo, &scene.job, &options, &pool, &fetcher, done);
    let restored = scene.runtime.block_on(restored)?.expect("there is a checkpoint");
    let mut store = scene.store("new")?;
    restored.adopt(&mut store)?;
    assert_eq!(store.get(&key(4711))?.as_deref(), Some(&value(4711)[..]));
    let (_, after) = scene.objects.traffic();
    let total = restored.plan.parcel_bytes();
    assert!(total > 9_000_000 && (after - before) * 5 < total, "{} of {total} bytes were read", after - before);
    assert_eq!(ended.recv().unwrap().unwrap_err().kind(), ErrorKind::Retry, "the background has given up");
    // Readers go on by themselves.
    for number in (0..ENTRIES).step_by(97) {
        assert_eq!(store.get(&key(number))?.as_deref(), Some(&value(number)[..]), "{number}");
    }
    Ok(())
}

#[test]
fn a_lazy_restore_ends_whole_and_its_checkpoint_ships_only_what_is_new() -> Result<(), Error> {
    let scene = Scene::new()?;
    let fetcher = Fetcher::start(2)?;
    let pool = scene.pool("local")?;
    let (told, ended) = std::sync::mpsc::channel();
    let done = move |result| told.send(result).unwrap();
    let options = scene.options();
    let restored = restore_lazily(&scene.repo, &scene.job, &options, &pool, &fetcher, done);
    let restored = scene.runtime.block_on(restored)?.expect("there is a checkpoint");
    let mut store = scene.store("new")?;
    let worker = scene.worker()?;
    worker.restored(restored.checkpoint, restored.adopt(&mut store)?);
    store.put(&key(17), b"new")?;

    let mut epoch = scene.runtime.block_on(Epoch::start(&scene.repo, &scene.job, 8, "test"))?;
    epoch.build_upon(restored.checkpoint)?;
    let barrier = scene.runtime.block_on(epoch.begin())?;
    assert!(matches!(barrier.base, Some(Base { checkpoint, .. }) if checkpoint == restored.checkpoint));
    let (claim, report) = scene.runtime.block_on(worker.ship(store.freeze()?, &barrier, 0))?;
    scene.runtime.block_on(epoch.complete(&barrier, vec![claim]))?;
    assert!(report.uploaded_runs == 1 && report.uploaded_bytes < 2_000, "{report:?}");

    ended.recv().unwrap()?;
    let progress = fetcher.progress();
    assert_eq!(progress.here_bytes(), progress.total_bytes());
    for number in 0..ENTRIES {
        let expected = if number == 17 { b"new".to_vec() } else { value(number) };
        assert_eq!(store.get(&key(number))?.as_deref(), Some(&expected[..]), "{number}");
    }
    let leases = scene.objects.paths().into_iter().filter(|path| path.contains("/leases/")).count();
    assert_eq!(leases, 0, "the lease of the restore has ended");
    Ok(())
}

#[test]
fn a_restore_on_the_same_machine_reads_manifests_alone() -> Result<(), Error> {
    let scene = Scene::new()?;
    let (_, before) = scene.objects.traffic();
    let pool = scene.pool("kept")?;
    let restored = scene.runtime.block_on(restore(&scene.repo, &scene.job, &scene.options(), &pool))?;
    let restored = restored.expect("there is a checkpoint");
    let mut store = scene.store("new")?;
    restored.adopt(&mut store)?;
    let (_, after) = scene.objects.traffic();
    assert_eq!((restored.fetched_bytes, restored.copied_claims()), (0, 1));
    assert!(after - before < 20_000, "{} bytes were read", after - before);
    for number in 0..ENTRIES {
        assert_eq!(store.get(&key(number))?.as_deref(), Some(&value(number)[..]), "{number}");
    }
    Ok(())
}

/// The threads that fetch were gone, and a reader waited for them for ever.
#[test]
fn a_reader_without_a_fetcher_is_told() -> Result<(), Error> {
    let scene = Scene::new()?;
    scene.stops.store(true, Ordering::SeqCst);
    let fetcher = Fetcher::start(1)?;
    let options = scene.options();
    let pool = scene.pool("local")?;
    let restored = restore_lazily(&scene.repo, &scene.job, &options, &pool, &fetcher, drop);
    let restored = scene.runtime.block_on(restored)?.expect("there is a checkpoint");
    let mut store = scene.store("new")?;
    restored.adopt(&mut store)?;
    drop(fetcher);
    let told = (0..ENTRIES).step_by(50).find_map(|number| store.get(&key(number)).err());
    let told = told.expect("most of it is not here");
    assert!(told.to_string().contains("its Fetcher was dropped"), "{told}");
    Ok(())
}
