//! Ours, as an operator would use it.
//!
//! Set-up: the whole budget goes to the store, which divides it itself; everything else is at its default. Keys have the
//! shape that the engine would give them: two bytes of key group are the partition; map entries and timers are scanned under
//! their prefix; points and lists are looked up whole. Lists are folded by the store's own append rule.
//!
//! A checkpoint is a freeze; its rest waits for the flush and links the runs of all slices into the checkpoint's directory,
//! which is what others do when they checkpoint. Split and merge adopt such runs. Where checkpoints are shipped, it is done by
//! `bedload-snapshot`.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use bedload_lsm::{
    AdoptedRun, AdoptedSource, AdoptedStack, Fold, FrozenStacks, KeyRange, KeyShape, Rule, Rules, RunRef,
};

use super::bedload_shipping::Shipping;
use crate::data::{Key, MAP_PREFIX_BYTES, QUEUE_PREFIX_BYTES, State, half_of_groups};
use crate::store::{Image, Rest, Setup, Shipped, Store, Turn};

/// How long merges must have been at rest to count as settled: longer than one merge takes.
const REST: Duration = Duration::from_millis(1200);

type Lsm = bedload_lsm::Store;

pub struct Bedload {
    inner: Lsm,
    /// Where checkpoints are shipped, from the first one that is.
    shipping: Option<Shipping>,
    /// The seal of the last confirmed checkpoint.
    confirmed: Option<u64>,
}

/// A frozen state, with its files linked into a directory.
pub struct BedloadImage {
    stacks: FrozenStacks,
    files: HashMap<String, PathBuf>,
    delta_bytes: Option<u64>,
}

impl Image for BedloadImage {
    fn shipped_bytes(&self) -> Option<u64> {
        self.delta_bytes
    }
}

/// The shape of an operator's keys.
struct OperatorKeys;

impl KeyShape for OperatorKeys {
    fn name(&self) -> &str {
        "operator"
    }

    fn version(&self) -> u32 {
        1
    }

    fn partition_bytes(&self, key: &[u8]) -> usize {
        key.len().min(2)
    }

    fn scan_prefix_bytes(&self, key: &[u8]) -> Option<usize> {
        let state = *key.get(2)?;
        let prefix = match state {
            _ if state == State::Maps as u8 => MAP_PREFIX_BYTES,
            _ if state == State::Timers as u8 => QUEUE_PREFIX_BYTES,
            _ => return None,
        };
        (key.len() >= prefix).then_some(prefix)
    }

    fn is_queued(&self, key: &[u8]) -> bool {
        key.get(2) == Some(&(State::Timers as u8))
    }
}

/// Lists append.
struct AppendToLists;

impl Rules for AppendToLists {
    fn rule(&self, key: &[u8]) -> Option<Rule> {
        (key.get(2) == Some(&(State::Lists as u8))).then_some(Rule { fold: Fold::Append, clock: None })
    }
}

impl Store for Bedload {
    type Turn<'a> = &'a mut Lsm;
    type Image = BedloadImage;

    fn open(setup: &Setup) -> Result<Bedload> {
        let options = Lsm::options().memory(setup.memory_bytes).shape(OperatorKeys).rules(AppendToLists);
        Ok(Bedload { inner: options.open(&setup.directory)?, shipping: None, confirmed: None })
    }

    fn turn<T>(&mut self, work: impl FnOnce(&mut &mut Lsm) -> Result<T>) -> Result<T> {
        work(&mut &mut self.inner)
    }

    fn checkpoint(&mut self, into: &Path) -> Result<Rest<BedloadImage>> {
        let frozen = self.inner.freeze()?;
        let (into, before) = (into.to_owned(), self.confirmed);
        Ok(Box::new(move || {
            let stacks = frozen.wait()?;
            let deltas = before.and_then(|seal| stacks.deltas_since(seal));
            let delta_bytes = deltas.map(|deltas| deltas.iter().map(|delta| delta.run.bytes()).sum());
            let files = link_runs(&stacks, &into)?;
            Ok(BedloadImage { stacks, files, delta_bytes })
        }))
    }

    fn confirm(&mut self, image: &BedloadImage) -> Result<()> {
        self.inner.release(image.stacks.seal());
        self.confirmed = Some(image.stacks.seal());
        Ok(())
    }

    fn ship(&mut self) -> Result<Option<Shipped>> {
        let shipping = match &mut self.shipping {
            Some(shipping) => shipping,
            started => started.insert(Shipping::start()?),
        };
        shipping.ship(&mut self.inner).map(Some)
    }

    fn settle(&mut self) -> Result<()> {
        self.inner.flush()?;
        let mut merges = u64::MAX;
        while merges != self.inner.metrics().merges.get() {
            merges = self.inner.metrics().merges.get();
            let until = Instant::now() + REST;
            while Instant::now() < until {
                std::thread::park_timeout(until.saturating_duration_since(Instant::now()));
            }
            self.inner.refresh();
        }
        Ok(())
    }

    fn close(self) -> Result<()> {
        Ok(self.inner.close()?)
    }

    fn open_half(image: &BedloadImage, half: usize, setup: &Setup) -> Result<Bedload> {
        let mut store = Bedload::open(setup)?;
        store.inner.adopt(&stacks_of(image, &range_of_half(half))?, image.stacks.clocks())?;
        Ok(store)
    }

    fn merge(images: &[BedloadImage; 2], whole: &Setup) -> Result<Bedload> {
        let mut store = Bedload::open(whole)?;
        let mut stacks = stacks_of(&images[0], &range_of_half(0))?;
        stacks.extend(stacks_of(&images[1], &range_of_half(1))?);
        store.inner.adopt(&stacks, images[0].stacks.clocks())?;
        Ok(store)
    }

    fn is_immutable(file: &Path) -> bool {
        file.extension().is_some_and(|ending| ending == "run")
    }
}

fn range_of_half(half: usize) -> KeyRange {
    let (start, end) = half_of_groups(half);
    KeyRange { start, end }
}

/// Links each run once, under its own name.
fn link_runs(stacks: &FrozenStacks, into: &Path) -> Result<HashMap<String, PathBuf>> {
    std::fs::create_dir_all(into)?;
    let mut files = HashMap::new();
    for tile in stacks.tiles() {
        for slice in &tile.slices {
            let name = slice.run.id().to_string();
            if let Entry::Vacant(unlinked) = files.entry(name) {
                let path = slice.run.path().context("a run of a local store has a file")?;
                let link = into.join(path.file_name().context("a run's path ends in its name")?);
                std::fs::hard_link(path, &link).with_context(|| format!("linking {}", link.display()))?;
                unlinked.insert(link);
            }
        }
    }
    Ok(files)
}

/// The stacks of an image for the part of each tile inside `range`.
fn stacks_of(image: &BedloadImage, range: &KeyRange) -> Result<Vec<AdoptedStack>> {
    let mut stacks = Vec::new();
    for tile in image.stacks.tiles() {
        let clip = tile.range.intersect(range);
        if !clip.is_empty() {
            let runs: Result<Vec<_>> = tile.slices.iter().map(|slice| adopted(image, &slice.run)).collect();
            stacks.push(AdoptedStack { range: clip, runs: runs? });
        }
    }
    Ok(stacks)
}

fn adopted(image: &BedloadImage, run: &RunRef) -> Result<AdoptedRun> {
    let file = image.files.get(&run.id().to_string()).context("every run of an image was linked")?;
    let source = AdoptedSource::File(file.clone());
    Ok(AdoptedRun { id: run.id(), bytes: run.bytes(), digest: *run.digest(), source })
}

impl Turn for &mut Lsm {
    fn put(&mut self, key: &[u8], value: &[u8]) -> Result<()> {
        Ok(Lsm::put(self, key, value)?)
    }

    fn get<T>(&mut self, key: &[u8], read: impl FnOnce(&[u8]) -> T) -> Result<Option<T>> {
        Ok(Lsm::get(self, key)?.map(|value| read(&value)))
    }

    fn get_many(&mut self, keys: &[Key], mut read: impl FnMut(usize, &[u8])) -> Result<()> {
        for (place, value) in self.multi_get(keys)?.iter().enumerate() {
            if let Some(value) = value {
                read(place, value);
            }
        }
        Ok(())
    }

    fn update(&mut self, key: &[u8], change: impl FnOnce(&mut [u8])) -> Result<bool> {
        Ok(Lsm::update(self, key, |slot| slot.value_mut().map(change).is_some())?)
    }

    fn delete(&mut self, key: &[u8]) -> Result<()> {
        Ok(Lsm::delete(self, key)?)
    }

    fn append(&mut self, key: &[u8], element: &[u8]) -> Result<()> {
        Ok(self.merge(key, element)?)
    }

    fn take_list(&mut self, key: &[u8], mut read: impl FnMut(&[u8])) -> Result<()> {
        if let Some(list) = Lsm::get(self, key)? {
            read(&list);
        }
        Ok(Lsm::delete(self, key)?)
    }

    fn scan_prefix(&mut self, prefix: &[u8], mut each: impl FnMut(&[u8], &[u8])) -> Result<()> {
        let mut scan = Lsm::scan_prefix(self, prefix)?;
        while let Some((key, value)) = scan.next_entry()? {
            each(key, value);
        }
        Ok(())
    }

    fn pop_due(&mut self, queue: &[u8], _behind: &[u8], until: &[u8], mut take: impl FnMut(&[u8])) -> Result<()> {
        self.pop_first(KeyRange::prefix(queue), until, |key, _| take(key))?;
        Ok(())
    }

    fn scan_range(&mut self, start: &[u8], end: Option<&[u8]>, mut each: impl FnMut(&[u8], &[u8])) -> Result<()> {
        let mut scan = self.scan(KeyRange { start: start.to_vec(), end: end.map(<[u8]>::to_vec) })?;
        while let Some((key, value)) = scan.next_entry()? {
            each(key, value);
        }
        Ok(())
    }
}
