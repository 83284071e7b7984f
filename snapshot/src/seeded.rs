//! Bugs that are switched on by tests, to see that the tests would find them. Without the feature `testing` there are none.

/// A bug that a test must find.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bug {
    /// A writer of the chain that stood still does not look whether a boundary has passed its slot.
    OldSlotsCount = 1,
    /// A reader of the chain that stood still takes the first absent slot for the end.
    OldEndsCount = 2,
    /// A checkpoint leaves out the newest delta.
    DeltaLost = 3,
    /// A collection takes what is being uploaded for garbage.
    YoungDeleted = 4,
    /// A creation that fails has not happened, and an object that is there is somebody else's.
    FailuresBelieved = 5,
    /// A listing that fails on the way is whole.
    CutListingsBelieved = 6,
    /// A request is made four times as often as it may be.
    PatienceForgotten = 7,
}

#[cfg(any(test, feature = "testing"))]
static SEEDED: std::sync::atomic::AtomicU8 = std::sync::atomic::AtomicU8::new(0);

/// Switches one bug on, for the whole process, or all off.
#[cfg(any(test, feature = "testing"))]
pub fn seed_bug(bug: Option<Bug>) {
    SEEDED.store(bug.map_or(0, |bug| bug as u8), std::sync::atomic::Ordering::SeqCst);
}

/// Whether `bug` is switched on.
#[cfg(any(test, feature = "testing"))]
pub(crate) fn is_seeded(bug: Bug) -> bool {
    SEEDED.load(std::sync::atomic::Ordering::SeqCst) == bug as u8
}

/// Whether `bug` is switched on.
#[cfg(not(any(test, feature = "testing")))]
pub(crate) const fn is_seeded(_: Bug) -> bool {
    false
}
