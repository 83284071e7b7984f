//! Looks into the directory of a [`LocalPool`](crate::LocalPool) from outside, whoever owns it and works there. Nothing is written, created
//! or removed.
//!
//! Copies are read before the files are listed that they name, so that a copy counts as whole only when the list has its runs; one that is
//! forgotten meanwhile is not told. From any thread.

use std::collections::BTreeMap;
use std::path::Path;

use bedload_lsm::RunId;
use bedload_lsm::fs::{Fs, ReadMode};

use crate::error::Result;
use crate::key_group::KeyGroups;
use crate::local::{ARRIVED, PARTIAL, UNFINISHED, copy_checkpoint};
use crate::manifest::{LocalCopy, MANIFEST_BYTES_MAX, read};
use crate::names::{CheckpointId, JobName};
use crate::parcel::{chunk_count, chunk_range};
use crate::partial::read_records;

/// Records of arrived chunks that are read of one file.
const RECORDS_BYTES_MAX: u64 = 64 << 20;

/// What a pool's directory holds. Given by [`inspect_local`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct LocalInspection {
    /// Copies of claims, in the order of their checkpoints.
    pub copies: Vec<InspectedCopy>,
    /// Names of copies that cannot be read: a restore passes them over.
    pub damaged: Vec<String>,
    /// Complete runs. They may be hard links to those of the store.
    pub runs: usize,
    /// Their bytes.
    pub run_bytes: u64,
    /// Runs that are fetched as they are read, in the order of their names.
    pub partial: Vec<PartialRun>,
    /// Files that are being written.
    pub unfinished: usize,
}

/// A copy of one worker's part of a checkpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct InspectedCopy {
    /// The job.
    pub job: JobName,
    /// The checkpoint.
    pub checkpoint: CheckpointId,
    /// The key groups.
    pub groups: KeyGroups,
    /// How many runs it names.
    pub runs: usize,
    /// Their bytes.
    pub bytes: u64,
    /// How many of them are not here, or are of another length.
    pub missing_runs: usize,
    /// The start of the machine at which it was made: after another one, runs are compared with their digests before they are used.
    pub boot: String,
}

/// A run that is fetched as it is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct PartialRun {
    /// Its name.
    pub run: RunId,
    /// The length of the whole.
    pub bytes: u64,
    /// What has arrived of it, as its records tell.
    pub here_bytes: u64,
}

/// Looks into the directory of a pool; none when there is no such directory.
///
/// ```
/// use bedload_lsm::fs::DiskFs;
/// use bedload_snapshot::{LocalPool, inspect_local};
///
/// # let directory = tempfile::tempdir().unwrap();
/// let directory = directory.path().join("local");
/// assert!(inspect_local(&DiskFs, &directory)?.is_none());
/// LocalPool::open(std::sync::Arc::new(DiskFs), &directory)?;
/// assert_eq!(inspect_local(&DiskFs, &directory)?.expect("it is there").runs, 0);
/// # Ok::<(), bedload_snapshot::Error>(())
/// ```
///
/// # Errors
/// Those of the disk.
pub fn inspect_local(fs: &dyn Fs, directory: impl AsRef<Path>) -> Result<Option<LocalInspection>> {
    let directory = directory.as_ref();
    if !directory.is_dir() {
        return Ok(None);
    }
    let mut read_copies = Vec::new();
    for file in fs.read_dir(directory)? {
        if copy_checkpoint(&file.name).is_some() && file.bytes <= MANIFEST_BYTES_MAX {
            let path = directory.join(&file.name);
            // One that is gone by now is not in the next list either.
            let bytes = read_file(fs, &path);
            let copy = bytes.and_then(|bytes| read::<LocalCopy>(&bytes, &path.to_string_lossy()).ok());
            read_copies.push((file.name, copy));
        }
    }
    let files: BTreeMap<String, u64> =
        fs.read_dir(directory)?.into_iter().map(|file| (file.name, file.bytes)).collect();
    let mut seen = LocalInspection::default();
    for (name, copy) in read_copies.into_iter().filter(|(name, _)| files.contains_key(name)) {
        match copy {
            Some(copy) => seen.copies.push(inspected(copy, &files)),
            None => seen.damaged.push(name),
        }
    }
    seen.copies.sort_by_key(|copy| (copy.checkpoint, copy.groups.first));
    for (name, bytes) in &files {
        if RunId::from_file_name(name).is_some() {
            seen.runs += 1;
            seen.run_bytes += bytes;
        } else if name.ends_with(UNFINISHED) {
            seen.unfinished += 1;
        } else if let Some(run) = name.strip_suffix(PARTIAL).and_then(|name| name.parse().ok()) {
            let has_records = files.get(&format!("{run}{ARRIVED}")).is_some_and(|bytes| *bytes <= RECORDS_BYTES_MAX);
            let told = if has_records { read_file(fs, &directory.join(format!("{run}{ARRIVED}"))) } else { None };
            let chunks = read_records(&told.unwrap_or_default(), chunk_count(*bytes));
            let here = chunks.keys().map(|chunk| chunk_range(*bytes, *chunk)).map(|range| range.end - range.start);
            seen.partial.push(PartialRun { run, bytes: *bytes, here_bytes: here.sum() });
        }
    }
    Ok(Some(seen))
}

fn inspected(copy: LocalCopy, files: &BTreeMap<String, u64>) -> InspectedCopy {
    let is_missing = |run: &&crate::manifest::LocalRun| files.get(&run.run.0.file_name()) != Some(&run.bytes);
    InspectedCopy {
        job: copy.job,
        checkpoint: copy.checkpoint,
        groups: copy.groups,
        runs: copy.runs.len(),
        bytes: copy.runs.iter().map(|run| run.bytes).sum(),
        missing_runs: copy.runs.iter().filter(is_missing).count(),
        boot: copy.boot,
    }
}

/// The bytes of a file; none when it cannot be read.
fn read_file(fs: &dyn Fs, path: &Path) -> Option<Vec<u8>> {
    let source = fs.open(path, ReadMode::Pread).ok()?;
    let mut bytes = vec![0; usize::try_from(source.bytes()).ok()?];
    source.read_exact_at(&mut bytes, 0).ok()?;
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use bedload_lsm::fs::DiskFs;

    use super::*;
    use crate::local::LocalPool;
    use crate::manifest::{Hex, LocalRun};
    use crate::names::RunName;
    use crate::parcel::CHUNK_BYTES;
    use crate::partial::PartialFile;

    #[test]
    fn copies_runs_and_what_arrives_are_told_and_left_alone() {
        let directory = tempfile::tempdir().unwrap();
        let pool = LocalPool::open(Arc::new(DiskFs), directory.path()).unwrap();
        let run = |sequence| RunId { opening: 7, sequence };
        let mut file = pool.create(run(1)).unwrap();
        file.append(&[1; 300]).unwrap();
        pool.finish(run(1), file).unwrap();
        let local = |sequence| LocalRun { run: RunName(run(sequence)), bytes: 300, digest: Hex([0; 32]) };
        let copy = LocalCopy {
            job: "board".parse().unwrap(),
            checkpoint: CheckpointId { epoch: 1, number: 4 },
            claim: Hex([9; 32]),
            groups: KeyGroups { first: 0, last: 63 },
            boot: "this one".to_owned(),
            runs: vec![local(1), local(2)],
            stacks: Vec::new(),
        };
        pool.keep(&copy, 5).unwrap();
        let (partial, _) = PartialFile::open(&pool, run(3), 2 * CHUNK_BYTES + 10).unwrap();
        partial.write(2..3, &[3; 10]).unwrap();

        let before = DiskFs.read_dir(directory.path()).unwrap();
        let seen = inspect_local(&DiskFs, directory.path()).unwrap().unwrap();
        assert_eq!(DiskFs.read_dir(directory.path()).unwrap(), before);
        let told = &seen.copies[0];
        assert_eq!((told.runs, told.bytes, told.missing_runs), (2, 600, 1));
        assert_eq!(
            (told.job.to_string(), told.checkpoint, told.groups),
            ("board".into(), copy.checkpoint, copy.groups)
        );
        assert_eq!((seen.runs, seen.run_bytes, seen.unfinished), (1, 300, 0));
        assert_eq!(seen.partial, [PartialRun { run: run(3), bytes: 2 * CHUNK_BYTES + 10, here_bytes: 10 }]);
        assert!(seen.damaged.is_empty());

        let name = before.iter().find(|file| file.name.ends_with(".json")).unwrap().name.clone();
        DiskFs.remove(&directory.path().join(&name)).unwrap();
        DiskFs.create_new(&directory.path().join(&name)).unwrap().append(b"{").unwrap();
        let seen = inspect_local(&DiskFs, directory.path()).unwrap().unwrap();
        assert_eq!((seen.copies.len(), seen.damaged), (0, vec![name]));
    }
}
