//! Deletes what nothing can reach. Nothing is counted anywhere, and nothing is deleted for looking old.
//!
//! ```text
//!   own lease (the store's time) → chain to its end E → list → pins → leases → chain behind E → claims → decide → record → delete
//! ```
//!
//! Roots are the checkpoints that exist at E, those that were completed behind E, and what leases and pins name. An object is
//! garbage when no root reaches it, and it is older than the grace time, and no checkpoint in the making is older than it. Why
//! that is safe:
//!
//! * A checkpoint that is completed after this reads what expired before E, and so is built upon none of that.
//! * Its own uploads are younger than its lease, or than half of the grace time when it uses them again.
//! * Whoever reads a checkpoint has written a lease on it, and looked again whether it exists or is pinned. Either the lease is
//!   listed, or that look came after E, and after the pins were read: a pin that it saw was read as well, or was made since, and
//!   then its checkpoint existed since.
//!
//! A lease may name a checkpoint that was collected before it was written: its holder had read the chain, stood still, and wrote
//! it late. Then a claim is missing, and that says so for sure. Claims are deleted by collections alone, and that one had read the
//! expiry before it listed the leases. A lease that it did not see was written after that listing, so its holder looks again, if
//! ever, at a chain that holds the expiry, and is refused: nobody reads under it. So a claim that only leases name and that is
//! not there is passed over. The listing must not have it either: one answer alone might be wrong. Claims of such a checkpoint
//! that are still there keep what they name all the same; when none is, the lease keeps nothing and is garbage. A claim
//! that is missing of a checkpoint that exists or is pinned was lost, and stops the collection.
//!
//! Slots before a boundary are deleted when the boundary is a week old, and so are earlier boundaries: see [`chain`](crate::Chain).
//! Whatever cannot be read, is not known, or is named like nothing of ours stops the whole collection, or stays.

use std::collections::{BTreeMap, BTreeSet};

use futures_util::{StreamExt, TryStreamExt};
use tracing::Instrument;

use crate::chain::Chain;
use crate::error::{Error, ErrorKind, Result};
use crate::fetch::{find_claim, is_there, lost_parcel, read_claim};
use crate::lease::HeldLease;
use crate::manifest::{Boundary, ClaimRef, Completion, Deletions, Lease, LiveCompletion};
use crate::names::{Attempt, CheckpointId, Folder, JobName, LeaseId, ObjectName, ParcelName, WorkerName};
use crate::pins::pins;
use crate::repo::{Listed, Meta, ROUNDING_MS, Repo};
use crate::seeded::{Bug, is_seeded};

/// How long slots stay behind a boundary, and boundaries behind a later one.
const STALE_MS: u64 = 7 * 24 * 3600 * 1000;

/// How long what an opening tries a store out with stays at least, whatever the grace time: deleted in between, it would be created
/// twice, and the store refused.
const PROBE_MS: u64 = 3600 * 1000;

/// How many requests are on their way at once.
const REQUESTS_AT_ONCE: usize = 16;

/// How a repo is collected.
#[derive(Clone, Debug)]
pub struct CollectOptions {
    /// How old an object must be, by the store's clock, in milliseconds (default 24 h). At least as long as a worker may need from
    /// an upload to its claim, and twice as long as uploads of a checkpoint that was given up are used again.
    pub grace_ms: u64,
    /// What is done with garbage (default: it is told).
    pub deletes: Deletes,
}

/// What is done with garbage.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Deletes {
    /// It is told.
    #[default]
    Nothing,
    /// It is deleted, unless it is more than half of the job's bytes.
    UpToHalf,
    /// It is deleted.
    Everything,
}

impl Default for CollectOptions {
    fn default() -> CollectOptions {
        CollectOptions { grace_ms: 24 * 3600 * 1000, deletes: Deletes::Nothing }
    }
}

/// What a collection found and did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Collected {
    /// The garbage: paths below the root of the repo, and bytes.
    pub garbage: Vec<(String, u64)>,
    /// Bytes of all garbage.
    pub garbage_bytes: u64,
    /// Objects of the job, and their bytes.
    pub objects: usize,
    /// Bytes of all objects of the job.
    pub bytes: u64,
    /// Objects that no root reaches and that are kept for being young.
    pub young: usize,
    /// Files that a killed writer left unfinished in a repo that is a directory: paths below its root, and bytes. Garbage too.
    pub leftovers: Vec<(String, u64)>,
    /// Leases on checkpoints that are gone: their holders were refused, or have died before they could be. They keep nothing, and
    /// are garbage when they are old enough.
    pub ended_leases: Vec<LeaseId>,
    /// Objects that are named like nothing of ours: never touched.
    pub unknown: Vec<String>,
    /// How much of the garbage was deleted.
    pub deleted: usize,
}

/// Finds what nothing in `job` can reach, and deletes it as `options` tell.
///
/// # Errors
/// Those of the requests, and whatever a manifest that cannot be read gives: nothing was deleted then. `Damaged` when a parcel of a
/// checkpoint that exists is missing or has another length: nothing more is deleted before somebody has looked at that. `Fix` when more than half of the bytes would
/// go and only half may. An error while deleting leaves the rest of the garbage for the next time.
pub async fn collect(repo: &Repo, job: &JobName, options: &CollectOptions) -> Result<Collected> {
    collect_all(repo, job, options).instrument(tracing::info_span!("collect", %job)).await
}

/// Finds what nothing in `job` could reach once the checkpoints of `expiring` had expired. Deletes nothing.
///
/// # Errors
/// As [`collect`].
pub async fn plan_collection(
    repo: &Repo,
    job: &JobName,
    grace_ms: u64,
    expiring: &[CheckpointId],
) -> Result<Collected> {
    let own = HeldLease::read_time(repo, job).await?;
    let found = find(repo, job, grace_ms, expiring, &own).await;
    own.end().await.ok();
    found
}

async fn collect_all(repo: &Repo, job: &JobName, options: &CollectOptions) -> Result<Collected> {
    let own = HeldLease::read_time(repo, job).await?;
    let found = find(repo, job, options.grace_ms, &[], &own).await;
    own.end().await.ok();
    let mut collected = found?;
    let Collected { objects, bytes, garbage_bytes, young, .. } = collected;
    tracing::info!(objects, bytes, garbage = collected.garbage.len(), garbage_bytes, young, "looked for garbage");
    let may_delete = match options.deletes {
        Deletes::Nothing => return Ok(collected),
        Deletes::UpToHalf => collected.garbage_bytes <= collected.bytes / 2,
        Deletes::Everything => true,
    };
    if !may_delete {
        let message = format!(
            "{} of {} bytes of job {job} are garbage: more than half; look at the list, then allow it",
            collected.garbage_bytes, collected.bytes
        );
        return Err(Error::at(ErrorKind::Fix, repo.to_string(), None, message));
    }
    delete(repo, job, &mut collected).await?;
    tracing::info!(deleted = collected.deleted, "deleted garbage");
    Ok(collected)
}

async fn find(
    repo: &Repo,
    job: &JobName,
    grace_ms: u64,
    expiring: &[CheckpointId],
    own: &HeldLease,
) -> Result<Collected> {
    let now_ms = own.written_ms;
    let mut chain = Chain::read(repo, job).await?;
    let epoch = chain.state().epoch();
    let mut roots: BTreeMap<u64, Completion> = chain.state().live().clone();
    roots.retain(|_, root| !expiring.contains(&root.checkpoint));
    let mut leased: BTreeMap<u64, Leased> = BTreeMap::new();
    let mut listed = repo.list(&Folder::Job.path(job), None).await?;
    // Those of openings that were killed belong to no job: whoever collects removes them.
    listed.extend(repo.list(&Folder::Probes.path(job), None).await?);
    let pins = pins(repo, job).await?;
    let leases = repo.read_folder::<Lease>(&Folder::Leases.path(job)).await?;
    let behind = chain.catch_up_seeing().await?.ok_or_else(|| {
        Error::new(ErrorKind::Retry, format!("job {job}: a boundary was made meanwhile; collect again"))
    })?;
    roots.extend(behind.into_iter().map(|live| (live.slot, live.completion)));
    let mut reached = Reached { end_slot: deletable_slots(repo, job, &listed, now_ms).await?, ..Reached::default() };
    for (name, lease, modified_ms) in leases {
        let ObjectName::Lease(_, id) = name else { continue };
        // A checkpoint that is made ends with its epoch: its completion would stand under a later fence.
        let is_over = chain.state().is_void(id) || lease.making.is_some_and(|making| making.epoch < epoch);
        if is_over {
            continue;
        }
        if lease.making.is_some() {
            reached.oldest_making_ms = reached.oldest_making_ms.min(modified_ms.saturating_sub(ROUNDING_MS));
        }
        // A lease on nothing told a collector the time, which holds it for no longer than the grace time.
        if lease.making.is_some() || !lease.parcels.is_empty() || id == own.id {
            reached.leases.insert(id);
        }
        reached.parcels.extend(lease.parcels);
        if let Some(LiveCompletion { slot, completion }) = lease.reading {
            leased.entry(slot).or_insert_with(|| Leased { completion, leases: Vec::new() }).leases.push(id);
        }
    }
    roots.extend(pins.into_iter().map(|(_, pin)| (pin.checkpoint.slot, pin.checkpoint.completion)));
    for slot in roots.keys() {
        reached.leases.extend(leased.remove(slot).into_iter().flat_map(|root| root.leases));
    }
    reach(repo, job, &roots, &mut reached).await?;
    check_parcels(repo, job, &listed, &reached).await?;
    let ended_leases = reach_leased(repo, job, &leased, &listed, &mut reached).await?;
    let mut collected = Collected { ended_leases, ..decide(&listed, &reached, grace_ms, now_ms) };
    // Whoever writes one holds a lease, or is done within the grace time.
    let is_old = |meta: &Meta| {
        meta.modified_ms.saturating_add(grace_ms) <= now_ms && meta.modified_ms < reached.oldest_making_ms
    };
    for Listed { path, meta } in
        repo.leftovers(&Folder::Job.path(job)).await?.into_iter().filter(|file| is_old(&file.meta))
    {
        collected.bytes += meta.bytes;
        collected.garbage_bytes += meta.bytes;
        collected.leftovers.push((path, meta.bytes));
    }
    Ok(collected)
}

/// Reads the claims of all roots.
async fn reach(repo: &Repo, job: &JobName, roots: &BTreeMap<u64, Completion>, reached: &mut Reached) -> Result<()> {
    let claims: Vec<(CheckpointId, ClaimRef)> =
        roots.values().flat_map(|root| root.claims.iter().map(|claim| (root.checkpoint, claim.clone()))).collect();
    let read =
        |(checkpoint, claim): (CheckpointId, ClaimRef)| async move { read_claim(repo, job, checkpoint, &claim).await };
    let mut reads = futures_util::stream::iter(claims.into_iter().map(read)).buffer_unordered(REQUESTS_AT_ONCE);
    while let Some(claim) = reads.try_next().await? {
        reached.parcels.extend(claim.runs.iter().map(|run| run.parcel));
        reached.rooted.extend(claim.runs.iter().map(|run| (run.parcel, (claim.checkpoint, run.parcel_bytes))));
        reached.claims.insert((claim.checkpoint, claim.worker, claim.attempt));
    }
    Ok(())
}

/// Looks whether every parcel of the checkpoints that exist is there with its length. One that was not listed is asked for: a checkpoint may have been
/// completed since, and a listing may be wrong.
///
/// # Errors
/// `Damaged` when one is missing or has another length.
async fn check_parcels(repo: &Repo, job: &JobName, listed: &[Listed], reached: &Reached) -> Result<()> {
    let there: BTreeMap<&str, u64> = listed.iter().map(|object| (&*object.path, object.meta.bytes)).collect();
    for (parcel, (checkpoint, bytes)) in &reached.rooted {
        let name = ObjectName::Parcel(job.clone(), *parcel);
        // Asked for again before it is called damaged, too.
        if there.get(&*name.to_string()) != Some(bytes) && !is_there(repo, &name, *bytes).await? {
            return Err(lost_parcel(repo, &name, *checkpoint));
        }
    }
    Ok(())
}

/// A checkpoint that leases name, and nothing else.
struct Leased {
    completion: Completion,
    leases: Vec<LeaseId>,
}

/// Reads the claims of checkpoints that only leases name; gives the leases on those that are gone.
async fn reach_leased(
    repo: &Repo,
    job: &JobName,
    leased: &BTreeMap<u64, Leased>,
    listed: &[Listed],
    reached: &mut Reached,
) -> Result<Vec<LeaseId>> {
    let claims: Vec<(u64, CheckpointId, ClaimRef)> = leased
        .iter()
        .flat_map(|(slot, root)| {
            root.completion.claims.iter().map(|claim| (*slot, root.completion.checkpoint, claim.clone()))
        })
        .collect();
    let read = |(slot, checkpoint, claim): (u64, CheckpointId, ClaimRef)| async move {
        let found = find_claim(repo, job, checkpoint, &claim).await?;
        Ok::<_, Error>((slot, checkpoint, claim, found))
    };
    let mut reads = futures_util::stream::iter(claims.into_iter().map(read)).buffer_unordered(REQUESTS_AT_ONCE);
    while let Some((slot, checkpoint, wanted, found)) = reads.try_next().await? {
        if let Some(claim) = found {
            reached.leases.extend(&leased[&slot].leases);
            reached.parcels.extend(claim.runs.iter().map(|run| run.parcel));
            reached.claims.insert((claim.checkpoint, claim.worker, claim.attempt));
            continue;
        }
        let name = ObjectName::Claim(job.clone(), checkpoint, wanted.worker.clone(), wanted.attempt);
        let path = name.to_string();
        if listed.iter().any(|object| object.path == path) {
            let message = format!(
                "this claim of checkpoint {checkpoint}, which only leases name, was listed and is gone: is another collection \
                 at work? collect again"
            );
            return Err(Error::at(ErrorKind::Retry, repo.place(&name), None, message));
        }
    }
    let leases = leased.values().flat_map(|root| &root.leases);
    Ok(leases.filter(|lease| !reached.leases.contains(lease)).copied().collect())
}

/// What must stay.
struct Reached {
    claims: BTreeSet<(CheckpointId, WorkerName, Attempt)>,
    parcels: BTreeSet<ParcelName>,
    /// Those of them that a checkpoint has which exists or is pinned, and their lengths.
    rooted: BTreeMap<ParcelName, (CheckpointId, u64)>,
    leases: BTreeSet<LeaseId>,
    /// When the oldest checkpoint in the making began: what was written since stays.
    oldest_making_ms: u64,
    /// The boundary that is old enough, and the first slot behind it; zeros when none is.
    end_slot: (u64, u64),
}

impl Default for Reached {
    fn default() -> Reached {
        Reached {
            claims: BTreeSet::new(),
            parcels: BTreeSet::new(),
            rooted: BTreeMap::new(),
            leases: BTreeSet::new(),
            oldest_making_ms: u64::MAX,
            end_slot: (0, 0),
        }
    }
}

/// Sorts the objects of a job into what stays and what is garbage. Pure.
fn decide(listed: &[Listed], reached: &Reached, grace_ms: u64, now_ms: u64) -> Collected {
    let mut collected = Collected::default();
    for Listed { path, meta } in listed {
        collected.objects += 1;
        collected.bytes += meta.bytes;
        let Some(name) = ObjectName::parse(path) else {
            collected.unknown.push(path.clone());
            continue;
        };
        let is_reached = match &name {
            ObjectName::Slot(_, slot) => *slot >= reached.end_slot.1,
            ObjectName::Boundary(_, number) => *number >= reached.end_slot.0,
            ObjectName::Claim(_, checkpoint, worker, attempt) => {
                reached.claims.contains(&(*checkpoint, worker.clone(), *attempt))
            }
            ObjectName::Parcel(_, parcel) => reached.parcels.contains(parcel),
            ObjectName::Lease(_, lease) => reached.leases.contains(lease),
            ObjectName::Pin(..) | ObjectName::Marker => true,
            ObjectName::Deletions(..) | ObjectName::Probe(_) | ObjectName::WorkerProbe(..) => false,
        };
        if is_reached {
            continue;
        }
        let grace_ms = if matches!(name, ObjectName::Probe(_)) { grace_ms.max(PROBE_MS) } else { grace_ms };
        let is_young =
            meta.modified_ms.saturating_add(grace_ms) > now_ms || meta.modified_ms >= reached.oldest_making_ms;
        if is_young && !is_seeded(Bug::YoungDeleted) {
            collected.young += 1;
        } else {
            collected.garbage_bytes += meta.bytes;
            collected.garbage.push((path.clone(), meta.bytes));
        }
    }
    collected
}

/// The newest boundary that is old enough for the slots before it to go: its number, and the first slot behind it.
async fn deletable_slots(repo: &Repo, job: &JobName, listed: &[Listed], now_ms: u64) -> Result<(u64, u64)> {
    let old = listed.iter().filter(|object| object.meta.modified_ms.saturating_add(STALE_MS) <= now_ms);
    let numbers = old.filter_map(|object| match ObjectName::parse(&object.path) {
        Some(ObjectName::Boundary(_, number)) => Some(number),
        _ => None,
    });
    let Some(number) = numbers.max() else { return Ok((0, 0)) };
    let name = ObjectName::Boundary(job.clone(), number);
    let found = repo.read_manifest::<Boundary>(&name).await?;
    Ok(found.map_or((0, 0), |(boundary, _)| (number, boundary.start)))
}

/// Writes down what is about to be deleted, then deletes it.
async fn delete(repo: &Repo, job: &JobName, collected: &mut Collected) -> Result<()> {
    if collected.garbage.is_empty() && collected.leftovers.is_empty() {
        return Ok(());
    }
    let paths = collected.garbage.iter().chain(&collected.leftovers).map(|(path, _)| path.clone()).collect();
    let record = Deletions { job: job.clone(), paths, bytes: collected.garbage_bytes };
    let id = u128::from(repo.ambient().random()) << 64 | u128::from(repo.ambient().random());
    repo.publish(&ObjectName::Deletions(job.clone(), id), &record).await?;
    let names: Vec<ObjectName> = collected.garbage.iter().filter_map(|(path, _)| ObjectName::parse(path)).collect();
    let delete = |name: ObjectName| async move { repo.delete(&name).await };
    let mut deletions = futures_util::stream::iter(names.into_iter().map(delete)).buffer_unordered(REQUESTS_AT_ONCE);
    while let Some(()) = deletions.try_next().await? {
        collected.deleted += 1;
    }
    drop(deletions);
    for (path, _) in &collected.leftovers {
        repo.remove_leftover(path)?;
        collected.deleted += 1;
    }
    Ok(())
}
