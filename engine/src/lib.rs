//! State of stream operators: keyed and typed, checkpointed to an object store, rescaled without rewriting a byte.

mod error;

mod hex;
mod ordered;
mod ttl;

mod codec;
mod key_groups;
mod state_key;

mod heap;
mod operator_state;
mod spec;
mod timers;

mod backend;
mod catalog;

mod keyed;

mod firing;

mod engine;

pub use bedload_lsm::{Counter, Histogram, KEY_BYTES_MAX, VALUE_BYTES_MAX};
pub use bedload_snapshot::{Barrier, CheckpointId, ClaimRef, JobName, KeyGroups, Repo, ShipReport, WorkerName};
pub use catalog::{StateInfo, TimersInfo};
pub use codec::{Codec, InOrder, Postcard, Raw};
pub use engine::{Builder, Engine, Opened, Position, Residence, Restoring, Shipment, Shipped, Start};
pub use error::{Error, ErrorKind, Place, Result};
pub use firing::Fired;
pub use key_groups::{KeyHash, default_max_groups, key_group};
pub use keyed::{Addable, Entries, Keyed, Mergeable, Readable};
pub use operator_state::OperatorState;
pub use ordered::Ordered;
pub use spec::{Aggregate, Aggregating, Forms, List, Map, Reducing, Spec, State, StateKind, Value};
pub use timers::Timers;
pub use ttl::{Clock, Renewal, Ttl};
