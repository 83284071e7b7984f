//! What every object store must do under a repo: one suite, for memory, files, and real servers.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use bedload_lsm::Store;
use bedload_lsm::fs::{DiskFs, Fs};
use bedload_snapshot::{
    Chain, CollectOptions, CopyInto, CopyOptions, Deletes, Epoch, Error, ErrorKind, JobName, KeyGroups, LocalPool,
    Patience, Repo, RepoOptions, RestoreOptions, Retention, Start, VerifyLevel, Worker, WorkerName, collect, copy,
    restore, verify,
};

use crate::GroupedKeys;
use crate::Random;

/// How many coordinators start at once.
const COORDINATORS: usize = 16;

/// Runs the whole suite against the repo at `address`; working state lies in `directory`.
///
/// # Errors
/// Those of the repo; what is wrong is a panic.
pub async fn check_repo(address: &str, directory: &Path) -> Result<(), Error> {
    let missing = RepoOptions::default().read_only().open(address).await.expect_err("no repo yet");
    assert_eq!(missing.kind(), ErrorKind::Missing, "{missing}");
    let repo = Repo::open(address).await?;
    // It is there now, where the address leads to one place.
    if !address.starts_with("memory:") {
        RepoOptions::default().read_only().patience(Patience::default()).open(address).await?;
    }
    everybody_gets_a_slot_of_their_own(&repo).await?;
    checkpoints_come_back(&repo, directory).await
}

async fn everybody_gets_a_slot_of_their_own(repo: &Repo) -> Result<(), Error> {
    let job = JobName::new("many-coordinators")?;
    let starts = (0..COORDINATORS).map(|number| {
        let (repo, job) = (repo.clone(), job.clone());
        tokio::spawn(async move { Epoch::start(&repo, &job, 8, &format!("coordinator {number}")).await })
    });
    let starts: Vec<_> = starts.collect();
    let mut epochs = BTreeSet::new();
    let mut newest: Option<Epoch> = None;
    for start in starts {
        let epoch = start.await.expect("no panic")?;
        assert!(epochs.insert(epoch.number()), "two coordinators have epoch {}", epoch.number());
        if newest.as_ref().is_none_or(|newest| newest.number() < epoch.number())
            && let Some(mut older) = newest.replace(epoch)
        {
            assert_eq!(older.begin().await.expect_err("it was replaced").kind(), ErrorKind::Fenced);
        }
    }
    assert_eq!(epochs.len(), COORDINATORS);
    assert_eq!(Chain::read(repo, &job).await?.state().next_slot(), COORDINATORS as u64 + 1);
    Ok(())
}

fn key(group: u16, number: u32) -> Vec<u8> {
    let mut key = group.to_be_bytes().to_vec();
    key.extend(number.to_be_bytes());
    key
}

/// A worker's store that ships; a part of it is restored, and the rest collected.
async fn checkpoints_come_back(repo: &Repo, directory: &Path) -> Result<(), Error> {
    let job = JobName::new("late-board")?;
    let groups = KeyGroups::all(8);
    let fs: Arc<dyn Fs> = Arc::new(DiskFs);
    let mut store = Store::options().memory(16 << 20).shape(GroupedKeys).open(directory.join("one"))?;
    let worker = Worker::new(repo, &job, &WorkerName::new("w-0")?, groups, Arc::clone(&fs));
    let mut epoch = Epoch::start(repo, &job, 8, "conformance").await?;
    let mut random = Random::new(4);
    let mut uploads = Vec::new();
    // Noise, so that parcels are large enough for uploads in parts.
    for number in 0..24_000u32 {
        let value: Vec<u8> = (0..100).flat_map(|_| random.draw().to_le_bytes()).collect();
        store.put(&key((number % 8) as u16, number), &value)?;
    }
    for round in 0..4u32 {
        store.put(&key(3, round), format!("round {round}").as_bytes())?;
        store.delete(&key(5, round * 8 + 5))?;
        let barrier = epoch.begin().await?;
        let (claim, report) = worker.ship(store.freeze()?, &barrier, 0).await?;
        epoch.complete(&barrier, vec![claim]).await?;
        let seal = worker.confirmed(barrier.checkpoint).await.expect("it was shipped a moment ago");
        store.release(seal);
        uploads.push(report.uploaded_bytes);
    }
    // What changes is little; a tile may be uploaded once more, when its first runs have been merged.
    assert!(
        uploads[0] > 19_000_000 && uploads[1..].iter().filter(|bytes| **bytes < 100_000).count() >= 2,
        "{uploads:?}"
    );

    let mut other = Store::options().shape(GroupedKeys).open(directory.join("two"))?;
    let pool = LocalPool::open(fs, directory.join("local"))?;
    let wanted = KeyGroups { first: 3, last: 5 };
    let options =
        RestoreOptions { start: Start::Latest, groups: wanted, holder: "conformance".into(), runs_at_once: 4 };
    let restored = restore(repo, &job, &options, &pool).await?.expect("there is a checkpoint");
    restored.adopt(&mut other)?;
    assert_eq!(other.get(&key(3, 3))?.as_deref(), Some(&b"round 3"[..]));
    assert!(other.get(&key(5, 13))?.is_none());
    let keys = wanted.keys();
    let mine = store.scan(keys.clone())?.collect::<Result<Vec<_>, _>>()?;
    let theirs = other.scan(..)?.collect::<Result<Vec<_>, _>>()?;
    assert!(mine.len() > 8_000 && mine.len() == theirs.len());
    assert!(mine.iter().zip(&theirs).all(|(left, right)| left.0 == right.0 && *left.1 == *right.1));
    drop((mine, theirs));

    // Another job gets the same checkpoint.
    let (copy_job, into) = (JobName::new("late-board-copy")?, CopyInto::NewJob);
    let options = CopyOptions { start: Start::Latest, into, holder: "conformance".into(), runs_at_once: 4 };
    let copied = copy((repo, &job), (repo, &copy_job), &options, &|_| ()).await?.expect("there is a checkpoint");
    assert!(copied.copied_bytes > 10_000_000, "{copied:?}");
    let verified = verify(repo, &copy_job, copied.checkpoint, VerifyLevel::Everything).await?;
    assert!(verified.faults.is_empty(), "{:?}", verified.faults);

    let mut chain = Chain::read(repo, &job).await?;
    let retention = Retention { last: 1, ..Retention::default() };
    let expired = retention.expired(chain.state().live(), &BTreeSet::new());
    assert_eq!(expired.len(), 3);
    chain.expire(expired, "conformance").await?;
    let options = CollectOptions { grace_ms: 0, deletes: Deletes::Everything };
    let collected = collect(repo, &job, &options).await?;
    assert!(collected.unknown.is_empty(), "{collected:?}");
    let options = RestoreOptions { start: Start::Latest, groups, holder: "again".into(), runs_at_once: 4 };
    restore(repo, &job, &options, &pool).await?.expect("the newest stays");
    Ok(())
}
