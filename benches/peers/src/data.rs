//! Keys, values and random numbers: the same for every store, decided by a seed alone.
//!
//! ```text
//!   key    [group u16][state u8][mixed u64][number, 7 bytes]     18 bytes, a point or a list
//!          [group u16][state u8][map u64  ][entry, 7 bytes ]     18 bytes, an entry of a map
//!          [group u16][state u8][time u64 ][number, 7 bytes]     18 bytes, a timer
//!   value  [counter u64][46 random bytes][46 bytes of text ]    100 bytes, about 1.5 times smaller under LZ4
//! ```
//!
//! This is how a stream operator's keys look: a key group from a hash of the user's key in front, so that groups can move
//! between workers, then which state it is, then the key.

/// Bytes of every key.
pub const KEY_BYTES: usize = 18;
/// Bytes of every value but those of timers, which have none.
pub const VALUE_BYTES: usize = 100;
/// Key groups that the keys are spread over.
pub const GROUPS: u16 = 128;
/// Leading bytes that all entries of a map share.
pub const MAP_PREFIX_BYTES: usize = 11;
/// Leading bytes that all timers of a group share.
pub const QUEUE_PREFIX_BYTES: usize = 3;

/// A key.
pub type Key = [u8; KEY_BYTES];

/// The kind of state that a store holds; each run has one, as each state of an operator has a column family of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum State {
    /// Values that are looked up by their whole key.
    Points = 0,
    /// Maps: entries under a prefix, which are scanned together.
    Maps = 1,
    /// Timers: keys in the order of time, without values.
    Timers = 2,
    /// Lists that are appended to without being read.
    Lists = 3,
}

/// Mixes a number so that neighbours are far apart (the finalizer of MurmurHash3). One to one.
#[inline]
pub fn spread(number: u64) -> u64 {
    let mut mixed = number ^ (number >> 33);
    mixed = mixed.wrapping_mul(0xff51_afd7_ed55_8ccd);
    mixed ^= mixed >> 33;
    mixed = mixed.wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    mixed ^ (mixed >> 33)
}

#[inline]
fn key(state: State, group: u16, middle: u64, number: u64) -> Key {
    let mut key = [0; KEY_BYTES];
    key[..2].copy_from_slice(&group.to_be_bytes());
    key[2] = state as u8;
    key[3..11].copy_from_slice(&middle.to_be_bytes());
    key[11..].copy_from_slice(&number.to_be_bytes()[1..]);
    key
}

#[inline]
fn group_of(mixed: u64) -> u16 {
    (mixed % u64::from(GROUPS)) as u16
}

/// The key of a point.
#[inline]
pub fn point_key(number: u64) -> Key {
    let mixed = spread(number);
    key(State::Points, group_of(mixed), mixed, number)
}

/// The key of a list.
#[inline]
pub fn list_key(number: u64) -> Key {
    let mixed = spread(number);
    key(State::Lists, group_of(mixed), mixed, number)
}

/// The key of an entry of a map.
#[inline]
pub fn map_key(map: u64, entry: u64) -> Key {
    let mixed = spread(map);
    key(State::Maps, group_of(mixed), mixed, entry)
}

/// The key of a timer.
#[inline]
pub fn timer_key(time: u64, number: u64) -> Key {
    key(State::Timers, group_of(spread(number)), time, number)
}

/// The time of a timer.
#[inline]
pub fn timer_time(key: &[u8]) -> u64 {
    u64::from_be_bytes(key[3..11].try_into().expect("a key has its 18 bytes"))
}

/// The number of a key, which stands at its end.
#[inline]
pub fn key_number(key: &[u8]) -> u64 {
    let mut bytes = [0; 8];
    bytes[1..].copy_from_slice(&key[11..KEY_BYTES]);
    u64::from_be_bytes(bytes)
}

/// The first possible timer of a group at `time`: below it lies everything that is due before.
#[inline]
pub fn timer_bound(group: u16, time: u64) -> Key {
    key(State::Timers, group, time, 0)
}

/// The bounds of one half of the key groups, as keys: start inclusive, end exclusive or open.
pub fn half_of_groups(half: usize) -> (Vec<u8>, Option<Vec<u8>>) {
    let middle = (GROUPS / 2).to_be_bytes().to_vec();
    if half == 0 { (Vec::new(), Some(middle)) } else { (middle, None) }
}

/// Fills a value: a counter of zero, and content that compresses like that of serialized records.
#[inline]
pub fn fill_value(number: u64, value: &mut [u8; VALUE_BYTES]) {
    const TEXT: &[u8; 46] = b"carrier=WN;origin=LGA;dest=CHI;status=on-time;";
    value[..8].fill(0);
    let mut random = Random::new(number);
    for chunk in value[8..54].chunks_mut(8) {
        let bytes = random.draw().to_le_bytes();
        chunk.copy_from_slice(&bytes[..chunk.len()]);
    }
    value[54..].copy_from_slice(TEXT);
}

/// Whether this is the value of this number, whatever its counter: looks at its length and at eight of its bytes.
#[inline]
pub fn is_value_of(number: u64, value: &[u8]) -> bool {
    value.len() == VALUE_BYTES && value[8..16] == Random::new(number).draw().to_le_bytes()
}

/// Adds one to the counter in a value.
#[inline]
pub fn count_up(value: &mut [u8]) {
    let counter = read_counter(value) + 1;
    value[..8].copy_from_slice(&counter.to_le_bytes());
}

/// The counter in a value.
#[inline]
pub fn read_counter(value: &[u8]) -> u64 {
    u64::from_le_bytes(value[..8].try_into().expect("a value has its 100 bytes"))
}

/// SplitMix64: small, fast, and good enough to choose keys.
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Random {
        Random(seed)
    }

    #[inline]
    pub fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `bound`.
    #[inline]
    pub fn below(&mut self, bound: u64) -> u64 {
        ((u128::from(self.draw()) * u128::from(bound)) >> 64) as u64
    }

    /// A number in [0, 1).
    #[inline]
    pub fn fraction(&mut self) -> f64 {
        (self.draw() >> 11) as f64 / (1u64 << 53) as f64
    }
}

/// A permutation of 0..count without a table: a Feistel network over the next power of four, walked until it lands inside.
#[derive(Clone, Debug)]
pub struct Shuffle {
    count: u64,
    half_bits: u32,
    seed: u64,
}

impl Shuffle {
    pub fn new(count: u64, seed: u64) -> Shuffle {
        let bits = (u64::BITS - count.max(2).saturating_sub(1).leading_zeros()).next_multiple_of(2);
        Shuffle { count, half_bits: bits / 2, seed }
    }

    pub fn at(&self, index: u64) -> u64 {
        let mut place = index;
        loop {
            place = self.network(place);
            if place < self.count {
                return place;
            }
        }
    }

    fn network(&self, place: u64) -> u64 {
        let mask = (1u64 << self.half_bits) - 1;
        let (mut left, mut right) = (place >> self.half_bits, place & mask);
        for round in 0..4 {
            let mixed = spread(right ^ self.seed.rotate_left(round * 16) ^ u64::from(round)) & mask;
            (left, right) = (right, left ^ mixed);
        }
        (left << self.half_bits) | right
    }
}

/// Zipf-distributed numbers below a count, by the method of Gray et al. ("Quickly Generating Billion-Record Synthetic
/// Databases", 1994) that YCSB uses. Popular numbers are spread over the key space by the hash in the key.
pub struct Zipf {
    count: u64,
    theta: f64,
    alpha: f64,
    zeta: f64,
    eta: f64,
}

impl Zipf {
    pub fn new(count: u64, theta: f64) -> Zipf {
        let zeta: f64 = (1..=count).map(|rank| (rank as f64).powf(-theta)).sum();
        let zeta_of_two = 1.0 + 0.5f64.powf(theta);
        let eta = (1.0 - (2.0 / count as f64).powf(1.0 - theta)) / (1.0 - zeta_of_two / zeta);
        Zipf { count, theta, alpha: 1.0 / (1.0 - theta), zeta, eta }
    }

    pub fn draw(&self, random: &mut Random) -> u64 {
        let fraction = random.fraction();
        let scaled = fraction * self.zeta;
        if scaled < 1.0 {
            return 0;
        }
        if scaled < 1.0 + 0.5f64.powf(self.theta) {
            return 1;
        }
        let rank = self.count as f64 * (self.eta * fraction - self.eta + 1.0).powf(self.alpha);
        (rank as u64).min(self.count - 1)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn a_shuffle_meets_each_number_once() {
        for count in [1u64, 2, 7, 1000, 4097] {
            let shuffle = Shuffle::new(count, 42);
            let met: HashSet<u64> = (0..count).map(|index| shuffle.at(index)).collect();
            assert_eq!(met.len() as u64, count);
            assert!(met.iter().all(|number| *number < count));
        }
    }

    #[test]
    fn zipf_prefers_the_first_ranks() {
        let (zipf, mut random) = (Zipf::new(1000, 0.99), Random::new(1));
        let draws: Vec<u64> = (0..100_000).map(|_| zipf.draw(&mut random)).collect();
        let share = |rank: u64| draws.iter().filter(|draw| **draw == rank).count() as f64 / draws.len() as f64;
        assert!((share(0) - 1.0 / zipf.zeta).abs() < 0.01);
        assert!(share(0) > share(1) && share(1) > share(10));
    }

    #[test]
    fn values_are_known_by_their_number() {
        let mut value = [0; VALUE_BYTES];
        fill_value(7, &mut value);
        count_up(&mut value);
        assert!(is_value_of(7, &value) && !is_value_of(8, &value) && !is_value_of(7, &value[..99]));
        assert_eq!(read_counter(&value), 1);
    }

    #[test]
    fn keys_tell_their_number_and_time() {
        assert_eq!(key_number(&point_key(77)), 77);
        assert_eq!(timer_time(&timer_key(123, 9)), 123);
        assert!(timer_bound(u16::from_be_bytes([timer_key(5, 1)[0], timer_key(5, 1)[1]]), 5) <= timer_key(5, 1));
    }
}
