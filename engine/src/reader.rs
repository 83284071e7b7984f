//! Reads a checkpoint without a worker: what is in it, by name and type or as bytes, from all workers at once, fetched as it is read.

use std::path::Path;

use bedload_lsm::{KeyRange, frames};
use bedload_snapshot::{Chain, CheckpointId, Claim, JobName, KeyGroups, Repo, claims};
use serde_json::{Value, json};

use crate::catalog::{Catalog, StateInfo, TimersInfo};
use crate::elements::ELEMENT_END_BYTES;
use crate::engine::Engine;
use crate::error::{Error, ErrorKind, Result, fix};
use crate::form::Form;
use crate::hex::to_hex;
use crate::key_groups::key_group;
use crate::start::{Restoring, Start};
use crate::state_key::{framed, parse};

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

/// What the claims of a checkpoint say of the states in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Contents {
    /// The form of the keys, once there was one.
    pub key_form: Option<String>,
    /// The states.
    pub states: Vec<StateInfo>,
    /// The timers.
    pub timers: Vec<TimersInfo>,
}

impl Contents {
    /// What these claims say together; none when they were not written by an [`Engine`].
    ///
    /// # Errors
    /// `Fix` when they are of a later version, or contradict each other; `Damaged` when one cannot be read.
    pub fn of(claims: &[Claim]) -> Result<Option<Contents>> {
        let mut joined: Option<Catalog> = None;
        for claim in claims.iter().filter(|claim| claim.attachment.get("engine").is_some()) {
            let catalog = Catalog::read(claim)?;
            match &mut joined {
                Some(joined) => joined.join(&catalog)?,
                None => joined = Some(catalog),
            }
        }
        Ok(joined.map(|Catalog { keys, states, timers, .. }| Contents { key_form: keys, states, timers }))
    }
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
        let hash = Catalog::read(claims.first().ok_or_else(|| {
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

    /// The timers in it.
    pub fn timers(&self) -> &[TimersInfo] {
        self.engine.timer_names()
    }

    /// The form of the keys; none when nothing was stored yet, or it is a form of the program's own.
    pub fn key_form(&self) -> Option<Form> {
        Form::parse(self.engine.key_form()?)
    }

    /// The states by type: an engine of all key groups. What is written to it stays in the directory.
    pub fn engine(&mut self) -> &mut Engine {
        &mut self.engine
    }

    /// Shows the entries of a key group, or of all in their order, until `look` says that it has seen enough.
    ///
    /// # Errors
    /// `Fix` when there is no such key group; those of the store and of `look`.
    pub fn entries(&self, group: Option<u16>, look: impl FnMut(&RawEntry<'_>) -> Result<bool>) -> Result<()> {
        let all = self.engine.groups();
        let groups = match group {
            None => all,
            Some(group) if (all.first..=all.last).contains(&group) => KeyGroups { first: group, last: group },
            Some(group) => return Err(fix(format!("there is no key group {group}: the job has {all}"))),
        };
        self.entries_in(&groups.keys(), look)
    }

    /// Shows what stands under a key: of each state, with all namespaces; not its timers, which lie by time. `key` is written as its form
    /// [reads](Form::read) it.
    ///
    /// # Errors
    /// `Fix` when `key` is not of the form of the keys, or that form is a program's own; those of the store and of `look`.
    pub fn entries_of(&self, key: &str, mut look: impl FnMut(&RawEntry<'_>) -> Result<()>) -> Result<()> {
        let Some(name) = self.engine.key_form() else { return Ok(()) };
        let form = Form::parse(name)
            .ok_or_else(|| fix(format!("keys are of form {name}, which only their program can write")))?;
        let bytes = form.read(key)?;
        let (hash, groups) = self.engine.key_groups();
        let group = key_group(form.hash(hash, &bytes)?, groups);
        for state in self.states() {
            let mut prefix = group.to_be_bytes().to_vec();
            prefix.extend(state.tag()?.0);
            framed(&mut prefix, |out| out.extend(&bytes));
            self.entries_in(&KeyRange::prefix(&prefix), |entry| look(entry).map(|()| true))?;
        }
        Ok(())
    }

    /// Ends it: the checkpoint is not kept for this reader any more. Dropped without, it leaves a lease in the repo, to be declared void.
    ///
    /// # Errors
    /// Those of the store.
    pub fn close(self) -> Result<()> {
        self.engine.close()
    }

    fn entries_in(&self, range: &KeyRange, mut look: impl FnMut(&RawEntry<'_>) -> Result<bool>) -> Result<()> {
        let names = self.engine.names()?;
        self.engine.scan(range, |key, value| {
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

    /// An entry as people read it: `group`, `state`, `kind`, `key`, and where there are such, `namespace`, `map_key`, `time` and `value`.
    ///
    /// Keys, namespaces and keys of maps are told by their forms, where these are known, and numbers as such. What a codec wrote is told as
    /// `{"codec": …, "version": …, "hex": …}`, since only the program knows its type.
    pub fn describe(&self, entry: &RawEntry<'_>) -> Value {
        let bytes_of = |form: Option<&str>, bytes: &[u8]| {
            form.and_then(Form::parse)
                .and_then(|form| form.show(bytes))
                .unwrap_or_else(|| json!({"hex": to_hex(bytes)}))
        };
        let mut told = json!({"group": entry.group, "state": entry.state});
        told["key"] = bytes_of(self.engine.key_form(), entry.key);
        let state = self.states().iter().find(|state| Some(&*state.name) == entry.state);
        let Some(StateInfo { kind, forms, ttl, .. }) = state else {
            told["kind"] = json!("timer");
            if !entry.namespace.is_empty() {
                told["namespace"] = json!({"hex": to_hex(entry.namespace)});
            }
            told["time"] = json!(entry.time);
            return told;
        };
        told["kind"] = json!(kind);
        if forms.namespace != "()" {
            told["namespace"] = bytes_of(Some(&forms.namespace), entry.namespace);
        }
        if let Some(map_key) = &forms.map_key {
            told["map_key"] = bytes_of(Some(map_key), entry.map_key);
        }
        let item = |bytes: &[u8]| match bytes.split_first() {
            Some((version, rest)) => json!({"codec": forms.codec, "version": version, "hex": to_hex(rest)}),
            None => json!({"hex": ""}),
        };
        let element = |bytes: &[u8]| match bytes.split_first_chunk::<ELEMENT_END_BYTES>() {
            Some((end, rest)) if ttl.is_some() => {
                let mut told = item(rest);
                told["ends_at"] = json!(u64::from_be_bytes(*end));
                told
            }
            _ => item(bytes),
        };
        told["value"] = match (&**kind, <[u8; 8]>::try_from(entry.value)) {
            ("sum" | "min" | "max", Ok(number)) => json!(i64::from_le_bytes(number)),
            ("list", _) => frames(entry.value)
                .map(|frame| frame.map(element))
                .collect::<Result<Vec<Value>>>()
                .map_or_else(|_| json!({"hex": to_hex(entry.value)}), Value::Array),
            ("value" | "map", _) => item(entry.value),
            _ => json!({"hex": to_hex(entry.value)}),
        };
        told
    }
}
