//! Proves at the start of a job that all its workers write to one place: each writes a probe, and the coordinator reads all.
//!
//! The mistake it finds is an address that names another place on each machine, such as a directory that is not shared. Without the
//! proof it is found by the first checkpoint, after its uploads.

use futures_util::{StreamExt, TryStreamExt};
use serde::{Deserialize, Serialize};

use crate::error::{Error, ErrorKind, Result};
use crate::manifest::Probe;
use crate::names::{Folder, JobName, ObjectName, ProbeId, WorkerName};
use crate::repo::{Published, Repo};

/// How many probes are read at once.
const READS_AT_ONCE: usize = 16;

/// A probe that a worker has written: what it tells the coordinator.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WorkerProbe {
    /// Who wrote it.
    pub worker: WorkerName,
    /// Which it is.
    pub id: ProbeId,
    /// Its address as the worker sees it.
    pub place: String,
}

/// Writes a probe for `worker`, to be read by the coordinator of `job`.
///
/// # Errors
/// Those of the requests.
pub async fn write_probe(repo: &Repo, job: &JobName, worker: &WorkerName) -> Result<WorkerProbe> {
    let id = ProbeId(u128::from(repo.ambient().random()) << 64 | u128::from(repo.ambient().random()));
    let name = ObjectName::WorkerProbe(job.clone(), id);
    let (published, _) = repo.publish(&name, &Probe { job: job.clone(), worker: worker.clone() }).await?;
    if published != Published::Ours {
        let message = "another probe has this random name; please report this";
        return Err(Error::at(ErrorKind::Bug, repo.place(&name), None, message));
    }
    Ok(WorkerProbe { worker: worker.clone(), id, place: repo.place(&name) })
}

/// Whether a probe is still there: nobody has [read](read_probes) it.
///
/// # Errors
/// Those of the requests.
pub async fn has_probe(repo: &Repo, job: &JobName, probe: &WorkerProbe) -> Result<bool> {
    Ok(repo.head(&ObjectName::WorkerProbe(job.clone(), probe.id)).await?.is_some())
}

/// Removes a probe that nobody is to read any more, and the folders that it leaves empty; success when there is none.
///
/// # Errors
/// Those of the requests.
pub async fn forget_probe(repo: &Repo, job: &JobName, probe: &WorkerProbe) -> Result<()> {
    repo.delete(&ObjectName::WorkerProbe(job.clone(), probe.id)).await?;
    repo.remove_empty_folders(&Folder::Job.path(job)).await
}

/// Reads the probes of all workers, and removes them.
///
/// # Errors
/// `Fix` when one is not to be seen from here: its worker writes to another place. Those of the requests.
pub async fn read_probes(repo: &Repo, job: &JobName, probes: &[WorkerProbe]) -> Result<()> {
    let read = |probe: WorkerProbe| async move { read_probe(repo, job, &probe).await };
    let probes: Vec<WorkerProbe> = probes.to_vec();
    futures_util::stream::iter(probes.into_iter().map(read)).buffer_unordered(READS_AT_ONCE).try_collect().await
}

async fn read_probe(repo: &Repo, job: &JobName, probe: &WorkerProbe) -> Result<()> {
    let name = ObjectName::WorkerProbe(job.clone(), probe.id);
    match repo.read_manifest::<Probe>(&name).await? {
        Some((found, _)) if found.worker == probe.worker && found.job == *job => repo.delete(&name).await,
        _ => {
            let message = format!(
                "worker {} has written a probe to {}, and it is not to be seen from here: does this address name the same \
                 place on every machine? (file:///checkpoints on separate machines is a directory of each; mount a shared one, \
                 or use an object store)",
                probe.worker, probe.place
            );
            Err(Error::at(ErrorKind::Fix, repo.place(&name), None, message))
        }
    }
}
