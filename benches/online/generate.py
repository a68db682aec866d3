"""Makes the data of the online benchmark: one row for each of N drivers, with ten and with fifty float64 features.

Every value is a pure function of the driver and the feature's number, the same one that tests/benches/online/data.rs
has, so that any program can say what an answer must be.
"""

import argparse
import os

import numpy
import pyarrow
import pyarrow.parquet

WIDTHS = {"narrow": 10, "wide": 50}
START_US = 1_735_689_600_000_000  # 2025-01-01T00:00:00Z
END_US = START_US + 2 * 86_400_000_000  # later than every event and every created time
# Row i is driver (i * STRIDE) mod N: rows come in no order of their keys, as they do where they come in order of time.
STRIDE = 611_953
ROWS_PER_GROUP = 131_072
INSTANT = pyarrow.timestamp("us", tz="UTC")


def mixed(drivers, number):
    """Splitmix64 of a driver and a number."""
    with numpy.errstate(over="ignore"):
        x = drivers.astype(numpy.uint64) * numpy.uint64(1_000_003) + numpy.uint64(number + 1)
        x = x * numpy.uint64(0x9E3779B97F4A7C15)
        x = (x ^ (x >> numpy.uint64(30))) * numpy.uint64(0xBF58476D1CE4E5B9)
        x = (x ^ (x >> numpy.uint64(27))) * numpy.uint64(0x94D049BB133111EB)
        return x ^ (x >> numpy.uint64(31))


def feature(drivers, number):
    """A feature of some drivers, in [0, 1)."""
    return (mixed(drivers, number) >> numpy.uint64(11)).astype(numpy.float64) * 2.0**-53


def event_us(drivers):
    """Their event times: whole seconds of one day."""
    return START_US + drivers.astype(numpy.int64) % 86_400 * 1_000_000


def table(n_drivers, n_features, n_rows=None):
    """The first rows of a view's source."""
    rows = numpy.arange(n_rows or n_drivers, dtype=numpy.int64)
    drivers = rows * STRIDE % n_drivers
    events = event_us(drivers)
    columns = {"driver_id": pyarrow.array(drivers)}
    for number in range(n_features):
        columns[f"f{number}"] = pyarrow.array(feature(drivers, number))
    columns["event_timestamp"] = pyarrow.array(events, type=INSTANT)
    columns["created"] = pyarrow.array(events + 1_000_000, type=INSTANT)
    return pyarrow.table(columns)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--drivers", type=int, required=True)
    parser.add_argument("--feast-drivers", type=int, required=True, help="rows of what Feast reads")
    parser.add_argument("folder")
    given = parser.parse_args()
    os.makedirs(given.folder, exist_ok=True)
    sources = [(name, width, given.drivers) for name, width in WIDTHS.items()]
    sources += [(f"feast_{name}", width, given.feast_drivers) for name, width in WIDTHS.items()]
    for name, width, n_rows in sources:
        path = f"{given.folder}/{name}.parquet"
        pyarrow.parquet.write_table(
            table(given.drivers, width, n_rows), path + ".new", row_group_size=ROWS_PER_GROUP, compression="zstd"
        )
        os.replace(path + ".new", path)


if __name__ == "__main__":
    main()
