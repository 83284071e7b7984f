//! Asks the processor for a cache line that will be read soon.
#![cfg_attr(not(miri), expect(unsafe_code, reason = "the prefetch intrinsic takes a raw pointer"))]

/// Brings the line of the first byte of `bytes` into the cache, without waiting for it. Does nothing where it cannot.
#[inline]
pub(crate) fn prefetch(bytes: &[u8]) {
    #[cfg(all(target_arch = "x86_64", not(miri)))]
    {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        // SAFETY: a prefetch reads nothing that the program can observe and faults on no address; this one comes from a
        // reference, and SSE is part of the x86_64 baseline.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(bytes.as_ptr().cast()) };
    }
    #[cfg(not(all(target_arch = "x86_64", not(miri))))]
    let _: &[u8] = bytes;
}
