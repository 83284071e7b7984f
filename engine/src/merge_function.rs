//! Functions of the user's that the store applies where entries meet: when it reads, flushes and merges.
//!
//! What stands under a key of such a state is a list of operands, each framed by its length; what the state holds is what the function makes
//! of all of them, from the oldest to the newest. A list of one is what is there mostly. So two lists can always be joined, by putting
//! one behind the other: before a program has declared the state, where a reader does not have the function at all, and where the
//! function refuses. Nothing is lost then, and whoever reads hears why.
//!
//! [`Functions`] are known to a store before any is declared. Workers read them while the operator declares: a list that only grows, and
//! no lock.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use bedload_lsm::FoldFn;

use crate::error::{Error, ErrorKind, Result};

/// An associative function of two values, with a name and a version that stand in every checkpoint.
///
/// *Associative*: joining the first two and then the third gives what joining the last two onto the first gives. The order of values
/// is kept, so it need not be commutative. It is called on threads of the store, as often and in whatever grouping suits that; so it
/// should be quick, must not wait, and must depend on nothing but its arguments.
///
/// A function that changes what it makes needs a new version, or a new name. See [`Reducing::with`](crate::Reducing::with) for an example.
pub struct MergeFunction<T> {
    pub(crate) name: &'static str,
    pub(crate) version: u16,
    pub(crate) replaces: u16,
    join: Join<T>,
}

enum Join<T> {
    Always(fn(T, T) -> T),
    Perhaps(fn(T, T) -> Result<T>),
}

impl<T> Clone for MergeFunction<T> {
    fn clone(&self) -> MergeFunction<T> {
        *self
    }
}

impl<T> Copy for MergeFunction<T> {}

impl<T> Clone for Join<T> {
    fn clone(&self) -> Join<T> {
        *self
    }
}

impl<T> Copy for Join<T> {}

impl<T> MergeFunction<T> {
    /// A function of the older and the newer value.
    pub const fn new(name: &'static str, version: u16, join: fn(T, T) -> T) -> MergeFunction<T> {
        MergeFunction { name, version, replaces: version, join: Join::Always(join) }
    }

    /// A function that may refuse two values. Both stay then, and reading the state fails with what the function said.
    pub const fn fallible(name: &'static str, version: u16, join: fn(T, T) -> Result<T>) -> MergeFunction<T> {
        MergeFunction { name, version, replaces: version, join: Join::Perhaps(join) }
    }

    /// Goes on with what earlier versions have made, from `version` on.
    pub const fn replaces(mut self, version: u16) -> MergeFunction<T> {
        self.replaces = version;
        self
    }

    /// Applies it.
    ///
    /// # Errors
    /// What it refuses with; `Fix` when it panics.
    pub(crate) fn apply(&self, older: T, newer: T) -> Result<T> {
        let joined = catch_unwind(AssertUnwindSafe(|| match self.join {
            Join::Always(join) => Ok(join(older, newer)),
            Join::Perhaps(join) => join(older, newer),
        }));
        match joined {
            Ok(joined) => joined.map_err(|refused| refused.context(self)),
            Err(panic) => {
                let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
                let text = text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_default();
                Err(Error::new(ErrorKind::Fix, format!("{self}: it panicked: {text}")))
            }
        }
    }
}

/// Its name and version.
impl<T> fmt::Display for MergeFunction<T> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "merge function {}, version {}", self.name, self.version)
    }
}

/// The merge functions of a store, by the tags of their states.
#[derive(Default)]
pub(crate) struct Functions {
    first: OnceLock<Box<Registered>>,
    refused: AtomicU64,
}

struct Registered {
    tag: [u8; 4],
    fold: Arc<FoldFn>,
    next: OnceLock<Box<Registered>>,
}

impl Functions {
    /// The function of a state; none before it was declared with one.
    pub fn find(&self, tag: &[u8]) -> Option<Arc<FoldFn>> {
        let mut next = self.first.get();
        while let Some(registered) = next {
            if registered.tag == tag {
                return Some(Arc::clone(&registered.fold));
            }
            next = registered.next.get();
        }
        None
    }

    /// Makes a function known; a state that has one keeps it.
    pub fn register(&self, tag: [u8; 4], fold: Arc<FoldFn>) {
        if self.find(&tag).is_some() {
            return;
        }
        let mut place = &self.first;
        let mut new = Box::new(Registered { tag, fold, next: OnceLock::new() });
        while let Err(back) = place.set(new) {
            new = back;
            place = &place.get().expect("it was found taken").next;
        }
    }

    /// Counts two operands that a function refused.
    pub fn note_refusal(&self) {
        self.refused.fetch_add(1, Ordering::Relaxed);
    }

    /// How often a function refused two operands.
    pub fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn functions_are_found_by_their_states_and_the_first_one_stays() {
        let functions = Functions::default();
        assert!(functions.find(&[1; 4]).is_none());
        for (tag, mark) in [(1u8, b'a'), (2, b'b'), (1, b'c'), (3, b'd')] {
            functions.register([tag; 4], Arc::new(move |_, _, out| out.push(mark)));
        }
        for (tag, mark) in [(1u8, b'a'), (2, b'b'), (3, b'd')] {
            let mut out = Vec::new();
            functions.find(&[tag; 4]).unwrap()(b"", b"", &mut out);
            assert_eq!(out, [mark]);
        }
        assert!(functions.find(&[4; 4]).is_none());
    }
}
