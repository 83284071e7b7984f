//! Where a tile that has outgrown its bounds is cut in two.

use super::PickerTuning;

/// Neither part of a split is smaller than one in this many.
const SMALLEST_PART: u64 = 16;

/// Whether a tile of so many bytes is to become two.
pub(crate) fn wants_split(tile_bytes: u64, tuning: &PickerTuning) -> bool {
    tile_bytes > tuning.tile_bytes_max
}

/// The place to cut: the index of the boundary that starts the second part, nearest to the middle.
///
/// Each boundary comes with the bytes from it to the next one; the first is the start of the tile, where no cut is
/// possible.
/// `None` when every cut would leave a sliver.
pub(crate) fn choose_split<K>(boundaries: &[(K, u64)]) -> Option<usize> {
    let all: u64 = boundaries.iter().map(|(_, bytes)| bytes).sum();
    let mut before = 0;
    let mut best: Option<(u64, usize)> = None;
    for (index, (_, bytes)) in boundaries.iter().enumerate() {
        let smaller = before.min(all - before);
        if index > 0 && smaller > 0 && smaller >= all / SMALLEST_PART && best.is_none_or(|(most, _)| smaller > most) {
            best = Some((smaller, index));
        }
        before += bytes;
    }
    best.map(|(_, index)| index)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_split_cuts_near_the_middle() {
        assert_eq!(choose_split(&[("a", 10), ("b", 10), ("c", 10), ("d", 10)]), Some(2));
        assert_eq!(choose_split(&[("a", 5), ("b", 80), ("c", 20)]), Some(2));
    }

    #[test]
    fn a_split_leaves_no_sliver() {
        assert_eq!(choose_split(&[("a", 1), ("b", 99)]), None);
        assert_eq!(choose_split(&[("a", 100)]), None);
        assert_eq!(choose_split::<u8>(&[]), None);
        assert_eq!(choose_split(&[("a", 0), ("b", 0)]), None);
    }

    #[test]
    fn a_tile_is_split_above_its_limit() {
        let tuning = PickerTuning::default();
        assert!(!wants_split(tuning.tile_bytes_max, &tuning));
        assert!(wants_split(tuning.tile_bytes_max + 1, &tuning));
    }
}
