//! Checkpoints that are copied, followed, kept, compared and planned with.

use std::sync::Arc;

use bedload_lsm::fs::{Fs, MemoryFs};
use bedload_snapshot::{
    CollectOptions, CopyInto, CopyOptions, Cuts, Deletes, ErrorKind, JobName, KeyGroups, LocalPool, PinName, Repo,
    Retention, Standby, Start, VerifyLevel, Why, collect, copy, diff, expire, pin, pins, plan_rescale, read_probes,
    unpin, verify, why, write_probe,
};
use tests::random_job::{RANDOM_JOB_GROUPS, RandomJob, State, block_on, memory_repo, restored_state};

fn machine() -> (Arc<dyn Fs>, LocalPool) {
    let fs: Arc<dyn Fs> = Arc::new(MemoryFs::new());
    let pool = LocalPool::open(Arc::clone(&fs), "local").expect("memory does not fail");
    (fs, pool)
}

async fn read(repo: &Repo, job: &JobName, start: Start) -> State {
    let (fs, pool) = machine();
    restored_state((repo, job), start, KeyGroups::all(RANDOM_JOB_GROUPS), (&fs, &pool)).await.expect("nothing fails").0
}

fn copy_options(into: CopyInto) -> CopyOptions {
    CopyOptions { start: Start::Latest, into, holder: "test".into(), runs_at_once: 2 }
}

fn all_garbage() -> CollectOptions {
    CollectOptions { grace_ms: 0, deletes: Deletes::Everything }
}

#[test]
fn a_copy_stands_by_itself_and_the_next_one_sends_what_is_new() {
    block_on(async {
        let (source, objects) = memory_repo("memory://source", 1).await;
        let (target, _) = memory_repo("memory://target", 2).await;
        let backup = JobName::new("backup").unwrap();
        let mut job = RandomJob::start(&source, "late-board", 3).await.unwrap();
        job.write(2_000, 8).unwrap();
        job.checkpoint().await.unwrap();
        let told = std::sync::Mutex::new(Vec::new());
        let progress = |progress: bedload_snapshot::CopyProgress| told.lock().unwrap().push(progress);
        let into_new = copy_options(CopyInto::NewJob);
        let first = copy((&source, &job.name), (&target, &backup), &into_new, &progress).await.unwrap().unwrap();
        assert!(first.copied_runs > 1 && first.shared_runs == 0, "{first:?}");
        let last = *told.lock().unwrap().last().unwrap();
        assert!(last.all_bytes == first.copied_bytes && last.bytes > 0 && last.bytes <= last.all_bytes, "{last:?}");

        job.write(20, 1).unwrap();
        let (_, report) = job.checkpoint().await.unwrap();
        let copied_state = job.state.clone();
        let error = copy((&source, &job.name), (&target, &backup), &into_new, &|_| ()).await.unwrap_err();
        assert!(error.kind() == ErrorKind::Fix && error.to_string().contains("this job exists already"), "{error}");
        let into_any = copy_options(CopyInto::AnyJob);
        let second = copy((&source, &job.name), (&target, &backup), &into_any, &|_| ()).await.unwrap().unwrap();
        assert_eq!((second.copied_runs, second.copied_bytes), (report.uploaded_runs, report.uploaded_parcel_bytes));
        assert!(second.shared_runs > 0, "{second:?}");

        // Nothing of it leads back to where it came from.
        objects.choose(|_| Some(bedload_snapshot::testing::ObjectFault::FailBefore));
        assert_eq!(read(&target, &backup, Start::Latest).await, copied_state);
        let verified = verify(&target, &backup, second.checkpoint, VerifyLevel::Everything).await.unwrap();
        assert!(verified.faults.is_empty(), "{:?}", verified.faults);
        let expired = expire(&target, &backup, &Retention { last: 1, ..Retention::default() }, "test").await.unwrap();
        assert_eq!(expired, [first.checkpoint]);
        collect(&target, &backup, &all_garbage()).await.unwrap();
        assert_eq!(read(&target, &backup, Start::Latest).await, copied_state);
    });
}

#[test]
fn what_is_damaged_is_not_copied() {
    block_on(async {
        let (source, objects) = memory_repo("memory://source", 1).await;
        let (target, _) = memory_repo("memory://target", 2).await;
        let mut job = RandomJob::start(&source, "late-board", 3).await.unwrap();
        job.write(500, 8).unwrap();
        job.checkpoint().await.unwrap();
        let path = objects.paths().into_iter().find(|path| path.ends_with(".parcel")).unwrap();
        let mut bytes = objects.bytes(&path).unwrap().to_vec();
        bytes[40] ^= 1;
        objects.overwrite(&path, bytes.into());
        let options = copy_options(CopyInto::NewJob);
        let error = copy((&source, &job.name), (&target, &job.name), &options, &|_| ()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Damaged);
        assert!(error.to_string().starts_with(&format!("memory://source/{path} at byte 0")), "{error}");
        let (fs, pool) = machine();
        let groups = KeyGroups::all(RANDOM_JOB_GROUPS);
        let missing = restored_state((&target, &job.name), Start::Latest, groups, (&fs, &pool)).await.unwrap_err();
        assert!(missing.to_string().contains("no checkpoint exists"), "{missing}");
    });
}

#[test]
fn a_standby_takes_over_without_a_download() {
    block_on(async {
        let (repo, _) = memory_repo("memory://", 1).await;
        let mut job = RandomJob::start(&repo, "late-board", 3).await.unwrap();
        let (fs, pool) = machine();
        let groups = KeyGroups { first: 2, last: 6 };
        let mut standby = Standby::new(&repo, &job.name, groups, &pool, "standby", 2);
        assert_eq!(standby.follow().await.unwrap(), None);

        job.write(2_000, 8).unwrap();
        job.checkpoint().await.unwrap();
        let first = standby.follow().await.unwrap().unwrap();
        assert!(first.fetched_runs > 0 && first.local_runs == 0, "{first:?}");
        assert_eq!(standby.follow().await.unwrap(), None, "it has it");
        job.write(20, 8).unwrap();
        let (newest, report) = job.checkpoint().await.unwrap();
        let second = standby.follow().await.unwrap().unwrap();
        assert!(second.fetched_bytes <= report.uploaded_parcel_bytes && second.local_runs > 0, "{second:?}");
        assert_eq!(standby.held(), Some(newest));

        // A checkpoint that it did not follow to: the restore fetches what is new in it.
        let expected = |state: &State| -> State {
            let keys = groups.keys();
            state
                .iter()
                .filter(|(key, _)| keys.contains(key))
                .map(|(key, value)| (key.clone(), value.clone()))
                .collect()
        };
        job.write(20, 8).unwrap();
        let at_newest = job.state.clone();
        let (_, report) = job.checkpoint().await.unwrap();
        let source = (&repo, &job.name);
        let (state, fetched) = restored_state(source, Start::Latest, groups, (&fs, &pool)).await.unwrap();
        assert_eq!(state, expected(&at_newest));
        assert!(fetched > 0 && fetched <= report.uploaded_parcel_bytes, "{fetched} bytes");
        standby.follow().await.unwrap().unwrap();
        let (state, fetched) = restored_state(source, Start::Latest, groups, (&fs, &pool)).await.unwrap();
        assert_eq!((state, fetched), (expected(&at_newest), 0));
    });
}

#[test]
fn a_pin_keeps_a_checkpoint_that_has_expired() {
    block_on(async {
        let (repo, objects) = memory_repo("memory://", 1).await;
        let mut job = RandomJob::start(&repo, "late-board", 3).await.unwrap();
        let mut taken = Vec::new();
        for _ in 0..3 {
            job.write(300, 8).unwrap();
            taken.push((job.checkpoint().await.unwrap().0, job.state.clone()));
        }
        let (kept, before_upgrade) = (taken[0].0, PinName::new("before-upgrade").unwrap());
        pin(&repo, &job.name, &before_upgrade, kept, "the upgrade of Tuesday").await.unwrap();
        let error = pin(&repo, &job.name, &before_upgrade, taken[1].0, "again").await.unwrap_err();
        assert!(error.to_string().contains("exists already"), "{error}");
        let newest_only = Retention { last: 1, ..Retention::default() };
        assert_eq!(expire(&repo, &job.name, &newest_only, "test").await.unwrap(), [taken[1].0]);
        let error = pin(&repo, &job.name, &PinName::new("late").unwrap(), taken[1].0, "late").await.unwrap_err();
        assert!(error.to_string().contains("does not exist"), "{error}");
        assert_eq!(pins(&repo, &job.name).await.unwrap().len(), 1);

        // A person lets it expire all the same; the pin is what keeps its objects then.
        let mut chain = bedload_snapshot::Chain::read(&repo, &job.name).await.unwrap();
        let slot = chain.state().find(kept).unwrap();
        chain.expire(vec![slot], "a person said so").await.unwrap();
        collect(&repo, &job.name, &all_garbage()).await.unwrap();
        assert_eq!(read(&repo, &job.name, Start::At(kept)).await, taken[0].1);
        let claim = objects.paths().into_iter().find(|path| path.contains(&format!("{:012}/", kept.number))).unwrap();
        assert!(matches!(why(&repo, &claim).await.unwrap(), Why::Reached(_)));

        unpin(&repo, &job.name, &before_upgrade).await.unwrap();
        assert_eq!(unpin(&repo, &job.name, &before_upgrade).await.unwrap_err().kind(), ErrorKind::Missing);
        assert_eq!(why(&repo, &claim).await.unwrap(), Why::Garbage);
        assert!(collect(&repo, &job.name, &all_garbage()).await.unwrap().deleted > 0);
        assert_eq!(read(&repo, &job.name, Start::Latest).await, taken[2].1);
    });
}

#[test]
fn a_repo_that_is_not_shared_is_found_at_the_start() {
    block_on(async {
        let (here, objects) = memory_repo("file:///checkpoints", 1).await;
        let (there, _) = memory_repo("file:///checkpoints", 2).await;
        let job = JobName::new("late-board").unwrap();
        let worker = |name: &str| bedload_snapshot::WorkerName::new(name).unwrap();
        let near = write_probe(&here, &job, &worker("w-0")).await.unwrap();
        let far = write_probe(&there, &job, &worker("w-1")).await.unwrap();
        let error = read_probes(&here, &job, &[near.clone(), far.clone()]).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Fix);
        for expected in ["worker w-1", &far.place, "on separate machines is a directory of each"] {
            assert!(error.to_string().contains(expected), "{error}");
        }
        let again = write_probe(&here, &job, &worker("w-0")).await.unwrap();
        read_probes(&here, &job, &[again]).await.unwrap();
        assert!(!objects.paths().iter().any(|path| path.contains("/probes/")), "{:?}", objects.paths());
        // One that nobody read is garbage one day.
        write_probe(&here, &job, &worker("w-0")).await.unwrap();
        assert_eq!(collect(&here, &job, &all_garbage()).await.unwrap().deleted, 1);
    });
}

#[test]
fn two_checkpoints_are_compared_and_the_next_workers_planned() {
    block_on(async {
        let (repo, _) = memory_repo("memory://", 1).await;
        let mut job = RandomJob::start(&repo, "late-board", 3).await.unwrap();
        job.write(2_000, 8).unwrap();
        let (first, _) = job.checkpoint().await.unwrap();
        job.write(20, 1).unwrap();
        let (second, report) = job.checkpoint().await.unwrap();
        let difference = diff(&repo, (&job.name, first), (&job.name, second)).await.unwrap();
        assert_eq!(difference.added.len(), report.uploaded_runs);
        assert!(!difference.kept.is_empty() && difference.groups.iter().any(|groups| groups.is_same()));
        assert!(!difference.groups[0].is_same() && difference.groups[0].added_bytes > 500);
        let error = diff(&repo, (&job.name, first), (&job.name, "9-9".parse().unwrap())).await.unwrap_err();
        assert!(error.to_string().contains("checkpoint 9-9 does not exist"), "{error}");

        let (_, pool) = machine();
        let plan = plan_rescale(&repo, &job.name, Start::Latest, 3, Cuts::Bytes, Some(&pool)).await.unwrap().unwrap();
        assert_eq!(plan.workers.len(), 3);
        assert!(plan.workers.iter().all(|worker| worker.fetch_bytes > 0 && worker.local_bytes == 0), "{plan:?}");
        let all = KeyGroups::all(RANDOM_JOB_GROUPS);
        Standby::new(&repo, &job.name, all, &pool, "standby", 2).follow().await.unwrap().unwrap();
        let plan = plan_rescale(&repo, &job.name, Start::Latest, 3, Cuts::Groups, Some(&pool)).await.unwrap().unwrap();
        assert!(plan.workers.iter().all(|worker| worker.fetch_bytes == 0 && worker.local_bytes > 0), "{plan:?}");
    });
}
