//! What restores of the last checkpoint take, and what another number of workers costs.

use std::path::Path;
use std::sync::Arc;

use bedload_lsm::fs::DiskFs;
use bedload_lsm::{Env, Result, Store};
use bedload_snapshot::{
    Fetcher, JobName, KeyGroups, LocalPool, Repo, RestoreOptions, Restored, Start, restore, restore_lazily,
};
use tests::GroupedKeys;
use tests::rescales::rescale;

use crate::figures::Figures;
use crate::{GROUPS, Load, key, now};

/// Restores the last checkpoint lazily, whole, and from the copy that the worker keeps.
pub async fn restore_all(
    repo: &Repo,
    job: &JobName,
    directory: &Path,
    load: &Load,
    figures: &mut Figures,
) -> Result<()> {
    let options = RestoreOptions {
        start: Start::Latest,
        groups: KeyGroups::all(GROUPS as u32),
        holder: "shipping".into(),
        runs_at_once: 4,
    };
    let wanted = key(load.keys / 2, GROUPS);
    let open = |name: &str| LocalPool::open(Arc::new(DiskFs), directory.join(name));
    let serve = |restored: &Restored, name: &str| -> Result<Store> {
        let mut store = Store::options().shape(GroupedKeys).open(directory.join(name))?;
        restored.adopt(&mut store)?;
        assert!(store.get(&wanted)?.is_some(), "the checkpoint holds the key");
        Ok(store)
    };

    let start = now();
    let fetcher = Fetcher::start(2)?;
    let pool = open("lazy-local")?;
    let (told, ended) = std::sync::mpsc::channel();
    let done = move |result| {
        // Nobody listens when the command has failed meanwhile.
        told.send(result).ok();
    };
    let restored = restore_lazily(repo, job, &options, &pool, &fetcher, done).await?.expect("there is a checkpoint");
    let store = serve(&restored, "lazy")?;
    figures.add("lazy_first_get_ms", start.elapsed().as_secs_f64() * 1e3);
    ended.recv().expect("the background tells how it ended")?;
    figures.add("lazy_whole_ms", start.elapsed().as_secs_f64() * 1e3);
    figures.add("restore_runs", restored.plan.runs.len() as f64);
    figures.add("restore_parcel_bytes", restored.plan.parcel_bytes() as f64);
    drop((store, fetcher));
    // The state is large; so may be the number of its copies.
    remove(directory, &["lazy", "lazy-local"]);

    let start = now();
    let restored = restore(repo, job, &options, &open("eager-local")?).await?.expect("there is a checkpoint");
    drop(serve(&restored, "eager")?);
    let seconds = start.elapsed().as_secs_f64();
    remove(directory, &["eager", "eager-local"]);
    let bytes: u64 = restored.plan.runs.iter().map(|run| run.bytes).sum();
    figures.add("eager_ms", seconds * 1e3);
    figures.add("eager_run_megabytes_a_second", bytes as f64 / 1e6 / seconds);
    figures.add("eager_parcel_megabytes_a_second", restored.fetched_bytes as f64 / 1e6 / seconds);

    let start = now();
    let restored = restore(repo, job, &options, &open("local")?).await?.expect("there is a checkpoint");
    drop(serve(&restored, "again")?);
    figures.add("copy_ms", start.elapsed().as_secs_f64() * 1e3);
    figures.add("copy_fetched_bytes", restored.fetched_bytes as f64);
    Ok(())
}

fn remove(directory: &Path, names: &[&str]) {
    for name in names {
        // What cannot be removed goes with the whole directory.
        std::fs::remove_dir_all(directory.join(name)).ok();
    }
}

/// Starts the job with 2, 3 and 1 workers, each from the checkpoint of those before.
pub async fn rescale_all(
    repo: &Repo,
    job: &JobName,
    directory: &Path,
    load: &Load,
    figures: &mut Figures,
) -> Result<()> {
    for workers in [2, 3, 1] {
        let env = Env::builder().memory(load.memory).build()?;
        let place = directory.join(format!("rescaled-{workers}"));
        let start = now();
        let rescaled = rescale(repo, job, GROUPS as u32, workers, &place, &env).await?;
        let took = start.elapsed();
        remove(directory, &[&format!("rescaled-{workers}")]);
        let mut add = |name: &str, value: f64| figures.add(&format!("rescale_to_{workers}_{name}"), value);
        add("fetched_bytes", rescaled.fetched as f64);
        add("rewritten_bytes", rescaled.rewritten as f64);
        add("merged_meanwhile_bytes", rescaled.merged_meanwhile as f64);
        add("uploaded_bytes", rescaled.uploaded as f64);
        add("claimed_bytes", rescaled.claimed as f64);
        add("ms", took.as_secs_f64() * 1e3);
    }
    Ok(())
}
