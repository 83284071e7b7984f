//! Reads a checkpoint without a worker: what is in it, by name and type or as bytes, from all workers at once, fetched as it is read.

use std::path::Path;

use bedload_snapshot::{Chain, CheckpointId, JobName, Repo, claims};

use crate::catalog::StateInfo;
use crate::engine::{Engine, Restoring, Start};
use crate::error::{Error, ErrorKind, Result};
use crate::state_key::parse;

/// An open checkpoint.
///
/// It changes nothing in the repo, but for a lease that keeps the checkpoint while it is read. What is fetched lies in the directory
/// that it was given.
///
/// ```no_run
/// # use bedload::{CheckpointReader, Repo, Spec, Value};
/// const FLIGHTS: Spec<Value<u64>> = Value::named("flights");
/// # async fn example() -> bedload::Result<()> {
/// let repo = Repo::open("s3://checkpoints/board").await?;
/// let mut reader = CheckpointReader::open(&repo, "late-board", None, "/tmp/reading").await?;
/// println!("{}: {:?}", reader.checkpoint(), reader.states());
/// let flights = reader.engine().state(FLIGHTS)?;
/// println!("{:?}", reader.engine().with_key("N14228")?.get(&flights)?);
/// # Ok(()) }
/// ```
pub struct CheckpointReader {
    engine: Engine,
    checkpoint: CheckpointId,
}

/// An entry of a checkpoint, as bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RawEntry<'a> {
    /// The key group.
    pub group: u16,
    /// The state, or the timers; none when the claims do not name it.
    pub state: Option<&'a str>,
    /// The bytes of the key, as [`Ordered`](crate::Ordered) writes it.
    pub key: &'a [u8],
    /// The bytes of the namespace.
    pub namespace: &'a [u8],
    /// The bytes of the key in a map.
    pub map_key: &'a [u8],
    /// When a timer is due, in milliseconds; 0 for others.
    pub time: u64,
    /// The bytes of the value: behind a byte of version, for what a codec wrote. Elements of lists, and operands of states with a merge
    /// function, have their lengths (LEB128) in front.
    pub value: &'a [u8],
}

impl CheckpointReader {
    /// Opens a checkpoint of `job`, or its newest one, in an empty `directory`.
    ///
    /// # Errors
    /// `Missing` when it does not exist, `Fix` when it was not written by an engine; those of restoring.
    pub async fn open(
        repo: &Repo,
        job: &str,
        checkpoint: Option<CheckpointId>,
        directory: impl AsRef<Path>,
    ) -> Result<CheckpointReader> {
        let name = JobName::new(job)?;
        let checkpoint = match checkpoint {
            Some(checkpoint) => checkpoint,
            None => {
                let chain = Chain::read(repo, &name).await?;
                let newest = chain.state().newest().map(|(_, newest)| newest.checkpoint);
                newest.ok_or_else(|| {
                    Error::new(
                        ErrorKind::Missing,
                        format!("{repo}/jobs/{job}: no checkpoint exists; is this the right job?"),
                    )
                })?
            }
        };
        let claims = claims(repo, &name, checkpoint).await?;
        let last = claims.iter().map(|claim| u32::from(claim.groups.last)).max().unwrap_or(0);
        let builder = Engine::builder(directory).repo(repo, job).name("reader").max_groups(last + 1);
        let hash = crate::catalog::Catalog::read(claims.first().ok_or_else(|| {
            Error::new(ErrorKind::Damaged, format!("checkpoint {checkpoint} of job {job} has no claims"))
        })?)?
        .hash;
        let builder = builder.key_hash(hash).start(Start::At(checkpoint)).restoring(Restoring::Lazily);
        Ok(CheckpointReader { engine: builder.open().await?, checkpoint })
    }

    /// Which checkpoint it is.
    pub fn checkpoint(&self) -> CheckpointId {
        self.checkpoint
    }

    /// The states in it.
    pub fn states(&self) -> &[StateInfo] {
        self.engine.states()
    }

    /// The states by type: an engine of all key groups. What is written to it stays in the directory.
    pub fn engine(&mut self) -> &mut Engine {
        &mut self.engine
    }

    /// Shows all entries, in the order of their key groups.
    ///
    /// # Errors
    /// Those of the store and of `look`.
    pub fn entries(&self, mut look: impl FnMut(&RawEntry<'_>) -> Result<()>) -> Result<()> {
        let names = self.engine.names()?;
        self.engine.scan_all(|key, value| {
            let parts = parse(key)?;
            let state = names.get(&parts.tag).map(String::as_str);
            let entry = RawEntry {
                group: parts.group,
                state,
                key: parts.key,
                namespace: parts.namespace,
                map_key: parts.map_key,
                time: parts.time,
                value,
            };
            look(&entry)
        })
    }
}
