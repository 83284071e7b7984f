//! Ordered reading: what a memtable and a run both offer, and their merge.
//!
//! ```text
//!   newest   source 0   [b=2        e=†      ]   ranges: –
//!            source 1   [b=1  c=+1           ]   ranges: a..c
//!   oldest   source 2   [a=7  c=5  e=4  f=9  ]
//!   merged              [b=2  c=6  e=†  f=9  ]   a: under the range of source 1; c: operand folded onto value
//! ```
//!
//! The merge orders sources by key and, for equal keys, by age. Of each key it shows what remains after newer entries have
//! hidden older ones, range tombstones have hidden entries of *older* sources, and operands were folded. What has expired is
//! not its business: expired entries are shown like any other.

use std::borrow::Cow;
use std::cmp::Ordering;

use crate::entry::{Clocks, Entry, Kind};
use crate::error::{Error, ErrorKind, Result};
use crate::fold::{Folded, Rules, fold};
use crate::key::{KeyRange, RangeSet, prefix64, shared_prefix};

/// A position in a sorted sequence of entries with unique keys. A new cursor stands nowhere: seek first.
///
/// After an error the position is undefined; seek again.
pub(crate) trait Cursor {
    /// Goes to the first key that is not smaller than `key`.
    fn seek(&mut self, key: &[u8]) -> Result<()>;

    /// Goes to the last key that is smaller than `bound`, or to the last key of all.
    fn seek_before(&mut self, bound: Option<&[u8]>) -> Result<()>;

    /// Goes to the next larger key. Only from a key.
    fn next(&mut self) -> Result<()>;

    /// Goes to the next smaller key. Only from a key.
    fn prev(&mut self) -> Result<()>;

    /// The key here; `None` behind either end.
    fn key(&self) -> Option<&[u8]>;

    /// The entry here. Only at a key.
    fn entry(&self) -> Result<Entry<'_>>;

    /// What the entry here is, without reading its value. Only at a key.
    fn kind(&self) -> Result<Kind>;

    /// Whether the entry here ends at some time. Only at a key.
    fn expires(&self) -> bool;
}

/// Which way a merge goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Direction {
    Forward,
    Backward,
}

/// One source of a merge.
pub(crate) struct Source<'a, C> {
    pub cursor: C,
    /// Range tombstones of the source: they hide entries of older sources, not its own.
    pub ranges: &'a RangeSet,
}

/// The merge of several sources, newest first.
pub(crate) struct Merge<'a, C> {
    sources: Vec<Source<'a, C>>,
    rules: &'a dyn Rules,
    direction: Direction,
    /// Keys outside are not shown.
    range: Cow<'a, KeyRange>,
    /// How many leading bytes its start and end share: all keys inside start with these.
    shared: usize,
    /// The end's first bytes behind the shared ones; the largest number when there is no end.
    end_prefix: u64,
    /// Sources that stand at a key of the range, in the order of their keys, newest first among equals; with the key's first
    /// bytes behind the shared ones.
    order: Vec<(u64, usize)>,
    /// How many at the front of `order` stand at the key shown; they move on at the next step.
    shown: usize,
    result: Shown,
    value: Vec<u8>,
    spare: Vec<u8>,
    /// Whether any source has range tombstones: most merges skip all that.
    ranged: bool,
}

/// Where the bytes of the entry shown are.
#[derive(Clone, Copy)]
enum Shown {
    Nothing,
    /// At the cursor of this source.
    Source(usize),
    /// At the cursor of this source, but a value now: nothing older is left to fold it onto.
    Based(usize),
    /// In `value`.
    Folded(Folded),
}

impl<'a, C: Cursor> Merge<'a, C> {
    /// A merge of the keys of a range. It stands nowhere.
    pub fn new(sources: Vec<Source<'a, C>>, rules: &'a dyn Rules, range: Cow<'a, KeyRange>) -> Merge<'a, C> {
        let ranged = sources.iter().any(|source| !source.ranges.is_empty());
        let shared = range.end.as_ref().map_or(0, |end| shared_prefix(&range.start, end));
        Merge {
            order: Vec::with_capacity(sources.len()),
            sources,
            rules,
            direction: Direction::Forward,
            end_prefix: range.end.as_ref().map_or(u64::MAX, |end| prefix64(&end[shared..])),
            shared,
            range,
            shown: 0,
            result: Shown::Nothing,
            value: Vec::new(),
            spare: Vec::new(),
            ranged,
        }
    }

    /// Goes to the first key shown; steps lead to larger keys from here.
    pub fn seek_first(&mut self) -> Result<()> {
        self.direction = Direction::Forward;
        for source in &mut self.sources {
            source.cursor.seek(&self.range.start)?;
        }
        self.line_up();
        self.show()
    }

    /// Goes to the last key shown; steps lead to smaller keys from here.
    pub fn seek_last(&mut self) -> Result<()> {
        self.direction = Direction::Backward;
        for source in &mut self.sources {
            source.cursor.seek_before(self.range.end.as_deref())?;
        }
        self.line_up();
        self.show()
    }

    /// Goes on to the next key shown, in the direction of the last seek.
    #[inline]
    pub fn step(&mut self) -> Result<()> {
        if self.shown == 1 {
            self.pass_lone()?;
        } else {
            self.pass(self.shown)?;
        }
        self.show()
    }

    /// The key shown, or `None` behind the end.
    #[inline]
    pub fn key(&self) -> Option<&[u8]> {
        match self.result {
            Shown::Nothing => None,
            _ => self.order.first().and_then(|&(_, source)| self.sources[source].cursor.key()),
        }
    }

    /// Whether a reader whose clocks these are sees the entry shown.
    #[inline]
    pub fn is_visible(&self, clocks: &Clocks) -> Result<bool> {
        if let Shown::Source(source) = self.result {
            let cursor = &self.sources[source].cursor;
            if !cursor.expires() {
                return Ok(cursor.kind()? != Kind::Tombstone);
            }
        }
        let entry = self.entry()?;
        Ok(entry.kind != Kind::Tombstone && !entry.expired(clocks))
    }

    /// The entry shown. An operand means that older sources than these may hold what it is to be folded onto.
    pub fn entry(&self) -> Result<Entry<'_>> {
        match self.result {
            Shown::Nothing => Err(Error::new(ErrorKind::Bug, "entry of a merge that stands at no key")),
            Shown::Source(source) => self.sources[source].cursor.entry(),
            Shown::Based(source) => {
                let entry = self.sources[source].cursor.entry()?;
                Ok(Entry::value(entry.value, entry.expiry))
            }
            Shown::Folded(folded) => Ok(folded.with(&self.value)),
        }
    }

    /// The only source at the key shown, with the key that the nearest other source stands at: what a copy of whole blocks
    /// asks. `None` when several sources hold the key.
    pub fn lone_source(&self) -> Option<(usize, Option<&[u8]>)> {
        if self.shown != 1 {
            return None;
        }
        let next = self.order.get(1).and_then(|&(_, source)| self.sources[source].cursor.key());
        Some((self.order[0].1, next))
    }

    /// A source's cursor.
    pub fn cursor(&self, source: usize) -> &C {
        &self.sources[source].cursor
    }

    /// Whether a source newer than `source` has a range tombstone that could hide something from `first` to `last`.
    pub fn hidden_between(&self, source: usize, first: &[u8], last: &[u8]) -> bool {
        self.ranged
            && self.sources[..source].iter().any(|newer| {
                newer.ranges.contains(first)
                    || newer.ranges.overlaps(&KeyRange { start: first.to_vec(), end: Some(last.to_vec()) })
                    || newer.ranges.contains(last)
            })
    }

    /// Moves the lone source on by `skip` and shows the next key.
    pub fn skip_lone(&mut self, skip: impl FnOnce(&mut C) -> Result<()>) -> Result<()> {
        assert_eq!(self.shown, 1, "only a lone source can skip");
        let (_, source) = self.order.remove(0);
        skip(&mut self.sources[source].cursor)?;
        self.insert(source);
        self.show()
    }

    fn line_up(&mut self) {
        self.order.clear();
        self.shown = 0;
        for source in 0..self.sources.len() {
            self.insert(source);
        }
    }

    /// The key that a source stands at when it is inside the range, and its first bytes behind the shared ones: mostly they
    /// tell keys apart. Sources leave the range at its far end.
    #[inline]
    fn key_of(&self, source: usize) -> Option<(u64, &[u8])> {
        let key = self.sources[source].cursor.key()?;
        let rest = key.strip_prefix(&self.range.start[..self.shared])?;
        let prefix = prefix64(rest);
        let inside = match self.direction {
            Direction::Forward if prefix < self.end_prefix => true,
            Direction::Forward => self.range.is_before_end(key),
            Direction::Backward => *self.range.start <= *key,
        };
        inside.then_some((prefix, key))
    }

    /// Puts a source, which is not in line, to its place.
    fn insert(&mut self, source: usize) {
        let Some((prefix, key)) = self.key_of(source) else { return };
        let place = self
            .order
            .iter()
            .position(|&(other_prefix, other)| {
                let by_key = prefix.cmp(&other_prefix).then_with(|| {
                    let other_key = self.sources[other].cursor.key().expect("sources in line stand at a key");
                    key.cmp(other_key)
                });
                let by_key = if self.direction == Direction::Forward { by_key } else { by_key.reverse() };
                by_key.then(source.cmp(&other)) == Ordering::Less
            })
            .unwrap_or(self.order.len());
        self.order.insert(place, (prefix, source));
    }

    /// Moves the source at the head of the line on by one key: mostly it stays at the head.
    #[inline]
    fn pass_lone(&mut self) -> Result<()> {
        let (_, source) = self.order[0];
        let cursor = &mut self.sources[source].cursor;
        match self.direction {
            Direction::Forward => cursor.next()?,
            Direction::Backward => cursor.prev()?,
        }
        self.shown = 0;
        let prefix = self.key_of(source).map(|(prefix, _)| prefix);
        let stays = prefix.is_some_and(|prefix| match self.order.get(1) {
            None => true,
            Some((next, _)) if self.direction == Direction::Forward => prefix < *next,
            Some((next, _)) => prefix > *next,
        });
        match prefix {
            Some(prefix) if stays => self.order[0].0 = prefix,
            _ => {
                self.order.remove(0);
                self.insert(source);
            }
        }
        Ok(())
    }

    /// Moves the first `count` sources of the line, which share a key, on by one key each.
    fn pass(&mut self, count: usize) -> Result<()> {
        for _ in 0..count {
            let (_, source) = self.order.remove(0);
            let cursor = &mut self.sources[source].cursor;
            match self.direction {
                Direction::Forward => cursor.next()?,
                Direction::Backward => cursor.prev()?,
            }
            // It falls in behind those that still stand at the shared key.
            self.insert(source);
        }
        self.shown = 0;
        Ok(())
    }

    /// Finds the next key of which something remains, from the head of the line on.
    fn show(&mut self) -> Result<()> {
        loop {
            self.result = Shown::Nothing;
            self.shown = 0;
            let Some(&(prefix, head)) = self.order.first() else { return Ok(()) };
            let key = self.sources[head].cursor.key().expect("sources in line stand at a key");
            if self.ranged
                && let Some(hiding) = self.hidden_by(head, key)
            {
                self.pass_hidden(head, hiding)?;
                continue;
            }
            let alike = |&&(other_prefix, other): &&(u64, usize)| {
                other_prefix == prefix && self.sources[other].cursor.key() == Some(key)
            };
            self.shown = 1 + self.order[1..].iter().take_while(alike).count();
            self.result = Shown::Source(head);
            if self.sources[head].cursor.kind()? == Kind::Operand {
                self.fold_group()?;
            }
            return Ok(());
        }
    }

    /// The newer source whose range tombstone hides `key` of `source`.
    fn hidden_by(&self, source: usize, key: &[u8]) -> Option<usize> {
        (0..source).find(|&newer| self.sources[newer].ranges.contains(key))
    }

    /// Moves `source`, whose key is hidden by a range tombstone of `hiding`, to the tombstone's other end: a consumed queue
    /// is passed in one seek, not entry by entry.
    fn pass_hidden(&mut self, source: usize, hiding: usize) -> Result<()> {
        self.order.remove(0);
        let key = self.sources[source].cursor.key().expect("sources in line stand at a key");
        let ranges: &'a RangeSet = self.sources[hiding].ranges;
        let (start, end) = ranges.find(key).expect("the caller found the key inside");
        let cursor = &mut self.sources[source].cursor;
        match (self.direction, end) {
            (Direction::Forward, Some(end)) => {
                // Near its end a step is cheaper than a seek, and often enough.
                cursor.next()?;
                if cursor.key().is_some_and(|key| key < end) {
                    cursor.seek(end)?;
                }
                self.insert(source);
            }
            // Hidden up to the end of the key space: this source has nothing more to say.
            (Direction::Forward, None) => {}
            (Direction::Backward, _) => {
                cursor.seek_before(Some(start))?;
                self.insert(source);
            }
        }
        Ok(())
    }

    /// Folds the operand at the head of the line onto the older entries of its key.
    fn fold_group(&mut self) -> Result<()> {
        let (_, head) = self.order[0];
        let key = self.sources[head].cursor.key().expect("sources in line stand at a key");
        let rule = self.rules.rule(key).ok_or_else(|| no_rule(key))?;
        let mut newest = None::<Folded>;
        let mut based = false;
        for at in 0..self.shown {
            let (_, source) = self.order[at];
            if at > 0 {
                let older = self.sources[source].cursor.entry()?;
                let newer = match newest {
                    Some(folded) => folded.with(&self.value),
                    None => self.sources[head].cursor.entry()?,
                };
                let folded = fold(&rule, Some(older), newer, &mut self.spare);
                newest = Some(folded.map_err(|error| error.context(format!("key {}", key.escape_ascii())))?);
                std::mem::swap(&mut self.value, &mut self.spare);
            }
            if newest.is_some_and(|folded| folded.kind == Kind::Value) {
                break;
            }
            let next = self.order.get(at + 1).filter(|_| at + 1 < self.shown).map_or(self.sources.len(), |next| next.1);
            if self.ranged && self.sources[source..next].iter().any(|source| source.ranges.contains(key)) {
                based = true;
                break;
            }
        }
        self.result = match newest {
            Some(folded) if based => Shown::Folded(Folded { kind: Kind::Value, written: 0, ..folded }),
            Some(folded) => Shown::Folded(folded),
            None if based => Shown::Based(head),
            None => Shown::Source(head),
        };
        Ok(())
    }
}

/// The error of an operand under a key that has no rule.
pub(crate) fn no_rule(key: &[u8]) -> Error {
    let message =
        format!("key {} has no merge rule: open the store with the rules it was written with", key.escape_ascii());
    Error::new(ErrorKind::Fix, message)
}
