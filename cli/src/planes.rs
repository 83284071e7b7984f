//! Flights, counted by plane and day: the states of the demonstration, and the same in plain collections.
//!
//! ```text
//!  day     Value   flights, cancelled, minutes late, minutes in the air, how often idle, the timer that is set
//!  stops   List    each flight that took off; forgotten 90 days later
//!  idle    timers  six hours of silence behind the last departure
//! ```
//!
//! Event time is the last full hour before a flight, so it is a function of how many flights were read: a worker that reads them again from
//! a checkpoint sees the same.

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use bedload::{Clock, Engine, List, Result, Spec, State, Timers, Ttl, Value};
use serde::{Deserialize, Serialize};

use crate::flights::{Flight, Flights};
use crate::totals::Totals;

/// The start of 2013 since 1970.
const START_MS: u64 = 1_356_998_400_000;
const MINUTE_MS: u64 = 60_000;
const HOUR_MS: u64 = 60 * MINUTE_MS;
const IDLE_MS: u64 = 6 * HOUR_MS;
const STOPS_LIVE: Duration = Duration::from_secs(90 * 24 * 3600);
const MINUTES_OF_YEAR: u64 = 365 * 24 * 60;
const MINUTES_OF_DAY: u64 = 24 * 60;

const DAY: Spec<Value<Day>> = Value::named("day");
const STOPS: Spec<List<Stop>> = List::named("stops").ttl(Ttl::after(STOPS_LIVE).clock(Clock::Event));

/// What the sums of [`Totals`] are of.
pub const SUMS: [&str; 7] = [
    "planes and days",
    "flights",
    "cancelled",
    "minutes late",
    "minutes in the air",
    "times idle",
    "stops within 90 days",
];

/// A plane on a day.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Day {
    flights: u32,
    cancelled: u32,
    late_minutes: i64,
    air_minutes: u32,
    idle: u32,
    /// Zero when no timer is set.
    idle_at: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Stop {
    at: u64,
    /// Carrier and number.
    flight: String,
    origin: String,
    destination: String,
}

impl Day {
    /// Counts a flight; gives the time of the timer that was set before, where it took off.
    fn count(&mut self, flight: &Flight, at: u64) -> Option<u64> {
        self.flights += 1;
        let Some(late) = flight.departure_delay else {
            self.cancelled += 1;
            return None;
        };
        self.late_minutes += i64::from(late);
        self.air_minutes += u32::from(flight.air_minutes.unwrap_or(0));
        Some(std::mem::replace(&mut self.idle_at, at + IDLE_MS))
    }

    fn note_idle(&mut self) {
        self.idle += 1;
        self.idle_at = 0;
    }

    fn add_to(&self, tail: &str, day: u32, stops: &[Stop], totals: &mut Totals, bytes: &mut Vec<u8>) {
        bytes.clear();
        bytes.extend_from_slice(tail.as_bytes());
        bytes.push(0);
        bytes.extend_from_slice(&day.to_le_bytes());
        for number in [self.flights, self.cancelled, self.air_minutes, self.idle] {
            bytes.extend_from_slice(&number.to_le_bytes());
        }
        bytes.extend_from_slice(&self.late_minutes.to_le_bytes());
        bytes.extend_from_slice(&self.idle_at.to_le_bytes());
        for stop in stops {
            bytes.extend_from_slice(&stop.at.to_le_bytes());
            for word in [&stop.flight, &stop.origin, &stop.destination] {
                bytes.extend_from_slice(word.as_bytes());
                bytes.push(0);
            }
        }
        let (flights, cancelled, air) = (self.flights.into(), self.cancelled.into(), self.air_minutes.into());
        let stops = i64::try_from(stops.len()).expect("a day has few flights");
        totals.add(&[1, flights, cancelled, self.late_minutes, air, self.idle.into(), stops], bytes);
    }
}

/// The first `rows` flights of the year, once for each of several years.
#[derive(Debug)]
pub struct Replay {
    flights: Flights,
    rows: u64,
}

impl Replay {
    /// # Errors
    /// As [`Flights::unpack`].
    pub fn new(rows: u64) -> Result<Replay> {
        let flights = Flights::unpack()?;
        assert!((1..=flights.rows.len() as u64).contains(&rows), "a year has no {rows} flights");
        Ok(Replay { flights, rows })
    }

    /// A flight and its time, in milliseconds since 1970.
    fn flight(&self, record: u64) -> (&Flight, u64) {
        let row = usize::try_from(record % self.rows).expect("a row of a vector");
        let flight = &self.flights.rows[row];
        let minute = u64::from(flight.minute) + record / self.rows * MINUTES_OF_YEAR;
        (flight, START_MS + minute * MINUTE_MS)
    }

    fn tail(&self, flight: &Flight) -> &str {
        &self.flights.tails[usize::from(flight.tail)]
    }

    fn stop(&self, flight: &Flight, at: u64) -> Stop {
        let airport = |word: u16| self.flights.airports[usize::from(word)].clone();
        Stop {
            at,
            flight: format!("{}{}", self.flights.carriers[usize::from(flight.carrier)], flight.number),
            origin: airport(flight.origin),
            destination: airport(flight.destination),
        }
    }
}

fn day_of(at: u64) -> u32 {
    u32::try_from(at / MINUTE_MS / MINUTES_OF_DAY).expect("days since 1970")
}

fn watermark(at: u64) -> u64 {
    at / HOUR_MS * HOUR_MS
}

/// The operator of a worker: reads all flights, and counts those of its key groups.
pub struct Planes {
    replay: Replay,
    next: u64,
    watermark: u64,
    day: State<Value<Day>>,
    stops: State<List<Stop>>,
    idle: Timers,
}

impl Planes {
    /// # Errors
    /// Those of declaring states.
    pub fn open(engine: &mut Engine, replay: Replay, next: u64) -> Result<Planes> {
        let (day, stops, idle) = (engine.state(DAY)?, engine.state(STOPS)?, engine.timers("idle")?);
        Ok(Planes { replay, next, watermark: 0, day, stops, idle })
    }

    /// Counts flights up to this one, without it.
    ///
    /// # Errors
    /// Those of the engine.
    pub fn read(&mut self, engine: &mut Engine, until: u64) -> Result<()> {
        let Planes { day, stops, idle, .. } = *self;
        while self.next < until {
            let (flight, at) = self.replay.flight(self.next);
            self.next += 1;
            let now = watermark(at);
            if now > self.watermark {
                self.watermark = now;
                engine
                    .advance_watermark(now, |key, _| key.update(&day, |day| day.iter_mut().for_each(Day::note_idle)))?;
            }
            let key = (self.replay.tail(flight), day_of(at));
            let group = engine.group_of(&key)?;
            let groups = engine.groups();
            if group < groups.first || group > groups.last {
                continue;
            }
            let mut plane = engine.with_key(&key)?;
            let before = plane.update(&day, |day| day.get_or_insert_default().count(flight, at))?;
            if let Some(before) = before {
                plane.add(&stops, self.replay.stop(flight, at))?;
                if before > now {
                    plane.delete_timer(&idle, before)?;
                }
                plane.set_timer(&idle, at + IDLE_MS)?;
            }
        }
        Ok(())
    }

    /// Reads all that was counted.
    ///
    /// # Errors
    /// Those of the engine.
    pub fn totals(&self, engine: &mut Engine) -> Result<Totals> {
        let mut keys: Vec<(String, u32)> = Vec::new();
        engine.keys::<(String, u32), _>(&self.day, |key, ()| {
            keys.push(key);
            Ok(())
        })?;
        let (mut totals, mut bytes) = (Totals::default(), Vec::new());
        for key in &keys {
            let mut plane = engine.with_key(key)?;
            let day = plane.get(&self.day)?.unwrap_or_default();
            let stops = plane.get(&self.stops)?;
            day.add_to(&key.0, key.1, &stops, &mut totals, &mut bytes);
        }
        Ok(totals)
    }
}

/// When it is forgotten, its time, and the flight.
type PlainStop = (u64, u64, Flight);

/// The same in plain collections.
pub fn count_plainly(replay: &Replay, records: u64) -> Totals {
    let mut days: HashMap<(u16, u32), (Day, Vec<PlainStop>)> = HashMap::new();
    let mut timers: BTreeSet<(u64, u16, u32)> = BTreeSet::new();
    let mut now = 0;
    for record in 0..records {
        let (flight, at) = replay.flight(record);
        now = now.max(watermark(at));
        while let Some((_, tail, day)) = timers.first().copied().filter(|(due, ..)| *due <= now) {
            timers.pop_first();
            days.entry((tail, day)).or_default().0.note_idle();
        }
        let key = (flight.tail, day_of(at));
        let (day, stops) = days.entry(key).or_default();
        if let Some(before) = day.count(flight, at) {
            stops.push((now + STOPS_LIVE.as_millis() as u64, at, *flight));
            timers.remove(&(before, key.0, key.1));
            timers.insert((at + IDLE_MS, key.0, key.1));
        }
    }
    let (mut totals, mut bytes) = (Totals::default(), Vec::new());
    for ((tail, number), (day, stops)) in days {
        let live = stops.iter().filter(|(end, ..)| *end > now);
        let stops: Vec<Stop> = live.map(|(_, at, flight)| replay.stop(flight, *at)).collect();
        day.add_to(&replay.flights.tails[usize::from(tail)], number, &stops, &mut totals, &mut bytes);
    }
    totals
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_year_of_planes_is_what_the_source_says() {
        let replay = Replay::new(336_776).unwrap();
        let totals = count_plainly(&replay, 336_776);
        assert_eq!(totals.sums[..5], [251_884, 336_776, 8_255, 4_152_200, 49_326_610]);
        assert!(totals.sums[5] > 0 && totals.sums[6] > 0 && totals.sums[6] < 336_776, "{totals:?}");
    }

    #[test]
    fn years_follow_each_other() {
        let replay = Replay::new(336_776).unwrap();
        let times = [336_775, 336_776, 2 * 336_776].map(|record| replay.flight(record).1);
        assert!(times.is_sorted());
        assert_eq!(times[2] - times[1], MINUTES_OF_YEAR * MINUTE_MS);
    }
}
