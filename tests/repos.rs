//! The suite for object stores, against memory and files.

use std::sync::Arc;

use bedload_lsm::fs::{Fs, MemoryFs};
use bedload_lsm::{Env, Store};
use bedload_snapshot::testing::{FaultStore, ObjectFault, Operation, Request};
use bedload_snapshot::{
    CollectOptions, Epoch, Error, ErrorKind, KeyGroups, LocalPool, Repo, RestoreOptions, Retention, Start, VerifyLevel,
    Why, Worker, WorkerName, collect, expire, read_probes, restore, verify, why, write_probe,
};
use tests::conformance::check_repo;
use tests::scene::{GRACE_MS, Scene, Stop};

fn check(address: &str, directory: &std::path::Path) {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("threads can be had");
    runtime.block_on(check_repo(address, directory)).unwrap_or_else(|error| panic!("{address}: {error}"));
}

#[test]
fn a_repo_in_a_directory_keeps_what_is_shipped() {
    let directory = tempfile::tempdir().unwrap();
    check(&format!("file://{}/repo", directory.path().display()), &directory.path().join("work"));
}

#[test]
fn addresses_that_are_not_understood_say_what_to_do() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("threads can be had");
    let open = |address: &str| runtime.block_on(Repo::open(address)).unwrap_err().to_string();
    for (address, expected) in [
        ("checkpoints", "expected one like file:///mnt/repo"),
        ("ftp://host/x", "expected file, s3, gs or az"),
        ("file://host/x", "write three slashes"),
        ("/mnt/repo", "a folder is written with file:// and its whole path"),
        ("./repo", "a folder is written with file:// and its whole path"),
        ("file:///tmp/x?region=eu", "unknown option \"region\""),
        ("s3:///x", "no bucket or container"),
        ("s3://key:hunter2hunter2@bucket/x", "credentials in an address end up in logs"),
        ("memory:///#x", "has no part behind #"),
    ] {
        let error = open(address);
        assert!(error.contains(expected), "{address}: {error}");
        assert!(!error.contains("hunter2"), "{error}");
    }
}

/// An address was taken apart leniently: without `//`, or with a slash in a password, what was meant as credentials was read as a
/// path, and errors quoted it.
#[test]
fn credentials_that_are_not_read_as_such_are_not_told() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("threads can be had");
    for address in [
        "s3:key:hunter2hunter2@bucket/x",
        "s3:/key:hunter2hunter2@bucket/x",
        "s3:///key:hunter2hunter2@bucket/x",
        "gs://key:/hunter2hunter2@bucket/x",
        "s3://key:12/hunter2hunter2@bucket/x",
        "s3://key:12@34/hunter2hunter2@bucket/x",
        "az://key%3Ahunter2hunter2%40container/x",
        "s3://key:\thunter2hunter2@bucket/x",
        "ftp:key:hunter2hunter2@host/x",
        "memory:key:hunter2hunter2@x",
        "memory://x?hunter2hunter2=",
    ] {
        let error = runtime.block_on(Repo::open(address)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Fix);
        let texts = format!("{error} {error:?}");
        assert!(!texts.contains("hunter2"), "{address}: {texts}");
    }
}

#[test]
fn a_store_that_creates_what_exists_is_refused() {
    use bedload_snapshot::RepoOptions;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("threads can be had");
    let store = || Arc::new(FaultStore::default().ignoring_conditions());
    let open = |options: RepoOptions| runtime.block_on(options.open_store(store(), "s3://bucket"));
    let error = open(RepoOptions::default()).unwrap_err();
    assert!(error.to_string().contains("lets two writers create the same object"), "{error}");
    open(RepoOptions::default().allow_unfenced()).unwrap();
}

/// A worker that was killed while it uploaded left a file that no listing of objects shows, for ever.
#[test]
#[expect(clippy::disallowed_methods, reason = "the test plays the killed writer")]
fn what_a_killed_writer_left_unfinished_is_collected() {
    use bedload_snapshot::{CollectOptions, Deletes, JobName, Repo, collect};
    let directory = tempfile::tempdir().unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("threads can be had");
    let repo = runtime.block_on(Repo::open(&format!("file://{}", directory.path().display()))).unwrap();
    let left = directory.path().join("jobs/late-board/runs/7f3a91c20b5d4e18-0000002a-91b0c4d2.parcel#1");
    std::fs::create_dir_all(left.parent().unwrap()).unwrap();
    std::fs::write(&left, b"half a parcel").unwrap();
    let job = JobName::new("late-board").unwrap();
    let collect = |options| runtime.block_on(collect(&repo, &job, &options)).unwrap();
    let young = collect(CollectOptions { deletes: Deletes::Everything, ..CollectOptions::default() });
    assert!(young.leftovers.is_empty() && left.exists(), "it may be finished yet");
    let old = collect(CollectOptions { grace_ms: 0, deletes: Deletes::Everything });
    assert_eq!((old.leftovers.len(), old.deleted), (1, 1));
    assert!(!left.exists());
}

/// An opening tries the store out with an object that it deletes. One that was killed in between left it, for ever.
#[test]
fn what_a_killed_opening_left_is_collected() -> Result<(), Stop> {
    let objects = FaultStore::new(|request| {
        (request.operation == Operation::Delete && request.path.starts_with("probes/")).then_some(ObjectFault::Hang)
    });
    let Err(Stop::GaveUp(error)) = Scene::open(&objects, 1) else { panic!("it has not deleted what it tried") };
    assert_eq!(error.kind(), ErrorKind::Retry);
    objects.choose(|_| None);
    let mut scene = Scene::open(&objects, 2)?;
    scene.start(1)?;
    scene.write(5)?;
    scene.checkpoint()?;
    let probes = || objects.paths().into_iter().filter(|path| path.starts_with("probes/")).count();
    scene.collect()?;
    assert_eq!(probes(), 1, "an opening may still need it");
    let path = objects.paths().into_iter().find(|path| path.starts_with("probes/")).expect("one stayed");
    assert_eq!(scene.runtime.block_on(why(&scene.repo, &path))?, Why::Garbage);
    scene.pass_ms(3600 * 1000);
    scene.collect()?;
    assert_eq!(probes(), 0);
    scene.check_all().map(drop)
}

/// A listing of all pages had the time of one request: a folder of some hundred thousand objects, whose pages take a while each, could
/// never be listed, and its job was never collected. Here each entry comes as late as one request may wait, and less late than
/// two.
#[test]
fn each_page_of_a_listing_has_the_time_of_a_request() -> Result<(), Stop> {
    let mut scene = Scene::open(&FaultStore::default(), 3)?;
    scene.start(2)?;
    for _ in 0..12 {
        scene.write(5)?;
        scene.checkpoint()?;
    }
    let list = |fault| move |request: &Request<'_>| (request.operation == Operation::List).then_some(fault);
    scene.objects.choose(list(ObjectFault::SlowBody));
    let faults = scene.objects.faults();
    scene.expire_all_but(1)?;
    scene.pass_ms(2 * GRACE_MS);
    let collected = scene.collect()?;
    assert!(collected.objects > 40 && collected.deleted > 20, "{collected:?}");
    scene.start(1)?;
    assert!(scene.objects.faults() - faults > 10, "every listing was slow");
    // A page that never comes is told all the same.
    scene.objects.choose(list(ObjectFault::StalledBody));
    let Err(Stop::GaveUp(error)) = scene.collect() else { panic!("half of a listing was taken for all of it") };
    assert!(error.kind() == ErrorKind::Retry && error.to_string().contains("no answer within 60 s"), "{error}");
    Ok(())
}

/// A job of 128 key groups was started with 64: the next checkpoint would have covered half of the state.
#[test]
fn a_job_keeps_its_number_of_key_groups() {
    use bedload_snapshot::{Epoch, JobName, KeyGroups, RepoOptions, Worker, WorkerName};
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("threads can be had");
    let directory = tempfile::tempdir().unwrap();
    let objects = Arc::new(FaultStore::default());
    let repo = runtime.block_on(RepoOptions::default().open_store(objects, "memory://")).unwrap();
    let (job, name) = (JobName::new("late-board").unwrap(), WorkerName::new("w-0").unwrap());
    let mut store = Store::options().open(directory.path()).unwrap();
    store.put(b"\0\x07ely", b"on time").unwrap();
    let worker = Worker::new(&repo, &job, &name, KeyGroups::all(128), Arc::new(bedload_lsm::fs::DiskFs));
    runtime.block_on(async {
        let mut epoch = Epoch::start(&repo, &job, 128, "test").await.unwrap();
        let barrier = epoch.begin().await.unwrap();
        let (claim, _) = worker.ship(store.freeze().unwrap(), &barrier, 0).await.unwrap();
        epoch.complete(&barrier, vec![claim]).await.unwrap();
        let error = Epoch::start(&repo, &job, 64, "test").await.unwrap_err();
        assert!(error.to_string().contains("their number is fixed for the life of a job"), "{error}");
    });
}

/// Futures of the library could not be spawned from another async block: "implementation of `FnOnce` is not general enough", because
/// closures over references lived across awaits. So no worker could ship beside its operator. Compiling this is most of the test.
#[test]
fn every_task_may_be_spawned() {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("threads can be had");
    let work = async move {
        let repo = Repo::open("memory://").await?;
        let (job, name) = ("spawned".parse()?, WorkerName::new("w-0")?);
        let (fs, groups): (Arc<dyn Fs>, _) = (Arc::new(MemoryFs::new()), KeyGroups::all(8));
        let worker = Worker::new(&repo, &job, &name, groups, Arc::clone(&fs));
        let probe = write_probe(&repo, &job, &name).await?;
        read_probes(&repo, &job, &[probe]).await?;
        let mut epoch = Epoch::start(&repo, &job, 8, "the test").await?;
        let env = Env::builder().fs(Arc::clone(&fs)).memory(1 << 20).threads(1).build()?;
        let mut store = Store::options().env(&env).open("/store")?;
        store.put(b"\0\0a", b"1")?;
        let (frozen, barrier) = (store.freeze()?, epoch.begin().await?);
        let shipping = barrier.clone();
        let shipped = tokio::spawn(async move { worker.ship(frozen, &shipping, 0).await }).await;
        epoch.complete(&barrier, vec![shipped.expect("it does not panic")?.0]).await?;
        let pool = LocalPool::open(fs, "/local")?;
        let options = RestoreOptions { start: Start::Latest, groups, holder: "the test".into(), runs_at_once: 4 };
        let restored = restore(&repo, &job, &options, &pool).await?.expect("there is a checkpoint");
        assert_eq!(restored.checkpoint, barrier.checkpoint);
        let verified = verify(&repo, &job, barrier.checkpoint, VerifyLevel::Everything).await?;
        assert_eq!((verified.parcels, verified.faults.len()), (1, 0));
        expire(&repo, &job, &Retention::default(), "the test").await?;
        let collected = collect(&repo, &job, &CollectOptions::default()).await?;
        Ok::<usize, Error>(collected.garbage.len())
    };
    let garbage = runtime.block_on(runtime.spawn(work)).expect("it does not panic").expect("a healthy repo");
    assert_eq!(garbage, 0);
}
