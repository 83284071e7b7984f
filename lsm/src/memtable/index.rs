//! The hash index of a memtable: hash and record offset in eight bytes, open addressing, in shards.
//!
//! ```text
//!   regions   of 2^n slots for each shard:  [shard 0 | shard 1 | … | shard 63]      one piece of memory
//!   shard     lives in one of them; when three quarters full it moves to the next, twice as large
//! ```
//!
//! A shard grows by itself, so growing pauses the writer for one sixty-fourth of the index at a time: some µs while small,
//! some 80 µs for the 12,288 entries of a shard of 16,384 slots (at 800,000 entries in all). It needs no look at the keys,
//! because the slot holds the hash. Hashes spread evenly, so that all shards move at nearly the same time; then the memory
//! they left goes back to the system. Keys whose 32-bit hashes agree are told apart in the arena.
//!
//! All shards of one size lie together because large pieces of memory have huge pages: a probe misses the processor's
//! caches anyway, and small pages let it miss the translation buffer as well.

use super::arena::Offset;
use super::chunks::Chunk;

const SHARD_BITS: u32 = 6;
const SHARDS: usize = 1 << SHARD_BITS;
const SLOT_BYTES: usize = 8;
const SLOTS_MIN: usize = 8;
/// No record: offsets are stored plus one.
const EMPTY: u64 = 0;

/// Finds records by hash.
pub(crate) struct Index {
    shards: [Shard; SHARDS],
    /// By the logarithm of the shards' slots; empty where no shard lives.
    regions: Vec<Region>,
    len: usize,
    slots: usize,
}

#[derive(Clone, Copy)]
struct Shard {
    /// The region where it lives.
    region: u32,
    len: u32,
}

/// Memory for all shards of one size.
#[derive(Default)]
struct Region {
    memory: Option<Chunk>,
    shards: usize,
}

fn slot_of(hash: u32, offset: Offset) -> u64 {
    u64::from(hash) << 32 | (u64::from(offset) + 1)
}

fn offset_in(slot: u64) -> Offset {
    (slot as u32).wrapping_sub(1)
}

/// Where a search for a hash starts.
#[inline]
fn home(hash: u32, slots: usize) -> usize {
    hash as usize & (slots - 1)
}

impl Index {
    /// An index that takes `expected` entries without growing.
    pub fn with_expected(expected: usize) -> Index {
        let slots = (expected / SHARDS * 3 / 2).next_power_of_two().max(SLOTS_MIN);
        let region = slots.trailing_zeros();
        let mut regions: Vec<Region> = (0..=region).map(|_| Region::default()).collect();
        regions[region as usize] = Region::of(slots, SHARDS);
        if expected > 0 {
            // Who knows what to expect is no writer, and has the time.
            regions[region as usize].memory.as_mut().map(Chunk::touch);
        }
        Index { shards: [Shard { region, len: 0 }; SHARDS], regions, len: 0, slots: slots * SHARDS }
    }

    /// Entries in it.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Bytes of all shards; while they move, the region that they leave is there as well.
    #[inline]
    pub fn memory_bytes(&self) -> usize {
        self.slots * SLOT_BYTES
    }

    #[inline]
    fn shard(hash: u32) -> usize {
        (hash >> (32 - SHARD_BITS)) as usize
    }

    #[inline]
    fn slots(&self, shard: usize) -> &[[u8; SLOT_BYTES]] {
        let region = self.shards[shard].region as usize;
        self.regions[region].shard(shard, 1 << region)
    }

    #[inline]
    fn slots_mut(&mut self, shard: usize) -> &mut [[u8; SLOT_BYTES]] {
        let region = self.shards[shard].region as usize;
        self.regions[region].shard_mut(shard, 1 << region)
    }

    /// The record with this hash that `is_it` accepts.
    #[inline]
    pub fn find(&self, hash: u32, mut is_it: impl FnMut(Offset) -> bool) -> Option<Offset> {
        let slots = self.slots(Index::shard(hash));
        let mut at = home(hash, slots.len());
        loop {
            let slot = u64::from_le_bytes(slots[at]);
            if slot == EMPTY {
                return None;
            }
            if (slot >> 32) as u32 == hash && is_it(offset_in(slot)) {
                return Some(offset_in(slot));
            }
            at = (at + 1) & (slots.len() - 1);
        }
    }

    /// Adds a record that is not in yet.
    pub fn insert(&mut self, hash: u32, offset: Offset) {
        let number = Index::shard(hash);
        let shard = self.shards[number];
        if (shard.len as usize + 1) * 4 > 3 << shard.region {
            self.grow(number);
        }
        put(self.slots_mut(number), slot_of(hash, offset));
        self.shards[number].len += 1;
        self.len += 1;
    }

    /// Lets the entry of `before` name `after`.
    pub fn replace(&mut self, hash: u32, before: Offset, after: Offset) {
        let slots = self.slots_mut(Index::shard(hash));
        let at = position(slots, slot_of(hash, before));
        slots[at] = slot_of(hash, after).to_le_bytes();
    }

    /// Removes a record.
    pub fn remove(&mut self, hash: u32, offset: Offset) {
        let number = Index::shard(hash);
        let slots = self.slots_mut(number);
        let at = position(slots, slot_of(hash, offset));
        close_gap(slots, at);
        self.shards[number].len -= 1;
        self.len -= 1;
    }

    /// Moves a shard into the next region.
    #[cold]
    fn grow(&mut self, number: usize) {
        let before = self.shards[number].region as usize;
        if before + 1 == self.regions.len() {
            self.regions.push(Region::default());
        }
        if self.regions[before + 1].memory.is_none() {
            self.regions[before + 1] = Region::of(2 << before, 0);
        }
        let [from, to] = self.regions.get_disjoint_mut([before, before + 1]).expect("both are there");
        let larger = to.shard_mut(number, 2 << before);
        for slot in from.shard(number, 1 << before) {
            if *slot != EMPTY.to_le_bytes() {
                put(larger, u64::from_le_bytes(*slot));
            }
        }
        to.shards += 1;
        from.shards -= 1;
        if from.shards == 0 {
            *from = Region::default();
        }
        self.shards[number].region += 1;
        self.slots += 1 << before;
    }
}

impl Region {
    /// Empty slots for all shards, some of which live there.
    fn of(slots: usize, shards: usize) -> Region {
        Region { memory: Some(Chunk::new(SHARDS * slots * SLOT_BYTES)), shards }
    }

    /// The slots of a shard, all of which are of this size.
    #[inline]
    fn shard(&self, number: usize, slots: usize) -> &[[u8; SLOT_BYTES]] {
        let memory = self.memory.as_deref().unwrap_or(&[]);
        &memory.as_chunks().0[number * slots..][..slots]
    }

    #[inline]
    fn shard_mut(&mut self, number: usize, slots: usize) -> &mut [[u8; SLOT_BYTES]] {
        let memory = self.memory.as_deref_mut().unwrap_or(&mut []);
        &mut memory.as_chunks_mut().0[number * slots..][..slots]
    }
}

fn put(slots: &mut [[u8; SLOT_BYTES]], slot: u64) {
    let mut at = home((slot >> 32) as u32, slots.len());
    while slots[at] != EMPTY.to_le_bytes() {
        at = (at + 1) & (slots.len() - 1);
    }
    slots[at] = slot.to_le_bytes();
}

/// Where a slot, which is in, stands.
fn position(slots: &[[u8; SLOT_BYTES]], slot: u64) -> usize {
    let mut at = home((slot >> 32) as u32, slots.len());
    while slots[at] != slot.to_le_bytes() {
        assert_ne!(slots[at], EMPTY.to_le_bytes(), "the record is in the index");
        at = (at + 1) & (slots.len() - 1);
    }
    at
}

/// Moves the slots behind a removed one forward, so that no search ends too early.
fn close_gap(slots: &mut [[u8; SLOT_BYTES]], mut gap: usize) {
    let mask = slots.len() - 1;
    let mut at = gap;
    loop {
        at = (at + 1) & mask;
        let slot = u64::from_le_bytes(slots[at]);
        if slot == EMPTY {
            slots[gap] = EMPTY.to_le_bytes();
            return;
        }
        let home = home((slot >> 32) as u32, slots.len());
        if (at.wrapping_sub(home) & mask) >= (at.wrapping_sub(gap) & mask) {
            slots[gap] = slots[at];
            gap = at;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn it_finds_what_is_in_and_nothing_else() {
        let mut index = Index::with_expected(0);
        let mut model = BTreeMap::new();
        let mut random = 1u64;
        for offset in 0..if cfg!(miri) { 300 } else { 20_000 } {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            // Few bits, so that hashes collide and runs are long.
            let hash = (random >> 40) as u32 & 0xfc00_0fff;
            if random & 3 == 0 && !model.is_empty() {
                let (&offset, &hash) = model.iter().next().unwrap();
                index.remove(hash, offset);
                model.remove(&offset);
            }
            index.insert(hash, offset);
            model.insert(offset, hash);
        }
        assert_eq!(index.len(), model.len());
        for (&offset, &hash) in &model {
            assert_eq!(index.find(hash, |found| found == offset), Some(offset));
        }
    }
}
