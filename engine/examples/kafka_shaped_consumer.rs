//! A consumer of a log with partitions: its offsets stand in the checkpoint beside the state, so that a record counts once whatever fails.
//! The log is a vector here; a client of a broker has the same three calls: poll, position, seek.
//!
//! `cargo run -p bedload --example kafka_shaped_consumer`

use bedload::{Engine, JobName, Reducing, Repo, Result, Spec, Start};
use bedload_snapshot::Epoch;

const SPENT: Spec<Reducing<i64>> = Reducing::sum("spent");

/// A partition of the log: records of a user and an amount.
fn record(partition: u32, offset: u64) -> (u64, i64) {
    ((u64::from(partition) * 7 + offset) % 50, 1)
}

#[tokio::main]
pub(crate) async fn main() -> Result<()> {
    const PARTITIONS: u32 = 4;
    const RECORDS: u64 = 10_000;
    let directory = tempfile::tempdir().expect("a temporary directory can be had");
    let path = directory.path();
    let repo = Repo::open(&format!("file://{}/repo", path.display())).await?;
    let job = JobName::new("spending")?;

    // The first life ends in the middle of a batch, behind its third checkpoint.
    for (life, batches_until_crash) in [(1, 7), (2, u64::MAX)] {
        let builder = Engine::builder(path.join(format!("life-{life}"))).repo(&repo, "spending");
        let mut engine = builder.start(Start::LatestOrEmpty).open().await?;
        let spent = engine.state(SPENT)?;
        // Each offset is an element of a list that is shared out anew when there are more workers.
        let mut offsets: Vec<(u32, u64)> = engine.operator_state().list("offsets")?;
        if offsets.is_empty() {
            offsets = (0..PARTITIONS).map(|partition| (partition, 0)).collect();
        }
        println!("life {life} starts at {offsets:?}");
        let mut epoch = Epoch::start(&repo, &job, 128, "example").await?;
        let mut batch = 0;
        while offsets.iter().any(|(_, offset)| *offset < RECORDS) && batch < batches_until_crash {
            for (partition, offset) in &mut offsets {
                for at in *offset..(*offset + 500).min(RECORDS) {
                    let (user, amount) = record(*partition, at);
                    engine.with_key(&user)?.add(&spent, amount)?;
                    *offset = at + 1;
                }
            }
            batch += 1;
            if batch % 2 == 0 {
                engine.operator_state().set_list("offsets", &offsets)?;
                let barrier = epoch.begin().await?;
                let shipped = engine.checkpoint(&barrier, &[])?.ship().await?;
                epoch.complete(&barrier, vec![shipped.claim]).await?;
                engine.confirm(barrier.checkpoint).await;
            }
        }
        if life == 2 {
            let mut sum = 0;
            for user in 0..50u64 {
                sum += engine.with_key(&user)?.get(&spent)?.unwrap_or(0);
            }
            println!("{sum} records counted");
            assert_eq!(sum, i64::from(PARTITIONS) * RECORDS as i64);
        }
    }
    Ok(())
}
