//! What a stream operator holds: keyed and typed state that outgrows memory, timers, checkpoints in an object store.
//!
//! ```
//! use std::time::Duration;
//! use bedload::{Clock, Engine, Map, Spec, Start, Ttl, Value};
//!
//! const PLANE: Spec<Value<u64>> = Value::named("flights of a plane");
//! const STOPS: Spec<Map<u64, String>> = Map::named("stops").ttl(Ttl::after(Duration::from_secs(6 * 3600)).clock(Clock::Event));
//! const HOUR: u64 = 3_600_000;
//!
//! # tokio::runtime::Runtime::new().unwrap().block_on(async {
//! # let directory = tempfile::tempdir().unwrap();
//! let mut engine = Engine::builder(directory.path()).start(Start::Empty).open().await?;
//! let (plane, stops) = (engine.state(PLANE)?, engine.state(STOPS)?);
//! let idle = engine.timers::<()>("idle")?;
//!
//! // A record: tail number, time, airport.
//! let (tail, at_ms, airport) = ("N14228", 5 * HOUR, "EWR".to_owned());
//! let mut key = engine.with_key(tail)?; // hashed once
//! key.update(&plane, |flights| *flights.get_or_insert_default() += 1)?;
//! key.insert(&stops, &at_ms, &airport)?;
//! key.set_timer(&idle, at_ms + HOUR)?;
//!
//! // Time goes on: what is due fires.
//! let fired = engine.advance_watermark(6 * HOUR, |key, timer| {
//!     println!("{} was idle for an hour, after {:?} flights", timer.key::<str>()?, key.get(&plane)?);
//!     Ok(())
//! })?;
//! assert_eq!(fired, 1);
//! # Ok::<(), bedload::Error>(()) }).unwrap();
//! ```
//!
//! The [guide](mod@guide) leads from here to production.
//!
//! # Words of Apache Flink
//!
//! | there | here |
//! |---|---|
//! | `ValueState`: `value`, `update`, `clear` | [`Value`]: [`get`](Keyed::get), [`set`](Keyed::set), [`update`](Keyed::update) (read and write in one), [`clear`](Keyed::clear) |
//! | `ListState`: `add`, `get`, `update` | [`List`]: [`add`](Keyed::add), [`get`](Keyed::get) or [`each`](Keyed::each), [`set_list`](Keyed::set_list) |
//! | `MapState`: `put`, `get`, `contains`, `remove`, `entries` | [`Map`]: [`insert`](Keyed::insert), [`find`](Keyed::find), [`contains`](Keyed::contains), [`remove`](Keyed::remove), [`entries`](Keyed::entries) |
//! | `ReducingState`, `AggregatingState` | [`Reducing`], [`Aggregating`]: [`add`](Keyed::add), [`get`](Keyed::get); with a [`MergeFunction`], adding reads nothing |
//! | namespaces of windows, `mergeNamespaces` | [`Keyed::namespace`], [`Keyed::merge_namespaces`] |
//! | `TimerService`: event and processing time | [`Engine::timers`], [`Engine::processing_timers`], [`Keyed::set_timer`], [`Keyed::delete_timer`] |
//! | `StateTtlConfig`: update type, visibility | [`Ttl`], [`Renewal`], [`Visibility`] |
//! | operator state: list, union list, broadcast | [`OperatorState`] |
//! | max parallelism, key groups | [`Builder::max_groups`], [`key_group`]: the same formulas |
//! | `snapshotState`, `notifyCheckpointComplete` | [`Engine::checkpoint`], [`Engine::confirm`] |
//! | restore modes `NO_CLAIM` and `CLAIM` | [`Start::From`], [`Start::TakeOver`]; or the same name and [`Start::Latest`] |
//! | savepoint, State Processor API | any checkpoint: [`CheckpointReader`], [`bootstrap`] |
//!
//! # Checkpoints
//!
//! [`Engine::checkpoint`] freezes the state, which takes microseconds, and gives a [`Shipment`]: a task that uploads what the repo lacks
//! while the operator goes on. A checkpoint exists when the coordinator has completed it with the claims of all workers; then it restores
//! to its moment, on any number of workers, without an entry being rewritten. What the repo is, and who deletes in it, is told in
//! [`bedload_snapshot`].
//!
//! An engine that is opened again starts from a checkpoint, never from what a crash left behind: its sources go back to the
//! [positions](Engine::positions) that were in it.
//!
//! # What operations cost
//!
//! | operation | cost |
//! |---|---|
//! | [`Engine::with_key`] | one hash of the key |
//! | [`Keyed::update`], [`Keyed::set`] | one descent: a probe when the key was written lately |
//! | [`Keyed::add`] to a list, a sum, a minimum, a maximum, or with a [`MergeFunction`] | a probe, and no read however old the rest is; a call of the function when something was added lately |
//! | [`Keyed::clear`] of a map | one range delete |
//! | [`Keyed::set_timer`] | a put into an ordered index |
//! | [`Engine::advance_watermark`] | a look at each key group, then each timer that is due; one range delete for some hundred of them |
//! | [`Engine::checkpoint`] | microseconds, whatever the size of the state; of a [heap](Residence::Heap), a copy of it |

#[doc = include_str!("guide.md")]
pub mod guide {}

mod error;

mod hex;
mod merge_function;
mod ordered;
mod seeded;
mod start;
mod stats;
mod ttl;

mod codec;
mod key_groups;
#[cfg(feature = "metrics")]
mod metrics;
mod state_key;

mod heap;
mod operator_state;
mod spec;
mod tally;
mod timers;

mod backend;
mod catalog;
mod elements;
mod form;
mod operands;

mod keyed;

mod firing;
mod migration;
mod shipment;

mod engine;
mod rounds;

mod bootstrap;
mod reader;
mod taking_over;

mod coordinator;

mod runner;

#[cfg(feature = "testing")]
pub mod testing;

pub use bedload_lsm::{Counter, Env, EnvBuilder, Histogram, KEY_BYTES_MAX, VALUE_BYTES_MAX};
pub use bedload_snapshot::{Barrier, CheckpointId, ClaimRef, JobName, KeyGroups, Repo, ShipReport, WorkerName};
pub use bedload_snapshot::{CheckpointPolicy, Cuts, Retention, WorkerProbe, write_probe};
pub use bedload_snapshot::{Patience, RepoOptions, ShipOptions, ShipPolicy};
pub use bootstrap::bootstrap;
pub use catalog::{FunctionInfo, StateInfo, TimersInfo};
pub use codec::{Codec, InOrder, Postcard, Raw};
pub use coordinator::{Assignment, Cleaned, Coordinator, CoordinatorOptions, FromWorker, ToWorker};
pub use engine::{Builder, Confirmed, Engine};
pub use error::{Error, ErrorKind, Place, Result};
pub use firing::Fired;
pub use form::Form;
pub use key_groups::{KeyHash, default_max_groups, key_group};
pub use keyed::{Addable, Entries, Keyed, Mergeable, Readable};
pub use merge_function::MergeFunction;
pub use operator_state::OperatorState;
pub use ordered::Ordered;
pub use reader::{CheckpointReader, Contents, RawEntry};
pub use runner::{Ended, Job, Operator, Polled, Source, Stopper};
pub use shipment::{Shipment, Shipped};
pub use spec::{Aggregate, Aggregating, Forms, List, Map, Reducing, Spec, State, StateKind, Value};
pub use start::{Opened, Position, Residence, Restoring, Start};
pub use stats::{CheckpointStats, HeapStats, RestoreStats, Stats, StoreStats};
pub use timers::Timers;
pub use ttl::{Clock, Renewal, Ttl, Visibility};

/// The examples of the README, compiled and run with the tests.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
struct Readme;
