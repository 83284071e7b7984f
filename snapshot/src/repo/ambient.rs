//! Time and randomness, passed in so that tests own them.

use std::fmt;
use std::time::Duration;

use futures_util::future::BoxFuture;

/// Where time and randomness come from.
pub trait Ambient: Send + Sync + fmt::Debug {
    /// Milliseconds since 1970 by this machine's clock. Told to people; nothing is decided by it.
    fn now_ms(&self) -> u64;

    /// Microseconds since some moment, for measured durations; never goes back.
    fn elapsed_us(&self) -> u64;

    /// A random number.
    fn random(&self) -> u64;

    /// Names the start of this machine: another name after a power loss. Empty where it is not known.
    fn boot(&self) -> String;

    /// Resolves when `duration` is over.
    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()>;
}

/// The clocks and the randomness of the system; sleeps on the runtime of tokio.
#[derive(Debug)]
pub struct SystemAmbient {
    start: std::time::Instant,
}

impl SystemAmbient {
    #[expect(clippy::disallowed_methods, reason = "the one place that asks the system for the time")]
    pub(super) fn new() -> SystemAmbient {
        SystemAmbient { start: std::time::Instant::now() }
    }
}

impl Ambient for SystemAmbient {
    #[expect(clippy::disallowed_methods, reason = "the one place that asks the system for the time")]
    fn now_ms(&self) -> u64 {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        now.map_or(0, |since| u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
    }

    fn elapsed_us(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_micros()).unwrap_or(u64::MAX)
    }

    fn random(&self) -> u64 {
        use std::hash::{BuildHasher, Hasher};
        // Each state of these hashers is keyed by the system's randomness and a counter.
        std::collections::hash_map::RandomState::new().build_hasher().finish()
    }

    #[expect(clippy::disallowed_methods, reason = "a file of the kernel is no file of ours")]
    fn boot(&self) -> String {
        let text = std::fs::read("/proc/sys/kernel/random/boot_id").unwrap_or_default();
        String::from_utf8_lossy(&text).trim().to_owned()
    }

    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()> {
        Box::pin(tokio::time::sleep(duration))
    }
}
