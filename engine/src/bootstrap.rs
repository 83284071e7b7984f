//! Makes the first checkpoint of a job from data, without running the job: a move from another system, a prepared state.

use std::path::Path;

use bedload_snapshot::{Chain, CheckpointId, Epoch, JobName, Repo};

use crate::engine::{Builder, Engine};
use crate::error::{Result, fix};
use crate::start::Start;

/// Writes the first checkpoint of `job`: what `write` puts into an engine of all `max_groups` key groups, in any order. Workers, however
/// many, start from it with [`Start::Latest`].
///
/// The state is written in `directory`, larger than memory if need be, and may be removed afterwards. `options` may set more of the engine:
/// memory, hash of keys.
///
/// ```
/// # use bedload::{Engine, Repo, Spec, Start, Value, bootstrap};
/// const SEATS: Spec<Value<u32>> = Value::named("seats");
/// # tokio::runtime::Runtime::new().unwrap().block_on(async {
/// # let directory = tempfile::tempdir().unwrap();
/// # let directory = directory.path();
/// let repo = Repo::open(&format!("file://{}/repo", directory.display())).await?;
/// bootstrap(&repo, "board", 128, directory.join("first"), |options| options, |engine| {
///     let seats = engine.state(SEATS)?;
///     for (plane, count) in [("N14228", 149), ("N24211", 178)] {
///         engine.with_key(plane)?.set(&seats, &count)?;
///     }
///     Ok(())
/// })
/// .await?;
/// let mut engine = Engine::builder(directory.join("worker")).repo(&repo, "board").open().await?;
/// let seats = engine.state(SEATS)?;
/// assert_eq!(engine.with_key("N24211")?.get(&seats)?, Some(178));
/// # Ok::<(), bedload::Error>(()) }).unwrap();
/// ```
///
/// # Errors
/// `Fix` when the job has been started already; those of `write`, of the store and of the repo. There is no checkpoint then.
pub async fn bootstrap(
    repo: &Repo,
    job: &str,
    max_groups: u32,
    directory: impl AsRef<Path>,
    options: impl FnOnce(Builder) -> Builder,
    write: impl FnOnce(&mut Engine) -> Result<()>,
) -> Result<CheckpointId> {
    let name = JobName::new(job)?;
    let chain = Chain::read(repo, &name).await?;
    if chain.state().next_slot() > 1 {
        return Err(fix(format!(
            "{repo}/jobs/{job}: this job has been started already; bootstrap another name, or use its checkpoints"
        )));
    }
    let builder = options(Engine::builder(directory).repo(repo, job).name("bootstrap").max_groups(max_groups));
    let mut engine = builder.start(Start::Empty).open().await?;
    write(&mut engine)?;
    let mut epoch = Epoch::start(repo, &name, max_groups, "bootstrap").await?;
    let barrier = epoch.begin().await?;
    let shipped = match engine.checkpoint(&barrier, &[]) {
        Ok(shipment) => shipment.ship().await,
        Err(error) => Err(error),
    };
    let completed = match shipped {
        Ok(shipped) => epoch.complete(&barrier, vec![shipped.claim]).await.map(|_| ()),
        Err(error) => Err(error),
    };
    if completed.is_err() {
        epoch.abort(&barrier).await;
    }
    completed.map(|()| barrier.checkpoint)
}
