//! What stands under a key: a value (with optional expiry), a tombstone, or a merge operand; and the clocks that expire it.
//!
//! An expired value reads as a tombstone. Clocks are readings that the caller sets; this crate has no idea of time.

/// How many clock domains a store can tell apart.
pub const CLOCKS_MAX: usize = 16;

/// The longest key, in bytes.
pub const KEY_BYTES_MAX: usize = u16::MAX as usize;

/// The longest value, in bytes.
pub const VALUE_BYTES_MAX: usize = 256 << 20;

/// A clock domain: processing time, or the event time of one use. Less than [`CLOCKS_MAX`].
///
/// ```
/// use bedload_lsm::{ClockId, Expiry, Store};
///
/// # let directory = tempfile::tempdir().unwrap();
/// const PROCESSING: ClockId = ClockId(0);
/// let mut store = Store::options().open(directory.path())?;
/// store.put_until(b"session", b"open", Expiry { clock: PROCESSING, at: 1_000 })?;
/// store.set_clock(PROCESSING, 999)?;
/// assert!(store.get(b"session")?.is_some());
/// store.set_clock(PROCESSING, 1_000)?;
/// assert!(store.get(b"session")?.is_none());
/// # Ok::<(), bedload_lsm::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClockId(pub u8);

/// When a value ends: as soon as `clock` reads `at` or later.
///
/// ```
/// use bedload_lsm::{ClockId, Clocks, Expiry};
///
/// let expiry = Expiry { clock: ClockId(0), at: 1_000 };
/// let mut clocks = Clocks::default();
/// assert!(!clocks.expired(expiry));
/// clocks.advance(ClockId(0), 1_000);
/// assert!(clocks.expired(expiry));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Expiry {
    /// The domain whose reading decides.
    pub clock: ClockId,
    /// The first reading at which the value is gone; unit and origin are the caller's.
    pub at: u64,
}

/// The reading of every clock domain; all start at zero and never go back.
///
/// ```
/// use bedload_lsm::{ClockId, Clocks};
///
/// let mut clocks = Clocks::default();
/// clocks.advance(ClockId(1), 70);
/// clocks.advance(ClockId(1), 40); // late: changes nothing
/// assert_eq!(clocks.now(ClockId(1)), 70);
///
/// let stored = *clocks.readings(); // goes with a checkpoint
/// assert_eq!(Clocks::from_readings(stored), clocks);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Clocks([u64; CLOCKS_MAX]);

impl Clocks {
    /// All at zero, for readers by whose clocks nothing has ended.
    pub const BEFORE_ALL: Clocks = Clocks([0; CLOCKS_MAX]);

    /// The reading of one clock; zero for a domain that does not exist.
    #[inline]
    pub fn now(&self, clock: ClockId) -> u64 {
        self.0.get(usize::from(clock.0)).copied().unwrap_or(0)
    }

    /// Moves a clock forward; an older reading changes nothing.
    ///
    /// # Panics
    /// When there is no such domain.
    pub fn advance(&mut self, clock: ClockId, now: u64) {
        let reading = &mut self.0[usize::from(clock.0)];
        *reading = now.max(*reading);
    }

    /// Takes the later reading of each clock.
    pub fn advance_all(&mut self, other: &Clocks) {
        for (mine, theirs) in self.0.iter_mut().zip(other.0) {
            *mine = theirs.max(*mine);
        }
    }

    /// Takes the earlier reading of each clock.
    pub(crate) fn hold_back(&mut self, other: &Clocks) {
        for (mine, theirs) in self.0.iter_mut().zip(other.0) {
            *mine = theirs.min(*mine);
        }
    }

    /// Whether something with this expiry is gone.
    #[inline]
    pub fn expired(&self, expiry: Expiry) -> bool {
        expiry.at <= self.now(expiry.clock)
    }

    /// All readings, by domain.
    pub fn readings(&self) -> &[u64; CLOCKS_MAX] {
        &self.0
    }

    /// Clocks with these readings.
    pub fn from_readings(readings: [u64; CLOCKS_MAX]) -> Clocks {
        Clocks(readings)
    }
}

/// What an entry does to the entries of its key that are older.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Kind {
    /// Replaces them.
    Value = 0,
    /// Hides them.
    Tombstone = 1,
    /// Is folded onto them.
    Operand = 2,
}

/// One entry without its key, borrowed from a memtable or a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry<'a> {
    /// Value, tombstone or operand.
    pub kind: Kind,
    /// The bytes of a value or an operand; empty for a tombstone.
    pub value: &'a [u8],
    /// When it ends; `None` for a tombstone.
    pub expiry: Option<Expiry>,
    /// An operand's reading of its key's clock when it was written: an older value that had ended by then is not folded in.
    /// Zero for everything else.
    pub written: u64,
}

impl<'a> Entry<'a> {
    /// A tombstone.
    pub const TOMBSTONE: Entry<'static> = Entry { kind: Kind::Tombstone, value: &[], expiry: None, written: 0 };

    /// A value.
    pub fn value(value: &'a [u8], expiry: Option<Expiry>) -> Entry<'a> {
        Entry { kind: Kind::Value, value, expiry, written: 0 }
    }

    /// A merge operand.
    pub fn operand(value: &'a [u8], expiry: Option<Expiry>, written: u64) -> Entry<'a> {
        Entry { kind: Kind::Operand, value, expiry, written }
    }

    /// Whether the entry has ended by `clocks`.
    #[inline]
    pub fn expired(&self, clocks: &Clocks) -> bool {
        self.expiry.is_some_and(|expiry| clocks.expired(expiry))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clocks_never_go_back() {
        let mut clocks = Clocks::default();
        clocks.advance(ClockId(3), 10);
        clocks.advance(ClockId(3), 4);
        assert_eq!(clocks.now(ClockId(3)), 10);
        let mut later = Clocks::default();
        later.advance(ClockId(2), 7);
        later.advance_all(&clocks);
        assert_eq!((later.now(ClockId(2)), later.now(ClockId(3))), (7, 10));
    }
}
