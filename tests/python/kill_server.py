"""Kills a server at random moments under load, and checks that nothing acknowledged is lost or doubled.

usage: kill_server.py PROVENDER EMPTY_DIR N_KILLS SEED
Pushes with ids run into the online store, the offline store and both, one at a time and over open streams, beside reads; each
push is repeated until it is acknowledged. After each kill the next start must be in order, online and offline must have every
acknowledged row, and no store may have a row twice.
"""

import collections
import datetime
import json
import os
import pathlib
import random
import re
import sys
import threading
import time

import deltalake
import pyarrow as pa
import pyarrow.flight as flight
import pyarrow.parquet as pq

from served import Server, descriptor, get, provender, put

STAMP = pa.timestamp("us", tz="UTC")
NOON = datetime.datetime(2026, 1, 1, 12, tzinfo=datetime.timezone.utc)
SCHEMA = pa.schema([("id", pa.int64()), ("at", STAMP), ("value", pa.float64())])
DEFINITIONS = """
entities:
  - {name: item, join_keys: [{name: id, type: int64}]}
sources:
  - {name: readings, table: readings, timestamp: at}
feature_views:
  - {name: reading, entities: [item], source: readings, features: [{name: value, type: float64}]}
"""
ROWS_PER_BATCH, BATCHES_PER_STREAM = 5, 6
FAILURES = (pa.ArrowException, flight.FlightError, OSError, EOFError)


def value_of(key):
    return key * 0.5


def batch_of(first):
    keys = list(range(first, first + ROWS_PER_BATCH))
    return pa.RecordBatch.from_pydict({"id": keys, "at": [NOON] * len(keys), "value": [value_of(key) for key in keys]}, schema=SCHEMA)


class Load:
    """What clients know: where the server is, and which rows it has acknowledged for which store."""

    def __init__(self):
        self.changed = threading.Condition()
        self.server, self.generation = None, 0
        self.ending = False
        self.online, self.offline, self.sent = set(), set(), set()
        self.n_reads = collections.Counter()
        self.broken = []

    def serves(self, server):
        with self.changed:
            self.server, self.generation = server, self.generation + 1
            self.changed.notify_all()

    def acknowledged(self, to, keys):
        with self.changed:
            if to != "offline":
                self.online.update(keys)
            if to != "online":
                self.offline.update(keys)

    def some_online(self, chance):
        with self.changed:
            return chance.sample(sorted(self.online), min(20, len(self.online)))

    def attempt(self, work):
        """Does some work with a client until it is done; only a kill excuses a failure."""
        while True:
            with self.changed:
                generation, server = self.generation, self.server
            try:
                with server.connect() as client:
                    return work(client)
            except FAILURES as error:
                # What the server says of itself has a code, and is no kill.
                if re.search(r"\[P\d+\]", str(error)):
                    raise
                with self.changed:
                    if not self.changed.wait_for(lambda: self.generation > generation or self.broken, timeout=60):
                        raise AssertionError(f"failed, and nobody had killed the server: {error}") from error

    def run(self, worker, *args):
        try:
            worker(self, *args)
        except BaseException as error:  # noqa: BLE001 - the main thread tells
            with self.changed:
                self.broken.append(error)
                self.changed.notify_all()


def push_one_by_one(load, to, base):
    command = {"op": "push", "view": "reading", "to": to}
    n = 0
    while not load.ending:
        batch = batch_of(base + n * ROWS_PER_BATCH)
        load.sent.update(batch["id"].to_pylist())
        answer = load.attempt(lambda client: put(client, {**command, "id": f"{to}-{n}"}, [batch]))
        assert answer == [{"rows": ROWS_PER_BATCH}], answer
        load.acknowledged(to, batch["id"].to_pylist())
        n += 1
        time.sleep(0.01)


def push_streams(load, to, base):
    n = 0
    while not load.ending:
        first = base + n * ROWS_PER_BATCH * BATCHES_PER_STREAM
        batches = [batch_of(first + i * ROWS_PER_BATCH) for i in range(BATCHES_PER_STREAM)]
        command = {"op": "push", "view": "reading", "to": to, "id": f"stream-{to}-{n}"}

        def stream(client):
            writer, replies = client.do_put(descriptor(command), SCHEMA)
            with writer:
                for batch in batches:
                    load.sent.update(batch["id"].to_pylist())
                    writer.write_batch(batch)
                    assert json.loads(replies.read().to_pybytes()) == {"rows": ROWS_PER_BATCH}
                    load.acknowledged(to, batch["id"].to_pylist())
                writer.done_writing()

        load.attempt(stream_or_fail(stream))
        n += 1
        time.sleep(0.01)


def stream_or_fail(stream):
    def work(client):
        try:
            stream(client)
        except AttributeError as error:
            # `replies.read()` answers None at an end that a kill brought.
            raise EOFError("the stream ended before the acknowledgement") from error

    return work


def check_values(keys, answer):
    assert answer["id"].to_pylist() == keys
    assert answer["value"].to_pylist() == [value_of(key) for key in keys], (keys, answer["value"])


def read_calls(load, seed):
    chance = random.Random(seed)
    while not load.ending:
        keys = load.some_online(chance)
        answer = load.attempt(lambda client: get(client, op="online", features=["reading"], entities={"id": keys}))
        check_values(keys, answer)
        load.n_reads["calls"] += 1
        time.sleep(0.005)


def read_stream(load, seed):
    chance = random.Random(seed)
    schema = pa.schema([("id", pa.int64())])

    def stream(client):
        writer, reader = client.do_exchange(descriptor({"op": "online", "features": ["reading"]}))
        writer.begin(schema)
        while not load.ending:
            keys = load.some_online(chance)
            writer.write_batch(pa.RecordBatch.from_pydict({"id": keys}, schema=schema))
            chunk = reader.read_chunk()
            check_values(keys, chunk.data)
            load.n_reads["batches"] += 1
            time.sleep(0.005)
        writer.close()

    def work(client):
        try:
            stream(client)
        except StopIteration as error:
            raise EOFError("the stream ended") from error

    load.attempt(work)


def check_stores(load, client):
    """Everything that is acknowledged by now is there, and nothing twice."""
    with load.changed:
        online, offline = sorted(load.online), set(load.offline)
    check_values(online, get(client, op="online", features=["reading"], entities={"id": online}))
    found = get(client, op="read", view="reading")
    counts = collections.Counter(found["id"].to_pylist())
    assert offline <= set(counts), f"lost: {sorted(offline - set(counts))[:10]}"
    assert set(counts.values()) <= {1}, f"twice: {[key for key, n in counts.items() if n > 1][:10]}"
    assert set(counts) <= load.sent
    assert found["value"].to_pylist() == [value_of(key) for key in found["id"].to_pylist()]
    return len(online), len(offline)


def main(binary, folder, n_kills, seed):
    chance = random.Random(int(seed))
    project = pathlib.Path(folder) / "killed"
    (project / "features").mkdir(parents=True)
    (project / "provender.yaml").write_text("project: killed\n")
    (project / "features/all.yaml").write_text(DEFINITIONS)
    pq.write_table(SCHEMA.empty_table(), project / "readings.parquet")
    provender(binary, project, "import", "readings", project / "readings.parquet")
    provender(binary, project, "apply", "--yes")

    load = Load()
    workers = [
        (push_one_by_one, "online", 10_000_000), (push_one_by_one, "offline", 20_000_000), (push_one_by_one, "both", 30_000_000),
        (push_streams, "online", 40_000_000), (push_streams, "both", 50_000_000), (read_calls, chance.random()), (read_stream, chance.random()),
    ]
    server = Server(binary, project).start()
    load.serves(server)
    threads = [threading.Thread(target=load.run, args=worker, daemon=True) for worker in workers]
    for thread in threads:
        thread.start()
    for _ in range(int(n_kills)):
        time.sleep(chance.uniform(0.0, 1.4))
        server.kill()
        # The next start is in order, or this raises with what the server said.
        server = Server(binary, project).start()
        with server.connect() as client:
            check_stores(load, client)
        load.serves(server)
        assert not load.broken, load.broken[0]
    load.ending = True
    for thread in threads:
        thread.join(timeout=60)
        assert not thread.is_alive(), "a client did not come to its end"
    assert not load.broken, load.broken[0]
    with server.connect() as client:
        n_online, n_offline = check_stores(load, client)
    server.stop()

    # The table as another reader has it.
    table = pa.table(deltalake.DeltaTable(project / "data/readings").to_pyarrow_table())
    counts = collections.Counter(table["id"].to_pylist())
    assert set(counts) == load.offline and set(counts.values()) == {1}
    log = (project / "serve.log").read_text()
    assert "panic" not in log and "ERROR" not in log, log
    assert min(load.n_reads["calls"], load.n_reads["batches"]) > 0
    print(f"{n_kills} kills: {n_online} rows online and {n_offline} offline, none lost, none twice; {load.n_reads.total()} reads")


if __name__ == "__main__":
    main(*sys.argv[1:])
    # What is said is all there is to say: gRPC's threads of clients whose server was killed under them can
    # abort a process that ends in the usual way.
    sys.stdout.flush()
    os._exit(0)
