//! How long things live: what is shown of them, and what other declarations and other workers make of it.

use std::time::Duration;

use bedload::{Aggregating, Clock, List, Map, Reducing, Renewal, Residence, Restoring, Spec, Ttl, Value, Visibility};

use super::{Job, Mean, with_both};

#[tokio::test(flavor = "multi_thread")]
async fn what_has_ended_is_shown_until_it_was_cleaned_up() {
    const fn ttl(renewal: Renewal) -> Ttl {
        let ttl = Ttl::after(Duration::from_millis(10)).clock(Clock::Event);
        ttl.renewed_by(renewal).visible(Visibility::UntilCleaned)
    }
    const VALUE: Spec<Value<u64>> = Value::named("value").ttl(ttl(Renewal::CreateAndWrite));
    const READ: Spec<Value<u64>> = Value::named("read").ttl(ttl(Renewal::ReadAndWrite));
    const LIST: Spec<List<u64>> = List::named("list").ttl(ttl(Renewal::CreateAndWrite));
    const READ_LIST: Spec<List<u64>> = List::named("read list").ttl(ttl(Renewal::ReadAndWrite));
    const MAP: Spec<Map<u64, u64>> = Map::named("map").ttl(ttl(Renewal::ReadAndWrite));
    const SUM: Spec<Reducing<i64>> = Reducing::sum("sum").ttl(ttl(Renewal::CreateAndWrite));
    const MEAN: Spec<Aggregating<Mean>> = Aggregating::named("mean").ttl(ttl(Renewal::CreateAndWrite));
    with_both(async |mut engine| {
        let is_disk = engine.residence() == Residence::Disk;
        let (value, read) = (engine.state(VALUE).unwrap(), engine.state(READ).unwrap());
        let (list, read_list) = (engine.state(LIST).unwrap(), engine.state(READ_LIST).unwrap());
        let (map, sum, mean) = (engine.state(MAP).unwrap(), engine.state(SUM).unwrap(), engine.state(MEAN).unwrap());
        let mut key = engine.with_key("N14228").unwrap();
        key.set(&value, &1).unwrap();
        key.set(&read, &2).unwrap();
        key.set_list(&list, &[3, 4]).unwrap();
        key.set_list(&read_list, &[5]).unwrap();
        key.insert(&map, &6, &60).unwrap();
        key.add(&sum, 7).unwrap();
        key.add(&mean, 8).unwrap();
        engine.advance_watermark(5, |_, _| Ok(())).unwrap();
        engine.with_key("N14228").unwrap().add(&read_list, 50).unwrap();
        engine.with_key("N14228").unwrap().insert(&map, &7, &70).unwrap();
        engine.advance_watermark(10, |_, _| Ok(())).unwrap();

        // Nothing of it was merged, so on disk all of it is there; in memory it is gone.
        let mut key = engine.with_key("N14228").unwrap();
        let shown = |shown: u64| is_disk.then_some(shown);
        for _ in 0..2 {
            assert_eq!(key.get(&value).unwrap(), shown(1));
            assert_eq!(key.get(&read).unwrap(), shown(2), "a read renews nothing that has ended");
            assert_eq!(key.get(&list).unwrap(), if is_disk { vec![3, 4] } else { vec![] });
            assert_eq!(key.get(&sum).unwrap(), shown(7).map(|sum| sum as i64));
            assert_eq!(key.get(&mean).unwrap(), shown(8));
            assert_eq!(key.find(&map, &6).unwrap(), shown(60));
            assert_eq!(key.contains(&map, &6).unwrap(), is_disk);
            let mut entries = key.entries(&map);
            let mut found = Vec::new();
            while let Some((number, _)) = entries.next().unwrap() {
                found.push(number);
            }
            assert_eq!(found, if is_disk { vec![6, 7] } else { vec![7] });
        }
        // A list is cleaned up as a whole, or by a read that renews it.
        assert_eq!(key.get(&read_list).unwrap(), [5, 50]);
        assert_eq!(key.get(&read_list).unwrap(), [50]);
        // What is added to what has ended begins anew; an update sees what a read sees.
        key.add(&list, 9).unwrap();
        key.add(&sum, 9).unwrap();
        key.add(&mean, 9).unwrap();
        assert_eq!(
            (key.get(&list).unwrap(), key.get(&sum).unwrap(), key.get(&mean).unwrap()),
            (vec![9], Some(9), Some(9))
        );
        assert_eq!(key.update(&value, |value| value.replace(10)).unwrap(), shown(1));
        engine.advance_watermark(19, |_, _| Ok(())).unwrap();
        let mut key = engine.with_key("N14228").unwrap();
        assert_eq!(key.get(&value).unwrap(), Some(10), "it lives anew");
        assert_eq!(key.find(&map, &7).unwrap(), Some(70), "it was renewed while it lived");
        key.clear(&value).unwrap();
        key.clear(&map).unwrap();
        assert!(key.get(&value).unwrap().is_none() && key.is_empty(&map).unwrap());
    })
    .await;
}

/// A list ends with its last write, and the write of a declaration with a shorter life ended what an earlier one had given more time.
#[tokio::test(flavor = "multi_thread")]
async fn a_list_whose_life_got_shorter_keeps_its_older_elements_to_their_end() {
    const fn life(ms: u64) -> Spec<List<u64>> {
        List::named("list").ttl(Ttl::after(Duration::from_millis(ms)).clock(Clock::Event))
    }
    for residence in [Residence::Disk, Residence::Heap] {
        let mut job = Job::start().await;
        let mut engines = vec![job.open(0, 1, residence, Restoring::Whole).await];
        let list = engines[0].state(life(100)).unwrap();
        engines[0].with_key(&7u64).unwrap().add(&list, 1).unwrap();
        engines[0].advance_watermark(50, |_, _| Ok(())).unwrap();
        engines[0].with_key(&7u64).unwrap().add(&list, 2).unwrap();
        job.checkpoint(&mut engines).await;
        // Twice: the second opening knows only from the checkpoint that there was a longer life.
        let mut at = 50;
        for (opening, element) in [3u64, 4].into_iter().enumerate() {
            let mut engines = vec![job.open(0, 1, residence, Restoring::Whole).await];
            let list = engines[0].state(life(10)).unwrap();
            engines[0].with_key(&7u64).unwrap().add(&list, element).unwrap();
            for (until, expected) in [(9, vec![1, 2, element]), (10, vec![1, 2])] {
                engines[0].advance_watermark(at + until, |_, _| Ok(())).unwrap();
                let found = engines[0].with_key(&7u64).unwrap().get(&list).unwrap();
                assert_eq!(found, expected, "{residence:?}, opening {opening}, {until} later");
            }
            at += 10;
            job.checkpoint(&mut engines).await;
        }
        let mut engine = job.open(0, 1, residence, Restoring::Whole).await;
        let list = engine.state(life(10)).unwrap();
        for (now, expected) in [(99, vec![1, 2]), (100, vec![2]), (149, vec![2]), (150, vec![])] {
            engine.advance_watermark(now, |_, _| Ok(())).unwrap();
            assert_eq!(engine.with_key(&7u64).unwrap().get(&list).unwrap(), expected, "{residence:?} at {now}");
        }
    }
}

/// Each clock of a worker that takes over from several goes on from the latest of theirs: what had ended stays gone, and for what was
/// with a worker that was behind, time has gone on.
#[tokio::test(flavor = "multi_thread")]
async fn workers_with_different_clocks_are_joined_by_the_latest() {
    const ENDS: Spec<Map<u64, u64>> =
        Map::named("ends").ttl(Ttl::after(Duration::from_millis(100)).clock(Clock::Event));
    const LIST: Spec<List<u64>> = List::named("list").ttl(Ttl::after(Duration::from_millis(100)).clock(Clock::Event));
    for residence in [Residence::Disk, Residence::Heap] {
        let mut job = Job::start().await;
        let mut two = Vec::new();
        for index in 0..2 {
            two.push(job.open(index, 2, residence, Restoring::Whole).await);
        }
        // The second is ahead: what was written at 0 has ended there.
        let mut keys = Vec::new();
        for (engine, now) in two.iter_mut().zip([80, 150]) {
            let (ends, list) = (engine.state(ENDS).unwrap(), engine.state(LIST).unwrap());
            let timers = engine.timers::<()>("timers").unwrap();
            let number = (0u64..).find(|number| engine.with_key(number).is_ok()).unwrap();
            keys.push(number);
            for written in [0, 60, now] {
                engine.advance_watermark(written, |_, _| Ok(())).unwrap();
                let mut key = engine.with_key(&number).unwrap();
                key.insert(&ends, &written, &written).unwrap();
                key.add(&list, written).unwrap();
            }
            let mut key = engine.with_key(&number).unwrap();
            key.set_timer(&timers, 140).unwrap();
            key.set_timer(&timers, 300).unwrap();
            assert_eq!(engine.advance_watermark(now, |_, _| Ok(())).unwrap(), usize::from(now > 140));
        }
        job.checkpoint(&mut two).await;
        let mut one = vec![job.open(0, 1, residence, Restoring::Whole).await];
        let engine = &mut one[0];
        assert_eq!(engine.now(Clock::Event), 150);
        let (ends, list) = (engine.state(ENDS).unwrap(), engine.state(LIST).unwrap());
        engine.timers::<()>("timers").unwrap();
        for (number, expected) in keys.iter().zip([vec![60, 80], vec![60, 150]]) {
            let mut key = engine.with_key(number).unwrap();
            assert_eq!(key.get(&list).unwrap(), expected, "{residence:?}");
            let mut entries = key.entries(&ends);
            let mut found = Vec::new();
            while let Some((written, _)) = entries.next().unwrap() {
                found.push(written);
            }
            assert_eq!(found, expected, "{residence:?}");
        }
        let mut fired = Vec::new();
        let due = engine.advance_watermark(150, |_, timer| {
            fired.push((timer.key::<u64>()?, timer.at()));
            Ok(())
        });
        assert_eq!((due.unwrap(), fired), (1, vec![(keys[0], 140)]), "the one that was due behind its worker's clock");
        // And apart again: each goes on from there.
        job.checkpoint(&mut one).await;
        for index in 0..2 {
            let mut engine = job.open(index, 2, residence, Restoring::Whole).await;
            assert_eq!(engine.now(Clock::Event), 150);
            let list = engine.state(LIST).unwrap();
            let number = keys[index as usize];
            assert_eq!(engine.with_key(&number).unwrap().get(&list).unwrap().len(), 2);
        }
    }
}
