//! Fires timers in the order of their times, across all queues and key groups of a worker.
//!
//! ```text
//!   queue, group 3   ▪10 ▪12 ┆ ▪40            heap of parts by their next time
//!   queue, group 7   ▪11     ┆ ▪90       ──►  10 11 12 │ the clock's reading: what lies behind stays
//! ```
//!
//! Each part with something due is read some timers at a time, and what has fired is removed by one range delete for each reading. So
//! a million timers stream through a few hundred, and leave no tombstones of their own. Timers that are set meanwhile at or below the
//! clock's reading wait for the next advance; those that are deleted meanwhile do not fire, and one that is deleted and set again is
//! one that was set meanwhile.
//!
//! The buffers of parts are kept from advance to advance: nothing is allocated for a timer.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::Arc;

use crate::error::Result;
use crate::keyed::{Core, Keyed};
use crate::ordered::Ordered;
use crate::seeded::{Bug, is_seeded};
use crate::state_key::{Parts, parse};
use crate::timers::{Batch, Pass, Timers};
use crate::ttl::{Clock, Visibility};

/// How many timers of a part are read at once.
const BATCH: usize = 256;

/// A timer that fires.
pub struct Fired<'a> {
    parts: Parts<'a>,
    name: &'a str,
}

impl Fired<'_> {
    /// The time that it was set for, in milliseconds.
    pub fn at(&self) -> u64 {
        self.parts.time
    }

    /// The name of its timers.
    pub fn name(&self) -> &str {
        self.name
    }

    /// Whether it is one of these.
    pub fn is<N: ?Sized>(&self, timers: &Timers<N>) -> bool {
        self.parts.tag == timers.tag
    }

    /// The key that it was set for.
    ///
    /// # Errors
    /// `Damaged` when keys are not of this type.
    pub fn key<K: Ordered + ?Sized>(&self) -> Result<K::Owned> {
        K::decode(&mut &*self.parts.key)
    }

    /// The namespace that it was set for.
    ///
    /// # Errors
    /// `Damaged` when its namespaces are not of this type.
    pub fn namespace<N: Ordered + ?Sized>(&self) -> Result<N::Owned> {
        N::decode(&mut &*self.parts.namespace)
    }
}

/// The part of a queue in one key group.
struct Part {
    queue: usize,
    group: u16,
    batch: Batch,
    /// How many timers of the batch have fired.
    fired: usize,
}

/// Sets a clock and fires what is due by it.
pub(crate) fn advance(
    core: &mut Core,
    clock: Clock,
    now: u64,
    mut fire: impl FnMut(&mut Keyed<'_>, &Fired<'_>) -> Result<()>,
) -> Result<usize> {
    core.backend.set_clock(clock.id(), now)?;
    let now = core.backend.clocks().now(clock.id());
    let mut parts = Vec::new();
    for (number, queue) in core.queues.iter().enumerate().filter(|(_, queue)| queue.clock == clock) {
        for group in queue.due_groups(now) {
            let mut batch = core.batches.pop().unwrap_or_default();
            batch.range.set_prefix(&queue.prefix(group));
            batch.fired.set_prefix(&queue.prefix(group));
            parts.push(Part { queue: number, group, batch, fired: 0 });
        }
    }
    if parts.is_empty() {
        return Ok(0);
    }
    core.pass = Some(Pass { clock, now, late: Default::default(), deleted: Default::default() });
    let fired = fire_parts(core, &mut parts, now, &mut fire);
    core.batches.extend(parts.into_iter().map(|mut part| {
        part.batch.clear();
        part.batch
    }));
    let late = core.pass.take().map(|pass| pass.late).unwrap_or_default();
    for timer in late {
        if is_seeded(Bug::LateLost) {
            continue;
        }
        let key = parse(&timer)?;
        let queue = core.queues.iter_mut().find(|queue| queue.tag == key.tag);
        queue.expect("timers are set through their queue").note(key.group, key.time);
        core.backend.put(&timer, &[], None)?;
    }
    fired
}

fn fire_parts(
    core: &mut Core,
    parts: &mut [Part],
    now: u64,
    fire: &mut impl FnMut(&mut Keyed<'_>, &Fired<'_>) -> Result<()>,
) -> Result<usize> {
    let mut next = BinaryHeap::with_capacity(parts.len());
    for (number, part) in parts.iter_mut().enumerate() {
        if part.read(core, now)? {
            next.push(Reverse((part.next_time()?, number)));
        }
    }
    let mut count = 0;
    while let Some(Reverse((_, number))) = next.pop() {
        let part = &mut parts[number];
        let timer = part.batch.timer(part.fired);
        part.fired += 1;
        match fire_one(core, part.queue, timer, fire) {
            Ok(is_fired) => count += usize::from(is_fired),
            Err(error) => {
                // What has fired does not fire again.
                for part in parts.iter_mut() {
                    core.queues[part.queue].set_head(part.group, 0);
                    part.remove_fired(core)?;
                }
                return Err(error);
            }
        }
        if part.has_next() || part.read(core, now)? {
            next.push(Reverse((part.next_time()?, number)));
        }
    }
    Ok(count)
}

/// Fires a timer, unless it was deleted meanwhile.
fn fire_one(
    core: &mut Core,
    queue: usize,
    timer: &[u8],
    fire: &mut impl FnMut(&mut Keyed<'_>, &Fired<'_>) -> Result<()>,
) -> Result<bool> {
    let pass = core.pass.as_mut().expect("timers fire in a pass");
    if pass.deleted.remove(timer) {
        return Ok(false);
    }
    // Set once more before it fired: it is one timer.
    pass.late.remove(timer);
    let parts = parse(timer)?;
    let name = Arc::clone(&core.queues[queue].name);
    let fired = Fired { parts, name: &name };
    fire(&mut core.with_timer_key(&parts), &fired)?;
    Ok(true)
}

impl Part {
    /// Whether a timer that was read has not fired.
    fn has_next(&self) -> bool {
        self.fired < self.batch.len()
    }

    /// The time of the next timer that was read.
    fn next_time(&self) -> Result<u64> {
        Ok(parse(self.batch.timer(self.fired))?.time)
    }

    /// Removes what has fired, and reads the next timers that are due; false when there are none.
    fn read(&mut self, core: &mut Core, now: u64) -> Result<bool> {
        self.remove_fired(core)?;
        self.batch.clear();
        self.fired = 0;
        let range = std::mem::take(&mut self.batch.range);
        let (mut head, batch) = (u64::MAX, &mut self.batch);
        let scanned = core.backend.scan(&range, Visibility::Living, |key, _| {
            let time = parse(key)?.time;
            if time > now || batch.len() == BATCH {
                head = time;
                return Ok(false);
            }
            batch.push(key);
            Ok(true)
        });
        self.batch.range = range;
        scanned?;
        core.queues[self.queue].set_head(self.group, head);
        Ok(self.has_next())
    }

    /// Removes the timers that were read and have fired.
    fn remove_fired(&mut self, core: &mut Core) -> Result<()> {
        if self.fired == 0 {
            return Ok(());
        }
        let mut end = self.batch.fired.end.take().unwrap_or_default();
        end.clear();
        end.extend_from_slice(self.batch.timer(self.fired - 1));
        end.push(0);
        self.batch.fired.end = Some(end);
        core.backend.delete_range(&self.batch.fired)
    }
}
