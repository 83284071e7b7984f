//! Locks, conditions, atomics and threads of what writer and workers share: the standard ones.
//!
//! Built with `--cfg shuttle` they are shuttle's, which runs one thread at a time and tries another schedule at each run: see
//! `schedules`. Only what is shared between threads of a store goes through here; disks and caches lock for
//! themselves and call nothing from under their locks.

#[cfg(not(shuttle))]
pub(crate) use std::sync::{Condvar, Mutex, MutexGuard, atomic};
#[cfg(not(shuttle))]
pub(crate) use std::thread;

#[cfg(shuttle)]
pub(crate) use shuttle::sync::{Condvar, Mutex, MutexGuard, atomic};
#[cfg(shuttle)]
pub(crate) use shuttle::thread;

/// Whether the bug is switched on that the search through schedules must find.
#[cfg(not(shuttle))]
pub(crate) const fn seeded_bug() -> bool {
    false
}

#[cfg(shuttle)]
static SEEDED_BUG: std::sync::atomic::AtomicBool = std::sync::atomic::AtomicBool::new(false);

#[cfg(shuttle)]
pub(crate) fn seeded_bug() -> bool {
    SEEDED_BUG.load(std::sync::atomic::Ordering::SeqCst)
}

/// Switches it.
#[cfg(shuttle)]
pub(crate) fn seed_bug(on: bool) {
    SEEDED_BUG.store(on, std::sync::atomic::Ordering::SeqCst);
}
