//! How long values live.

use std::time::Duration;

use bedload_lsm::{ClockId, Expiry};
use serde::{Deserialize, Serialize};

/// A clock that an operator advances: values and timers end by it. Milliseconds; by convention since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Clock {
    /// The time at which records are processed.
    Processing,
    /// The time that records carry, as far as the watermark tells.
    Event,
}

impl Clock {
    /// The store's clock.
    pub(crate) fn id(self) -> ClockId {
        ClockId(match self {
            Clock::Processing => 0,
            Clock::Event => 1,
        })
    }
}

/// What renews the life of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Renewal {
    /// Each write (default).
    #[default]
    CreateAndWrite,
    /// Each write and each read; a read then costs a write.
    ReadAndWrite,
}

/// How long a value lives: for lists and maps, each element.
///
/// A value that has ended is never returned. Its bytes go when what lies around it is merged, without being read one by one.
///
/// ```
/// use std::time::Duration;
/// use bedload::{Clock, Spec, Ttl, Value};
///
/// const SEEN: Spec<Value<()>> = Value::named("seen").ttl(Ttl::after(Duration::from_secs(3600)).clock(Clock::Event));
/// # let _ = SEEN;
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ttl {
    after_ms: u64,
    clock: Clock,
    renewal: Renewal,
}

impl Ttl {
    /// A value ends this long after it was written, by processing time.
    pub const fn after(life: Duration) -> Ttl {
        Ttl { after_ms: life.as_millis() as u64, clock: Clock::Processing, renewal: Renewal::CreateAndWrite }
    }

    /// It ends by this clock.
    pub const fn clock(mut self, clock: Clock) -> Ttl {
        self.clock = clock;
        self
    }

    /// This renews its life.
    pub const fn renewed_by(mut self, renewal: Renewal) -> Ttl {
        self.renewal = renewal;
        self
    }

    pub(crate) fn clock_id(&self) -> ClockId {
        self.clock.id()
    }

    pub(crate) fn which_clock(&self) -> Clock {
        self.clock
    }

    pub(crate) fn is_renewed_by_reads(&self) -> bool {
        self.renewal == Renewal::ReadAndWrite
    }

    /// When something written at `now_ms` ends.
    pub(crate) fn expiry(&self, now_ms: u64) -> Expiry {
        Expiry { clock: self.clock_id(), at: now_ms.saturating_add(self.after_ms) }
    }
}
