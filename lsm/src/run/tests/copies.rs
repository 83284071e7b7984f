//! Blocks that go from run to run whole.

use super::behaviour::{check_prefixes, mixed_model, mixed_plan};
use super::*;
use crate::entry::ClockId;

pub(super) const COPY: RunId = RunId { opening: 1, sequence: 2 };

/// Copies whole blocks where that is possible and entries elsewhere; returns the bytes and how many blocks were copied.
fn copy(run: &Run, plan: &Plan) -> (Vec<u8>, usize) {
    let (mut writer, sink) = plan.writer(COPY);
    let mut cursor = run.sweep();
    let mut copied = 0;
    cursor.seek(&[]).unwrap();
    while let Some(key) = cursor.key() {
        if let Some(block) = cursor.block_ahead().unwrap() {
            assert_eq!(block.first_key(), key);
            writer.add_block(&block).unwrap();
            copied += 1;
            cursor.skip_block().unwrap();
        } else {
            writer.add(key, hash32(key), cursor.entry().unwrap()).unwrap();
            cursor.next().unwrap();
        }
    }
    let summary = writer.finish(&Clocks::default(), false).unwrap();
    let bytes = sink.take();
    assert_eq!(&summary.digest, blake3::hash(&bytes).as_bytes());
    (bytes, copied)
}

pub(super) fn open_copy(bytes: Vec<u8>, plan: &Plan) -> Run {
    let source = Arc::new(Bytes { bytes, is_mapped: true });
    plan.open_source(source, COPY, Arc::new(BlockCache::new(1 << 20))).unwrap()
}

fn various() -> Model {
    let mut model = mixed_model();
    for (number, entry) in model.values_mut().enumerate() {
        let expiry = |clock| Some(Expiry { clock: ClockId(clock), at: number as u64 });
        *entry = match number % 97 {
            0 => Owned::of(Entry::TOMBSTONE),
            1 => Owned::of(Entry::operand(b"+1", expiry(1), 7)),
            2 => Owned::value(&vec![number as u8; 9_000]),
            3..30 if number > 5_000 => Owned::of(Entry::value(b"brief", expiry(2 + number as u8 % 2))),
            30..50 if number > 2_000 => Owned::of(Entry::value(b"brief", expiry(5))),
            _ => entry.clone(),
        };
    }
    model
}

#[test]
fn copied_blocks_give_the_same_run() {
    for (from, to) in codecs().into_iter().flat_map(|from| codecs().into_iter().map(move |to| (from, to))) {
        for model in [mixed_model(), various()] {
            let (bytes, _) = mixed_plan(from).write(&model);
            let run = mixed_plan(from).open(&bytes, true).unwrap();
            let plan = mixed_plan(to);
            let (bytes, blocks) = copy(&run, &plan);
            assert!(blocks > 20, "{blocks} blocks copied");
            let copied = open_copy(bytes, &plan);
            copied.verify().unwrap();
            assert_eq!(forwards(&copied).unwrap(), model.clone().into_iter().collect::<Vec<_>>());
            check_prefixes(&copied);
            let (old, new) = (run.properties(), copied.properties());
            assert_eq!((old.entries, old.tombstones, old.operands), (new.entries, new.tombstones, new.operands));
            assert_eq!((old.expiring, old.key_bytes, old.value_bytes), (new.expiring, new.key_bytes, new.value_bytes));
        }
    }
}

#[test]
fn blocks_of_another_shape_bring_their_prefixes() {
    let (bytes, _) = Plan::small(2_000, 20_000, Codec::None).write(&mixed_model());
    let run = Plan::default().open(&bytes, true).unwrap();
    let plan = mixed_plan(Codec::None);
    let (bytes, _) = copy(&run, &plan);
    let copied = open_copy(bytes, &plan);
    check_prefixes(&copied);
    // And once more, now by the flag in the blocks.
    let (mut writer, sink) = plan.writer(ID);
    let mut cursor = copied.sweep();
    cursor.seek(&[]).unwrap();
    while let Some(block) = cursor.block_ahead().unwrap() {
        writer.add_block(&block).unwrap();
        cursor.skip_block().unwrap();
    }
    writer.finish(&Clocks::default(), false).unwrap();
    check_prefixes(&plan.open(&sink.take(), true).unwrap());
}

#[test]
fn a_block_tells_what_is_in_it() {
    let mut model = Model::new();
    for number in 0..20u8 {
        let expiry = Some(Expiry { clock: ClockId(number % 2), at: 100 + u64::from(number) });
        model.insert(vec![number], Owned::of(Entry::value(b"v", expiry)));
    }
    model.insert(vec![20], Owned::of(Entry::TOMBSTONE));
    model.insert(vec![21], Owned::of(Entry::operand(b"o", None, 1)));
    let (bytes, _) = Plan::default().write(&model);
    let run = Plan::default().open(&bytes, true).unwrap();
    let mut cursor = run.sweep();
    cursor.seek(&[1]).unwrap();
    assert!(cursor.block_ahead().unwrap().is_none(), "not at the first entry");
    cursor.seek(&[]).unwrap();
    let block = cursor.block_ahead().unwrap().unwrap();
    assert_eq!((block.first_key(), block.last_key()), (&[0][..], &[21][..]));
    assert_eq!((block.count(), block.tombstones(), block.operands(), block.expiring()), (22, 1, 1, 20));
    let ats = |expiries: Vec<Expiry>| expiries.iter().map(|expiry| expiry.at).collect::<Vec<_>>();
    assert_eq!(ats(block.first_expiry().unwrap().collect()), [100, 101]);
    assert_eq!(ats(block.last_expiry().unwrap().collect()), [118, 119]);
    cursor.skip_block().unwrap();
    assert_eq!(cursor.key(), None);
}
