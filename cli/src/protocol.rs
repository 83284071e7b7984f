//! What the processes of a job say to each other: one line of JSON each, over the workers' standard input and output.
//!
//! ```text
//!  coordinator                       worker
//!  Setup             ───────────►    knows its folder, the repo and the input
//!  Coordinator(Start) ──────────►    opens its engine        ──► Opened, Coordinator(Ready)
//!  Read(until)       ───────────►    reads and counts        ──► Read(until)
//!  Coordinator(Checkpoint) ─────►    freezes, ships beside   ──► Shipped, Coordinator(Claimed)
//!                                    lazy restore is through ──► AllHere
//!  Count             ───────────►    reads its whole state   ──► Counted
//! ```
//!
//! Barriers stand between two `Read`s, at the same record for all workers: so one position holds for a whole checkpoint, and everything in
//! it depends on the records before that alone.

use std::path::PathBuf;

use bedload::{CheckpointId, Engine, FromWorker, Result, ToWorker};
use serde::{Deserialize, Serialize};

use crate::totals::Totals;
use crate::{lines, planes};

/// What a job reads.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Input {
    /// The first `rows` flights of the year, once for each of `years`.
    Flights { rows: u64, years: u64 },
    /// Kept lines.
    Lines { path: PathBuf, records: u64 },
}

impl Input {
    pub fn records(&self) -> u64 {
        match self {
            Input::Flights { rows, years } => rows * years,
            Input::Lines { records, .. } => *records,
        }
    }

    /// What one of them is called, in the plural.
    pub fn noun(&self) -> &'static str {
        match self {
            Input::Flights { .. } => "flights",
            Input::Lines { .. } => "lines",
        }
    }

    /// What the sums of totals are of.
    pub fn sums(&self) -> &'static [&'static str] {
        match self {
            Input::Flights { .. } => &planes::SUMS,
            Input::Lines { .. } => &lines::SUMS,
        }
    }

    /// Counts in plain collections.
    ///
    /// # Errors
    /// Those of reading the input.
    pub fn count_plainly(&self) -> Result<Totals> {
        match self {
            Input::Flights { rows, .. } => Ok(planes::count_plainly(&planes::Replay::new(*rows)?, self.records())),
            Input::Lines { path, records } => lines::count_plainly(path, *records),
        }
    }
}

/// The operator of a worker.
pub enum Operator {
    Planes(planes::Planes),
    Keys(lines::Keys),
}

impl Operator {
    /// Opens it on `engine`, to go on at record `next`.
    ///
    /// # Errors
    /// Those of declaring states, and of reading the input.
    pub fn open(engine: &mut Engine, input: &Input, next: u64) -> Result<Operator> {
        match input {
            Input::Flights { rows, .. } => {
                Ok(Operator::Planes(planes::Planes::open(engine, planes::Replay::new(*rows)?, next)?))
            }
            Input::Lines { path, .. } => Ok(Operator::Keys(lines::Keys::open(engine, path, next)?)),
        }
    }

    pub fn read(&mut self, engine: &mut Engine, until: u64) -> Result<()> {
        match self {
            Operator::Planes(planes) => planes.read(engine, until),
            Operator::Keys(keys) => keys.read(engine, until),
        }
    }

    pub fn totals(&self, engine: &mut Engine) -> Result<Totals> {
        match self {
            Operator::Planes(planes) => planes.totals(engine),
            Operator::Keys(keys) => keys.totals(engine),
        }
    }
}

/// What a worker process is told first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Setup {
    /// Its own folder.
    pub directory: PathBuf,
    pub repo: String,
    pub memory_bytes: usize,
    pub input: Input,
    /// For tests of the comparison: after a restore one record is passed over.
    pub loses_a_record: bool,
}

/// What a worker process is told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Order {
    Setup(Setup),
    Coordinator(ToWorker),
    /// Read records up to this one, without it.
    Read(u64),
    /// Read the whole state.
    Count,
}

/// What a worker process says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Said {
    /// The epoch that it is in: what it says of an earlier one is not heard.
    pub epoch: u64,
    pub what: What,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum What {
    Coordinator(FromWorker),
    Opened(Opened),
    /// Everything of a lazy restore is on this machine, so long after the start.
    AllHere {
        after_ms: u64,
    },
    Read(u64),
    Shipped(Shipped),
    Counted(Totals),
    /// It ends: for this reason.
    Failed(String),
}

/// How a worker began.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Opened {
    /// The record it goes on with.
    pub position: u64,
    /// From the order until the first record could be read.
    pub serving_after_ms: u64,
    /// Its state, and how much of that was on this machine at that time.
    pub state_bytes: u64,
    pub local_bytes: u64,
}

/// What a worker shipped for a checkpoint.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shipped {
    pub checkpoint: CheckpointId,
    /// What its records waited for.
    pub pause_us: u64,
    /// Bytes of runs that were uploaded, before compression and behind it.
    pub new_bytes: u64,
    pub new_parcel_bytes: u64,
    /// Bytes of all runs of its part of the checkpoint.
    pub claimed_bytes: u64,
    pub ahead_bytes: u64,
}
