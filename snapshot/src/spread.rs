//! Where the bytes of a checkpoint lie: spread over its key groups, as far as its claims tell.
//!
//! A claim tells of each slice how many bytes it has in the range of its stack. A range that reaches over several groups is taken
//! to hold as much of each: keys are hashed into groups, so that groups of one range are about equally large. A range inside one
//! group is that group's.

use bedload_lsm::RunId;

use crate::key_group::KeyGroups;
use crate::manifest::Claim;

/// A slice of a claim: the groups it reaches into, and its bytes there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Share {
    /// The groups.
    pub groups: KeyGroups,
    /// The run.
    pub run: RunId,
    /// Bytes of entries, in all of the groups together.
    pub bytes: u64,
}

impl Share {
    /// The bytes in as many of its groups.
    pub fn bytes_in(&self, groups: u32) -> u64 {
        let bytes = u128::from(self.bytes) * u128::from(groups) / u128::from(self.groups.count());
        u64::try_from(bytes).unwrap_or(u64::MAX)
    }
}

/// The slices of claims.
pub(crate) fn shares(claims: &[Claim]) -> Vec<Share> {
    let mut shares = Vec::new();
    for claim in claims {
        for stack in &claim.stacks {
            let Some(groups) = claim.groups.touched_by(&stack.range()) else { continue };
            shares.extend(stack.slices.iter().map(|slice| Share {
                groups,
                run: claim.runs[slice.run as usize].parcel.run,
                bytes: slice.bytes,
            }));
        }
    }
    shares
}

/// Claims for tests of what decides.
#[cfg(test)]
pub(crate) mod testing {
    use bedload_lsm::RunId;

    use crate::key_group::KeyGroups;
    use crate::manifest::{Claim, ClaimedRun, ClaimedSlice, ClaimedStack, Hex, Timings};
    use crate::names::{Attempt, CheckpointId, JobName, ParcelName, Upload, WorkerName};

    /// First and last key group of a stack, and of its slices the run's number and the bytes.
    pub type StackOf<'a> = ((u16, u16), &'a [(u64, u64)]);

    /// A claim of these groups.
    pub fn claim((first, last): (u16, u16), stacks: &[StackOf<'_>]) -> Claim {
        let mut runs: Vec<u64> = stacks.iter().flat_map(|(_, slices)| slices.iter().map(|(run, _)| *run)).collect();
        runs.sort();
        runs.dedup();
        let run = |sequence: &u64| ClaimedRun {
            parcel: ParcelName { run: RunId { opening: 7, sequence: *sequence }, upload: Upload(9) },
            bytes: 4096,
            digest: Hex([*sequence as u8; 32]),
            parcel_bytes: 1000,
            parcel_digest: Hex([2; 32]),
        };
        let stack = |((first, last), slices): &StackOf<'_>| {
            let keys = KeyGroups { first: *first, last: *last }.keys();
            let slice = |(run, bytes): &(u64, u64)| ClaimedSlice {
                run: runs.binary_search(run).unwrap() as u32,
                bytes: *bytes,
            };
            ClaimedStack::new(&keys, slices.iter().map(slice).collect())
        };
        Claim {
            job: JobName::new("late-board").unwrap(),
            checkpoint: CheckpointId { epoch: 3, number: 18 },
            worker: WorkerName::new("w").unwrap(),
            attempt: Attempt(5),
            groups: KeyGroups { first, last },
            clocks: vec![u64::from(first)],
            stacks: stacks.iter().map(stack).collect(),
            runs: runs.iter().map(run).collect(),
            timings: Timings::default(),
            attachment: serde_json::Value::Null,
        }
    }
}
