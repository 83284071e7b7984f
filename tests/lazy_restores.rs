//! Restores that serve before the download ends.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, TryRecvError, channel};
use std::time::Duration;

use bedload_lsm::fs::{DiskFs, Fault, FaultFs, FaultPlan, FaultWhen, Fs, MemoryFs};
use bedload_lsm::{Env, Error, Store};
use bedload_snapshot::testing::{FaultStore, ObjectFault, Operation};
use bedload_snapshot::{
    Base, Chain, CheckpointId, Epoch, ErrorKind, Fetcher, JobName, KeyGroups, LocalPool, Patience, Repo, RepoOptions,
    RestoreOptions, Restored, ShipReport, Start, Worker, WorkerName, restore, restore_lazily,
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

/// Hears of the end of a background.
type Ended = Receiver<Result<(), Error>>;

/// Refuses what the background asks for: more than a reader wants.
const BACKGROUND: u64 = 300 << 10;

/// A checkpoint of some MB of noise in a repo that refuses reads of more than `refused` bytes.
struct Scene {
    runtime: Runtime,
    objects: FaultStore,
    refused: Arc<AtomicU64>,
    /// Hears of each read that was made to fail.
    refusals: Receiver<()>,
    repo: Repo,
    job: JobName,
    directory: tempfile::TempDir,
}

impl Scene {
    fn new() -> Result<Scene, Error> {
        let refused = Arc::new(AtomicU64::new(u64::MAX));
        let bytes_max = Arc::clone(&refused);
        let (tell, refusals) = channel();
        let objects = FaultStore::new(move |request| {
            let bytes = request.range.as_ref().map_or(0, |range| range.end - range.start);
            let is_refused = request.operation == Operation::Get && bytes > bytes_max.load(Ordering::SeqCst);
            is_refused.then(|| {
                // The scene may be over, and its threads not yet.
                tell.send(()).ok();
                ObjectFault::FailBefore
            })
        });
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("threads can be had");
        let patience = Patience { tries: 2, first_pause: Duration::from_millis(1), ..Patience::default() };
        let options = RepoOptions::default().patience(patience);
        let repo = runtime.block_on(options.open_store(Arc::new(objects.clone()), "memory://"))?;
        let scene = Scene {
            runtime,
            objects,
            refused,
            refusals,
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
        let mut epoch = scene.epoch()?;
        let (checkpoint, _) = scene.checkpoint(&mut epoch, &worker, &mut store)?;
        scene.runtime.block_on(worker.confirmed(checkpoint));
        Ok(scene)
    }

    fn refuse(&self, bytes_max: u64) {
        self.refused.store(bytes_max, Ordering::SeqCst);
    }

    fn epoch(&self) -> Result<Epoch, Error> {
        self.runtime.block_on(Epoch::start(&self.repo, &self.job, 8, "test"))
    }

    fn checkpoint(
        &self,
        epoch: &mut Epoch,
        worker: &Worker,
        store: &mut Store,
    ) -> Result<(CheckpointId, ShipReport), Error> {
        let barrier = self.runtime.block_on(epoch.begin())?;
        let (claim, report) = self.runtime.block_on(worker.ship(store.freeze()?, &barrier, 0))?;
        self.runtime.block_on(epoch.complete(&barrier, vec![claim]))?;
        Ok((barrier.checkpoint, report))
    }

    /// Restores the newest checkpoint lazily; the end of the background is heard of.
    fn restore_lazily(&self, pool: &LocalPool, fetcher: &Fetcher) -> Result<(Restored, Ended), Error> {
        let (told, ended) = channel();
        let (options, done) = (self.options(), move |result| told.send(result).expect("the test waits"));
        let restored = restore_lazily(&self.repo, &self.job, &options, pool, fetcher, done);
        Ok((self.runtime.block_on(restored)?.expect("there is a checkpoint"), ended))
    }

    /// Waits until the background has been refused so often that it has tried again.
    fn wait_for_refusals(&self, ended: &Ended) {
        for _ in 0..8 {
            while self.refusals.recv_timeout(Duration::from_millis(10)).is_err() {
                check_going_on(ended);
            }
        }
    }

    fn store(&self, name: &str) -> Result<Store, Error> {
        Store::options().memory(16 << 20).shape(GroupedKeys).open(self.directory.path().join(name))
    }

    /// A store that merges nothing, since that would read all of it.
    fn still_store(&self, name: &str) -> Result<Store, Error> {
        let env = Env::builder().fs(Arc::new(DiskFs)).memory(16 << 20).threads(0).build()?;
        Store::options().env(&env).shape(GroupedKeys).open(self.directory.path().join(name))
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

fn check_going_on(ended: &Ended) {
    let heard = ended.try_recv();
    assert!(matches!(heard, Err(TryRecvError::Empty)), "the background goes on: {heard:?}");
}

fn check_entries(store: &Store, step: usize) -> Result<(), Error> {
    for number in (0..ENTRIES).step_by(step) {
        assert_eq!(store.get(&key(number))?.as_deref(), Some(&value(number)[..]), "{number}");
    }
    Ok(())
}

/// The background gave up at the first refusal, for good.
#[test]
fn a_store_serves_while_the_download_stands_still() -> Result<(), Error> {
    let scene = Scene::new()?;
    scene.refuse(BACKGROUND);
    let fetcher = Fetcher::start(2)?;
    let (_, before) = scene.objects.traffic();
    let (restored, ended) = scene.restore_lazily(&scene.pool("local")?, &fetcher)?;
    scene.wait_for_refusals(&ended);
    let progress = fetcher.progress();
    assert!(progress.failures() > 1 && progress.here_bytes() * 5 < progress.total_bytes(), "{progress:?}");
    assert_eq!(progress.last_failure().unwrap().kind(), ErrorKind::Retry);
    let mut store = scene.still_store("new")?;
    restored.adopt(&mut store)?;
    assert_eq!(store.get(&key(4711))?.as_deref(), Some(&value(4711)[..]));
    let (_, after) = scene.objects.traffic();
    let total = restored.plan.parcel_bytes();
    assert!(total > 9_000_000 && (after - before) * 5 < total, "{} of {total} bytes were read", after - before);
    // Readers go on by themselves.
    check_entries(&store, 970)?;
    scene.refuse(u64::MAX);
    ended.recv().unwrap()?;
    assert_eq!(progress.here_bytes(), progress.total_bytes());
    check_entries(&store, 97)?;
    assert!(!scene.objects.paths().iter().any(|path| path.contains("/leases/")), "the lease of the restore has ended");
    Ok(())
}

/// A store that was given up before the download was complete left its lease, and what it kept was never collected.
#[test]
fn whoever_gives_up_early_ends_the_lease() -> Result<(), Error> {
    let scene = Scene::new()?;
    scene.refuse(BACKGROUND);
    let leases = || scene.objects.paths().iter().filter(|path| path.contains("/leases/")).count();
    let fetcher = Fetcher::start(1)?;
    let (restored, ended) = scene.restore_lazily(&scene.pool("local")?, &fetcher)?;
    scene.wait_for_refusals(&ended);
    assert_eq!(leases(), 1);
    drop(restored);
    fetcher.end();
    assert_eq!(leases(), 0);
    Ok(())
}

/// What was given up while the background ended the lease, at its end, took that down with it, and the lease stayed.
#[test]
fn whoever_gives_up_at_the_end_ends_the_lease() -> Result<(), Error> {
    let scene = Scene::new()?;
    let (tell, asked) = channel();
    let mut is_first = true;
    scene.objects.choose(move |request| {
        let ends = request.operation == Operation::Delete && request.path.contains("/leases/");
        (ends && std::mem::take(&mut is_first)).then(|| {
            tell.send(()).expect("the test waits");
            ObjectFault::Hang
        })
    });
    let fetcher = Fetcher::start(1)?;
    let (restored, _ended) = scene.restore_lazily(&scene.pool("local")?, &fetcher)?;
    asked.recv().unwrap();
    drop(restored);
    fetcher.end();
    assert!(!scene.objects.paths().iter().any(|path| path.contains("/leases/")));
    Ok(())
}

/// The background had given up, so that the files never became complete, and the lease stayed.
#[test]
fn what_readers_have_brought_as_a_whole_is_settled() -> Result<(), Error> {
    let scene = Scene::new()?;
    scene.refuse(BACKGROUND);
    let fetcher = Fetcher::start(2)?;
    let pool = scene.pool("local")?;
    let (restored, ended) = scene.restore_lazily(&pool, &fetcher)?;
    let mut store = scene.still_store("new")?;
    restored.adopt(&mut store)?;
    let runs: Vec<_> = restored.plan.runs.iter().map(|run| pool.path(run.parcel.run)).collect();
    let run = store.freeze()?.wait()?;
    for tile in run.tiles() {
        tile.slices.iter().try_for_each(|slice| slice.run.verify())?;
    }
    ended.recv().unwrap()?;
    assert_eq!(scene.refused.load(Ordering::SeqCst), BACKGROUND, "not one large read was served");
    assert!(!runs.is_empty() && runs.iter().all(|run| run.exists()), "{runs:?}");
    Ok(())
}

#[test]
fn a_full_disk_makes_the_background_wait() -> Result<(), Error> {
    let scene = Scene::new()?;
    scene.refuse(BACKGROUND);
    let fetcher = Fetcher::start(2)?;
    let disk = FaultFs::new(Arc::new(DiskFs));
    let pool = LocalPool::open(Arc::new(disk.clone()), scene.directory.path().join("local"))?;
    let (restored, ended) = scene.restore_lazily(&pool, &fetcher)?;
    disk.set_plan(Some(FaultPlan { fault: Fault::NoSpace, when: FaultWhen::FromNth(0) }));
    scene.refuse(u64::MAX);
    let progress = fetcher.progress();
    while disk.injected() < 3 || progress.last_failure().is_none_or(|error| error.kind() != ErrorKind::Full) {
        check_going_on(&ended);
        std::thread::yield_now();
    }
    disk.set_plan(None);
    ended.recv().unwrap()?;
    let mut store = scene.store("new")?;
    restored.adopt(&mut store)?;
    check_entries(&store, 97)
}

#[test]
fn damage_ends_the_background() -> Result<(), Error> {
    let scene = Scene::new()?;
    let parcel = scene.objects.paths().into_iter().find(|path| path.ends_with(".parcel")).expect("it was shipped");
    let mut bytes = scene.objects.bytes(&parcel).expect("it is there").to_vec();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    scene.objects.overwrite(&parcel, bytes.into());
    let fetcher = Fetcher::start(2)?;
    let (_restored, ended) = scene.restore_lazily(&scene.pool("local")?, &fetcher)?;
    assert_eq!(ended.recv().unwrap().unwrap_err().kind(), ErrorKind::Damaged);
    assert!(scene.objects.paths().iter().any(|path| path.contains("/leases/")), "nothing else keeps what is missing");
    Ok(())
}

/// The base of the first checkpoint after a lazy restore had expired. So everything had to be uploaded, and what was not here
/// yet "is no file of the store": each checkpoint failed, until the download had ended and merges had rewritten all of it.
#[test]
fn what_is_still_being_fetched_can_be_uploaded() -> Result<(), Error> {
    let scene = Scene::new()?;
    let first = scene.options();
    let mut chain = scene.runtime.block_on(Chain::read(&scene.repo, &scene.job))?;
    let (slot, old) = chain.state().newest().map(|(slot, old)| (slot, old.checkpoint)).expect("it was completed");
    scene.refuse(2 << 20);
    let fetcher = Fetcher::start(2)?;
    let (restored, ended) = scene.restore_lazily(&scene.pool("local")?, &fetcher)?;
    let mut store = scene.still_store("new")?;
    let worker = scene.worker()?;
    worker.restored(restored.checkpoint, restored.adopt(&mut store)?);
    store.put(&key(17), b"new")?;

    // Another one completes a checkpoint, so that the old one is not the newest and may expire.
    let mut epoch = scene.epoch()?;
    let pool = scene.pool("kept")?;
    let copied = scene.runtime.block_on(restore(&scene.repo, &scene.job, &first, &pool))?.expect("it exists");
    let (other, mut other_store) = (scene.worker()?, scene.store("other")?);
    other.restored(copied.checkpoint, copied.adopt(&mut other_store)?);
    epoch.build_upon(old)?;
    scene.checkpoint(&mut epoch, &other, &mut other_store)?;

    let mut epoch = scene.epoch()?;
    epoch.build_upon(old)?;
    scene.runtime.block_on(chain.expire(vec![slot], "a test said so"))?.expect("it is not the newest");
    let progress = fetcher.progress();
    assert!(progress.here_bytes() * 2 < progress.total_bytes(), "most of it is not here: {progress:?}");
    let (checkpoint, report) = scene.checkpoint(&mut epoch, &worker, &mut store)?;
    assert!(report.uploaded_bytes > 9_000_000, "nothing is known to be in the repo: {report:?}");
    scene.refuse(u64::MAX);
    ended.recv().unwrap()?;

    let options = RestoreOptions { start: Start::At(checkpoint), ..scene.options() };
    let again = scene.runtime.block_on(restore(&scene.repo, &scene.job, &options, &scene.pool("again")?))?;
    let mut again_store = scene.store("again-state")?;
    again.expect("it exists").adopt(&mut again_store)?;
    assert_eq!(again_store.get(&key(17))?.as_deref(), Some(&b"new"[..]));
    again_store.put(&key(17), &value(17))?;
    check_entries(&again_store, 1)
}

#[test]
fn a_lazy_restore_ends_whole_and_its_checkpoint_ships_only_what_is_new() -> Result<(), Error> {
    let scene = Scene::new()?;
    let fetcher = Fetcher::start(2)?;
    let (restored, ended) = scene.restore_lazily(&scene.pool("local")?, &fetcher)?;
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

/// The background had met wrong bytes and given up. A reader who came later asked anew, and was told of that damage before its own
/// answer had come, though the object was sound.
#[test]
fn a_reader_is_not_told_what_went_wrong_before_it_asked() -> Result<(), Error> {
    let scene = Scene::new()?;
    scene.objects.choose(|request| {
        let is_large = request.range.as_ref().is_some_and(|range| range.end - range.start > 1 << 20);
        (request.operation == Operation::Get && is_large).then_some(ObjectFault::WrongBytes)
    });
    let fetcher = Fetcher::start(1)?;
    let pool = scene.pool("local")?;
    let (told, ended) = channel();
    let done = move |result| told.send(result).unwrap();
    let options = scene.options();
    let restored = restore_lazily(&scene.repo, &scene.job, &options, &pool, &fetcher, done);
    let restored = scene.runtime.block_on(restored)?.expect("there is a checkpoint");
    assert_eq!(ended.recv().unwrap().unwrap_err().kind(), ErrorKind::Damaged, "the background has given up");
    scene.objects.choose(|_| None);
    let mut store = scene.store("new")?;
    restored.adopt(&mut store)?;
    for number in (0..ENTRIES).step_by(97) {
        assert_eq!(store.get(&key(number))?.as_deref(), Some(&value(number)[..]), "{number}");
    }
    Ok(())
}

/// The threads that fetch were gone, and a reader waited for them for ever.
#[test]
fn a_reader_without_a_fetcher_is_told() -> Result<(), Error> {
    let scene = Scene::new()?;
    scene.refuse(BACKGROUND);
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

/// What had been fetched was removed when the pool was opened again: a restore after a crash began from nothing.
#[test]
fn what_was_fetched_before_a_crash_is_not_fetched_again() -> Result<(), Error> {
    let scene = Scene::new()?;
    scene.refuse(BACKGROUND);
    let fetcher = Fetcher::start(2)?;
    let (restored, _) = scene.restore_lazily(&scene.pool("local")?, &fetcher)?;
    let mut store = scene.still_store("new")?;
    restored.adopt(&mut store)?;
    check_entries(&store, 1_111)?;
    let here_bytes = fetcher.progress().here_bytes();
    // Nothing is written when they end: a kill leaves the same.
    drop((store, restored, fetcher));

    scene.refuse(u64::MAX);
    let fetcher = Fetcher::start(2)?;
    let (restored, ended) = scene.restore_lazily(&scene.pool("local")?, &fetcher)?;
    ended.recv().unwrap()?;
    let (total, fetched) = (restored.plan.parcel_bytes(), fetcher.progress().fetched_parcel_bytes());
    assert!(here_bytes * 4 > total, "{here_bytes} of {total} bytes were fetched before");
    assert!(fetched + here_bytes < total + 50_000, "{fetched} bytes were fetched, and {here_bytes} of {total} before");
    let mut store = scene.still_store("newer")?;
    restored.adopt(&mut store)?;
    check_entries(&store, 97)?;
    drop((store, restored, fetcher));

    // The download had ended before this crash.
    let fetcher = Fetcher::start(2)?;
    let (restored, ended) = scene.restore_lazily(&scene.pool("local")?, &fetcher)?;
    ended.recv().unwrap()?;
    assert_eq!((restored.local_runs, fetcher.progress().fetched_parcel_bytes()), (restored.plan.runs.len(), 0));
    let mut store = scene.still_store("newest")?;
    restored.adopt(&mut store)?;
    check_entries(&store, 97)
}

#[test]
fn a_power_loss_costs_what_it_has_dropped_and_nothing_else() -> Result<(), Error> {
    let scene = Scene::new()?;
    let disk = MemoryFs::new();
    scene.refuse(BACKGROUND);
    let fetcher = Fetcher::start(2)?;
    let pool = LocalPool::open(Arc::new(disk.clone()), "local")?;
    let (restored, _) = scene.restore_lazily(&pool, &fetcher)?;
    let mut store = scene.still_store("new")?;
    restored.adopt(&mut store)?;
    check_entries(&store, 1_111)?;
    let (total, here_bytes) = (restored.plan.parcel_bytes(), fetcher.progress().here_bytes());
    drop(fetcher);
    // The names are durable, or images would hold no files at all; the bytes are in doubt.
    disk.sync_dir(std::path::Path::new("local"))?;
    scene.refuse(u64::MAX);
    let mut random = Random::new(5);
    let (mut all, mut some) = (0, 0);
    for _ in 0..24 {
        let image = disk.crash_image(&mut || random.draw());
        let pool = LocalPool::open(Arc::new(image), "local")?;
        let fetcher = Fetcher::start(2)?;
        let (_restored, ended) = scene.restore_lazily(&pool, &fetcher)?;
        // The digest of each run is compared at its end.
        ended.recv().unwrap()?;
        let fetched = fetcher.progress().fetched_parcel_bytes();
        all += u32::from(fetched + here_bytes < total + 50_000);
        some += u32::from(fetched + here_bytes > total + 50_000 && fetched + 200_000 < total);
    }
    assert!(all + some < 24 && some > 5, "of 24 images {all} kept everything and {some} a part");
    Ok(())
}

/// As long as one of its runs had come with a lazy restore, and not been merged away, no copy of a checkpoint was kept on the
/// machine: the next start went to the repo again.
#[test]
fn a_copy_is_kept_of_runs_that_were_fetched_as_they_were_read() -> Result<(), Error> {
    let scene = Scene::new()?;
    let pool = scene.pool("local")?;
    let fetcher = Fetcher::start(2)?;
    let (restored, ended) = scene.restore_lazily(&pool, &fetcher)?;
    let mut store = scene.still_store("new")?;
    let worker = scene.worker()?.keep_copies(&pool);
    worker.restored(restored.checkpoint, restored.adopt(&mut store)?);
    ended.recv().unwrap()?;
    store.put(&key(17), b"new")?;
    let mut epoch = scene.epoch()?;
    epoch.build_upon(restored.checkpoint)?;
    let (checkpoint, _) = scene.checkpoint(&mut epoch, &worker, &mut store)?;
    scene.runtime.block_on(worker.confirmed(checkpoint));
    drop((store, restored, fetcher, worker));

    let pool = scene.pool("local")?;
    let again = scene.runtime.block_on(restore(&scene.repo, &scene.job, &scene.options(), &pool))?;
    let again = again.expect("there is a checkpoint");
    assert_eq!((again.fetched_bytes, again.copied_claims()), (0, 1));
    let mut store = scene.still_store("newer")?;
    again.adopt(&mut store)?;
    assert_eq!(store.get(&key(17))?.as_deref(), Some(&b"new"[..]));
    check_entries(&store, 101)
}

#[test]
fn what_no_restore_has_asked_for_is_swept() -> Result<(), Error> {
    let scene = Scene::new()?;
    scene.refuse(BACKGROUND);
    let fetcher = Fetcher::start(2)?;
    let disk = MemoryFs::new();
    let pool = LocalPool::open(Arc::new(disk.clone()), "local")?;
    let (restored, _) = scene.restore_lazily(&pool, &fetcher)?;
    let names = || -> Vec<String> { disk.paths().iter().map(|path| path.display().to_string()).collect() };
    let partial = names().iter().filter(|name| name.ends_with(".partial")).count();
    assert_eq!(partial, restored.plan.runs.len());
    drop((restored, pool, fetcher));
    scene.refuse(u64::MAX);
    let env = Env::builder().fs(Arc::new(disk.clone())).threads(0).build()?;
    let mut store = Store::options().env(&env).shape(GroupedKeys).open("state")?;
    let pool = LocalPool::open(Arc::new(disk.clone()), "local")?;
    let restored = scene.runtime.block_on(restore(&scene.repo, &scene.job, &scene.options(), &pool))?;
    restored.expect("there is a checkpoint").adopt(&mut store)?;
    let left: Vec<String> = names().into_iter().filter(|name| name.contains("local/")).collect();
    assert_eq!(left, Vec::<String>::new());
    Ok(())
}
