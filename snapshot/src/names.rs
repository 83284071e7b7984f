//! Names of jobs and workers, and of every object in a repo.
//!
//! ```text
//! <repo>/bedload.json                                                  marker
//! <repo>/probes/<number>.json                                          a store is being tried out
//! <repo>/jobs/<job>/chain/<slot>.json                                  what happened to the job, in order
//! <repo>/jobs/<job>/boundary/<number>.json                             where readers of the chain start
//! <repo>/jobs/<job>/checkpoints/<epoch>-<id>/<worker>-<attempt>.json   claims
//! <repo>/jobs/<job>/runs/<run>-<upload>.parcel                         shipped runs
//! <repo>/jobs/<job>/leases/<id>.json                                   what is being written or read
//! <repo>/jobs/<job>/pins/<name>.json                                   checkpoints to keep
//! <repo>/jobs/<job>/deletions/<id>.json                                what a collector has deleted
//! <repo>/jobs/<job>/probes/<id>.json                                   a worker shows that it writes to the same place
//! ```
//!
//! Numbers have a fixed width, so that a listing is in their order. Names that come out of a manifest or a listing are parsed
//! into these types and spelled again by them: no text from there becomes part of a path as it is.
//!
//! A parcel's name carries a random number beside the run's: the parcel of an upload that nothing names may be on its way to be
//! deleted, so a later upload of the same run must not meet it.

use std::fmt;
use std::str::FromStr;

use bedload_lsm::{Error, ErrorKind, Result, RunId};
use object_store::path::Path;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// How long the name of a job, a worker or a pin may be, in bytes.
const LABEL_BYTES_MAX: usize = 120;

/// The greatest number of a slot or a boundary: what the width of their names holds, so that listings are in their order.
pub(crate) const NUMBER_MAX: u64 = 999_999_999_999;

/// Defines a name that people give to something.
macro_rules! label {
    ($(#[$doc:meta])* $name:ident, $what:literal) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize)]
        pub struct $name(String);

        impl $name {
            /// Takes 1 to 120 of the characters `a-z A-Z 0-9 . _ -`, the first of them a letter or a digit.
            ///
            /// # Errors
            /// `Fix` for any other text.
            pub fn new(text: &str) -> Result<$name> {
                if is_label(text) { Ok($name(text.to_owned())) } else { Err(label_error($what, text)) }
            }

            /// The text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                out.write_str(&self.0)
            }
        }

        impl FromStr for $name {
            type Err = Error;

            fn from_str(text: &str) -> Result<$name> {
                $name::new(text)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(from: D) -> Result<$name, D::Error> {
                $name::new(&String::deserialize(from)?).map_err(serde::de::Error::custom)
            }
        }
    };
}

label! {
    /// The name of a job: what one coordinator runs and one chain tells of.
    JobName, "job"
}
label! {
    /// The name of a worker: what claims a part of the key groups of a checkpoint.
    WorkerName, "worker"
}
label! {
    /// The name of a pin: a checkpoint that somebody keeps.
    PinName, "pin"
}

fn is_label(text: &str) -> bool {
    text.len() <= LABEL_BYTES_MAX
        && text.starts_with(|first: char| first.is_ascii_alphanumeric())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
}

fn label_error(what: &str, text: &str) -> Error {
    let head: String = text.chars().take(LABEL_BYTES_MAX).collect();
    let message = format!(
        "{head:?} is not the name of a {what}: expected 1 to {LABEL_BYTES_MAX} of the characters a-z A-Z 0-9 . _ -, the \
         first of them a letter or a digit"
    );
    Error::new(ErrorKind::Fix, message)
}

/// Defines a number that is written in hexadecimal digits of a fixed width.
macro_rules! hexadecimal {
    ($(#[$doc:meta])* $name:ident, $number:ty, $digits:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub $number);

        impl $name {
            fn parse(text: &str) -> Option<$name> {
                let number = $name(<$number>::from_str_radix(text, 16).ok()?);
                // One spelling only: no sign, no upper case, no missing zeros.
                (number.to_string() == text).then_some(number)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(out, concat!("{:0", $digits, "x}"), self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, out)
            }
        }

        impl FromStr for $name {
            type Err = Error;

            fn from_str(text: &str) -> Result<$name> {
                $name::parse(text).ok_or_else(|| {
                    let head: String = text.chars().take(LABEL_BYTES_MAX).collect();
                    let message = concat!(" is not a number of ", $digits, " hexadecimal digits in lower case");
                    Error::new(ErrorKind::Fix, format!("{head:?}{message}"))
                })
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, into: S) -> Result<S::Ok, S::Error> {
                into.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(from: D) -> Result<$name, D::Error> {
                String::deserialize(from)?.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}

hexadecimal! {
    /// Tells the attempts of a worker to write its claim of one checkpoint apart; random.
    Attempt, u64, "16"
}
hexadecimal! {
    /// The name of a lease; random.
    LeaseId, u128, "32"
}
hexadecimal! {
    /// The name of a worker's probe; random.
    ProbeId, u128, "32"
}
hexadecimal! {
    /// Tells uploads of one run apart; random.
    Upload, u32, "8"
}

/// The name of a run, in manifests.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RunName(pub RunId);

impl Serialize for RunName {
    fn serialize<S: Serializer>(&self, into: S) -> Result<S::Ok, S::Error> {
        into.collect_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for RunName {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<RunName, D::Error> {
        String::deserialize(from)?.parse().map(RunName).map_err(serde::de::Error::custom)
    }
}

/// A shipped run: which, and which upload of it.
///
/// ```
/// use bedload_snapshot::ParcelName;
///
/// let name: ParcelName = "7f3a91c20b5d4e18-0000002a-91b0c4d2".parse()?;
/// assert_eq!((name.run.sequence, name.upload.0), (42, 0x91b0c4d2));
/// assert!("../../etc/passwd".parse::<ParcelName>().is_err());
/// # Ok::<(), bedload_snapshot::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ParcelName {
    /// The run.
    pub run: RunId,
    /// The upload.
    pub upload: Upload,
}

impl fmt::Display for ParcelName {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}-{}", self.run, self.upload)
    }
}

impl FromStr for ParcelName {
    type Err = Error;

    fn from_str(text: &str) -> Result<ParcelName> {
        let (run, upload) = text.rsplit_once('-').unwrap_or((text, ""));
        Ok(ParcelName { run: run.parse()?, upload: upload.parse()? })
    }
}

impl Serialize for ParcelName {
    fn serialize<S: Serializer>(&self, into: S) -> Result<S::Ok, S::Error> {
        into.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for ParcelName {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<ParcelName, D::Error> {
        String::deserialize(from)?.parse().map_err(serde::de::Error::custom)
    }
}

/// A checkpoint: the epoch of the coordinator that ran it, and the number it gave.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CheckpointId {
    /// The slot of the coordinator's fence.
    pub epoch: u64,
    /// Its number in that epoch.
    pub number: u64,
}

impl fmt::Display for CheckpointId {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}-{}", self.epoch, self.number)
    }
}

impl FromStr for CheckpointId {
    type Err = Error;

    fn from_str(text: &str) -> Result<CheckpointId> {
        let parts = text.split_once('-').and_then(|(epoch, number)| Some((epoch.parse().ok()?, number.parse().ok()?)));
        let id = parts.map(|(epoch, number)| CheckpointId { epoch, number });
        id.filter(|id| id.to_string() == text).ok_or_else(|| {
            let head: String = text.chars().take(LABEL_BYTES_MAX).collect();
            Error::new(ErrorKind::Fix, format!("{head:?} is not a checkpoint: expected epoch and number, as in 3-18"))
        })
    }
}

/// An object of a repo.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ObjectName {
    /// What says that this is a repo.
    Marker,
    /// What an opening tries a store out with.
    Probe(u128),
    /// A slot of a job's chain.
    Slot(JobName, u64),
    /// A boundary of a job's chain.
    Boundary(JobName, u64),
    /// What one worker says it contributed to a checkpoint.
    Claim(JobName, CheckpointId, WorkerName, Attempt),
    /// A shipped run.
    Parcel(JobName, ParcelName),
    /// A lease.
    Lease(JobName, LeaseId),
    /// A pin.
    Pin(JobName, PinName),
    /// What a collector was about to delete.
    Deletions(JobName, u128),
    /// What a worker shows the coordinator.
    WorkerProbe(JobName, ProbeId),
}

impl ObjectName {
    /// Its path below the root of the repo.
    pub fn path(&self) -> Path {
        Path::from(self.to_string())
    }

    /// Reads a path below the root of a repo; `None` when no object of ours is named like that.
    pub fn parse(path: &str) -> Option<ObjectName> {
        let name = ObjectName::parse_loosely(path)?;
        (name.to_string() == path).then_some(name)
    }

    fn parse_loosely(path: &str) -> Option<ObjectName> {
        if path == "bedload.json" {
            return Some(ObjectName::Marker);
        }
        if let Some(probe) = path.strip_prefix("probes/") {
            return Some(ObjectName::Probe(u128::from_str_radix(probe.strip_suffix(".json")?, 16).ok()?));
        }
        let (job, rest) = path.strip_prefix("jobs/")?.split_once('/')?;
        let job = JobName::new(job).ok()?;
        let (folder, file) = rest.split_once('/')?;
        if folder == "runs" {
            return Some(ObjectName::Parcel(job, file.strip_suffix(".parcel")?.parse().ok()?));
        }
        let file = file.strip_suffix(".json")?;
        Some(match folder {
            "chain" => ObjectName::Slot(job, file.parse().ok()?),
            "boundary" => ObjectName::Boundary(job, file.parse().ok()?),
            "leases" => ObjectName::Lease(job, LeaseId::parse(file)?),
            "deletions" => ObjectName::Deletions(job, u128::from_str_radix(file, 16).ok()?),
            "pins" => ObjectName::Pin(job, PinName::new(file).ok()?),
            "probes" => ObjectName::WorkerProbe(job, ProbeId::parse(file)?),
            "checkpoints" => {
                let (checkpoint, claim) = file.split_once('/')?;
                let (epoch, number) = checkpoint.split_once('-')?;
                let (worker, attempt) = claim.rsplit_once('-')?;
                let checkpoint = CheckpointId { epoch: epoch.parse().ok()?, number: number.parse().ok()? };
                ObjectName::Claim(job, checkpoint, WorkerName::new(worker).ok()?, Attempt::parse(attempt)?)
            }
            _ => return None,
        })
    }
}

/// The path below the root of the repo.
impl fmt::Display for ObjectName {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ObjectName::Marker => out.write_str("bedload.json"),
            ObjectName::Probe(number) => write!(out, "probes/{number:032x}.json"),
            ObjectName::Slot(job, slot) => write!(out, "jobs/{job}/chain/{slot:012}.json"),
            ObjectName::Boundary(job, number) => write!(out, "jobs/{job}/boundary/{number:012}.json"),
            ObjectName::Claim(job, CheckpointId { epoch, number }, worker, attempt) => {
                write!(out, "jobs/{job}/checkpoints/{epoch:012}-{number:012}/{worker}-{attempt}.json")
            }
            ObjectName::Parcel(job, parcel) => write!(out, "jobs/{job}/runs/{parcel}.parcel"),
            ObjectName::Lease(job, lease) => write!(out, "jobs/{job}/leases/{lease}.json"),
            ObjectName::Deletions(job, id) => write!(out, "jobs/{job}/deletions/{id:032x}.json"),
            ObjectName::Pin(job, pin) => write!(out, "jobs/{job}/pins/{pin}.json"),
            ObjectName::WorkerProbe(job, id) => write!(out, "jobs/{job}/probes/{id}.json"),
        }
    }
}

/// The folders of a job, for listings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Folder {
    /// All of the job.
    Job,
    /// The slots of its chain.
    Chain,
    /// The boundaries of its chain.
    Boundaries,
    /// Its leases.
    Leases,
    /// Its pins.
    Pins,
    /// What openings try a store out with, of all jobs.
    Probes,
}

impl Folder {
    /// The path of this folder of `job`, below the root of the repo.
    pub fn path(self, job: &JobName) -> Path {
        Path::from(match self {
            Folder::Job => format!("jobs/{job}"),
            Folder::Chain => format!("jobs/{job}/chain"),
            Folder::Boundaries => format!("jobs/{job}/boundary"),
            Folder::Leases => format!("jobs/{job}/leases"),
            Folder::Pins => format!("jobs/{job}/pins"),
            Folder::Probes => "probes".to_owned(),
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn labels() -> impl Strategy<Value = String> {
        "[a-zA-Z0-9][a-zA-Z0-9._-]{0,20}"
    }

    fn names() -> impl Strategy<Value = ObjectName> {
        (labels(), labels(), any::<(u64, u64, u64, u128, u32)>(), 0..10).prop_map(|(job, label, numbers, kind)| {
            let (first, second, third, lease, upload) = numbers;
            let job = JobName::new(&job).unwrap();
            match kind {
                0 => ObjectName::Marker,
                1 => ObjectName::Slot(job, first),
                2 => ObjectName::Boundary(job, first),
                3 => {
                    let checkpoint = CheckpointId { epoch: first, number: second };
                    ObjectName::Claim(job, checkpoint, WorkerName::new(&label).unwrap(), Attempt(third))
                }
                4 => {
                    let run = RunId { opening: first, sequence: second };
                    ObjectName::Parcel(job, ParcelName { run, upload: Upload(upload) })
                }
                5 => ObjectName::Lease(job, LeaseId(lease)),
                6 => ObjectName::Probe(lease),
                7 => ObjectName::Deletions(job, lease),
                8 => ObjectName::WorkerProbe(job, ProbeId(lease)),
                _ => ObjectName::Pin(job, PinName::new(&label).unwrap()),
            }
        })
    }

    proptest! {
        #[test]
        fn a_name_round_trips(name in names()) {
            prop_assert_eq!(ObjectName::parse(&name.to_string()), Some(name.clone()));
            prop_assert_eq!(name.path().to_string(), name.to_string(), "nothing in a name has to be escaped");
        }

        #[test]
        fn a_name_has_one_spelling(text in "(jobs/[a-z./]{1,4}/(chain|boundary|runs|leases|pins)/[0-9a-f.-]{1,20}(.json|.parcel)?|\\PC*)") {
            if let Some(name) = ObjectName::parse(&text) {
                prop_assert_eq!(name.to_string(), text);
            }
        }
    }

    #[test]
    fn hostile_labels_are_refused() {
        for text in ["", ".", "..", "a/b", "-a", "_", "a b", "a\0", "ä", "%2e", &"a".repeat(121)] {
            let error = JobName::new(text).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Fix, "{text:?}");
            assert!(error.to_string().contains("is not the name of a job: expected "), "{error}");
        }
        assert!(serde_json::from_str::<WorkerName>("\"../up\"").is_err());
        assert!(serde_json::from_str::<ParcelName>("\"7f3a91c20b5d4e18-2a-91b0c4d2\"").is_err());
    }

    #[test]
    fn slots_are_listed_in_the_order_of_their_numbers() {
        let job = JobName::new("late-board").unwrap();
        let slot = |number| ObjectName::Slot(job.clone(), number).to_string();
        assert_eq!(slot(9), "jobs/late-board/chain/000000000009.json");
        assert!(slot(9) < slot(10) && slot(99_999) < slot(100_000));
    }
}
