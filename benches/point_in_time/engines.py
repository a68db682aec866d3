"""The same join in other engines: facts.parquet and labels.parquet in, one Parquet file out.

The rules: per label the fact of its key with the greatest event time that is not after the label's time and at most
two days before it; of facts with the same event time the one created last; every label once, with nulls where there
is no such fact. Each engine is asked in the fastest way known to us that keeps them, is free in the order of its
rows, uses all cores, and writes what Provender writes: Parquet in zstd of level 1, synced to disk.

usage: engines.py run ENGINE FOLDER OUT.parquet
       engines.py prepare ENGINE FOLDER
FOLDER holds raw/facts.parquet and raw/labels.parquet.
"""

import os
import sys

FEATURES = [f"f{number}" for number in range(10)]
LABEL = ["row_id", "driver_id", "event_timestamp"]
TTL_US = 2 * 86_400_000_000


def duckdb_asof(folder, out):
    """ASOF JOIN takes any of several facts with one time, so it finds the time, and the last created is found by it.

    Removing superseded facts beforehand says the same and takes longer.
    """
    values = ", ".join(f"f.{feature}" for feature in FEATURES)
    duckdb_copy(
        f"""WITH labels AS (SELECT * FROM read_parquet('{folder}/raw/labels.parquet')),
        nearest AS (
            SELECT l.row_id, l.driver_id, f.event_timestamp
            FROM labels l ASOF JOIN
                (SELECT driver_id, event_timestamp FROM read_parquet('{folder}/raw/facts.parquet')) f
            ON l.driver_id = f.driver_id AND l.event_timestamp >= f.event_timestamp
            WHERE epoch_us(l.event_timestamp) - epoch_us(f.event_timestamp) <= {TTL_US}),
        joined AS (
            SELECT n.row_id, {values}
            FROM nearest n JOIN read_parquet('{folder}/raw/facts.parquet') f USING (driver_id, event_timestamp)
            QUALIFY row_number() OVER (PARTITION BY n.row_id ORDER BY f.created DESC) = 1)
        SELECT l.row_id, l.driver_id, l.event_timestamp, joined.* EXCLUDE (row_id)
        FROM labels l LEFT JOIN joined USING (row_id)""",
        out,
    )


def duckdb_range(folder, out):
    """The rules word by word: all facts in reach of a label, then the first of them."""
    values = ", ".join(f"f.{feature}" for feature in FEATURES)
    duckdb_copy(
        f"""WITH labels AS (SELECT * FROM read_parquet('{folder}/raw/labels.parquet')),
        joined AS (
            SELECT l.row_id, {values}
            FROM labels l JOIN read_parquet('{folder}/raw/facts.parquet') f
            ON l.driver_id = f.driver_id AND f.event_timestamp <= l.event_timestamp
            AND epoch_us(l.event_timestamp) - epoch_us(f.event_timestamp) <= {TTL_US}
            QUALIFY row_number() OVER (PARTITION BY l.row_id ORDER BY f.event_timestamp DESC, f.created DESC) = 1)
        SELECT l.row_id, l.driver_id, l.event_timestamp, joined.* EXCLUDE (row_id)
        FROM labels l LEFT JOIN joined USING (row_id)""",
        out,
    )


def duckdb_copy(query, out):
    """Writes what a query answers."""
    import duckdb

    db = duckdb.connect()
    db.execute("SET preserve_insertion_order = false")
    db.execute(f"COPY ({query}) TO '{out}' (FORMAT parquet, COMPRESSION zstd, COMPRESSION_LEVEL 1)")


def polars(folder, out):
    """join_asof takes the last of several facts with one time, which the order by created makes the right one."""
    import polars as pl

    labels = pl.scan_parquet(f"{folder}/raw/labels.parquet").sort("event_timestamp")
    facts = pl.scan_parquet(f"{folder}/raw/facts.parquet").sort("event_timestamp", "created").drop("created")
    joined = labels.join_asof(
        facts, on="event_timestamp", by="driver_id", strategy="backward", tolerance="2d", check_sortedness=False
    )
    joined.select(*LABEL, *FEATURES).sink_parquet(out, compression="zstd", compression_level=1)


def pandas(folder, out):
    """As in Polars."""
    import pandas as pd

    labels = pd.read_parquet(f"{folder}/raw/labels.parquet").sort_values("event_timestamp")
    facts = pd.read_parquet(f"{folder}/raw/facts.parquet").sort_values(["event_timestamp", "created"])
    joined = pd.merge_asof(
        labels,
        facts.drop(columns="created"),
        on="event_timestamp",
        by="driver_id",
        direction="backward",
        tolerance=pd.Timedelta(TTL_US, "us"),
    )
    joined.to_parquet(out, index=False, compression="zstd", compression_level=1)


def feast(folder, out, store):
    """get_historical_features over a Parquet file."""
    import pandas as pd
    import pyarrow.parquet
    from feast import FeatureStore

    labels = pd.read_parquet(f"{folder}/raw/labels.parquet")
    features = [f"driver:{feature}" for feature in FEATURES]
    job = FeatureStore(repo_path=f"{folder}/feast_{store}").get_historical_features(labels, features)
    pyarrow.parquet.write_table(job.to_arrow(), out, compression="zstd", compression_level=1)


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
        schema=[Field(name="driver_id", dtype=Int64), *(Field(name=name, dtype=Float64) for name in FEATURES)],
        source=source,
    )
    FeatureStore(repo_path=repository).apply([driver, source, view])


# What runs an engine, what is done once before it is measured, and the package whose version counts.
ENGINES = {
    "duckdb_asof": (duckdb_asof, None, "duckdb"),
    "duckdb_range": (duckdb_range, None, "duckdb"),
    "polars": (polars, None, "polars"),
    "pandas": (pandas, None, "pandas"),
    "feast_duckdb": (lambda *given: feast(*given, "duckdb"), lambda folder: feast_prepare(folder, "duckdb"), "feast"),
    "feast_file": (lambda *given: feast(*given, "file"), lambda folder: feast_prepare(folder, "file"), "feast"),
}


def main(what, engine, folder, out=None):
    run, prepare, _ = ENGINES[engine]
    if what == "prepare":
        if prepare is not None:
            prepare(folder)
        return
    run(folder, out)
    with open(out, "rb") as file:
        os.fsync(file.fileno())


if __name__ == "__main__":
    main(*sys.argv[1:])
