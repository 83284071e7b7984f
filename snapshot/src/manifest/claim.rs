//! What one worker says it contributed to a checkpoint.

use bedload_lsm::{CLOCKS_MAX, Clocks, KeyRange};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{Digest, Manifest, from_hex};
use crate::key_group::KeyGroups;
use crate::names::{Attempt, CheckpointId, JobName, ParcelName, WorkerName};

/// How long a key may be that bounds a stack.
const BOUND_BYTES_MAX: usize = bedload_lsm::KEY_BYTES_MAX + 1;

/// What one worker says it contributed to a checkpoint: its key groups, as stacks of shipped runs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Claim {
    /// The job.
    pub job: JobName,
    /// The checkpoint.
    pub checkpoint: CheckpointId,
    /// The worker.
    pub worker: WorkerName,
    /// Which of its attempts.
    pub attempt: Attempt,
    /// The key groups it covers; what its runs hold of others is not part of it.
    pub groups: KeyGroups,
    /// The readings of the clocks, by domain; those behind the end are zero.
    pub clocks: Vec<u64>,
    /// The shipped runs.
    pub runs: Vec<ClaimedRun>,
    /// Stacks of disjoint key ranges, in key order. Keys between them have no entries.
    pub stacks: Vec<ClaimedStack>,
    /// How long the parts of making it took.
    pub timings: Timings,
    /// What the worker adds to its key groups: positions of its sources, names of its states. Any JSON, kept as it is.
    #[serde(default, skip_serializing_if = "serde_json::Value::is_null")]
    pub attachment: serde_json::Value,
}

/// A shipped run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClaimedRun {
    /// The name of its parcel.
    pub parcel: ParcelName,
    /// The length of the run.
    pub bytes: u64,
    /// BLAKE3 of the run.
    pub digest: Digest,
    /// The length of the parcel.
    pub parcel_bytes: u64,
    /// BLAKE3 of the parcel.
    pub parcel_digest: Digest,
}

/// A stack of slices for a range of keys.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClaimedStack {
    /// The first key that may be inside.
    pub start: Bound,
    /// The first key behind it; none means the end of the key space.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub end: Option<Bound>,
    /// The slices, newest first.
    pub slices: Vec<ClaimedSlice>,
}

impl ClaimedStack {
    /// A stack for `range`.
    pub fn new(range: &KeyRange, slices: Vec<ClaimedSlice>) -> ClaimedStack {
        ClaimedStack { start: Bound(range.start.clone()), end: range.end.clone().map(Bound), slices }
    }

    /// The keys: what clips the runs of its slices.
    pub fn range(&self) -> KeyRange {
        KeyRange { start: self.start.0.clone(), end: self.end.as_ref().map(|end| end.0.clone()) }
    }
}

/// A run as a stack sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClaimedSlice {
    /// Its place in the claim's `runs`.
    pub run: u32,
    /// Bytes of its entries inside the range.
    pub bytes: u64,
}

/// How long the parts of a worker's checkpoint took, in microseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Timings {
    /// The writer stood still.
    pub pause_us: u64,
    /// The sealed memtables became a run.
    pub flush_us: u64,
    /// The runs were linked into the local copy.
    pub link_us: u64,
    /// Missing runs were compressed and uploaded.
    pub upload_us: u64,
    /// Uploads were looked at again.
    pub verify_us: u64,
}

impl Claim {
    /// The readings of the clocks.
    pub fn clocks(&self) -> Clocks {
        let mut readings = [0; CLOCKS_MAX];
        for (reading, claimed) in readings.iter_mut().zip(&self.clocks) {
            *reading = *claimed;
        }
        Clocks::from_readings(readings)
    }

    /// The readings as a claim has them.
    pub(crate) fn clock_readings(clocks: &Clocks) -> Vec<u64> {
        let readings = clocks.readings();
        let used = readings.iter().rposition(|reading| *reading != 0).map_or(0, |last| last + 1);
        readings[..used].to_vec()
    }

    /// The bytes of entries in its stacks.
    pub fn content_bytes(&self) -> u64 {
        self.stacks.iter().flat_map(|stack| &stack.slices).fold(0, |sum, slice| sum.saturating_add(slice.bytes))
    }
}

impl Manifest for Claim {
    const KIND: &'static str = "claim";

    fn fault(&self) -> Option<String> {
        if self.clocks.len() > CLOCKS_MAX {
            return Some(format!("{} clocks, expected at most {CLOCKS_MAX}", self.clocks.len()));
        }
        if self.groups.first > self.groups.last {
            return Some(format!("key groups {}", self.groups));
        }
        let mut names: Vec<_> = self.runs.iter().map(|run| run.parcel.run).collect();
        names.sort();
        if let Some(twice) = names.windows(2).find(|pair| pair[0] == pair[1]) {
            return Some(format!("run {} is named twice", twice[0]));
        }
        stacks_fault(self.groups, &self.stacks, self.runs.len())
    }
}

/// What is wrong with stacks of these key groups whose slices name one of `runs` runs, in words.
pub(super) fn stacks_fault(groups: KeyGroups, stacks: &[ClaimedStack], runs: usize) -> Option<String> {
    let keys = groups.keys();
    let mut last_end = Some(Vec::new());
    for stack in stacks {
        let range = stack.range();
        if range.is_empty() || !keys.covers(&range) {
            return Some(format!("stack of {range:?} in a claim of key groups {}", groups));
        }
        if last_end.is_none_or(|end| end > range.start) {
            return Some(format!("stack of {range:?} starts inside the one before"));
        }
        if let Some(slice) = stack.slices.iter().find(|slice| slice.run as usize >= runs) {
            return Some(format!("run {} of {} in the stack of {range:?}", slice.run, runs));
        }
        last_end = range.end;
    }
    None
}

/// The bound of a key range; hexadecimal in a manifest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bound(pub Vec<u8>);

impl Serialize for Bound {
    fn serialize<S: Serializer>(&self, into: S) -> Result<S::Ok, S::Error> {
        into.serialize_str(&self.0.iter().map(|byte| format!("{byte:02x}")).collect::<String>())
    }
}

impl<'de> Deserialize<'de> for Bound {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Bound, D::Error> {
        let bytes = from_hex(&String::deserialize(from)?).filter(|bytes| bytes.len() <= BOUND_BYTES_MAX);
        bytes.map(Bound).ok_or_else(|| serde::de::Error::custom("a bound of keys that is not hexadecimal, or too long"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manifest::{Hex, read, write};
    use crate::names::Upload;

    fn claim() -> Claim {
        let run = |sequence| ClaimedRun {
            parcel: ParcelName { run: bedload_lsm::RunId { opening: 7, sequence }, upload: Upload(9) },
            bytes: 4096,
            digest: Hex([1; 32]),
            parcel_bytes: 1024,
            parcel_digest: Hex([2; 32]),
        };
        let stack = |range: KeyRange, runs: &[u32]| {
            ClaimedStack::new(&range, runs.iter().map(|run| ClaimedSlice { run: *run, bytes: 100 }).collect())
        };
        Claim {
            job: JobName::new("late-board").unwrap(),
            checkpoint: CheckpointId { epoch: 3, number: 18 },
            worker: WorkerName::new("w-0").unwrap(),
            attempt: Attempt(5),
            groups: KeyGroups { first: 4, last: 7 },
            clocks: vec![0, 99],
            runs: vec![run(1), run(2)],
            stacks: vec![
                stack(KeyRange::from([0u8, 4]..[0u8, 6]), &[1, 0]),
                stack(KeyRange::from([0u8, 6]..[0u8, 8]), &[0]),
            ],
            timings: Timings::default(),
            attachment: serde_json::json!({ "positions": [1, 2] }),
        }
    }

    #[test]
    fn a_claim_round_trips() {
        assert_eq!(read::<Claim>(&write(&claim(), 1), "x").unwrap(), claim());
        assert_eq!(claim().content_bytes(), 300);
        assert_eq!(Claim::clock_readings(&claim().clocks()), claim().clocks);
    }

    #[test]
    fn hostile_claims_are_refused() {
        type Change = fn(&mut Claim);
        let changes: [(&str, Change); 7] = [
            ("in a claim of key groups", |claim| claim.stacks[0].start = Bound(vec![0, 3])),
            ("in a claim of key groups", |claim| claim.stacks[1].end = None),
            ("in a claim of key groups", |claim| claim.stacks[1].end = Some(Bound(vec![0, 6]))),
            ("starts inside the one before", |claim| claim.stacks[0].end = Some(Bound(vec![0, 6, 0]))),
            ("run 2 of 2", |claim| claim.stacks[0].slices[0].run = 2),
            ("is named twice", |claim| claim.runs[1] = claim.runs[0]),
            ("clocks, expected at most", |claim| claim.clocks = vec![1; 1000]),
        ];
        for (expected, change) in changes {
            let mut claim = claim();
            change(&mut claim);
            let error = read::<Claim>(&write(&claim, 1), "s3://b/claim").unwrap_err();
            assert_eq!(error.kind(), bedload_lsm::ErrorKind::Damaged);
            assert!(error.to_string().contains(expected), "{error}");
        }
    }
}
