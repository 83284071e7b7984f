//! Writes: into the active memtable, in place where it can be.

use super::{Store, check_clock};
use crate::codec::hash32;
use crate::entry::{Entry, Expiry, KEY_BYTES_MAX, Kind, VALUE_BYTES_MAX};
use crate::error::{Error, ErrorKind, Result};
use crate::fold::{Fold, Rule, fold};
use crate::iter::no_rule;
use crate::key::KeyRange;
use crate::memtable::{Memtable, NoRoom};

impl Store {
    /// Sets the value of `key`. One probe; in place when the key is in the active memtable and the value fits.
    ///
    /// # Errors
    /// `Fix` when key or value is too long, or the value is not of the form of the key's merge rule; `Full` when memory is and
    /// flushes fail; `Closed` when the store is read-only.
    /// Nothing was written then.
    pub fn put(&mut self, key: &[u8], value: &[u8]) -> Result<()> {
        self.write(key, Entry::value(value, None))
    }

    /// Sets the value of `key` until `expiry`.
    ///
    /// # Errors
    /// As [`Store::put`]; `Fix` when there is no such clock, or the key's merge rule names another one.
    pub fn put_until(&mut self, key: &[u8], value: &[u8], expiry: Expiry) -> Result<()> {
        self.check_expiry(key, expiry)?;
        self.write(key, Entry::value(value, Some(expiry)))
    }

    /// Removes `key`. Leaves nothing behind when nothing older can hold the key.
    ///
    /// # Errors
    /// As [`Store::put`].
    pub fn delete(&mut self, key: &[u8]) -> Result<()> {
        self.prepare(Memtable::record_bytes(key.len(), 0))?;
        self.delete_prepared(key)
    }

    pub(super) fn delete_prepared(&mut self, key: &[u8]) -> Result<()> {
        let hash = hash32(key);
        if self.active.ranges().contains(key) || !self.snapshot.may_contain(hash, key) {
            self.active.remove(hash, key);
            return Ok(());
        }
        self.insert(hash, key, Entry::TOMBSTONE)
    }

    /// Folds `operand` onto the value of `key` by the key's [`Rule`]; an operand onto nothing is the value. Reads nothing
    /// older than the active memtable. The result does not expire.
    ///
    /// # Errors
    /// As [`Store::put`]; `Fix` when the key has no rule, or the operand does not fit it.
    pub fn merge(&mut self, key: &[u8], operand: &[u8]) -> Result<()> {
        let rule = self.rule_of(key)?;
        self.merge_checked(&rule, key, operand, None)
    }

    /// As [`Store::merge`]; the result ends at `expiry`, whatever the older value's was. A value that has ended by now is
    /// nothing.
    ///
    /// # Errors
    /// As [`Store::merge`] and [`Store::put_until`].
    pub fn merge_until(&mut self, key: &[u8], operand: &[u8], expiry: Expiry) -> Result<()> {
        let rule = self.rule_of(key)?;
        self.check_expiry(key, expiry)?;
        self.merge_checked(&rule, key, operand, Some(expiry))
    }

    fn merge_checked(&mut self, rule: &Rule, key: &[u8], operand: &[u8], expiry: Option<Expiry>) -> Result<()> {
        rule.fold.check(operand)?;
        check_lengths(key, operand.len())?;
        self.prepare(Memtable::record_bytes(key.len(), operand.len()))?;
        self.merge_prepared(rule, key, operand, expiry)
    }

    pub(super) fn rule_of(&self, key: &[u8]) -> Result<Rule> {
        self.core.rules.rule(key).ok_or_else(|| no_rule(key))
    }

    pub(super) fn merge_prepared(
        &mut self,
        rule: &Rule,
        key: &[u8],
        operand: &[u8],
        expiry: Option<Expiry>,
    ) -> Result<()> {
        let hash = hash32(key);
        let written = rule.clock.map_or(0, |clock| self.clocks.now(clock));
        let entry = Entry::operand(operand, expiry, written);
        let Some(place) = self.active.find(hash, key) else {
            let based = self.active.ranges().contains(key);
            return self.insert(hash, key, if based { Entry::value(operand, expiry) } else { entry });
        };
        let older = self.active.entry_at(place);
        let lives = older.kind != Kind::Tombstone && !older.expired(&self.clocks);
        if lives && older.expiry == expiry && matches!(rule.fold, Fold::Append) {
            let bytes = older.value.len() + operand.len();
            if bytes > VALUE_BYTES_MAX {
                return Err(too_long("list", bytes, VALUE_BYTES_MAX));
            }
            if self.active.append_at(place, operand).is_ok() {
                self.written_bytes += operand.len() as u64;
                return Ok(());
            }
        }
        let mut value = std::mem::take(&mut self.scratch);
        let folded = fold(rule, Some(self.active.entry_at(place)), entry, &mut value);
        let put = folded.and_then(|folded| {
            check_lengths(key, value.len())?;
            Ok(self.active.put_at(place, folded.with(&value)))
        });
        self.scratch = value;
        match put? {
            Ok(()) => {
                self.written_bytes += operand.len() as u64;
                Ok(())
            }
            // What it was folded onto stays in the memtable sealed now: the bare operand goes on top.
            Err(NoRoom) => {
                self.seal_active(false)?;
                self.insert(hash, key, entry)
            }
        }
    }

    fn write(&mut self, key: &[u8], entry: Entry<'_>) -> Result<()> {
        check_lengths(key, entry.value.len())?;
        self.check_form(key, entry.value)?;
        self.prepare(Memtable::record_bytes(key.len(), entry.value.len()))?;
        self.insert(hash32(key), key, entry)
    }

    /// What precedes every write of `bytes`: memory for it, a look at what workers installed.
    #[inline]
    pub(super) fn prepare(&mut self, bytes: usize) -> Result<()> {
        self.stamp += 1;
        self.reserve(bytes)?;
        self.refresh();
        if self.halted { self.check_open() } else { Ok(()) }
    }

    #[inline]
    pub(super) fn reserve(&mut self, bytes: usize) -> Result<()> {
        if self.active.used_bytes() + bytes > self.checked_bytes { self.make_way(bytes) } else { Ok(()) }
    }

    /// Puts an entry into the active memtable, which may hold one of that key.
    pub(super) fn insert(&mut self, hash: u32, key: &[u8], entry: Entry<'_>) -> Result<()> {
        if self.active.put(hash, key, entry) == Err(NoRoom) {
            self.seal_active(false)?;
            self.active.put(hash, key, entry).expect("an empty memtable has room for an entry");
        }
        self.written_bytes += (key.len() + entry.value.len()) as u64;
        Ok(())
    }

    /// Puts the entry of a key that the active memtable does not hold into it.
    pub(super) fn insert_new(&mut self, hash: u32, key: &[u8], entry: Entry<'_>) -> Result<()> {
        if self.active.add(hash, key, entry) == Err(NoRoom) {
            return self.insert(hash, key, entry);
        }
        self.written_bytes += (key.len() + entry.value.len()) as u64;
        Ok(())
    }

    /// Refuses a value that operands written later could not be folded onto: found only by a flush or merge, it would stop
    /// them for good. Folds of numbers alone refuse values, and never one of eight bytes.
    #[inline]
    pub(super) fn check_form(&self, key: &[u8], value: &[u8]) -> Result<()> {
        if value.len() == 8 || !self.core.ruled {
            return Ok(());
        }
        self.core.rules.rule(key).map_or(Ok(()), |rule| rule.fold.check(value))
    }

    pub(super) fn check_expiry(&self, key: &[u8], expiry: Expiry) -> Result<()> {
        check_clock(expiry.clock)?;
        match self.core.rules.rule(key) {
            Some(rule) if rule.clock != Some(expiry.clock) => {
                let message = format!(
                    "key {} expires by clock {}, and its merge rule names {:?}: one clock for all under a key",
                    key.escape_ascii(),
                    expiry.clock.0,
                    rule.clock.map(|clock| clock.0)
                );
                Err(Error::new(ErrorKind::Fix, message))
            }
            _ => Ok(()),
        }
    }
}

#[inline]
pub(super) fn check_lengths(key: &[u8], value_bytes: usize) -> Result<()> {
    if key.len() > KEY_BYTES_MAX {
        return Err(too_long("key", key.len(), KEY_BYTES_MAX));
    }
    if value_bytes > VALUE_BYTES_MAX {
        return Err(too_long("value", value_bytes, VALUE_BYTES_MAX));
    }
    Ok(())
}

/// Refuses a range that starts or ends behind what keys and their immediate followers can be.
pub(super) fn check_bounds(range: &KeyRange) -> Result<()> {
    if range.start.len() > KEY_BYTES_MAX + 1 {
        return Err(too_long("start of a range", range.start.len(), KEY_BYTES_MAX + 1));
    }
    match &range.end {
        Some(end) if end.len() > KEY_BYTES_MAX + 1 => Err(too_long("end of a range", end.len(), KEY_BYTES_MAX + 1)),
        _ => Ok(()),
    }
}

#[cold]
fn too_long(what: &str, found: usize, max: usize) -> Error {
    Error::new(ErrorKind::Fix, format!("{what} of {found} bytes, at most {max}"))
}
