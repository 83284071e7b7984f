//! Bugs that are switched on by tests, to see that the tests would find them. Without the feature `testing` there are none.

/// A bug that a test must find.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bug {
    /// Timers that are set while timers fire, and are due already, are forgotten.
    LateLost = 1,
    /// A life that is renewed by reads is not.
    ReadsRenewNothing = 2,
    /// Migration skips what stands in maps.
    MapsNotMigrated = 3,
    /// Merge functions get the newer operand first.
    OperandsExchanged = 4,
    /// A worker of the runner reads on behind the barrier of one source before those of the others came.
    BarriersNotAligned = 5,
}

#[cfg(feature = "testing")]
static SEEDED: std::sync::atomic::AtomicU8 = std::sync::atomic::AtomicU8::new(0);

/// Switches one bug on, for the whole process, or all off.
#[cfg(feature = "testing")]
pub fn seed_bug(bug: Option<Bug>) {
    SEEDED.store(bug.map_or(0, |bug| bug as u8), std::sync::atomic::Ordering::SeqCst);
}

/// Whether `bug` is switched on.
#[cfg(feature = "testing")]
pub(crate) fn is_seeded(bug: Bug) -> bool {
    SEEDED.load(std::sync::atomic::Ordering::Relaxed) == bug as u8
}

/// Whether `bug` is switched on.
#[cfg(not(feature = "testing"))]
pub(crate) const fn is_seeded(_: Bug) -> bool {
    false
}
