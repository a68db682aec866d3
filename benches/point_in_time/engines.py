"""The same join in other engines: facts.parquet and labels.parquet in, one Parquet file out.

The rules: per label the fact of its key with the greatest event time that is not after the label's time and at most
two days before it; of facts with the same event time the one created last; every label once, with nulls where there
is no such fact. Each engine is asked in the fastest way known to us that keeps them, is free in the order of its
rows, uses all cores, and writes what Provender writes: Parquet in Snappy, synced to disk.

Windows instead of features: over the facts of a label's key from seven days before it (excluded) to it (included).

usage: engines.py run ENGINE VARIANT FOLDER OUT.parquet
       engines.py prepare ENGINE VARIANT FOLDER
       engines.py floor VARIANT FOLDER
FOLDER holds raw/facts.parquet and raw/labels.parquet. `floor` prints the seconds that it takes to decode the columns of
keys and times alone, on all cores.
"""

import os
import sys
import time

from variants import TTL_US, VARIANTS, WINDOW_US

VARIANT = VARIANTS["base"]


def keys_of(table):
    return ", ".join(f"{table}.{name}" for name in VARIANT.key_names)


def same_keys(one, other):
    return " AND ".join(f"{one}.{name} = {other}.{name}" for name in VARIANT.key_names)


def duckdb_asof(folder, out):
    """ASOF JOIN takes any of several facts with one time, so it finds the time, and the last created is found by it.

    Removing superseded facts beforehand says the same and takes longer.
    """
    names = VARIANT.key_names
    values = ", ".join(f"f.{feature}" for feature in VARIANT.features)
    duckdb_copy(
        f"""WITH labels AS (SELECT * FROM read_parquet('{folder}/raw/labels.parquet')),
        nearest AS (
            SELECT l.row_id, {keys_of("l")}, f.event_timestamp
            FROM labels l ASOF JOIN
                (SELECT {", ".join(names)}, event_timestamp FROM read_parquet('{folder}/raw/facts.parquet')) f
            ON {same_keys("l", "f")} AND l.event_timestamp >= f.event_timestamp
            WHERE epoch_us(l.event_timestamp) - epoch_us(f.event_timestamp) <= {TTL_US}),
        joined AS (
            SELECT n.row_id, {values}
            FROM nearest n JOIN read_parquet('{folder}/raw/facts.parquet') f
            USING ({", ".join(names)}, event_timestamp)
            QUALIFY row_number() OVER (PARTITION BY n.row_id ORDER BY f.created DESC) = 1)
        SELECT l.row_id, {keys_of("l")}, l.event_timestamp, joined.* EXCLUDE (row_id)
        FROM labels l LEFT JOIN joined USING (row_id)""",
        out,
    )


def duckdb_range(folder, out):
    """The rules word by word: all facts in reach of a label, then the first of them."""
    values = ", ".join(f"f.{feature}" for feature in VARIANT.features)
    duckdb_copy(
        f"""WITH labels AS (SELECT * FROM read_parquet('{folder}/raw/labels.parquet')),
        joined AS (
            SELECT l.row_id, {values}
            FROM labels l JOIN read_parquet('{folder}/raw/facts.parquet') f
            ON {same_keys("l", "f")} AND f.event_timestamp <= l.event_timestamp
            AND epoch_us(l.event_timestamp) - epoch_us(f.event_timestamp) <= {TTL_US}
            QUALIFY row_number() OVER (PARTITION BY l.row_id ORDER BY f.event_timestamp DESC, f.created DESC) = 1)
        SELECT l.row_id, {keys_of("l")}, l.event_timestamp, joined.* EXCLUDE (row_id)
        FROM labels l LEFT JOIN joined USING (row_id)""",
        out,
    )


def duckdb_windows(folder, out):
    """A join on the key and the range of time, then groups. Window functions over the union of both are slower."""
    calls = {"count": "count", "sum": "sum", "mean": "avg", "max": "max"}
    values = ", ".join(
        f"{calls[function]}(f.{column or 'event_timestamp'}) AS {name}" for name, function, column in VARIANT.windows
    )
    duckdb_copy(
        f"""WITH labels AS (SELECT * FROM read_parquet('{folder}/raw/labels.parquet')),
        joined AS (
            SELECT l.row_id, {values}
            FROM labels l JOIN read_parquet('{folder}/raw/facts.parquet') f
            ON {same_keys("l", "f")} AND f.event_timestamp <= l.event_timestamp
            AND epoch_us(l.event_timestamp) - epoch_us(f.event_timestamp) < {WINDOW_US}
            GROUP BY l.row_id)
        SELECT l.row_id, {keys_of("l")}, l.event_timestamp, coalesce(joined.n, 0) AS n,
            joined.* EXCLUDE (row_id, n)
        FROM labels l LEFT JOIN joined USING (row_id)""",
        out,
    )


def duckdb_windows_over(folder, out):
    """Window functions over labels and facts in one table, a label after the facts of its time."""
    calls = {"count": "count", "sum": "sum", "mean": "avg", "max": "max"}
    columns = sorted({column for _, _, column in VARIANT.windows if column})
    values = ", ".join(
        f"{calls[function]}({column or 'is_fact'}) OVER w AS {name}" for name, function, column in VARIANT.windows
    )
    names = ", ".join(VARIANT.key_names)
    nulls = ", ".join(f"NULL::DOUBLE AS {column}" for column in columns)
    duckdb_copy(
        f"""WITH both_sides AS (
            SELECT NULL AS row_id, {names}, event_timestamp, 1 AS is_fact, {", ".join(columns)}
            FROM read_parquet('{folder}/raw/facts.parquet')
            UNION ALL
            SELECT row_id, {names}, event_timestamp, NULL, {nulls} FROM read_parquet('{folder}/raw/labels.parquet'))
        SELECT * EXCLUDE (is_fact, {", ".join(columns)}) FROM (
            SELECT *, {values} FROM both_sides
            WINDOW w AS (PARTITION BY {names} ORDER BY epoch_us(event_timestamp)
                RANGE BETWEEN {WINDOW_US - 1} PRECEDING AND CURRENT ROW))
        WHERE row_id IS NOT NULL""",
        out,
    )


def duckdb_copy(query, out):
    """Writes what a query answers."""
    import duckdb

    db = duckdb.connect()
    db.execute("SET preserve_insertion_order = false")
    db.execute(f"COPY ({query}) TO '{out}' (FORMAT parquet, COMPRESSION snappy)")


def polars(folder, out):
    """join_asof takes the last of several facts with one time, which the order by created makes the right one."""
    import polars as pl

    labels = pl.scan_parquet(f"{folder}/raw/labels.parquet").sort("event_timestamp")
    asked = [*VARIANT.key_names, "event_timestamp", "created", *VARIANT.features]
    facts = pl.scan_parquet(f"{folder}/raw/facts.parquet").select(asked)
    facts = facts.sort("event_timestamp", "created").drop("created")
    joined = labels.join_asof(
        facts, on="event_timestamp", by=VARIANT.key_names, strategy="backward", tolerance="2d", check_sortedness=False
    )
    joined.select("row_id", *VARIANT.key_names, "event_timestamp", *VARIANT.features).sink_parquet(out, compression="snappy")


def pandas(folder, out):
    """As in Polars."""
    import pandas as pd

    labels = pd.read_parquet(f"{folder}/raw/labels.parquet").sort_values("event_timestamp")
    asked = [*VARIANT.key_names, "event_timestamp", "created", *VARIANT.features]
    facts = pd.read_parquet(f"{folder}/raw/facts.parquet", columns=asked).sort_values(["event_timestamp", "created"])
    joined = pd.merge_asof(
        labels,
        facts.drop(columns="created"),
        on="event_timestamp",
        by=VARIANT.key_names,
        direction="backward",
        tolerance=pd.Timedelta(TTL_US, "us"),
    )
    joined.to_parquet(out, index=False, compression="snappy")


def feast(folder, out, store):
    """get_historical_features over a Parquet file."""
    import pandas as pd
    import pyarrow.parquet
    from feast import FeatureStore

    labels = pd.read_parquet(f"{folder}/raw/labels.parquet")
    features = [f"driver:{feature}" for feature in VARIANT.features]
    job = FeatureStore(repo_path=f"{folder}/feast_{store}").get_historical_features(labels, features)
    pyarrow.parquet.write_table(job.to_arrow(), out, compression="snappy")


def feast_prepare(folder, store):
    """Makes and applies a Feast project over the same file."""
    from datetime import timedelta

    repository = f"{folder}/feast_{store}"
    os.makedirs(repository, exist_ok=True)
    with open(f"{repository}/feature_store.yaml", "w", encoding="utf-8") as file:
        file.write(
            "project: point_in_time\nprovider: local\nregistry: registry.db\n"
            f"offline_store: {{type: {store}}}\nonline_store: {{type: sqlite, path: online.db}}\n"
            "entity_key_serialization_version: 3\ntelemetry: false\n"
        )
    from feast import Entity, FeatureStore, FeatureView, Field, FileSource, ValueType
    from feast.types import Float64, Int64

    driver = Entity(name="driver", join_keys=["driver_id"], value_type=ValueType.INT64)
    source = FileSource(
        name="facts",
        path=f"{folder}/raw/facts.parquet",
        timestamp_field="event_timestamp",
        created_timestamp_column="created",
    )
    view = FeatureView(
        name="driver",
        entities=[driver],
        ttl=timedelta(microseconds=TTL_US),
        online=False,
        schema=[Field(name="driver_id", dtype=Int64), *(Field(name=name, dtype=Float64) for name in VARIANT.features)],
        source=source,
    )
    FeatureStore(repo_path=repository).apply([driver, source, view])


def floor(folder):
    """Seconds to decode the columns of keys and times, on all cores; the reader's own import is not counted."""
    # Reading would import it, if it were not there.
    import pyarrow.dataset
    import pyarrow.parquet

    columns = [*VARIANT.key_names, "event_timestamp", "created"]
    started = time.perf_counter()
    pyarrow.parquet.read_table(f"{folder}/raw/facts.parquet", columns=columns)
    return time.perf_counter() - started


# What runs an engine, what is done once before it is measured, and the package whose version counts.
ENGINES = {
    "duckdb_asof": (duckdb_asof, None, "duckdb"),
    "duckdb_range": (duckdb_range, None, "duckdb"),
    "polars": (polars, None, "polars"),
    "pandas": (pandas, None, "pandas"),
    "feast_duckdb": (lambda *given: feast(*given, "duckdb"), lambda folder: feast_prepare(folder, "duckdb"), "feast"),
    "feast_file": (lambda *given: feast(*given, "file"), lambda folder: feast_prepare(folder, "file"), "feast"),
}
WINDOW_ENGINES = {
    "duckdb_windows": (duckdb_windows, None, "duckdb"),
    "duckdb_windows_over": (duckdb_windows_over, None, "duckdb"),
}


def engines_of(variant):
    """The engines that answer a variant. Feast's projects are made for the first variant alone."""
    if variant.windows:
        return WINDOW_ENGINES
    is_base = variant == VARIANTS["base"]
    return {name: engine for name, engine in ENGINES.items() if is_base or not name.startswith("feast")}


def main(what, *given):
    global VARIANT
    if what == "floor":
        variant, folder = given
        VARIANT = VARIANTS[variant]
        print(floor(folder))
        return
    engine, variant, folder, *out = given
    VARIANT = VARIANTS[variant]
    run, prepare, _ = engines_of(VARIANT)[engine]
    if what == "prepare":
        if prepare is not None:
            prepare(folder)
        return
    run(folder, *out)
    with open(out[0], "rb") as file:
        os.fsync(file.fileno())


if __name__ == "__main__":
    main(*sys.argv[1:])
