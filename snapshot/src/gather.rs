//! Finds what of a checkpoint is on this machine already, and what has to be fetched.

use std::collections::{BTreeMap, BTreeSet};

use crate::error::Result;
use crate::fetch::{off_thread, read_claims};
use crate::key_group::KeyGroups;
use crate::local::LocalPool;
use crate::manifest::{Claim, ClaimRef, ClaimedRun, Completion, LocalCopy, LocalRun};
use crate::names::{JobName, RunName};
use crate::repo::Repo;
use crate::restore_plan::RestorePlan;

/// A plan, and what of it is on this machine.
pub(crate) struct Gathered {
    /// The claims that cover some of the key groups, as the completion names them, and what they say.
    pub claims: Vec<(ClaimRef, Claim)>,
    /// What is taken from them.
    pub plan: RestorePlan,
    /// Copies on this machine of claims of the plan, by the claim's number in it.
    pub copies: BTreeMap<usize, LocalCopy>,
    /// Runs that have to be fetched.
    pub missing: Vec<ClaimedRun>,
}

/// Plans to take `groups` of a checkpoint, and looks what of it `pool` has.
///
/// # Errors
/// Those of the requests and of the disk; those of [`RestorePlan::new`].
pub(crate) async fn gather(
    repo: &Repo,
    job: &JobName,
    completion: &Completion,
    groups: KeyGroups,
    pool: &LocalPool,
) -> Result<Gathered> {
    let claims = read_claims(repo, job, completion, groups).await?;
    let plan = RestorePlan::new(&claims, groups)?;
    let wanted = completion.claims.iter().filter(|claim| claim.groups.overlaps(groups)).cloned();
    let claims: Vec<(ClaimRef, Claim)> = wanted.zip(claims).collect();
    let mut copies = BTreeMap::new();
    for (number, (claim, _)) in claims.iter().enumerate() {
        let (pool, boot) = (pool.clone(), repo.ambient().boot());
        let (checkpoint, digest) = (completion.checkpoint, claim.digest);
        let found = off_thread(move || pool.find(checkpoint, digest, &boot)).await?;
        let covers = |copy: &LocalCopy| claim.groups.intersect(groups).is_some_and(|part| copy.groups.covers(part));
        if let Some(copy) = found.filter(covers) {
            copies.insert(number, copy);
        }
    }
    let used: BTreeSet<usize> = {
        let stacks = plan.stacks.iter().filter(|stack| !copies.contains_key(&stack.claim));
        stacks.flat_map(|stack| stack.runs.iter().copied()).collect()
    };
    let (sure_pool, boot) = (pool.clone(), repo.ambient().boot());
    let sure = off_thread(move || sure_pool.sure_runs(&boot)).await?;
    let mut missing = Vec::new();
    for run in used.into_iter().map(|index| plan.runs[index]) {
        let file = LocalRun { run: RunName(run.parcel.run), bytes: run.bytes, digest: run.digest };
        if sure.get(&run.parcel.run) == Some(&file) {
            continue;
        }
        let pool = pool.clone();
        if !off_thread(move || pool.holds_whole(&file)).await? {
            missing.push(run);
        }
    }
    Ok(Gathered { claims, plan, copies, missing })
}
