//! Takes a checkpoint, loses the machine, and goes on from the checkpoint on another one.
//!
//! `cargo run -p bedload --example checkpoint_and_restore`

use bedload::{Engine, JobName, Repo, Result, Spec, Start, Value};
use bedload_snapshot::Epoch;

const BALANCE: Spec<Value<i64>> = Value::named("balance");

#[tokio::main]
pub(crate) async fn main() -> Result<()> {
    let directory = tempfile::tempdir().expect("a temporary directory can be had");
    let path = directory.path();
    // Any worker reaches it: a shared directory here, s3://bucket/path elsewhere.
    let repo = Repo::open(&format!("file://{}/repo", path.display())).await?;

    let mut engine = Engine::builder(path.join("a")).repo(&repo, "accounts").start(Start::LatestOrEmpty).open().await?;
    let balance = engine.state(BALANCE)?;
    for number in 0..1_000u64 {
        engine.with_key(&number)?.set(&balance, &100)?;
    }

    // The coordinator's part; `bedload::Coordinator` does this for jobs of many workers.
    let mut epoch = Epoch::start(&repo, &JobName::new("accounts")?, 128, "example").await?;
    let barrier = epoch.begin().await?;
    let shipment = engine.checkpoint(&barrier, b"offset 1000")?; // all that the operator waits for
    println!("the operator waited {:?}", shipment.pause());
    engine.with_key(&7u64)?.set(&balance, &0)?; // goes on: this is not in the checkpoint
    let shipped = shipment.ship().await?;
    println!("{} bytes uploaded in {} runs", shipped.report.uploaded_parcel_bytes, shipped.report.uploaded_runs);
    epoch.complete(&barrier, vec![shipped.claim]).await?; // from here on it exists
    engine.confirm(barrier.checkpoint).await;
    drop(engine); // no goodbye: the machine is gone

    let mut engine = Engine::builder(path.join("b")).repo(&repo, "accounts").open().await?;
    let opened = engine.opened_from().expect("there is a checkpoint");
    let position = String::from_utf8_lossy(&engine.positions()[0].bytes).into_owned();
    println!(
        "restored checkpoint {}, {} bytes fetched; sources go back to {position}",
        opened.checkpoint, opened.fetched_bytes
    );
    let balance = engine.state(BALANCE)?;
    assert_eq!(engine.with_key(&7u64)?.get(&balance)?, Some(100));
    assert_eq!(position, "offset 1000");
    engine.close()
}
