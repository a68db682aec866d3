"""One Feast store, which materialises and reads as it is told: a JSON line comes in, a JSON line goes out.

Started by bench.py; see README.md. Feast runs with the settings we know to be its fastest for these calls: its registry
is never asked again, rows are written ten thousand at a time, keys are given as columns, nothing is sent anywhere.
"""

import json
import os
import random
import sys
import time
from datetime import datetime, timedelta, timezone

os.environ["FEAST_TELEMETRY"] = "False"
os.environ["FEAST_USAGE"] = "False"
# Whatever Feast prints must not come between the answers.
answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
os.dup2(2, 1)

from feast import Entity, FeatureService, FeatureStore, FeatureView, Field, FileSource, RepoConfig, ValueType
from feast.types import Float64, Int64

from generate import END_US, START_US, STRIDE, WIDTHS

ROWS_PER_WRITE = 10_000
N_REQUESTS = 256


def online_store(kind, folder):
    if kind == "sqlite":
        return {"type": "sqlite", "path": f"{folder}/online.db"}
    return {"type": "redis", "connection_string": f"127.0.0.1:{kind.removeprefix('redis:')}"}


def open_store(kind, folder, raw):
    """A Feast project with both views, applied."""
    os.makedirs(folder, exist_ok=True)
    config = RepoConfig(
        project="online",
        provider="local",
        registry={"path": f"{folder}/registry.db", "cache_ttl_seconds": 0},
        offline_store={"type": "dask"},
        online_store=online_store(kind, folder),
        entity_key_serialization_version=3,
        materialization={"online_write_batch_size": ROWS_PER_WRITE},
    )
    store = FeatureStore(config=config)
    driver = Entity(name="driver", join_keys=["driver_id"], value_type=ValueType.INT64)
    objects = [driver]
    for view, width in WIDTHS.items():
        source = FileSource(
            name=f"{view}_source",
            path=f"{raw}/feast_{view}.parquet",
            timestamp_field="event_timestamp",
            created_timestamp_column="created",
        )
        features = [Field(name=f"f{number}", dtype=Float64) for number in range(width)]
        feature_view = FeatureView(
            name=view,
            entities=[driver],
            ttl=timedelta(days=3650),
            online=True,
            schema=[Field(name="driver_id", dtype=Int64), *features],
            source=source,
        )
        objects += [feature_view, FeatureService(name=f"{view}_service", features=[feature_view])]
    store.apply(objects)
    return store


class Worker:
    """The store, and what it has prepared."""

    def __init__(self, store):
        self.store = store
        self.services = {view: store.get_feature_service(f"{view}_service") for view in WIDTHS}
        # The first time it loads modules, which is no part of the work: let that be over a time without rows.
        self.materialize("narrow", END_US, END_US + 1_000_000)

    def materialize(self, view, start_us=START_US - 1_000_000, end_us=END_US):
        started = time.perf_counter()
        start, end = (datetime.fromtimestamp(us / 1e6, timezone.utc) for us in (start_us, end_us))
        self.store.materialize(start, end, feature_views=[view])
        return {"seconds": time.perf_counter() - started}

    def get(self, view, drivers):
        response = self.store.get_online_features(
            features=self.services[view], entity_rows={"driver_id": drivers}
        )
        return response.to_dict()

    def read(self, view, n_keys, seconds, drivers, seed):
        """Reads random keys for some time; answers what the calls took, in microseconds."""
        chosen = random.Random(seed)
        pool = drivers_held(*drivers)
        requests = [[pool(chosen.random()) for _ in range(n_keys)] for _ in range(N_REQUESTS)]
        end = time.perf_counter() + seconds / 5
        number = 0
        while number == 0 or time.perf_counter() < end:
            self.get(view, requests[number % N_REQUESTS])
            number += 1
        calls_us = []
        started = before = time.perf_counter()
        while before < started + seconds or len(calls_us) < 5:
            self.get(view, requests[number % N_REQUESTS])
            now = time.perf_counter()
            calls_us.append((now - before) * 1e6)
            before = now
            number += 1
        calls_us.sort()
        n_calls = len(calls_us)
        return {
            "seconds": before - started,
            "n_calls": n_calls,
            "p50_us": calls_us[n_calls // 2],
            # Of few calls it would be the slowest, which says something else.
            "p99_us": calls_us[n_calls * 99 // 100] if n_calls >= 100 else None,
        }

    def values(self, view, drivers):
        answer = self.get(view, drivers)
        return {"columns": [answer[f"f{number}"] for number in range(WIDTHS[view])]}


def drivers_held(n_drivers, n_rows):
    """Turns a number in [0, 1) into one of the drivers of a source's first rows."""
    return lambda share: int(share * n_rows) * STRIDE % n_drivers


def main():
    kind, folder, raw = sys.argv[1:]
    started = time.perf_counter()
    worker = Worker(open_store(kind, folder, raw))
    answer = {"seconds": time.perf_counter() - started}
    while True:
        answers.write(json.dumps(answer) + "\n")
        answers.flush()
        line = sys.stdin.readline()
        if not line:
            return
        command = json.loads(line)
        answer = getattr(worker, command.pop("do"))(**command)


if __name__ == "__main__":
    main()
