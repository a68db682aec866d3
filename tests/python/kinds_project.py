"""A small project in which every value type is a feature, a request field, and where allowed a join key."""

import datetime
import decimal
import pathlib

import pyarrow as pa
import pyarrow.parquet as pq

from served import provender

UTC = datetime.timezone.utc
NOON = datetime.datetime(2026, 1, 1, 12, tzinfo=UTC)
STAMP = pa.timestamp("us", tz="UTC")

# Definition's type, Arrow's type, a value, the value as JSON, further spellings of it, JSON that is none.
KINDS = {
    "bool": ("bool", pa.bool_(), True, True, [], ["true", 1]),
    "int8": ("int8", pa.int8(), -128, -128, ["-128"], [128, 1.5, "x"]),
    "int16": ("int16", pa.int16(), 32767, 32767, ["32767"], [32768]),
    "int32": ("int32", pa.int32(), -2147483648, -2147483648, ["-2147483648"], [2147483648, True]),
    "int64": ("int64", pa.int64(), 9007199254740993, 9007199254740993, ["9007199254740993"], ["9223372036854775808", 0.5]),
    "uint8": ("uint8", pa.uint8(), 255, 255, ["255"], [256, -1]),
    "uint16": ("uint16", pa.uint16(), 65535, 65535, ["65535"], [-1]),
    "uint32": ("uint32", pa.uint32(), 4294967295, 4294967295, ["4294967295"], [4294967296]),
    "uint64": ("uint64", pa.uint64(), 18446744073709551615, 18446744073709551615, ["18446744073709551615"], [-1]),
    "float32": ("float32", pa.float32(), 1.5, 1.5, [], ["1.5", "nan"]),
    "float64": ("float64", pa.float64(), 0.1, 0.1, [], ["0.1", [0.1]]),
    "decimal": ("decimal(12,3)", pa.decimal128(12, 3), decimal.Decimal("-12.345"), "-12.345", [-12.345], ["1.2345", "x"]),
    "string": ("string", pa.string(), "Åß\u0000\"", "Åß\u0000\"", [], [7, False]),
    "binary": ("binary", pa.binary(), b"\x00\xff\x10", "AP8Q", [], ["***", 1]),
    "date": ("date", pa.date32(), datetime.date(1969, 7, 20), "1969-07-20", [], ["1969-07-20T00:00:00Z", 12]),
    "timestamp": ("timestamp", STAMP, NOON, "2026-01-01T12:00:00Z", [1767268800000000, "2026-01-01T13:00:00+01:00"], ["noon", 1.5]),
    "list": ("list<int64>", pa.list_(pa.int64()), [1, None, 3], [1, None, 3], [[1, None, "3"]], [1, ["x"]]),
    "struct": (
        "struct<a: int64, b: string>", pa.struct([("a", pa.int64()), ("b", pa.string())]),
        {"a": 1, "b": None}, {"a": 1, "b": None}, [{"a": 1}], [[1], {"a": 1, "c": 2}],
    ),
    "map": ("map<string, int64>", pa.map_(pa.string(), pa.int64()), [("x", 1), ("y", None)], {"x": 1, "y": None}, [[["x", 1], ["y", None]]], [5]),
    "embedding": ("embedding<3>", pa.list_(pa.float32(), 3), [0.5, -1.0, 2.0], [0.5, -1.0, 2.0], [], [[1.0], "x"]),
}
KEY_KINDS = ["bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64", "string", "binary", "date", "timestamp"]


# The offline store has no unsigned integers: their upper half is only online.
STORED = {kind: value for kind, (_, _, value, *_) in KINDS.items()} | {"uint64": 2**63 - 1}


def quote(text):
    return '"' + text.replace('"', '\\"') + '"'


def definitions():
    """YAML of the project's features."""
    lines = ["entities:", "  - {name: item, join_keys: [{name: id, type: int64}]}"]
    for kind in KEY_KINDS:
        lines.append(f"  - {{name: e_{kind}, join_keys: [{{name: k_{kind}, type: {KINDS[kind][0]}}}]}}")
    lines += [
        "sources:",
        "  - {name: items, table: items, timestamp: at, created_timestamp: created}",
        "  - {name: readings, table: readings, timestamp: at, created_timestamp: created}",
        "  - {name: apart, table: readings, timestamp: at}",
    ]
    for kind in KEY_KINDS:
        relation = f"table: t_{kind}"
        if kind.startswith("uint"):
            cast = f"arrow_cast(k_{kind}, '{kind.replace('ui', 'UI')}') AS k_{kind}"
            relation = f'query: "SELECT {cast}, number, at FROM t_{kind}"'
        lines.append(f"  - {{name: s_{kind}, {relation}, timestamp: at}}")
    lines += ["feature_views:", "  - name: everything", "    entities: [item]", "    source: items", "    features:"]
    lines += [f"      - {{name: f_{kind}, type: {quote(KINDS[kind][0])}, cast: checked}}" for kind in KINDS]
    lines += [
        "  - name: reading", "    entities: [item]", "    source: readings", "    features: [{name: value, type: float64}]",
        "  - name: recent", "    entities: [item]", "    source: readings", "    ttl: 1h", "    features: [{name: value, type: float64}]",
        "  - name: training_only", "    entities: [item]", "    source: apart", "    online: false", "    features: [{name: value, type: float64}]",
        "  - name: everywhere", "    entities: []", "    source: readings", "    features: [{name: value, type: float64}]",
    ]
    for kind in KEY_KINDS:
        lines += [f"  - name: by_{kind}", f"    entities: [e_{kind}]", f"    source: s_{kind}", "    features: [{name: number, type: int64}]"]
    lines += ["on_demand_feature_views:", "  - name: echo", "    inputs: [reading]", "    request:"]
    lines += [f"      - {{name: r_{kind}, type: {quote(KINDS[kind][0])}}}" for kind in KINDS]
    lines += ["    features:"]
    lines += [f"      - {{name: e_{kind}, type: {quote(KINDS[kind][0])}, sql: r_{kind}}}" for kind in KINDS]
    lines += ["      - {name: doubled, type: float64, sql: value * 2}"]
    lines += [
        "feature_services:",
        "  - {name: all_of_it, features: [everything, reading]}",
        "  - {name: pair, features: [reading, {view: reading, as: other, join_keys: {id: other_id}}]}",
    ]
    return "\n".join(lines) + "\n"


def items(ids, nulls=()):
    """Rows of `everything`; the ids in `nulls` have no value at all."""
    columns = {"id": pa.array(ids, pa.int64())}
    for kind, (_, arrow, *_) in KINDS.items():
        columns[f"f_{kind}"] = pa.array([None if i in nulls else STORED[kind] for i in ids], arrow)
    columns["at"] = pa.array([NOON] * len(ids), STAMP)
    columns["created"] = pa.array([NOON] * len(ids), STAMP)
    return pa.table(columns)


def readings(rows):
    """Rows of `readings`: id, value, minutes after noon, minutes after noon when it became known."""
    minute = datetime.timedelta(minutes=1)
    return pa.table({
        "id": pa.array([row[0] for row in rows], pa.int64()),
        "value": pa.array([row[1] for row in rows], pa.float64()),
        "at": pa.array([NOON + row[2] * minute for row in rows], STAMP),
        "created": pa.array([NOON + row[3] * minute for row in rows], STAMP),
    })


READINGS = [(1, 10.0, 0, 0), (1, 11.0, 60, 60), (1, 12.0, 60, 180), (2, 20.0, 0, 0), (3, None, 0, 0)]


def make(binary, project, config=""):
    """Writes the project, imports its tables and applies it."""
    project = pathlib.Path(project)
    (project / "features").mkdir(parents=True)
    (project / "provender.yaml").write_text(f"project: kinds\n{config}")
    (project / "features/all.yaml").write_text(definitions())
    tables = {"items": items([1, 2], nulls=[2]), "readings": readings(READINGS)}
    for kind in KEY_KINDS:
        arrow = KINDS[kind][1]
        tables[f"t_{kind}"] = pa.table({
            f"k_{kind}": pa.array([], arrow), "number": pa.array([], pa.int64()), "at": pa.array([], STAMP),
        })
    for name, table in tables.items():
        file = project / f"{name}.parquet"
        pq.write_table(table, file)
        provender(binary, project, "import", name, file)
    provender(binary, project, "apply", "--yes")
