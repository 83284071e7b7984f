//! From one worker to three and back: no entry is rewritten, and the checkpoint after it uploads nothing.
//!
//! `cargo run -p bedload --example rescale`

use std::path::Path;

use bedload::{Engine, JobName, Repo, Result, Spec, Start, Value};
use bedload_snapshot::Epoch;

const VISITS: Spec<Value<u32>> = Value::named("visits");

async fn open(path: &Path, repo: &Repo, name: &str, workers: u32) -> Result<Vec<Engine>> {
    let mut engines = Vec::new();
    for index in 0..workers {
        let builder = Engine::builder(path.join(format!("{name}-{index}"))).repo(repo, "visits").worker(index, workers);
        engines.push(builder.start(Start::LatestOrEmpty).open().await?);
    }
    Ok(engines)
}

/// Takes a checkpoint of all workers; gives the bytes that were uploaded for it.
async fn checkpoint(repo: &Repo, engines: &mut [Engine]) -> Result<u64> {
    let mut epoch = Epoch::start(repo, &JobName::new("visits")?, 128, "example").await?;
    if let Some(opened) = engines[0].opened_from() {
        epoch.build_upon(opened.checkpoint)?;
    }
    let barrier = epoch.begin().await?;
    let (mut claims, mut uploaded) = (Vec::new(), 0);
    for engine in engines.iter_mut() {
        let shipped = engine.checkpoint(&barrier, &[])?.ship().await?;
        uploaded += shipped.report.uploaded_bytes;
        claims.push(shipped.claim);
    }
    epoch.complete(&barrier, claims).await?;
    Ok(uploaded)
}

#[tokio::main]
pub(crate) async fn main() -> Result<()> {
    let directory = tempfile::tempdir().expect("a temporary directory can be had");
    let path = directory.path();
    let repo = Repo::open(&format!("file://{}/repo", path.display())).await?;

    let mut one = open(path, &repo, "one", 1).await?;
    let visits = one[0].state(VISITS)?;
    for user in 0..10_000u64 {
        one[0].with_key(&user)?.set(&visits, &1)?;
    }
    println!("1 worker:  {:>9} bytes uploaded", checkpoint(&repo, &mut one).await?);

    for (name, workers) in [("three", 3), ("again", 1)] {
        let mut engines = open(path, &repo, name, workers).await?;
        let mut users = 0;
        for engine in &mut engines {
            let visits = engine.state(VISITS)?;
            engine.keys::<u64, _>(&visits, |_, ()| {
                users += 1;
                Ok(())
            })?;
        }
        let uploaded = checkpoint(&repo, &mut engines).await?;
        println!("{workers} workers: {uploaded:>9} bytes uploaded, {users} users found");
        assert_eq!((users, uploaded), (10_000, 0));
    }
    Ok(())
}
