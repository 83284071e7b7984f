//! Figures for the head comments: `cargo test --release -p bedload-lsm --lib run::tests::speed -- --nocapture`.
//! In debug builds the same code runs on a small run, so that it stays working.
#![expect(clippy::disallowed_methods, reason = "a measurement is about time")]

use std::hint::black_box;
use std::time::Instant;

use super::*;
use crate::codec::hash32;

const ENTRIES: u64 = if cfg!(debug_assertions) { 20_000 } else { 1_000_000 };

fn key(number: u64) -> [u8; 16] {
    let mut key = [0; 16];
    key[..8].copy_from_slice(&number.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes());
    key[8..].copy_from_slice(&number.to_be_bytes());
    key
}

/// Prints the best of a few times: other work on the machine only ever adds.
fn timed<T>(what: &str, count: u64, mut action: impl FnMut() -> T) {
    let repeats = if cfg!(debug_assertions) { 1 } else { 7 };
    let best = (0..repeats).map(|_| {
        let start = Instant::now();
        black_box(action());
        start.elapsed().as_nanos() as f64 / count as f64
    });
    println!("{what:<44} {:>8.1} ns", best.fold(f64::INFINITY, f64::min));
}

/// A file that is thrown away.
struct Nowhere;

impl Appender for Nowhere {
    fn append(&mut self, _bytes: &[u8]) -> Result<()> {
        Ok(())
    }

    fn sync_data(&mut self) -> Result<()> {
        Ok(())
    }

    fn finish(self: Box<Self>) -> Result<()> {
        Ok(())
    }
}

/// A cheap sequence of numbers that looks random.
fn shuffled(count: u64, below: u64) -> Vec<u64> {
    let mut state = 1u64;
    let next = |_| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % below
    };
    (0..count).map(next).collect()
}

#[test]
fn figures() {
    let mut numbers: Vec<u64> = (0..ENTRIES).collect();
    numbers.sort_by_key(|number| key(*number));
    let keys: Vec<[u8; 16]> = numbers.iter().map(|number| key(*number)).collect();
    let plan = Plan::default();
    let value = [7u8; 80];
    timed("write an entry", ENTRIES, || {
        let mut writer =
            RunWriter::new(Box::new(Nowhere), PathBuf::new(), ID, plan.shape.clone(), plan.settings.clone());
        keys.iter().for_each(|key| writer.add(key, hash32(key), Entry::value(&value, None)).unwrap());
        writer.finish(&Clocks::default(), false).unwrap()
    });
    timed("digest, per entry", ENTRIES, || {
        let piece = vec![1; 128 << 10];
        let mut hasher = blake3::Hasher::new();
        (0..ENTRIES * 107 / (128 << 10)).for_each(|_| {
            hasher.update(&piece);
        });
        hasher.finalize()
    });
    let (mut writer, sink) = plan.writer(ID);
    keys.iter().for_each(|key| writer.add(key, hash32(key), Entry::value(&value, None)).unwrap());
    writer.finish(&Clocks::default(), false).unwrap();
    let bytes = sink.take();
    println!("{} bytes, {:.1} beside key and value", bytes.len(), bytes.len() as f64 / ENTRIES as f64 - 96.0);
    timed("for scale: a dependent read of that memory", ENTRIES, || {
        (0..ENTRIES).fold(1u64, |at, _| {
            let next = at.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            next ^ u64::from(bytes[((u128::from(next) * bytes.len() as u128) >> 64) as usize])
        })
    });
    let run = plan.open(&bytes, true).unwrap();
    timed("verify an entry", ENTRIES, || run.verify().unwrap());
    timed("iterate", ENTRIES, || iterate(&run));
    let random = shuffled(ENTRIES, ENTRIES);
    let probes: Vec<[u8; 16]> = random.iter().map(|number| key(*number)).collect();
    let gets = |probes: &[[u8; 16]]| {
        probes.iter().for_each(|key| {
            black_box(run.get(hash32(key), key).unwrap());
        });
    };
    gets(&probes);
    timed("get, cold", ENTRIES, || gets(&probes));
    let hot: Vec<[u8; 16]> = shuffled(ENTRIES, 100).iter().map(|number| key(numbers[*number as usize])).collect();
    gets(&hot[..1000]);
    timed("get, hot", ENTRIES, || gets(&hot));
    let absent: Vec<[u8; 16]> = random.iter().map(|number| key(*number + ENTRIES)).collect();
    timed("get of an absent key", ENTRIES, || gets(&absent));
    timed("filter miss", ENTRIES, || absent.iter().filter(|key| run.may_contain(hash32(*key), *key)).count());
    let hot_absent = &absent[..1000];
    timed("filter miss, hot", ENTRIES, || {
        (0..ENTRIES / 1000)
            .map(|_| hot_absent.iter().filter(|key| run.may_contain(hash32(*key), *key)).count())
            .sum::<usize>()
    });
    timed("copy blocks, per entry", ENTRIES, || {
        let mut writer =
            RunWriter::new(Box::new(Nowhere), PathBuf::new(), ID, plan.shape.clone(), plan.settings.clone());
        let mut cursor = run.sweep();
        cursor.seek(&[]).unwrap();
        while let Some(block) = cursor.block_ahead().unwrap() {
            writer.add_block(&block).unwrap();
            cursor.skip_block().unwrap();
        }
        writer.finish(&Clocks::default(), false).unwrap()
    });
    let cache = Arc::new(BlockCache::new(256 << 20));
    let run = plan.open_source(Arc::new(Bytes { bytes, is_mapped: false }), ID, cache).unwrap();
    let gets = |probes: &[[u8; 16]]| {
        probes.iter().for_each(|key| {
            black_box(run.get(hash32(key), key).unwrap());
        });
    };
    gets(&probes);
    timed("get through the cache, cold", ENTRIES, || gets(&probes));
    timed("get through the cache, hot", ENTRIES, || gets(&hot));
    timed("iterate through the cache", ENTRIES, || iterate(&run));
}

fn iterate(run: &Run) -> usize {
    let mut cursor = run.cursor();
    let mut bytes = 0;
    cursor.seek(&[]).unwrap();
    while let Some(key) = cursor.key() {
        bytes += key.len() + cursor.entry().unwrap().value.len();
        cursor.next().unwrap();
    }
    bytes
}
