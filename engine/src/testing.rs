//! For tests of operators: a disk and an object store that fail when the test says so, and time that the test owns.
//!
//! Behind the feature `testing`; for dev-dependencies. An engine is opened on such a disk by [`Builder::env`](crate::Builder::env), or by
//! [`Builder::fs`](crate::Builder::fs), and a repo on such an object store by [`RepoOptions::open_store`](crate::RepoOptions::open_store).
//! Neither needs a directory or a server, and pauses between two tries of a request take no time.
//!
//! | to be made to fail | by |
//! |---|---|
//! | one operation of the disk, all from one on, or one in so many | [`FaultFs::set_plan`] |
//! | what is read from the disk | [`FaultFs::set_flips`] |
//! | the whole machine: what a power loss leaves of the disk | [`MemoryFs::crash_image`] |
//! | one request to the object store, or each of a kind, before it takes effect, after it, or without an answer | [`FaultStore::choose`] |
//! | time: none passes but by | [`TestAmbient::pass_ms`], [`Engine::advance_watermark`](crate::Engine::advance_watermark), [`Engine::advance_processing_time`](crate::Engine::advance_processing_time) |
//!
//! An upload that fails once is made again, and nobody hears of it. A disk that is full fails the checkpoint; the operator goes on, and
//! the next checkpoint holds everything:
//!
//! ```
//! # tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap().block_on(async {
//! use std::sync::Arc;
//! use bedload::testing::{Epoch, Fault, FaultFs, FaultPlan, FaultStore, FaultWhen, MemoryFs, ObjectFault, TestAmbient};
//! use bedload::{Engine, Env, ErrorKind, Reducing, RepoOptions, Spec, Start};
//!
//! const FLIGHTS: Spec<Reducing<i64>> = Reducing::sum("flights");
//!
//! let time = Arc::new(TestAmbient::new(7)); // the seed of all that is random
//! let objects = FaultStore::default();
//! let repo = RepoOptions::default().ambient(time.clone()).open_store(Arc::new(objects.clone()), "memory://test").await?;
//! let disk = FaultFs::new(Arc::new(MemoryFs::new()));
//! let env = Env::builder().fs(Arc::new(disk.clone())).time(time.clone()).build()?;
//! let mut engine = Engine::builder("/state").env(&env).repo(&repo, "board").start(Start::Empty).open().await?;
//! let flights = engine.state(FLIGHTS)?;
//! let mut epoch = Epoch::start(&repo, &"board".parse()?, 128, "a test").await?;
//!
//! // The first request for a parcel fails, and is made again.
//! let mut failures = 1;
//! objects.choose(move |request| {
//!     let fails = request.path.ends_with(".parcel") && failures > 0;
//!     failures -= i32::from(fails);
//!     fails.then_some(ObjectFault::FailBefore)
//! });
//! engine.with_key("N14228")?.add(&flights, 1)?;
//! let barrier = epoch.begin().await?;
//! let shipped = engine.checkpoint(&barrier, b"")?.ship().await?;
//! assert_eq!(objects.faults(), 1);
//! epoch.complete(&barrier, vec![shipped.claim]).await?;
//! engine.confirm(barrier.checkpoint).await;
//!
//! // The disk is full: this checkpoint comes to nothing.
//! disk.set_plan(Some(FaultPlan { fault: Fault::NoSpace, when: FaultWhen::FromNth(0) }));
//! engine.with_key("N14228")?.add(&flights, 1)?;
//! let barrier = epoch.begin().await?;
//! let error = engine.checkpoint(&barrier, b"")?.ship().await.unwrap_err();
//! assert_eq!(error.kind(), ErrorKind::Full);
//! epoch.abort(&barrier).await;
//! engine.abort(barrier.checkpoint).await;
//! assert_eq!(engine.with_key("N14228")?.get(&flights)?, Some(2));
//!
//! // There is room again, and the next one holds all.
//! disk.set_plan(None);
//! time.pass_ms(1_000); // a flush that failed rests for a moment
//! let barrier = epoch.begin().await?;
//! let shipped = engine.checkpoint(&barrier, b"")?.ship().await?;
//! epoch.complete(&barrier, vec![shipped.claim]).await?;
//! engine.close()?;
//! let mut engine = Engine::builder("/other").env(&env).repo(&repo, "board").open().await?;
//! let flights = engine.state(FLIGHTS)?;
//! assert_eq!(engine.with_key("N14228")?.get(&flights)?, Some(2));
//! # Ok::<(), bedload::Error>(()) }).unwrap();
//! ```
//!
//! A whole job is tested the same way: [`Job::engine`](crate::Job::engine) passes its engines their environment.

pub use bedload_lsm::Time;
pub use bedload_lsm::fs::{BitFlip, Fault, FaultFs, FaultPlan, FaultWhen, Fs, MemoryFs};
pub use bedload_snapshot::testing::{Choose, FaultStore, ObjectFault, Operation, Request, TestAmbient};
pub use bedload_snapshot::{Ambient, Epoch};

pub use crate::seeded::{Bug, seed_bug};
