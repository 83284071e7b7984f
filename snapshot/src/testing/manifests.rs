//! Manifests as hostile bytes: read as what they are not, and altered under right digests.

use std::fmt::Debug;

use bedload_lsm::{KeyRange, RunId};
use serde_json::Value;

use crate::error::Result;
use crate::key_group::KeyGroups;
use crate::manifest::{
    self, Boundary, Claim, ClaimRef, ClaimedRun, ClaimedSlice, ClaimedStack, Completion, Deletions, Digest, Event,
    Expiry, Fence, Hex, Lease, LiveCompletion, LocalCopy, LocalRun, Manifest, Marker, Pin, Retirement, Slot, Timings,
    Void, read, sign, unsigned, write,
};
use crate::names::{Attempt, CheckpointId, JobName, LeaseId, ObjectName, ParcelName, RunName, Upload, WorkerName};

/// A kind of manifest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ManifestKind {
    /// A slot of a chain.
    Slot,
    /// A boundary of a chain.
    Boundary,
    /// A claim.
    Claim,
    /// A lease.
    Lease,
    /// A pin.
    Pin,
    /// The marker of a repo.
    Marker,
    /// A record of deletions.
    Deletions,
    /// A copy of a checkpoint on a worker's machine.
    LocalCopy,
}

/// Calls a function that is generic over the body of a manifest.
macro_rules! for_kind {
    ($kind:expr, $call:ident ( $($argument:expr),* )) => {
        match $kind {
            ManifestKind::Slot => $call::<Slot>($($argument),*),
            ManifestKind::Boundary => $call::<Boundary>($($argument),*),
            ManifestKind::Claim => $call::<Claim>($($argument),*),
            ManifestKind::Lease => $call::<Lease>($($argument),*),
            ManifestKind::Pin => $call::<Pin>($($argument),*),
            ManifestKind::Marker => $call::<Marker>($($argument),*),
            ManifestKind::Deletions => $call::<Deletions>($($argument),*),
            ManifestKind::LocalCopy => $call::<LocalCopy>($($argument),*),
        }
    };
}

impl ManifestKind {
    /// All of them.
    pub const ALL: [ManifestKind; 8] = [
        ManifestKind::Slot,
        ManifestKind::Boundary,
        ManifestKind::Claim,
        ManifestKind::Lease,
        ManifestKind::Pin,
        ManifestKind::Marker,
        ManifestKind::Deletions,
        ManifestKind::LocalCopy,
    ];

    /// Reads bytes as a manifest of this kind. What reads is written and read again.
    ///
    /// # Errors
    /// `Damaged` or `Fix`, as whoever reads one gets it.
    ///
    /// # Panics
    /// When what was read is not what was written, or names an object whose path is not read as that name.
    pub fn check(self, bytes: &[u8]) -> Result<()> {
        fn check<T: Manifest + PartialEq + Debug>(bytes: &[u8]) -> Result<()> {
            let body: T = read(bytes, "hostile")?;
            let again: T = read(&write(&body, 7), "again").expect("what was read can be written");
            assert_eq!(body, again);
            Ok(())
        }
        for_kind!(self, check(bytes))?;
        match self {
            ManifestKind::Claim => check_claim(&read(bytes, "hostile")?),
            ManifestKind::Slot => {
                let slot: Slot = read(bytes, "hostile")?;
                check_name(ObjectName::Slot(slot.job.clone(), slot.number));
                if let Event::Completion(completion) = &slot.event {
                    check_completion(&slot.job, completion);
                }
            }
            ManifestKind::Boundary => {
                let boundary: Boundary = read(bytes, "hostile")?;
                check_name(ObjectName::Boundary(boundary.job.clone(), boundary.number));
                boundary.live.iter().for_each(|live| check_completion(&boundary.job, &live.completion));
            }
            _ => {}
        }
        Ok(())
    }

    /// A manifest of this kind and format with a body of this text, under a right digest; `None` when the text is no JSON.
    pub fn sign(self, format: u32, body: &str) -> Option<Vec<u8>> {
        fn kind<T: Manifest>() -> &'static str {
            T::KIND
        }
        sign(for_kind!(self, kind()), format, 7, body.to_owned()).map(Into::into)
    }
}

/// Edits a claim and puts it under a right digest; `None` when it is none.
pub fn edit_claim(bytes: &[u8], edit: impl FnOnce(&mut Claim)) -> Option<Vec<u8>> {
    let mut claim = unchecked::<Claim>(bytes)?;
    edit(&mut claim);
    Some(write(&claim, 7).into())
}

/// Edits the completions in a slot or a boundary and puts it under a right digest; `None` when it is neither.
pub fn edit_completions(bytes: &[u8], mut edit: impl FnMut(&mut Completion)) -> Option<Vec<u8>> {
    if let Some(mut slot) = unchecked::<Slot>(bytes) {
        if let Event::Completion(completion) = &mut slot.event {
            edit(completion);
        }
        return Some(write(&slot, 7).into());
    }
    let mut boundary = unchecked::<Boundary>(bytes)?;
    boundary.live.iter_mut().for_each(|live| edit(&mut live.completion));
    Some(write(&boundary, 7).into())
}

/// Gives a slot or a boundary another number, under a right digest; `None` when it is neither.
pub fn renumber(bytes: &[u8], number: u64) -> Option<Vec<u8>> {
    if let Some(slot) = unchecked::<Slot>(bytes) {
        return Some(write(&Slot { number, ..slot }, 7).into());
    }
    let boundary = unchecked::<Boundary>(bytes)?;
    Some(write(&Boundary { number, ..boundary }, 7).into())
}

/// The body of a manifest of this kind, whatever its digest is and its body says.
fn unchecked<T: Manifest>(bytes: &[u8]) -> Option<T> {
    let (kind, body) = unsigned(bytes)?;
    (kind == T::KIND).then(|| serde_json::from_str(body).ok())?
}

/// BLAKE3 of some bytes, as claims and completions have it.
pub fn digest_of(bytes: &[u8]) -> Digest {
    manifest::digest_of(bytes)
}

/// What is wrong with a claim, in words: such a one is not read.
pub fn claim_fault(claim: &Claim) -> Option<String> {
    claim.fault()
}

/// A name from a manifest leads to one object, and back.
fn check_name(name: ObjectName) {
    assert_eq!(name.path().as_ref(), name.to_string(), "no part of a name needs to be encoded");
    assert_eq!(ObjectName::parse(&name.to_string()), Some(name));
}

fn check_claim(claim: &Claim) {
    check_name(ObjectName::Claim(claim.job.clone(), claim.checkpoint, claim.worker.clone(), claim.attempt));
    claim.runs.iter().for_each(|run| check_name(ObjectName::Parcel(claim.job.clone(), run.parcel)));
    let keys = claim.groups.keys();
    assert!(claim.stacks.iter().all(|stack| keys.covers(&stack.range())));
    assert!(claim.stacks.iter().flat_map(|stack| &stack.slices).all(|slice| slice.bytes <= claim.content_bytes()));
    assert!(Claim::clock_readings(&claim.clocks()).len() <= claim.clocks.len());
}

fn check_completion(job: &JobName, completion: &Completion) {
    let groups: u32 = completion.claims.iter().map(|claim| claim.groups.count()).sum();
    assert_eq!(groups, completion.key_groups, "every key group is claimed once");
    for claim in &completion.claims {
        check_name(ObjectName::Claim(job.clone(), completion.checkpoint, claim.worker.clone(), claim.attempt));
    }
}

/// How many values and marks an altered body may have: copies of copies would soon fill the memory.
const ALTERED_MAX: usize = 20_000;

/// Alters the body of a manifest and puts it under a right digest; `None` when there is none.
///
/// Four bytes of `choices` are one alteration: of which value (two bytes), what becomes of it, and how.
pub fn alter_manifest(bytes: &[u8], choices: &[u8]) -> Option<Vec<u8>> {
    let (kind, body) = unsigned(bytes)?;
    let mut body: Value = serde_json::from_str(body).ok()?;
    for choice in choices.as_chunks::<4>().0 {
        if size(&body) > ALTERED_MAX {
            break;
        }
        alter(&mut body, *choice);
    }
    let text = serde_json::to_string(&body).expect("it was JSON, and is");
    sign(&kind, 1, 7, text).map(Into::into)
}

fn alter(body: &mut Value, [low, high, what, how]: [u8; 4]) {
    let count = count(body);
    let other = nth(body, &mut (usize::from(how) % count)).expect("it was counted").clone();
    let node = nth(body, &mut (usize::from(u16::from_le_bytes([low, high])) % count)).expect("it was counted");
    if what % 8 == 7 {
        *node = other;
        return;
    }
    match node {
        Value::Number(number) => {
            let number = number.as_u64().unwrap_or(0);
            let changed = match what % 8 {
                0 => u64::from(how),
                1 => number.wrapping_add(1),
                2 => number.wrapping_sub(1),
                3 => u64::MAX - u64::from(how),
                4 => u64::from(u32::MAX) + u64::from(how),
                5 => number << (how % 64),
                _ => number ^ 1 << (how % 64),
            };
            *node = changed.into();
        }
        Value::String(text) => {
            let mut marks: Vec<char> = text.chars().collect();
            let at = usize::from(how) % (marks.len() + 1);
            match what % 8 {
                0 => marks.truncate(at),
                1 => marks.insert(at, char::from(what)),
                2 => marks.extend(marks.clone()),
                _ => {
                    if let Some(mark) = marks.get_mut(at) {
                        *mark = char::from_digit(u32::from(what >> 4), 16).expect("four bits are a digit");
                    }
                }
            }
            *text = marks.into_iter().collect();
        }
        Value::Array(items) if !items.is_empty() => {
            let at = usize::from(how) % items.len();
            match what % 8 {
                0 | 1 => drop(items.remove(at)),
                2 => items.truncate(at),
                3 | 4 => items.insert(at, items[at].clone()),
                5 => items.insert(at, other),
                _ => {
                    let with = usize::from(what >> 3) % items.len();
                    items.swap(at, with);
                }
            }
        }
        Value::Object(fields) => {
            let name = fields.keys().nth(usize::from(how) % fields.len().max(1)).cloned();
            let value = name.as_ref().and_then(|name| fields.remove(name));
            if let (Some(value), true) = (value, what % 2 == 0) {
                // Under another name.
                fields.insert(format!("{}{}", name.unwrap_or_default(), char::from(what)), value);
            }
        }
        _ => *node = u64::from(how).into(),
    }
}

/// How many values there are in one.
fn count(value: &Value) -> usize {
    1 + match value {
        Value::Array(items) => items.iter().map(count).sum(),
        Value::Object(fields) => fields.values().map(count).sum(),
        _ => 0,
    }
}

/// How many values and marks there are in one.
fn size(value: &Value) -> usize {
    1 + match value {
        Value::Array(items) => items.iter().map(size).sum(),
        Value::Object(fields) => fields.iter().map(|(name, value)| name.len() + size(value)).sum(),
        Value::String(text) => text.len(),
        _ => 0,
    }
}

/// The value that `left` others come before.
fn nth<'a>(value: &'a mut Value, left: &mut usize) -> Option<&'a mut Value> {
    if *left == 0 {
        return Some(value);
    }
    *left -= 1;
    match value {
        Value::Array(items) => items.iter_mut().find_map(|item| nth(item, left)),
        Value::Object(fields) => fields.values_mut().find_map(|item| nth(item, left)),
        _ => None,
    }
}

/// What the samples tell of, by its parts.
fn job() -> JobName {
    JobName::new("late-board").expect("a fine name")
}

const CHECKPOINT: CheckpointId = CheckpointId { epoch: 3, number: 18 };
const LEASE: LeaseId = LeaseId(77);

fn parcel(sequence: u64) -> ParcelName {
    ParcelName { run: RunId { opening: 7, sequence }, upload: Upload(9) }
}

fn completion() -> Completion {
    let claim = |(index, groups): (u64, KeyGroups)| ClaimRef {
        worker: WorkerName::new(&format!("w-{index}")).expect("a fine name"),
        attempt: Attempt(index),
        groups,
        bytes: 800,
        digest: Hex([3; 32]),
    };
    let groups = (0..2).map(|index| (u64::from(index), KeyGroups::of_worker(8, 2, index)));
    Completion {
        checkpoint: CHECKPOINT,
        key_groups: 8,
        claims: groups.map(claim).collect(),
        base: Some(5),
        lease: LEASE,
        completed_at_ms: 1_000,
    }
}

fn stacks() -> Vec<ClaimedStack> {
    let slice = |run| ClaimedSlice { run, bytes: 100 };
    let stack = |range: KeyRange, runs: &[u32]| ClaimedStack::new(&range, runs.iter().copied().map(slice).collect());
    vec![stack(KeyRange::from([0u8, 4]..[0u8, 6]), &[1, 0]), stack(KeyRange::from([0u8, 6]..[0u8, 8]), &[0])]
}

/// A whole manifest of each kind, and of each event.
pub fn sample_manifests() -> Vec<(ManifestKind, Vec<u8>)> {
    let groups = KeyGroups { first: 4, last: 7 };
    let live = || LiveCompletion { slot: 6, completion: completion() };
    let run = |sequence| ClaimedRun {
        parcel: parcel(sequence),
        bytes: 4096,
        digest: Hex([1; 32]),
        parcel_bytes: 1024,
        parcel_digest: Hex([2; 32]),
    };
    let claim = Claim {
        job: job(),
        checkpoint: CHECKPOINT,
        worker: WorkerName::new("w-1").expect("a fine name"),
        attempt: Attempt(1),
        groups,
        clocks: vec![0, 99],
        runs: vec![run(1), run(2)],
        stacks: stacks(),
        timings: Timings::default(),
        attachment: serde_json::json!({ "positions": [1, 2] }),
    };
    let local = |sequence| LocalRun { run: RunName(parcel(sequence).run), bytes: 4096, digest: Hex([1; 32]) };
    let copy = LocalCopy {
        job: job(),
        checkpoint: CHECKPOINT,
        claim: Hex([3; 32]),
        groups,
        boot: "1".into(),
        runs: vec![local(1), local(2)],
        stacks: stacks(),
    };
    let boundary = Boundary { job: job(), number: 2, start: 9, epoch: 3, live: vec![live()], voided: vec![LEASE] };
    let lease = Lease {
        job: job(),
        holder: "w-1 on host a".into(),
        making: Some(CHECKPOINT),
        reading: Some(live()),
        parcels: vec![parcel(3)],
    };
    let pin = Pin { job: job(), checkpoint: live(), reason: "before the upgrade".into() };
    let deletions = Deletions { job: job(), paths: vec!["jobs/late-board/x".into()], bytes: 18 };
    let events = [
        Event::Fence(Fence { holder: "coordinator on host a".into(), started_at_ms: 1_000 }),
        Event::Completion(completion()),
        Event::Expiry(Expiry { completions: vec![4, 5], reason: "age".into() }),
        Event::Void(Void { lease: LEASE, reason: "its holder is gone".into() }),
        Event::Retirement(Retirement { epoch: 3, reason: "taken over".into() }),
    ];
    let mut samples = vec![
        (ManifestKind::Boundary, write(&boundary, 7)),
        (ManifestKind::Claim, write(&claim, 7)),
        (ManifestKind::Lease, write(&lease, 7)),
        (ManifestKind::Pin, write(&pin, 7)),
        (ManifestKind::Marker, write(&Marker { created_at_ms: 1_000 }, 7)),
        (ManifestKind::Deletions, write(&deletions, 7)),
        (ManifestKind::LocalCopy, write(&copy, 7)),
    ];
    samples.extend(events.map(|event| (ManifestKind::Slot, write(&Slot { job: job(), number: 6, event }, 7))));
    samples.into_iter().map(|(kind, bytes)| (kind, bytes.to_vec())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_samples_are_whole() {
        for (kind, bytes) in sample_manifests() {
            kind.check(&bytes).unwrap();
            // What is not altered is read as it was, from another spelling.
            kind.check(&alter_manifest(&bytes, &[]).unwrap()).unwrap();
        }
        let kinds = sample_manifests().into_iter().map(|(kind, _)| kind);
        assert!(ManifestKind::ALL.iter().all(|kind| kinds.clone().any(|other| other == *kind)));
    }

    /// Alterations get behind the digest: most are found by the body's form, some by what it says, and some are as good.
    #[test]
    fn altered_samples_reach_what_is_behind_the_digest() {
        let (mut told, mut whole) = (std::collections::BTreeSet::new(), 0);
        for (kind, bytes) in sample_manifests() {
            for node in 0..80 {
                for what in 0..8 {
                    match kind.check(&alter_manifest(&bytes, &[node, 0, what, node / 3]).unwrap()) {
                        Ok(()) => whole += 1,
                        Err(error) => drop(told.insert(error.to_string())),
                    }
                }
            }
        }
        assert!(whole > 500, "{whole}");
        let faults =
            ["claimed twice", "claimed by nobody", "out of order", "is named twice", "starts inside", "run 1 of 1"];
        for fault in faults {
            assert!(told.iter().any(|text| text.contains(fault)), "{fault}: {told:#?}");
        }
        assert!(!told.iter().any(|text| text.contains("digest ")), "{told:#?}");
    }
}
