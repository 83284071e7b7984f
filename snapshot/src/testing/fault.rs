//! How requests to an object store go wrong, and what is asked of one.

use std::ops::Range;

/// A way for a request to go wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ObjectFault {
    /// It fails and nothing has happened.
    FailBefore,
    /// It fails though it has happened: a deletion, or the completion of an upload, whose answer is lost.
    FailAfter,
    /// It is never answered, and nothing has happened.
    Hang,
    /// It has happened and is never answered.
    HangAfter,
    /// It happens twice, and the second answer is told: clients ask again by themselves when an answer is lost. What is
    /// created exists already then, what is deleted is not there, and an upload that was completed is not known.
    Twice,
    /// A body or a listing ends early, which the reader is told.
    CutBody,
    /// A body ends early, and looks complete.
    ShortBody,
    /// A bit of a body is wrong.
    WrongBytes,
    /// A body comes in pieces, or a listing page by page, each later than the one before, and within the time of a request.
    SlowBody,
    /// Half of a body or a listing comes, and then nothing.
    StalledBody,
    /// A listing misses what was written last.
    StaleList,
    /// A change succeeds when it has been asked for its answer some times.
    Slow,
    /// It waits on its way until the test [lets it go](super::FaultStore::let_go), and succeeds.
    Late,
}

impl ObjectFault {
    /// All but [`ObjectFault::Late`], which needs somebody who lets it go, and [`ObjectFault::Slow`], by which nothing goes wrong.
    pub const KINDS: [ObjectFault; 11] = [
        ObjectFault::FailBefore,
        ObjectFault::FailAfter,
        ObjectFault::Hang,
        ObjectFault::HangAfter,
        ObjectFault::Twice,
        ObjectFault::CutBody,
        ObjectFault::ShortBody,
        ObjectFault::WrongBytes,
        ObjectFault::SlowBody,
        ObjectFault::StalledBody,
        ObjectFault::StaleList,
    ];

    /// Whether a request for `operation` goes wrong in this way at all.
    pub fn touches(self, operation: Operation) -> bool {
        let reads = matches!(operation, Operation::Get | Operation::Head | Operation::List);
        match self {
            ObjectFault::FailBefore | ObjectFault::Hang | ObjectFault::Late => true,
            ObjectFault::FailAfter | ObjectFault::HangAfter | ObjectFault::Twice | ObjectFault::Slow => !reads,
            ObjectFault::CutBody | ObjectFault::SlowBody | ObjectFault::StalledBody => {
                matches!(operation, Operation::Get | Operation::List)
            }
            ObjectFault::ShortBody | ObjectFault::WrongBytes => operation == Operation::Get,
            ObjectFault::StaleList => operation == Operation::List,
        }
    }
}

/// What is asked of a store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Operation {
    /// To write an object, whatever was there.
    Put,
    /// To create an object.
    Create,
    /// To start an upload in parts.
    StartParts,
    /// To take a part.
    Part,
    /// To make an object of the parts.
    CompleteParts,
    /// To forget the parts.
    AbortParts,
    /// To read an object or a part of it.
    Get,
    /// To look at an object.
    Head,
    /// To list objects.
    List,
    /// To delete an object.
    Delete,
}

/// A request, when a fault is chosen for it.
#[derive(Clone, Debug)]
pub struct Request<'a> {
    /// How many requests came before it.
    pub index: u64,
    /// What is asked.
    pub operation: Operation,
    /// About which object or prefix.
    pub path: &'a str,
    /// Which bytes of it.
    pub range: Option<Range<u64>>,
    /// A random number.
    pub random: u64,
}

/// Chooses how a request goes wrong, if it does.
pub type Choose = dyn FnMut(&Request<'_>) -> Option<ObjectFault> + Send;
