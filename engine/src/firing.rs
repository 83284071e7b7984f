//! Fires timers in the order of their times, across all queues and key groups of a worker.
//!
//! ```text
//!   queue, group 3   ▪10 ▪12 ┆ ▪40            heap of parts by their next time
//!   queue, group 7   ▪11     ┆ ▪90       ──►  10 11 12 │ the clock's reading: what lies behind stays
//! ```
//!
//! Each part with something due is read some timers at a time, and what has fired is removed by one range delete for each reading. So
//! a million timers stream through a few hundred, and leave no tombstones of their own. Timers that are set meanwhile at or below the
//! clock's reading wait for the next advance; those that are deleted meanwhile do not fire.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::sync::Arc;

use bedload_lsm::KeyRange;

use crate::error::Result;
use crate::keyed::{Core, Keyed};
use crate::ordered::Ordered;
use crate::state_key::{Parts, parse};
use crate::timers::{Pass, Timers};
use crate::ttl::Clock;

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
    /// Timers that were read and have not fired.
    ahead: VecDeque<Vec<u8>>,
    /// The last one that was read; what lies up to it is removed when all have fired.
    last: Vec<u8>,
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
        let part = |group| Part { queue: number, group, ahead: VecDeque::new(), last: Vec::new() };
        parts.extend(queue.due_groups(now).map(part));
    }
    if parts.is_empty() {
        return Ok(0);
    }
    core.pass = Some(Pass { clock, now, late: Default::default(), deleted: Default::default() });
    let fired = fire_parts(core, &mut parts, now, &mut fire);
    let late = core.pass.take().map(|pass| pass.late).unwrap_or_default();
    for timer in late {
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
    let mut next = BinaryHeap::new();
    for (number, part) in parts.iter_mut().enumerate() {
        if part.read(core, now)? {
            next.push(Reverse((part.next_time()?, number)));
        }
    }
    let mut count = 0;
    while let Some(Reverse((_, number))) = next.pop() {
        let part = &mut parts[number];
        let timer = part.ahead.pop_front().expect("a part in the heap has timers");
        let done = fire_one(core, part.queue, &timer, fire);
        match done {
            Ok(is_fired) => count += usize::from(is_fired),
            Err(error) => {
                // What has fired does not fire again.
                part.last.clone_from(&timer);
                for part in parts.iter().filter(|part| !part.last.is_empty()) {
                    part.forget_fired(core)?;
                }
                return Err(error);
            }
        }
        if part.ahead.is_empty() {
            part.remove_fired(core, &part.last)?;
            part.read(core, now)?;
        }
        if !part.ahead.is_empty() {
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
    /// The time of the next timer that was read.
    fn next_time(&self) -> Result<u64> {
        Ok(parse(&self.ahead[0])?.time)
    }

    /// Reads the next timers that are due; false when there are none.
    fn read(&mut self, core: &mut Core, now: u64) -> Result<bool> {
        let queue = &core.queues[self.queue];
        let range = queue.range(self.group);
        let (mut head, ahead) = (u64::MAX, &mut self.ahead);
        core.backend.scan(range, |key, _| {
            let time = parse(key)?.time;
            if time > now || ahead.len() == BATCH {
                head = time;
                return Ok(false);
            }
            ahead.push_back(key.to_vec());
            Ok(true)
        })?;
        core.queues[self.queue].set_head(self.group, head);
        if let Some(last) = self.ahead.back() {
            self.last.clone_from(last);
        }
        Ok(!self.ahead.is_empty())
    }

    /// Removes the timers up to `last`.
    fn remove_fired(&self, core: &mut Core, last: &[u8]) -> Result<()> {
        let mut range = core.queues[self.queue].range(self.group);
        let mut end = last.to_vec();
        end.push(0);
        range.end = Some(end);
        core.backend.delete_range(range)
    }

    /// Removes what has fired of what was read, when the pass ends early.
    fn forget_fired(&self, core: &mut Core) -> Result<()> {
        let queue = &mut core.queues[self.queue];
        queue.set_head(self.group, 0);
        match self.ahead.front() {
            None => self.remove_fired(core, &self.last),
            Some(first) => {
                let mut range: KeyRange = core.queues[self.queue].range(self.group);
                range.end = Some(first.clone());
                core.backend.delete_range(range)
            }
        }
    }
}
