//! How merge operands are folded: with each other, and onto values.
//!
//! A fold is one associative function of two byte strings, older and newer: operands and values have the same form, and an
//! operand over nothing is the value. So operands may be folded in the memtable, while reading or while compacting, in any
//! grouping, and give one answer.
//!
//! Expiry keeps that promise by two rules. The newest write sets the expiry. And an operand remembers the reading of its
//! key's clock when it was written: what had ended by *that* reading is not folded in, however late the folding happens.
//! For this to be decidable, all expiring writes under one key with a rule use the one clock that the rule names.

use std::sync::Arc;

use crate::codec::put_framed;
use crate::entry::{ClockId, Entry, Expiry, Kind, VALUE_BYTES_MAX};
use crate::error::{Error, ErrorKind, Result};

/// Which fold belongs to a key. A pure function given at open; the same for ever for one store.
///
/// ```
/// use bedload_lsm::{Fold, Rule, Rules};
///
/// struct Counters;
/// impl Rules for Counters {
///     fn rule(&self, _key: &[u8]) -> Option<Rule> {
///         Some(Rule { fold: Fold::AddI64, clock: None })
///     }
/// }
/// ```
pub trait Rules: Send + Sync + 'static {
    /// The rule of `key`, or `None` when its entries are never merged.
    fn rule(&self, key: &[u8]) -> Option<Rule>;

    /// Whether any key has a rule; false saves the question for each key.
    fn any(&self) -> bool {
        true
    }
}

/// No key merges.
///
/// ```
/// use bedload_lsm::{ErrorKind, Store};
///
/// # let directory = tempfile::tempdir().unwrap();
/// let mut store = Store::options().open(directory.path())?; // with NoRules
/// let error = store.merge(b"clicks", &1i64.to_le_bytes()).unwrap_err();
/// assert_eq!(error.kind(), ErrorKind::Fix);
/// # Ok::<(), bedload_lsm::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct NoRules;

impl Rules for NoRules {
    fn rule(&self, _key: &[u8]) -> Option<Rule> {
        None
    }

    fn any(&self) -> bool {
        false
    }
}

/// How the entries of a key are merged.
///
/// ```
/// use bedload_lsm::{ClockId, Expiry, Fold, Rule, Rules, Store};
///
/// # let directory = tempfile::tempdir().unwrap();
/// /// Sums under `sum/`, which may end by clock 0; lists under `list/`, which stay.
/// struct SumsAndLists;
/// impl Rules for SumsAndLists {
///     fn rule(&self, key: &[u8]) -> Option<Rule> {
///         match key {
///             [b's', b'u', b'm', b'/', ..] => Some(Rule { fold: Fold::AddI64, clock: Some(ClockId(0)) }),
///             [b'l', b'i', b's', b't', b'/', ..] => Some(Rule { fold: Fold::Append, clock: None }),
///             _ => None,
///         }
///     }
/// }
///
/// let mut store = Store::options().rules(SumsAndLists).open(directory.path())?;
/// let hour = Expiry { clock: ClockId(0), at: 3_600 };
/// store.merge_until(b"sum/clicks", &1i64.to_le_bytes(), hour)?;
/// store.merge_until(b"sum/clicks", &2i64.to_le_bytes(), hour)?;
/// assert_eq!(store.get(b"sum/clicks")?.as_deref(), Some(&3i64.to_le_bytes()[..]));
/// store.merge(b"list/stops", b"Ely;")?;
/// store.merge(b"list/stops", b"March;")?;
/// assert_eq!(store.get(b"list/stops")?.as_deref(), Some(&b"Ely;March;"[..]));
/// # Ok::<(), bedload_lsm::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Rule {
    /// Joins two operands, or a value and an operand.
    pub fold: Fold,
    /// The clock of every expiry under this key; `None` when its entries never expire.
    pub clock: Option<ClockId>,
}

/// Joins two adjacent operands, the older first: appends the result to an empty vector. Must be associative.
///
/// See [`Fold`] for an example.
pub type FoldFn = dyn Fn(&[u8], &[u8], &mut Vec<u8>) + Send + Sync;

/// An associative function of older and newer bytes.
///
/// ```
/// use std::sync::Arc;
/// use bedload_lsm::{Fold, FoldFn};
///
/// // Keeps the longest name; of two equally long ones the older.
/// let longest: Arc<FoldFn> = Arc::new(|older, newer, out| {
///     out.extend_from_slice(if newer.len() > older.len() { newer } else { older });
/// });
/// let fold = Fold::User(longest);
/// let mut joined = Vec::new();
/// fold.join(b"Ely", b"March", &mut joined)?;
/// assert_eq!(joined, b"March");
/// # Ok::<(), bedload_lsm::Error>(())
/// ```
///
/// A store folds by the [`Rule`] of a key: there is an example.
#[derive(Clone)]
#[non_exhaustive]
pub enum Fold {
    /// Lists: the newer bytes behind the older ones. [`frame`] makes the elements of such a list.
    Append,
    /// Adds two little-endian i64, wrapping around.
    AddI64,
    /// Keeps the smaller little-endian i64.
    MinI64,
    /// Keeps the larger little-endian i64.
    MaxI64,
    /// A function of the user's.
    User(Arc<FoldFn>),
}

impl std::fmt::Debug for Fold {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str(match self {
            Fold::Append => "Append",
            Fold::AddI64 => "AddI64",
            Fold::MinI64 => "MinI64",
            Fold::MaxI64 => "MaxI64",
            Fold::User(_) => "User",
        })
    }
}

impl Fold {
    /// Refuses bytes that this fold could not read.
    ///
    /// # Errors
    /// `Fix` when an i64 fold gets anything but eight bytes.
    pub fn check(&self, operand: &[u8]) -> Result<()> {
        match self {
            Fold::AddI64 | Fold::MinI64 | Fold::MaxI64 if operand.len() != 8 => Err(Error::new(
                ErrorKind::Fix,
                format!("operand of {self:?} has {} bytes, expected 8: an i64, little-endian", operand.len()),
            )),
            _ => Ok(()),
        }
    }

    /// Appends to `out` what `older` and `newer` make together.
    ///
    /// # Errors
    /// `Fix` when bytes under the key are not of the fold's form: a put wrote something else there.
    pub fn join(&self, older: &[u8], newer: &[u8], out: &mut Vec<u8>) -> Result<()> {
        let numbers = |join: fn(i64, i64) -> i64, out: &mut Vec<u8>| {
            let (Ok(older), Ok(newer)) = (older.try_into(), newer.try_into()) else {
                self.check(older)?;
                return self.check(newer);
            };
            let joined = join(i64::from_le_bytes(older), i64::from_le_bytes(newer));
            out.extend_from_slice(&joined.to_le_bytes());
            Ok(())
        };
        match self {
            Fold::Append => {
                out.reserve(older.len() + newer.len());
                out.extend_from_slice(older);
                out.extend_from_slice(newer);
                Ok(())
            }
            Fold::AddI64 => numbers(i64::wrapping_add, out),
            Fold::MinI64 => numbers(i64::min, out),
            Fold::MaxI64 => numbers(i64::max, out),
            Fold::User(join) => {
                join(older, newer, out);
                Ok(())
            }
        }
    }
}

/// An entry but for its bytes, which stand in a buffer beside it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Folded {
    /// Value or operand.
    pub kind: Kind,
    /// When the result ends.
    pub expiry: Option<Expiry>,
    /// See [`Entry::written`].
    pub written: u64,
}

impl Folded {
    /// The entry with its bytes.
    pub fn with(self, value: &[u8]) -> Entry<'_> {
        Entry { kind: self.kind, value, expiry: self.expiry, written: self.written }
    }
}

/// Folds the operand `newer` onto `older`, the next older entry of the same key (`None`: there is none); replaces `out`.
///
/// Gives the same for every grouping of neighbours. The result is an operand only when `older` is one.
///
/// # Errors
/// As [`Fold::join`]; `Fix` when the result is longer than a value may be.
pub fn fold(rule: &Rule, older: Option<Entry<'_>>, newer: Entry<'_>, out: &mut Vec<u8>) -> Result<Folded> {
    debug_assert_eq!(newer.kind, Kind::Operand, "only an operand is folded");
    out.clear();
    let older = older.filter(|older| {
        let ended = older.expiry.is_some_and(|expiry| expiry.at <= newer.written && Some(expiry.clock) == rule.clock);
        older.kind != Kind::Tombstone && !ended
    });
    let Some(older) = older else {
        out.extend_from_slice(newer.value);
        return Ok(Folded { kind: Kind::Value, expiry: newer.expiry, written: 0 });
    };
    rule.fold.join(older.value, newer.value, out)?;
    if out.len() > VALUE_BYTES_MAX {
        let message = format!("{:?} makes a value of {} bytes, at most {VALUE_BYTES_MAX}", rule.fold, out.len());
        return Err(Error::new(ErrorKind::Fix, message));
    }
    Ok(Folded { kind: older.kind, expiry: newer.expiry, written: older.written })
}

/// Appends `element` to a list in the form that [`Fold::Append`] joins: a varint length and the bytes.
///
/// ```
/// let mut list = Vec::new();
/// bedload_lsm::frame(&mut list, b"a");
/// bedload_lsm::frame(&mut list, b"bc");
/// let elements: Vec<&[u8]> = bedload_lsm::frames(&list).map(|element| element.unwrap()).collect();
/// assert_eq!(elements, [&b"a"[..], b"bc"]);
/// ```
pub fn frame(list: &mut Vec<u8>, element: &[u8]) {
    put_framed(list, element);
}

/// The elements of a list made by [`frame`]. A list that ends inside an element yields one error, then nothing.
pub fn frames(list: &[u8]) -> impl Iterator<Item = Result<&[u8]>> {
    let mut reader = crate::codec::Reader::new(list);
    let mut broken = false;
    std::iter::from_fn(move || {
        if broken || reader.rest().is_empty() {
            return None;
        }
        Some(reader.framed(usize::MAX).map_err(|_| {
            broken = true;
            Error::new(ErrorKind::Fix, "list ends inside an element: was it written with `frame`?")
        }))
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const CLOCK: ClockId = ClockId(1);

    fn entries() -> impl Strategy<Value = Vec<(u8, i64, Option<u64>, u64)>> {
        proptest::collection::vec((0u8..4, -9i64..9, proptest::option::of(0u64..20), 0u64..4), 1..6)
    }

    type Owned = (Kind, Vec<u8>, Option<Expiry>, u64);

    fn two(rule: &Rule, older: &Owned, newer: &Owned) -> Owned {
        if newer.0 != Kind::Operand {
            return newer.clone();
        }
        let (older, newer) = (entry(older), entry(newer));
        let mut out = Vec::new();
        let folded = fold(rule, Some(older), newer, &mut out).unwrap();
        (folded.kind, out, folded.expiry, folded.written)
    }

    fn entry(owned: &Owned) -> Entry<'_> {
        Entry { kind: owned.0, value: &owned.1, expiry: owned.2, written: owned.3 }
    }

    fn all(rule: &Rule, list: &[Owned], split: &mut impl FnMut(usize) -> usize) -> Owned {
        if list.len() == 1 {
            return list[0].clone();
        }
        let at = 1 + split(list.len() - 1);
        two(rule, &all(rule, &list[..at], split), &all(rule, &list[at..], split))
    }

    proptest! {
        /// Written in this order at rising clock readings, every grouping of folds gives one answer.
        #[test]
        fn every_grouping_gives_one_answer(list in entries(), splits in proptest::collection::vec(any::<usize>(), 16)) {
            let rule = Rule { fold: Fold::AddI64, clock: Some(CLOCK) };
            let mut now = 0;
            let list: Vec<Owned> = list.into_iter().map(|(kind, number, life, later)| {
                now += later;
                let expiry = life.map(|life| Expiry { clock: CLOCK, at: now + life });
                match kind {
                    0 => (Kind::Tombstone, vec![], None, 0),
                    1 => (Kind::Value, number.to_le_bytes().to_vec(), expiry, 0),
                    _ => (Kind::Operand, number.to_le_bytes().to_vec(), expiry, now),
                }
            }).collect();
            let mut splits = splits.into_iter().cycle();
            let left = all(&rule, &list, &mut |count| count - 1);
            let any = all(&rule, &list, &mut |count| splits.next().unwrap() % count);
            prop_assert_eq!(left, any);
        }
    }

    #[test]
    fn a_number_fold_refuses_other_lengths() {
        assert_eq!(Fold::AddI64.check(b"abc").unwrap_err().kind(), ErrorKind::Fix);
        let error = Fold::MaxI64.join(b"abc", &1i64.to_le_bytes(), &mut Vec::new()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Fix);
    }

    #[test]
    fn a_list_that_ends_early_is_an_error_once() {
        let mut list = Vec::new();
        frame(&mut list, b"abc");
        list.pop();
        let read: Vec<_> = frames(&list).collect();
        assert_eq!(read.len(), 1);
        assert!(read[0].is_err());
    }
}
