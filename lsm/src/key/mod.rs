//! Keys: plain bytes in plain order; their shape, ranges of them, and sets of ranges.

mod range;
mod range_set;
mod shape;

pub use range::KeyRange;
pub use range_set::RangeSet;
pub use shape::{KeyShape, PointKeys, ScannedKeys};

/// The first eight bytes of `key` as a number that orders as the bytes do; shorter keys are filled with zeros.
///
/// Unequal prefixes order their keys; equal ones say nothing.
#[inline]
pub fn prefix64(key: &[u8]) -> u64 {
    if let Some(head) = key.first_chunk::<8>() {
        return u64::from_be_bytes(*head);
    }
    let mut head = [0; 8];
    head[..key.len()].copy_from_slice(key);
    u64::from_be_bytes(head)
}

/// How many leading bytes two keys share.
#[inline]
pub fn shared_prefix(left: &[u8], right: &[u8]) -> usize {
    left.iter().zip(right).take_while(|(left, right)| left == right).count()
}
