//! How several stores in one process get along: updates a second with one store and with two, each with its own writer.
//!
//! `cargo bench -p benches --bench scaling`. The stores share an environment: worker threads, cache, a budget of 256 MiB for
//! each. Runs are interleaved; the medians of three count. With as many writers as cores, the workers take from the writers.

use std::sync::Barrier;
use std::time::Instant;

use bedload_lsm::{Env, Result, Slot, Store};
use benches::{OperatorKeys, VALUE_BYTES, point_key, spread};

const KEYS: u64 = 1_000_000;
const UPDATES: u64 = 2_000_000;
const REPETITIONS: usize = 3;

fn main() -> Result<()> {
    // Those of `cargo bench -- NAME`, which all benches are given.
    let mut names = std::env::args().skip(1).filter(|argument| !argument.starts_with("--")).peekable();
    if names.peek().is_some() && names.all(|name| !"scaling".contains(&name)) {
        return Ok(());
    }
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let mut rates = [Vec::new(), Vec::new()];
    for _ in 0..REPETITIONS {
        for (rates, stores) in rates.iter_mut().zip(1..) {
            rates.push(updates_a_second(stores)?);
        }
    }
    let [one, two] = rates.map(|mut rates| {
        rates.sort_by(f64::total_cmp);
        rates[REPETITIONS / 2]
    });
    println!("{cores} cores, {KEYS} keys a store, uniform updates of values of {VALUE_BYTES} bytes");
    println!("1 store   {one:>12.0} updates/s");
    println!("2 stores  {two:>12.0} updates/s   {:.2} times as many", two / one);
    Ok(())
}

fn updates_a_second(stores: usize) -> Result<f64> {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let env = Env::builder().memory((256 << 20) * stores).build()?;
    let mut opened = Vec::new();
    for number in 0..stores {
        let options = Store::options().env(&env).shape(OperatorKeys);
        let mut store = options.open(directory.path().join(number.to_string()))?;
        for number in 0..KEYS {
            store.put(&point_key(number), &[number as u8; VALUE_BYTES])?;
        }
        store.flush()?;
        opened.push(store);
    }
    let start_together = Barrier::new(stores);
    let rates = std::thread::scope(|scope| {
        let writers: Vec<_> = opened.iter_mut().map(|store| scope.spawn(|| update(store, &start_together))).collect();
        writers.into_iter().map(|writer| writer.join().expect("a writer does not panic")).collect::<Result<Vec<f64>>>()
    })?;
    Ok(rates.iter().sum())
}

#[expect(clippy::disallowed_methods, reason = "a bench needs the clock")]
fn update(store: &mut Store, start_together: &Barrier) -> Result<f64> {
    let count = |slot: &mut Slot<'_>| {
        if let Some(value) = slot.value_mut() {
            value[0] = value[0].wrapping_add(1);
        }
    };
    start_together.wait();
    let start = Instant::now();
    for number in 0..UPDATES {
        store.update(&point_key(spread(number) % KEYS), count)?;
    }
    Ok(UPDATES as f64 / start.elapsed().as_secs_f64())
}
