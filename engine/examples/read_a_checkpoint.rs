//! Looks into a checkpoint without a worker: which states, which keys, which values.
//!
//! `cargo run -p bedload --example read_a_checkpoint -- file:///checkpoints late-board`, or without arguments on a small one of its own.

use bedload::{CheckpointReader, Map, Repo, Result, Spec, Value, bootstrap};

#[tokio::main]
pub(crate) async fn main() -> Result<()> {
    let directory = tempfile::tempdir().expect("a temporary directory can be had");
    let path = directory.path();
    let arguments: Vec<String> = if cfg!(test) { Vec::new() } else { std::env::args().skip(1).collect() };
    let (repo, job) = match &arguments[..] {
        [address, job] => (Repo::open(address).await?, job.clone()),
        _ => (small_checkpoint(path).await?, "board".to_owned()),
    };

    let reader = CheckpointReader::open(&repo, &job, None, path.join("reading")).await?;
    println!("checkpoint {} of {job}", reader.checkpoint());
    for state in reader.states() {
        println!("  {:8} {} ({})", state.kind, state.name, state.forms.codec);
    }
    let mut shown = 0;
    reader.entries(None, |entry| {
        shown += 1;
        if shown <= 10 {
            println!("  {}", reader.describe(entry));
        }
        Ok(true)
    })?;
    println!("{shown} entries");
    Ok(())
}

async fn small_checkpoint(path: &std::path::Path) -> Result<Repo> {
    const SEATS: Spec<Value<u32>> = Value::named("seats");
    const STOPS: Spec<Map<u64, String>> = Map::named("stops");
    let repo = Repo::open(&format!("file://{}/repo", path.display())).await?;
    bootstrap(
        &repo,
        "board",
        128,
        path.join("first"),
        |options| options,
        |engine| {
            let (seats, stops) = (engine.state(SEATS)?, engine.state(STOPS)?);
            for (plane, count) in [("N14228", 149), ("N24211", 178)] {
                let mut key = engine.with_key(plane)?;
                key.set(&seats, &count)?;
                key.insert(&stops, &517, &"EWR".to_owned())?;
                key.insert(&stops, &830, &"IAH".to_owned())?;
            }
            Ok(())
        },
    )
    .await?;
    Ok(repo)
}
