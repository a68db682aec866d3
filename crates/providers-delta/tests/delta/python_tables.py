# Writes Delta tables for the tests of reading them; argument 1 is the folder.
# Needs: deltalake, pyarrow.
import datetime as dt
import decimal
import sys

import pyarrow as pa
from deltalake import DeltaTable, write_deltalake

root = sys.argv[1]
UTC = dt.timezone.utc


def hour(n):
    return dt.datetime(2013, 1, 1, n, tzinfo=UTC)


schema = pa.schema(
    [("origin", pa.string()), ("n", pa.int32()), ("at", pa.timestamp("us", "UTC")), ("x", pa.float64())]
)


def rows(*values):
    columns = zip(*values)
    return pa.table([pa.array(c, f.type) for c, f in zip(columns, schema)], schema)


parts = f"{root}/parts"
write_deltalake(
    parts,
    rows(("JFK", 1, hour(1), 1.5), ("JFK", 2, hour(2), 2.5), (None, 3, hour(3), 3.5), ("LGA", 4, hour(4), 4.5)),
    partition_by=["origin"],
)
write_deltalake(parts, rows(("EWR", 5, hour(5), 5.5), ("LGA", 6, hour(6), 6.5)), mode="append")
DeltaTable(parts).delete("n IN (2, 5)")
(
    DeltaTable(parts)
    .merge(rows(("JFK", 1, hour(1), 100.0), ("JFK", 9, hour(9), 9.0)), "t.n = s.n", source_alias="s", target_alias="t")
    .when_matched_update_all()
    .when_not_matched_insert_all()
    .execute()
)

types = pa.table(
    {
        "bool": pa.array([True, None]),
        "int8": pa.array([-128, None], pa.int8()),
        "int16": pa.array([-32768, None], pa.int16()),
        "int32": pa.array([1, None], pa.int32()),
        "int64": pa.array([2**62, None], pa.int64()),
        "float32": pa.array([1.5, None], pa.float32()),
        "float64": pa.array([float("nan"), None]),
        "decimal": pa.array([decimal.Decimal("1.25"), None], pa.decimal128(10, 2)),
        "string": pa.array(["é", None]),
        "large_string": pa.array(["x", None], pa.large_string()),
        "binary": pa.array([b"\x00\xff", None]),
        "date": pa.array([dt.date(1700, 1, 1), None]),
        "utc": pa.array([dt.datetime(2200, 1, 1, tzinfo=UTC), None], pa.timestamp("us", "UTC")),
        "without_zone": pa.array([dt.datetime(2013, 1, 1, 5), None], pa.timestamp("us")),
        "list": pa.array([[1, None], None], pa.list_(pa.int64())),
        "struct": pa.array([{"a": 1, "b": "x"}, None], pa.struct([("a", pa.int64()), ("b", pa.string())])),
        "map": pa.array([[("k", 1.5)], None], pa.map_(pa.string(), pa.float64())),
    }
)
write_deltalake(f"{root}/types", types)

checked = f"{root}/checked"
write_deltalake(checked, rows(("JFK", 1, hour(1), 1.5)))
DeltaTable(checked).alter.add_constraint({"positive": "n > 0"})

try:
    write_deltalake(
        f"{root}/mapped",
        pa.table({"a key": pa.array([1, 2]), "b": pa.array(["a", "b"])}),
        configuration={"delta.columnMapping.mode": "name"},
    )
    print("column_mapping")
except Exception as error:
    print("without column mapping:", error, file=sys.stderr)
