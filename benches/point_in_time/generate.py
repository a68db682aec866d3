"""Writes the data of the benchmark: facts.parquet and labels.parquet, the same bytes of values for the same numbers.

Facts: keys with about a hundred rows each at irregular times, in the order in which they happened, float64 features,
one in a hundred nulls in every tenth. They are made a slice of time after the other, so that memory does not grow with
their number. One row in a thousand corrects another: the same key and event time, later created, and
it lies before or after the row that it corrects.

Labels: keys and times uniform; of each thousand, five exactly at a fact, five exactly a ttl after one, five a
microsecond later than that, and ten of keys that have no facts. No two labels have the same key and time, since one
of the engines keeps only one of such labels.
"""

import argparse
import os

import numpy
import pyarrow
import pyarrow.parquet

from variants import DAY_US, TTL_US, VARIANTS

ROWS_PER_KEY = 100
UNKNOWN_KEY = 1 << 40
START_US = 1_767_225_600_000_000  # 2026-01-01T00:00:00Z
SPAN_US = 100 * DAY_US
INSTANT = pyarrow.timestamp("us", tz="UTC")
ROW_GROUP_ROWS = 262_144
SLICE_ROWS = 4 * ROW_GROUP_ROWS


def columns_of_keys(variant, keys):
    """The columns that a variant spells keys in."""
    if variant.keys[0][1] == "string":
        texts = numpy.char.add("driver-", numpy.char.zfill(keys.astype("U"), 13))
        return {"driver_id": pyarrow.array(texts)}
    if len(variant.keys) == 2:
        return {"region_id": pyarrow.array(keys % 1_000), "driver_id": pyarrow.array(keys // 1_000)}
    return {"driver_id": pyarrow.array(keys)}


def skewed(variant, keys, n_keys, random):
    """Gives one key in a hundred its share of the rows."""
    if variant.skew is not None:
        moved = random.random(len(keys)) < variant.skew
        keys[moved] = random.integers(0, max(1, n_keys // 100), int(moved.sum()))
    return keys


def facts(variant, n_rows, path, n_samples):
    """Writes n_rows facts; answers keys and times of some of them, at least n_samples."""
    n_keys = max(1, n_rows // ROWS_PER_KEY)
    n_slices = -(-n_rows // SLICE_ROWS)
    sampled_keys, sampled_times = [], []
    unfinished = path + ".unfinished"
    writer = None
    for number in range(n_slices):
        first, end = number * SLICE_ROWS, min((number + 1) * SLICE_ROWS, n_rows)
        span = SPAN_US * first // n_rows, SPAN_US * end // n_rows
        random = numpy.random.default_rng([1, number])
        keys, times, table = slice_of_facts(variant, random, n_keys, end - first, span)
        writer = writer or pyarrow.parquet.ParquetWriter(unfinished, table.schema, compression="snappy")
        writer.write_table(table, row_group_size=ROW_GROUP_ROWS)
        at = random.integers(0, len(keys), n_samples // n_slices + 1)
        sampled_keys.append(keys[at])
        sampled_times.append(times[at])
    writer.close()
    os.replace(unfinished, path)
    return numpy.concatenate(sampled_keys), numpy.concatenate(sampled_times)


def slice_of_facts(variant, random, n_keys, n_rows, span):
    """Facts of one part of the time: their keys, their times and all of them as a table."""
    keys = skewed(variant, random.integers(0, n_keys, n_rows), n_keys, random)
    times = START_US + random.integers(*span, n_rows)
    n_corrections = n_rows // 1_000
    picked = random.choice(n_rows, 2 * n_corrections, replace=False)
    corrections, corrected = picked[:n_corrections], picked[n_corrections:]
    keys[corrections] = keys[corrected]
    times[corrections] = times[corrected]
    created = times + 60_000_000 + random.integers(0, 60_000_000, n_rows)
    created[corrections] = created[corrected] + 3_600_000_000

    # Which of two rows with one time comes first is by chance, so that the order of rows tells nothing.
    order = numpy.lexsort((random.random(n_rows), times))
    keys, times, created = keys[order], times[order], created[order]
    columns = {
        **columns_of_keys(variant, keys),
        "event_timestamp": pyarrow.array(times, type=INSTANT),
        "created": pyarrow.array(created, type=INSTANT),
    }
    for number in range(variant.n_columns):
        is_last = number % 10 == 9
        values = random.random(n_rows)
        columns[f"f{number}"] = pyarrow.array(values, mask=random.random(n_rows) < 0.01 if is_last else None)
    return keys, times, pyarrow.table(columns)


def labels(variant, n_rows, n_facts, keys, times, path):
    """Writes n_rows labels for n_facts facts, of which some have these keys and times."""
    random = numpy.random.default_rng(2)
    n_keys = max(1, n_facts // ROWS_PER_KEY)
    label_keys = skewed(variant, random.integers(0, n_keys, n_rows), n_keys, random)
    label_times = START_US + random.integers(0, SPAN_US, n_rows)
    n_each = n_rows // 200
    for number, distance in enumerate((0, TTL_US, TTL_US + 1)):
        rows = slice(number * n_each, (number + 1) * n_each)
        at = random.integers(0, len(keys), n_each)
        label_keys[rows] = keys[at]
        label_times[rows] = times[at] + distance
    label_keys[3 * n_each : 5 * n_each] += UNKNOWN_KEY
    label_times = apart(label_keys, label_times)
    order = random.permutation(n_rows)
    columns = {
        "row_id": pyarrow.array(numpy.arange(n_rows, dtype=numpy.int64)),
        **columns_of_keys(variant, label_keys[order]),
        "event_timestamp": pyarrow.array(label_times[order], type=INSTANT),
    }
    write(columns, path)


def probe(variant, n_facts, path):
    """Writes one label after all facts, of a key in the middle of theirs: asking for it reads keys and times alone."""
    columns = {
        "row_id": pyarrow.array([0]),
        **columns_of_keys(variant, numpy.array([n_facts // ROWS_PER_KEY // 2], dtype=numpy.int64)),
        "event_timestamp": pyarrow.array([START_US + 2 * SPAN_US], type=INSTANT),
    }
    write(columns, path)


def apart(keys, times):
    """The times, with a microsecond more for every label that repeats the key and time of another."""
    while True:
        order = numpy.lexsort((times, keys))
        repeats = (numpy.diff(keys[order]) == 0) & (numpy.diff(times[order]) == 0)
        if not repeats.any():
            return times
        times[order[1:][repeats]] += 1


def write(columns, path):
    """Writes a file that appears under its name only when it is whole."""
    unfinished = path + ".unfinished"
    pyarrow.parquet.write_table(pyarrow.table(columns), unfinished, row_group_size=ROW_GROUP_ROWS, compression="snappy")
    os.replace(unfinished, path)


if __name__ == "__main__":
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--rows", type=int, required=True)
    arguments.add_argument("--labels", type=int, required=True)
    arguments.add_argument("--variant", choices=VARIANTS, default="base")
    arguments.add_argument("folder")
    given = arguments.parse_args()
    os.makedirs(given.folder, exist_ok=True)
    asked = VARIANTS[given.variant]
    fact_keys, fact_times = facts(asked, given.rows, f"{given.folder}/facts.parquet", given.labels // 50)
    probe(asked, given.rows, f"{given.folder}/probe.parquet")
    labels(asked, given.labels, given.rows, fact_keys, fact_times, f"{given.folder}/labels.parquet")
