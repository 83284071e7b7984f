//! The flights out of New York in 2013, as packed by `data/pack.py`, whose head tells the format.
//!
//! The packed bytes are a part of the program. Unpacked, they take 24 bytes a flight.

use bedload::{Error, ErrorKind, Result};

static PACKED: &[u8] = include_bytes!("../data/flights.bin");

/// More than the columns take: what is decompressed is bounded, whatever the bytes say.
const COLUMNS_BYTES_MAX: usize = 64 << 20;
const ROWS_MAX: u64 = 10_000_000;

/// One of them. Words are places in the lists of [`Flights`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flight {
    /// Minutes from the start of 2013 (UTC) to the departure by schedule.
    pub minute: u32,
    pub tail: u16,
    pub carrier: u16,
    pub origin: u16,
    pub destination: u16,
    pub number: u16,
    /// Minutes; none when the flight was cancelled.
    pub departure_delay: Option<i16>,
    /// Minutes; none when it was cancelled, or landed elsewhere.
    pub arrival_delay: Option<i16>,
    pub air_minutes: Option<u16>,
}

/// All of them, in the order of their times.
#[derive(Debug)]
pub struct Flights {
    pub rows: Vec<Flight>,
    /// The empty word where a flight has none.
    pub tails: Vec<String>,
    pub carriers: Vec<String>,
    pub airports: Vec<String>,
}

impl Flights {
    /// Those that are a part of the program.
    ///
    /// # Errors
    /// `Damaged` when the program's file is.
    pub fn unpack() -> Result<Flights> {
        unpack(PACKED).ok_or_else(|| {
            let what = "the flights in this program cannot be unpacked: its file is damaged, build or fetch it again";
            Error::new(ErrorKind::Damaged, what)
        })
    }
}

fn unpack(packed: &[u8]) -> Option<Flights> {
    let columns = zstd::bulk::decompress(packed, COLUMNS_BYTES_MAX).ok()?;
    let mut rest = Column(&columns);
    let count = usize::try_from(rest.number().filter(|rows| *rows <= ROWS_MAX)?).ok()?;
    let mut minutes = rest.column()?;
    let (mut tail, tails) = rest.words()?;
    let (mut carrier, carriers) = rest.words()?;
    let (mut origin, mut airports) = rest.words()?;
    let (mut destination, destinations) = rest.words()?;
    let (mut number, mut departure, mut arrival, mut air) =
        (rest.column()?, rest.column()?, rest.column()?, rest.column()?);
    // Origins and destinations become one list.
    let origins = airports.len();
    airports.extend(destinations);

    let mut rows = Vec::with_capacity(count);
    let mut minute = 0u32;
    for _ in 0..count {
        minute = minute.checked_add(u32::try_from(minutes.number()?).ok()?)?;
        rows.push(Flight {
            minute,
            tail: tail.word(tails.len())?,
            carrier: carrier.word(carriers.len())?,
            origin: origin.word(origins)?,
            destination: destination.word(airports.len() - origins)? + u16::try_from(origins).ok()?,
            number: u16::try_from(number.number()?).ok()?,
            departure_delay: departure.signed()?,
            arrival_delay: arrival.signed()?,
            air_minutes: air.signed()?.map(u16::try_from).transpose().ok()?,
        });
    }
    let all = [rest, minutes, tail, carrier, origin, destination, number, departure, arrival, air];
    all.iter().all(|column| column.0.is_empty()).then_some(Flights { rows, tails, carriers, airports })
}

/// The rest of a column.
struct Column<'a>(&'a [u8]);

impl<'a> Column<'a> {
    fn number(&mut self) -> Option<u64> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let (byte, rest) = self.0.split_first()?;
            self.0 = rest;
            value |= u64::from(byte & 0x7F) << shift;
            if byte & 0x80 == 0 {
                return Some(value);
            }
        }
        None
    }

    fn bytes(&mut self) -> Option<&'a [u8]> {
        let length = usize::try_from(self.number()?).ok()?;
        let (bytes, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(bytes)
    }

    fn column(&mut self) -> Option<Column<'a>> {
        self.bytes().map(Column)
    }

    /// A column of words, and the words.
    fn words(&mut self) -> Option<(Column<'a>, Vec<String>)> {
        let mut column = self.column()?;
        let count = column.number()?;
        let mut words = Vec::new();
        for _ in 0..count {
            words.push(String::from_utf8(column.bytes()?.to_vec()).ok()?);
        }
        Some((column, words))
    }

    fn word(&mut self, words: usize) -> Option<u16> {
        u16::try_from(self.number()?).ok().filter(|word| usize::from(*word) < words)
    }

    /// A signed number that may be missing.
    fn signed(&mut self) -> Option<Option<i16>> {
        let Some(zigzag) = self.number()?.checked_sub(1) else { return Some(None) };
        let magnitude = i64::try_from(zigzag >> 1).ok()?;
        let value = if zigzag & 1 == 0 { magnitude } else { -magnitude - 1 };
        i16::try_from(value).ok().map(Some)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The numbers were taken from the source, by other code.
    #[test]
    fn the_flights_are_those_of_the_source() {
        let flights = Flights::unpack().unwrap();
        let rows = &flights.rows;
        assert_eq!(rows.len(), 336_776);
        assert!(rows.is_sorted_by_key(|flight| flight.minute));
        assert_eq!((rows[0].minute, rows[rows.len() - 1].minute), (615, 525_899));
        assert_eq!(rows.iter().filter(|flight| flight.departure_delay.is_none()).count(), 8_255);
        assert_eq!(rows.iter().filter(|flight| flight.arrival_delay.is_none()).count(), 9_430);
        assert_eq!(rows.iter().filter(|flight| flights.tails[usize::from(flight.tail)].is_empty()).count(), 2_512);
        let sum = |minutes: fn(&Flight) -> Option<i16>| rows.iter().filter_map(minutes).map(i64::from).sum::<i64>();
        assert_eq!(sum(|flight| flight.departure_delay), 4_152_200);
        assert_eq!(sum(|flight| flight.arrival_delay), 2_257_174);
        assert_eq!(rows.iter().filter_map(|flight| flight.air_minutes).map(u64::from).sum::<u64>(), 49_326_610);
        let of = |airport: &str| {
            rows.iter().filter(|flight| flights.airports[usize::from(flight.origin)] == airport).count()
        };
        assert_eq!((of("EWR"), of("JFK"), of("LGA")), (120_835, 111_279, 104_662));
        let united = rows.iter().filter(|flight| flights.carriers[usize::from(flight.carrier)] == "UA");
        assert_eq!(united.count(), 58_665);
    }

    #[test]
    fn cut_or_strange_bytes_are_told() {
        assert!(unpack(&PACKED[..PACKED.len() - 1]).is_none());
        assert!(unpack(b"").is_none());
        let columns = zstd::bulk::decompress(PACKED, COLUMNS_BYTES_MAX).unwrap();
        for change in [0, 5, columns.len() / 2] {
            let mut columns = columns.clone();
            columns.truncate(columns.len() - 1 - change);
            assert!(unpack(&zstd::bulk::compress(&columns, 1).unwrap()).is_none());
        }
    }
}
