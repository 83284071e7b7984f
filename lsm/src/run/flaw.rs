//! What is wrong with some bytes, before it is known where they stand.

use std::fmt;

use crate::codec::Malformed;

/// Says what was found and what was expected; the reader adds file and offset. Made on cold paths only.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Flaw(Box<str>);

#[cold]
pub(super) fn flaw(what: impl fmt::Display) -> Flaw {
    Flaw(what.to_string().into_boxed_str())
}

impl From<Malformed> for Flaw {
    #[cold]
    fn from(_: Malformed) -> Flaw {
        flaw("a number or length that its bytes do not hold")
    }
}

impl fmt::Display for Flaw {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0)
    }
}
