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

/// Whether what has ended is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Visibility {
    /// Never (default).
    #[default]
    Living,
    /// Reads show it until it was cleaned up, which may be at any time once it has ended: as the last one that was written, or not at
    /// all. For what is better late than lost, at no cost.
    ///
    /// On disk it is cleaned up when a merge drops it, in the background; in a [heap](crate::Residence::Heap) as soon as its clock
    /// says that it has ended. A list is cleaned up as a whole, when its last element has ended. A checkpoint and its restore clean up
    /// nothing on disk. Beside that, these clean up:
    ///
    /// * adding to a list whose elements have all ended, to a number or to an aggregate: it begins anew, as without this;
    /// * a read that renews a list: it shows what has ended, once, and renews only what lives. What has ended is never renewed;
    /// * joining namespaces: only what lives is joined.
    ///
    /// [`Engine::keys`](crate::Engine::keys) and readers of checkpoints show only what lives.
    UntilCleaned,
}

/// How long a value lives: for lists and maps, each element.
///
/// A value that has ended is never returned, unless it is to be [visible](Ttl::visible) until it was cleaned up. Its bytes go when what
/// lies around it is merged, without being read one by one.
///
/// A declaration may have another life than the one before it: what was written keeps its end.
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
    #[serde(default, skip_serializing_if = "Visibility::is_default")]
    visibility: Visibility,
}

impl Visibility {
    fn is_default(&self) -> bool {
        *self == Visibility::default()
    }
}

impl Ttl {
    /// A value ends this long after it was written, by processing time.
    pub const fn after(life: Duration) -> Ttl {
        Ttl {
            after_ms: life.as_millis() as u64,
            clock: Clock::Processing,
            renewal: Renewal::CreateAndWrite,
            visibility: Visibility::Living,
        }
    }

    /// How long a value lives, to the millisecond.
    pub const fn life(&self) -> Duration {
        Duration::from_millis(self.after_ms)
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

    /// Whether what has ended is shown until it was cleaned up.
    pub const fn visible(mut self, visibility: Visibility) -> Ttl {
        self.visibility = visibility;
        self
    }

    pub(crate) fn visibility(&self) -> Visibility {
        self.visibility
    }

    /// How long, in milliseconds.
    pub(crate) fn after_ms(&self) -> u64 {
        self.after_ms
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
