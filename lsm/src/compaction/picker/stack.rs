//! Arithmetic of one stack.

use std::ops::Range;

use super::{PickerTuning, SlicePicture};

/// The slices that lie inside an interval; `None` when there are some and another lies partly inside.
pub(super) fn inputs(slices: &[SlicePicture], first: u64, last: u64) -> Option<Range<usize>> {
    let start = slices.iter().position(|slice| slice.last <= last).unwrap_or(slices.len());
    let inside = slices[start..].iter().take_while(|slice| slice.first >= first).count();
    let end = start + inside;
    let cut_above = start > 0 && slices[start - 1].first <= last;
    let cut_below = slices.get(end).is_some_and(|older| older.last >= first);
    if inside > 0 && (cut_above || cut_below) { None } else { Some(start..end) }
}

/// How many slices lie above the newest one that is a tile's own business, because it is worth a file of its own.
pub(super) fn small_slices(slices: &[SlicePicture], tuning: &PickerTuning) -> usize {
    slices.iter().position(|slice| slice.bytes >= tuning.tile_file_bytes).unwrap_or(slices.len())
}

/// Bytes of these slices.
pub(super) fn bytes(slices: &[SlicePicture]) -> u64 {
    slices.iter().map(|slice| slice.bytes).sum()
}

/// The newest neighbours, at or behind `from`, that are worth a merge: `fan_in` or more, whose sum makes the rewriting of the
/// largest worth it. Slices of equal size meet that together; a large one waits until enough has gathered above it.
pub(super) fn due_window(slices: &[SlicePicture], from: usize, tuning: &PickerTuning) -> Option<Range<usize>> {
    let growth = tuning.fan_in as f64 * 0.85;
    for start in from..(slices.len() + 1).saturating_sub(tuning.fan_in) {
        let (mut sum, mut largest) = (0, 0);
        for (index, slice) in slices.iter().enumerate().skip(start) {
            sum += slice.bytes;
            largest = largest.max(slice.bytes);
            if index + 1 - start >= tuning.fan_in && sum as f64 >= growth * largest as f64 {
                return Some(start..index + 1);
            }
        }
    }
    None
}
