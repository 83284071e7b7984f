//! Deletes a job whole, which protects nobody: for jobs that only this process knew, such as those of measurements.
//!
//! What protects others is what [`retire`](crate::retire) and [`collect`](crate::collect) leave: slots for a week, and a boundary for
//! good, so that a coordinator that stood still finds that it was replaced. Where no process of the job is left, nobody is to be protected.

use futures_util::{StreamExt, TryStreamExt};

use crate::chain::Chain;
use crate::error::{Error, ErrorKind, Result};
use crate::names::{Folder, JobName, ObjectName};
use crate::pins::pins;
use crate::repo::{Listed, Repo};

/// How many requests are on their way at once.
const REQUESTS_AT_ONCE: usize = 16;

/// What was deleted of a job.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Erased {
    /// Objects.
    pub objects: usize,
    /// Their bytes.
    pub bytes: u64,
    /// What is named like nothing of ours, and stays.
    pub unknown: Vec<String>,
}

/// Deletes every object of a [retired](crate::retire) job. May be called again.
///
/// Only where no process of the job is left: a coordinator that stood still would go on as if it had never been replaced. In doubt,
/// [`collect`](crate::collect) a retired job; what that leaves is small.
///
/// # Errors
/// `Fix` when the job has a checkpoint or a pin; those of the requests, and what was not deleted by then stays.
pub async fn erase(repo: &Repo, job: &JobName) -> Result<Erased> {
    let chain = Chain::read(repo, job).await?;
    if !chain.state().live().is_empty() || !pins(repo, job).await?.is_empty() {
        let message =
            format!("job {job} has checkpoints or pins: retire it, and remove its pins, before all of it is deleted");
        return Err(Error::at(ErrorKind::Fix, repo.to_string(), None, message));
    }
    let folder = Folder::Job.path(job);
    let mut erased = Erased::default();
    // Boundaries last: what is left of a chain by an end in between is none that goes on.
    let mut turns: [Vec<ObjectName>; 3] = Default::default();
    for Listed { path, meta } in repo.list(&folder, None).await? {
        let Some(name) = ObjectName::parse(&path) else {
            erased.unknown.push(path);
            continue;
        };
        let turn = match &name {
            ObjectName::Boundary(..) => 2,
            ObjectName::Slot(..) => 1,
            _ => 0,
        };
        erased.objects += 1;
        erased.bytes += meta.bytes;
        turns[turn].push(name);
    }
    for names in turns {
        let delete = |name: ObjectName| async move { repo.delete(&name).await };
        let deletions = futures_util::stream::iter(names.into_iter().map(delete)).buffer_unordered(REQUESTS_AT_ONCE);
        deletions.try_collect::<()>().await?;
    }
    for Listed { path, meta } in repo.leftovers(&folder).await? {
        repo.remove_leftover(&path)?;
        erased.objects += 1;
        erased.bytes += meta.bytes;
    }
    repo.remove_empty_folders(&folder).await?;
    Ok(erased)
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "files that others have left")]
mod tests {
    use super::*;
    use crate::checkpoint::Epoch;
    use crate::retire::retire;
    use crate::sharing::{forget_probe, has_probe, write_probe};

    #[tokio::test]
    async fn a_job_is_erased_whole_and_others_stay() {
        let directory = tempfile::tempdir().unwrap();
        let repo = Repo::open(&format!("file://{}", directory.path().display())).await.unwrap();
        let (job, other): (JobName, JobName) = ("bench".parse().unwrap(), "bench-2".parse().unwrap());
        for job in [&job, &other] {
            Epoch::start(&repo, job, 8, "a test").await.unwrap();
        }
        let probe = write_probe(&repo, &job, &"w-0".parse().unwrap()).await.unwrap();
        assert!(has_probe(&repo, &job, &probe).await.unwrap());
        retire(&repo, &job, "over").await.unwrap();
        let unfinished = directory.path().join("jobs/bench/runs");
        std::fs::create_dir(&unfinished).unwrap();
        std::fs::write(unfinished.join("a.parcel#1"), "x").unwrap();
        let erased = erase(&repo, &job).await.unwrap();
        assert!(erased.objects >= 4 && erased.bytes > 0, "{erased:?}");
        assert!(!directory.path().join("jobs/bench").exists());
        assert_eq!(Chain::read(&repo, &other).await.unwrap().state().epoch(), 1);
        assert_eq!(erase(&repo, &job).await.unwrap(), Erased::default());
    }

    #[tokio::test]
    async fn unknown_objects_stay_and_probes_are_forgotten_whole() {
        let directory = tempfile::tempdir().unwrap();
        let repo = Repo::open(&format!("file://{}", directory.path().display())).await.unwrap();
        let job: JobName = "bench".parse().unwrap();
        let probe = write_probe(&repo, &job, &"w-0".parse().unwrap()).await.unwrap();
        let foreign = directory.path().join("jobs/bench/notes.txt");
        std::fs::write(&foreign, "mine").unwrap();
        let erased = erase(&repo, &job).await.unwrap();
        assert_eq!((erased.objects, erased.unknown), (1, vec!["jobs/bench/notes.txt".to_owned()]));
        assert!(foreign.exists() && !has_probe(&repo, &job, &probe).await.unwrap());
        forget_probe(&repo, &job, &probe).await.unwrap();
        assert!(!directory.path().join("jobs/bench/probes").exists());
    }
}
