//! What must hold inside of a block whose checksum is right, before its entries go into another run.
//!
//! A checksum says that nothing was flipped, not that whoever wrote the block kept the rules. Readers can live with that:
//! they find wrong entries or none. A merge cannot: it would put what is wrong under new checksums. Where it decodes entries
//! and adds them one by one, the cursor checks that keys grow, and the rest is made anew.

use super::block::{Block, Extent, HAS_EXTENTS, Header, StoredEntry, StoredValue};
use super::flaw::{Flaw, flaw};
use super::section::{ClockSpan, ClockSpans, Counts};
use crate::codec::hash32;
use crate::entry::Kind;

#[cold]
pub(super) fn out_of_order() -> Flaw {
    flaw("keys that are not in order")
}

/// What the entries of a block turned out to be.
#[derive(Default)]
pub(super) struct Checked {
    pub counts: Counts,
    pub clocks: ClockSpans,
    pub key_bytes: u64,
    /// Without extents.
    pub value_bytes: u64,
    pub extents: Vec<Extent>,
}

/// Decodes every entry, shows `visit` the hash of its key and the key, and checks that keys grow, that a get finds each, and
/// that the header says what the entries are; whether keys are scanned only the caller knows.
pub(super) fn check_entries(
    block: Block<'_>,
    header: &Header,
    mut visit: impl FnMut(u32, &[u8]) -> Result<(), Flaw>,
) -> Result<Checked, Flaw> {
    let mut found = Checked::default();
    let mut key = block.prefix().to_vec();
    let (shared, mut last) = (key.len(), None);
    for slot in 0..block.count() {
        let (hash, at) = block.slot(slot)?;
        let spot = block.spot_at(at)?;
        if last.is_some_and(|last| spot.suffix <= last) {
            return Err(out_of_order());
        }
        last = Some(spot.suffix);
        key.truncate(shared);
        key.extend_from_slice(spot.suffix);
        if hash != hash32(&key) || !block.leads_to(slot, hash) {
            return Err(flaw(format_args!("key under the hash {hash:08x}, which does not find it")));
        }
        visit(hash, &key)?;
        found.note(key.len(), &block.entry(spot.flags, spot.tail)?);
    }
    found.compare(header)?;
    Ok(found)
}

impl Checked {
    #[inline]
    fn note(&mut self, key_bytes: usize, entry: &StoredEntry) {
        self.counts.entries += 1;
        self.counts.tombstones += u64::from(entry.kind == Kind::Tombstone);
        self.counts.operands += u64::from(entry.kind == Kind::Operand);
        self.counts.expiring += u64::from(entry.expiry.is_some());
        self.key_bytes += key_bytes as u64;
        if let Some(expiry) = entry.expiry {
            self.clocks.add(expiry);
        }
        match &entry.value {
            StoredValue::Inline(value) => self.value_bytes += value.len() as u64,
            StoredValue::Extent(extent) => self.extents.push(*extent),
        }
    }

    fn compare(&self, header: &Header) -> Result<(), Flaw> {
        if (header.flags & HAS_EXTENTS != 0) == self.extents.is_empty() {
            let (flags, extents) = (header.flags, self.extents.len());
            return Err(flaw(format_args!("block with flags {flags:#x} and {extents} long values")));
        }
        let told = Counts {
            entries: header.count.into(),
            tombstones: header.tombstones.into(),
            operands: header.operands.into(),
            expiring: header.expiring.into(),
        };
        let (bytes, told_bytes) =
            ((self.key_bytes, self.value_bytes), (u64::from(header.key_bytes), u64::from(header.value_bytes)));
        if self.counts != told || bytes != told_bytes || self.clocks.only() != ClockSpan::of(header) {
            let what = format_args!("block of {:?}, expected {told:?}, or with other bytes or clocks", self.counts);
            return Err(flaw(what));
        }
        Ok(())
    }
}
