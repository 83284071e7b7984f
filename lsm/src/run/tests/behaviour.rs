//! What goes in comes out, and estimates err on the right side.

use proptest::prelude::*;

use super::*;
use crate::codec::prefix_hash32;
use crate::entry::ClockId;

fn keys() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        20 => proptest::collection::vec(prop_oneof![Just(b'a'), Just(b'b'), Just(0), Just(0xff)], 0..6),
        20 => any::<u16>().prop_map(|number| format!("user/{number:05}/name").into_bytes()),
        1 => (60_000usize..=65_535, any::<u8>()).prop_map(|(bytes, fill)| vec![fill; bytes]),
    ]
}

fn entries() -> impl Strategy<Value = Owned> {
    let expiry = proptest::option::of((0u8..16, prop_oneof![0u64..1000, any::<u64>()]));
    let value = prop_oneof![
        20 => proptest::collection::vec(any::<u8>(), 0..100),
        4 => (8_190usize..8_196).prop_map(|bytes| vec![7; bytes]),
        1 => (10_000usize..40_000).prop_map(|bytes| vec![8; bytes]),
    ];
    (0u8..6, value, expiry, any::<u64>()).prop_map(|(kind, value, expiry, written)| {
        let expiry = expiry.map(|(clock, at)| Expiry { clock: ClockId(clock), at });
        match kind {
            0 => Owned::of(Entry::TOMBSTONE),
            1 => Owned::of(Entry::operand(&value, expiry, written)),
            _ => Owned::of(Entry::value(&value, expiry)),
        }
    })
}

fn plans() -> impl Strategy<Value = Plan> {
    (prop_oneof![Just(0usize), 300usize..4_000, Just(16 << 10)], 1usize..8, 0..codecs().len()).prop_map(
        |(block_bytes, section_blocks, codec)| Plan::small(block_bytes, block_bytes * section_blocks, codecs()[codec]),
    )
}

fn bounds(model: &Model, probes: &[Vec<u8>]) -> Vec<Vec<u8>> {
    model.keys().chain(probes).cloned().collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn what_is_written_is_read(
        model in proptest::collection::btree_map(keys(), entries(), 0..200),
        probes in proptest::collection::vec(keys(), 10),
        plan in plans(),
        is_mapped: bool,
    ) {
        let (bytes, summary) = plan.write(&model);
        prop_assert_eq!(summary.bytes, bytes.len() as u64);
        prop_assert_eq!(summary.digest, *blake3::hash(&bytes).as_bytes());
        let run = plan.open(&bytes, is_mapped).unwrap();
        run.verify().unwrap();
        let list: Vec<_> = model.clone().into_iter().collect();
        prop_assert_eq!(&forwards(&run).unwrap(), &list);
        prop_assert_eq!(&backwards(&run).unwrap(), &list);
        prop_assert_eq!(run.first_key(), model.keys().next().map(|key| &**key));
        prop_assert_eq!(run.last_key(), model.keys().next_back().map(|key| &**key));
        for key in bounds(&model, &probes) {
            prop_assert_eq!(get(&run, &key).unwrap(), model.get(&key).cloned());
            prop_assert!(run.may_contain(hash32(&key), &key) || !model.contains_key(&key));
        }
    }

    #[test]
    fn a_cursor_goes_where_a_tree_goes(
        model in proptest::collection::btree_map(keys(), Just(Owned::value(b"v")), 0..150),
        moves in proptest::collection::vec((0u8..4, keys()), 1..60),
        plan in plans(),
    ) {
        let (bytes, _) = plan.write(&model);
        let run = plan.open(&bytes, true).unwrap();
        let mut cursor = run.cursor();
        let mut expected: Option<Vec<u8>> = None;
        for (action, key) in moves {
            let known = expected.clone();
            expected = match (action, known) {
                (0, _) => {
                    cursor.seek(&key).unwrap();
                    model.range(key..).next().map(|(key, _)| key.clone())
                }
                (1, _) => {
                    cursor.seek_before(Some(&key)).unwrap();
                    model.range(..key).next_back().map(|(key, _)| key.clone())
                }
                (2, Some(at)) => {
                    cursor.next().unwrap();
                    model.range(at..).nth(1).map(|(key, _)| key.clone())
                }
                (3, Some(at)) => {
                    cursor.prev().unwrap();
                    model.range(..at).next_back().map(|(key, _)| key.clone())
                }
                (_, at) => at,
            };
            prop_assert_eq!(cursor.key(), expected.as_deref());
        }
    }

    #[test]
    fn estimates_never_say_nothing_where_something_is(
        model in proptest::collection::btree_map(keys(), entries(), 0..150),
        bounds in proptest::collection::vec((keys(), proptest::option::of(keys())), 1..20),
        readings in 0u64..2000,
        plan in plans(),
    ) {
        let (bytes, _) = plan.write(&model);
        let run = plan.open(&bytes, true).unwrap();
        let clocks = Clocks::from_readings([readings; 16]);
        for (start, end) in bounds {
            let range = KeyRange { start, end };
            let inside: Vec<_> = model.iter().filter(|(key, _)| range.contains(key)).map(|(_, entry)| entry).collect();
            let stats = run.stats_in(&range);
            prop_assert!(stats.entries > 0 && stats.bytes > 0 || inside.is_empty());
            prop_assert!(stats.tombstones > 0 || !inside.iter().any(|entry| entry.kind == Kind::Tombstone));
            prop_assert!(run.overlaps(&range) || inside.is_empty());
            if run.all_expired(&range, &clocks) {
                prop_assert!(inside.iter().all(|entry| entry.kind == Kind::Value && entry.entry().expired(&clocks)));
            }
            for (key, bytes) in run.boundaries(&range) {
                prop_assert!(range.contains(&key) && bytes > 0);
            }
        }
        let all = run.stats_in(&KeyRange::all());
        let count = |kind| model.values().filter(|entry| entry.kind == kind).count() as u64;
        prop_assert_eq!(all.entries, model.len() as u64);
        prop_assert_eq!((all.tombstones, all.operands), (count(Kind::Tombstone), count(Kind::Operand)));
        let bytes: u64 = run.boundaries(&KeyRange::all()).iter().map(|(_, bytes)| bytes).sum();
        prop_assert_eq!(all.bytes, bytes);
    }
}

/// Keys `p/q/…`: partition of two bytes; keys whose third byte is `s` are scanned by their first four.
struct Mixed;

impl KeyShape for Mixed {
    fn name(&self) -> &str {
        "mixed"
    }

    fn version(&self) -> u32 {
        1
    }

    fn partition_bytes(&self, key: &[u8]) -> usize {
        key.len().min(2)
    }

    fn scan_prefix_bytes(&self, key: &[u8]) -> Option<usize> {
        (key.len() >= 4 && key[2] == b's').then_some(4)
    }
}

pub(super) fn mixed_model() -> Model {
    let mut model = Model::new();
    for partition in 0..40u8 {
        for group in (0..100u8).step_by(2) {
            for (state, count) in [(b'a', 1), (b's', 3), (b'z', 1)] {
                for number in 0..count {
                    model.insert(vec![0, partition, state, group, number], Owned::value(&[group; 20]));
                }
            }
        }
    }
    model
}

pub(super) fn mixed_plan(codec: Codec) -> Plan {
    Plan { shape: Arc::new(Mixed), ..Plan::small(2_000, 20_000, codec) }
}

pub(super) fn check_prefixes(run: &Run) {
    let (mut wrong, mut strangers) = (0, 0);
    for partition in 0..40u8 {
        for group in 0..100u8 {
            let may = run.may_contain_prefix(&[0, partition, b's', group]);
            if group % 2 == 0 {
                assert!(may, "prefix {partition} {group} is there");
            } else {
                strangers += 1;
                wrong += u32::from(may);
            }
        }
    }
    assert!(wrong * 100 < strangers * 4, "{wrong} of {strangers} strangers");
}

#[test]
fn a_filter_tells_which_prefixes_are_there() {
    let plan = mixed_plan(Codec::None);
    let (bytes, _) = plan.write(&mixed_model());
    let run = plan.open(&bytes, true).unwrap();
    check_prefixes(&run);
    assert!(!run.may_contain_prefix(&[1, 0, b's', 0]), "behind all keys");
    let other = Plan::default().open(&bytes, true).unwrap();
    assert!(other.may_contain_prefix(&[0, 0, b's', 1]), "another shape must not trust the filter");
    assert_ne!(prefix_hash32(b"prefix"), hash32(b"prefix"));
}

#[test]
fn sections_end_between_partitions() {
    let plan = mixed_plan(Codec::None);
    let (bytes, _) = plan.write(&mixed_model());
    let run = plan.open(&bytes, true).unwrap();
    let sections = &run.directory.sections;
    assert!(sections.len() > 3, "{} sections", sections.len());
    for pair in sections.windows(2) {
        assert_ne!(pair[0].last[..2], pair[1].first[..2], "a partition of normal size is not cut");
        assert_eq!(pair[1].places.lines % 64, 0);
    }
    let one = Plan::small(2_000, 20_000, Codec::None);
    let (bytes, _) = one.write(&mixed_model());
    assert!(one.open(&bytes, true).unwrap().directory.sections.len() > 1, "a large partition is cut");
}

#[test]
fn few_absent_keys_pass_the_filter() {
    let key = |number: u32| [b"key-", &number.wrapping_mul(0x9e37_79b1).to_be_bytes()[..]].concat();
    let model: Model = (0..20_000).map(|number| (key(number), Owned::value(b"value"))).collect();
    let plan = Plan::small(4_000, 100_000, Codec::None);
    let (bytes, _) = plan.write(&model);
    let run = plan.open(&bytes, true).unwrap();
    let absent: Vec<_> = (20_000..60_000).map(key).collect();
    let passed = absent.iter().filter(|key| run.may_contain(hash32(key), key)).count();
    assert!(passed < absent.len() / 60, "{passed} of {}", absent.len());
    assert!(absent.iter().all(|key| get(&run, key).unwrap().is_none()));
}

#[test]
fn range_tombstones_clocks_and_shape_come_back() {
    let clocks = Clocks::from_readings([9; 16]);
    let ranges = vec![KeyRange::from("b".as_bytes()..b"c"), KeyRange::from("x".as_bytes()..)];
    let plan = Plan { ranges: ranges.clone(), clocks, ..Plan::default() };
    let (bytes, _) = plan.write(&Model::new());
    let run = plan.open(&bytes, false).unwrap();
    assert_eq!(run.properties().entries, 0);
    run.verify().unwrap();
    assert_eq!(run.ranges().iter().collect::<Vec<_>>(), ranges);
    assert_eq!(run.properties().clocks, clocks);
    assert_eq!((&*run.properties().shape_name, run.properties().shape_version), ("points", 1));
    assert!(run.overlaps(&KeyRange::key(b"y")) && !run.overlaps(&KeyRange::key(b"a")));
    assert!(!run.all_expired(&KeyRange::key(b"y"), &clocks) && run.all_expired(&KeyRange::key(b"a"), &clocks));
    assert_eq!((run.first_key(), run.properties().codec_name()), (None, "none"));
}

#[test]
fn a_run_expires_by_the_last_of_each_clock() {
    let expiring = |clock, at| Owned::of(Entry::value(b"v", Some(Expiry { clock: ClockId(clock), at })));
    let model = Model::from([(b"a".to_vec(), expiring(0, 10)), (b"b".to_vec(), expiring(3, 20))]);
    let (bytes, _) = Plan::default().write(&model);
    let run = Plan::default().open(&bytes, true).unwrap();
    assert_eq!(run.properties().expiring, 2);
    let mut clocks = Clocks::default();
    clocks.advance(ClockId(0), 10);
    clocks.advance(ClockId(3), 19);
    assert!(!run.all_expired(&KeyRange::all(), &clocks));
    clocks.advance(ClockId(3), 20);
    assert!(run.all_expired(&KeyRange::all(), &clocks));
}

#[test]
fn blocks_that_are_not_mapped_or_are_compressed_live_in_the_cache() {
    let model: Model = (0..2_000u32).map(|number| (number.to_be_bytes().to_vec(), Owned::value(&[1; 50]))).collect();
    for (codec, is_mapped) in codecs().into_iter().flat_map(|codec| [(codec, true), (codec, false)]) {
        let plan = Plan::small(4_000, 40_000, codec);
        let (bytes, _) = plan.write(&model);
        let cache = Arc::new(BlockCache::new(8 << 20));
        let source = Arc::new(Bytes { bytes, is_mapped });
        let run = plan.open_source(source, ID, Arc::clone(&cache)).unwrap();
        let mut sweep = run.sweep();
        sweep.seek(&[]).unwrap();
        while sweep.key().is_some() {
            sweep.next().unwrap();
        }
        let swept = cache.used_bytes();
        assert_eq!(forwards(&run).unwrap().len(), 2_000);
        let kept = cache.used_bytes() - swept;
        assert_eq!(kept > 0, !is_mapped || codec != Codec::None, "{codec:?} {is_mapped} kept {kept}");
        let hits = cache.hits();
        forwards(&run).unwrap();
        assert!(cache.hits() > hits || kept == 0);
    }
}

/// A long value went through the write buffer, which kept its size until the file was done.
#[test]
fn a_long_value_is_written_without_a_copy() {
    let plan = Plan::default();
    let (mut writer, sink) = plan.writer(ID);
    let value: Vec<u8> = (0..4_000_000u32).map(|number| (number / 7) as u8).collect();
    for key in [b"a", b"b", b"c"] {
        writer.add(key, hash32(key), Entry::value(if key == b"b" { &value } else { b"short" }, None)).unwrap();
        assert!(writer.buffer_bytes() < 512 << 10, "the buffer holds {} bytes", writer.buffer_bytes());
    }
    let summary = writer.finish(&Clocks::default(), false).unwrap();
    let bytes = sink.take();
    assert_eq!(summary.digest, *blake3::hash(&bytes).as_bytes());
    let run = plan.open(&bytes, true).unwrap();
    run.verify().unwrap();
    assert_eq!(get(&run, b"b").unwrap(), Some(Owned::value(&value)));
}

#[test]
fn long_values_that_are_read_again_come_from_the_cache() {
    let plan = Plan::default();
    let model = Model::from([(b"a".to_vec(), Owned::value(&[1; 20_000])), (b"b".to_vec(), Owned::value(&[2; 20_000]))]);
    let (bytes, _) = plan.write(&model);
    let cache = Arc::new(BlockCache::new(8 << 20));
    let run = plan.open_source(Arc::new(Bytes { bytes, is_mapped: false }), ID, Arc::clone(&cache)).unwrap();
    let counted = |read: &dyn Fn()| {
        let before = (cache.hits(), cache.misses());
        read();
        (cache.hits() - before.0, cache.misses() - before.1)
    };
    let get_both = || model.keys().for_each(|key| assert_eq!(get(&run, key).unwrap().as_ref(), model.get(key)));
    let (_, misses) = counted(&get_both);
    assert_eq!(misses, 5, "filter, index, block, and two long values");
    let (hits, misses) = counted(&get_both);
    assert_eq!((hits, misses), (8, 0), "each of the two finds filter, index, block and value");
    assert_eq!(counted(&|| assert_eq!(backwards(&run).unwrap().len(), 2)), (1, 0), "a sweep counts its index only");
}

/// A scan that only wants keys, and a merge that passes an entry, read every long value.
#[test]
fn a_long_value_is_read_when_it_is_asked_for() {
    let model = Model::from([
        (b"a".to_vec(), Owned::of(Entry::operand(&[1; 9_000], None, 3))),
        (b"b".to_vec(), Owned::value(&[2; 9_000])),
    ]);
    let (mut bytes, _) = Plan::default().write(&model);
    bytes[100] ^= 1;
    for is_mapped in [true, false] {
        let run = Plan::default().open(&bytes, is_mapped).unwrap();
        let mut cursor = run.cursor();
        cursor.seek(&[]).unwrap();
        assert_eq!(cursor.kind().unwrap(), Kind::Operand);
        assert!(cursor.entry().err().unwrap().to_string().contains("value checksum"));
        cursor.next().unwrap();
        assert_eq!((cursor.key(), cursor.kind().unwrap()), (Some(&b"b"[..]), Kind::Value));
        assert_eq!(cursor.entry().unwrap().value, [2; 9_000]);
    }
}

#[test]
fn a_run_is_shared_between_threads() {
    fn shared<T: Send + Sync>() {}
    shared::<Run>();
    shared::<super::super::RunBytes<'_>>();
    fn moved<T: Send>() {}
    moved::<super::super::RunCursor<'_>>();
    moved::<RunWriter>();
}
