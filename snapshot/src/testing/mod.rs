//! What tests need: an object store that fails as asked, time that they own, and seeded bugs.

mod fault;
mod fault_parts;
mod fault_store;
mod manifests;
mod parcels;
mod parts;

use std::fmt;
use std::pin::Pin;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::Poll;
use std::time::Duration;

use bedload_lsm::Time;
use futures_util::future::BoxFuture;

pub use self::fault::{Choose, ObjectFault, Operation, Request};
pub use self::fault_store::{FaultStore, Witness};
pub use self::manifests::{
    ManifestKind, alter_manifest, claim_fault, digest_of, edit_claim, edit_completions, renumber, sample_manifests,
};
pub use self::parcels::{
    ParcelFlaw, decode_parcel, encode_parcel, frames_parcel, read_parcel, repack, reseal_parcel, reseal_shipped,
};
pub use self::parts::ShipScene;
use crate::repo::Ambient;
pub use crate::seeded::{Bug, seed_bug};

/// Reads the bytes of a slot.
///
/// # Errors
/// `Damaged` or `Fix`, as a reading of the chain does.
pub fn read_slot(bytes: &[u8]) -> crate::Result<crate::Slot> {
    crate::manifest::read(bytes, "slot")
}

/// Reads the bytes of a claim.
///
/// # Errors
/// `Damaged` or `Fix`, as a restore does.
pub fn read_claim(bytes: &[u8]) -> crate::Result<crate::Claim> {
    crate::manifest::read(bytes, "claim")
}

/// Reads the bytes of a lease.
///
/// # Errors
/// `Damaged` or `Fix`, as a collection does.
pub fn read_lease(bytes: &[u8]) -> crate::Result<crate::Lease> {
    crate::manifest::read(bytes, "lease")
}

/// The repo at an address that was understood, without a look at the place: no request, and no directory is opened.
///
/// # Errors
/// `Fix`, as an opening does.
pub fn repo_at(address: &str) -> crate::Result<crate::Repo> {
    crate::RepoOptions::default().without_a_look(address)
}

/// The paths of all objects of a repo.
///
/// # Errors
/// Those of the listing.
pub async fn list_paths(repo: &crate::Repo) -> crate::Result<Vec<String>> {
    let listed = repo.list(&object_store::path::Path::default(), None).await?;
    Ok(listed.into_iter().map(|listed| listed.path).collect())
}

/// How often a sleep is asked before it is over: what does not hang is done by then.
const POLLS: u32 = 3;

/// Time that stands still until a test moves it, and randomness from a seed; for a repo, and for the stores of an
/// [`Env`](bedload_lsm::Env).
///
/// Pauses between two tries of a request take no time.
pub struct TestAmbient {
    now_ms: AtomicU64,
    boot: AtomicU64,
    random: Mutex<u64>,
}

impl TestAmbient {
    /// Randomness from `seed`; the time is one second behind 1970.
    pub fn new(seed: u64) -> TestAmbient {
        TestAmbient { now_ms: AtomicU64::new(1_000), boot: AtomicU64::new(1), random: Mutex::new(seed) }
    }

    /// Starts the machine anew.
    pub fn reboot(&self) {
        self.boot.fetch_add(1, Ordering::SeqCst);
    }

    /// Moves time on.
    pub fn pass_ms(&self, milliseconds: u64) {
        self.now_ms.fetch_add(milliseconds, Ordering::SeqCst);
    }
}

impl fmt::Debug for TestAmbient {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("TestAmbient")
    }
}

impl Time for TestAmbient {
    fn now(&self) -> Duration {
        Duration::from_millis(self.now_ms())
    }
}

impl Ambient for TestAmbient {
    fn now_ms(&self) -> u64 {
        self.now_ms.load(Ordering::SeqCst)
    }

    fn elapsed_us(&self) -> u64 {
        self.now_ms() * 1_000
    }

    fn random(&self) -> u64 {
        let mut state = self.random.lock().expect("nobody panics under this lock");
        // SplitMix64 (Steele, Lea, Flood 2014).
        *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (*state ^ (*state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn boot(&self) -> String {
        self.boot.load(Ordering::SeqCst).to_string()
    }

    fn sleep(&self, _: Duration) -> BoxFuture<'static, ()> {
        let mut polls = 0;
        Pin::from(Box::new(std::future::poll_fn(move |context| {
            polls += 1;
            if polls > POLLS {
                return Poll::Ready(());
            }
            context.waker().wake_by_ref();
            Poll::Pending
        })))
    }
}
