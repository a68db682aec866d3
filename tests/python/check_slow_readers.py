"""Checks that clients which do not read, or are gone, leave a server as it was.

usage: check_slow_readers.py PROVENDER EMPTY_DIR
A client process opens 200 streams and sends more and more without reading what comes back. The server's memory must rise by
a little and stay there, others must be answered meanwhile, and what is read later must be right. Then the client is killed: its
work, its spilled rows and its memory must go. Once over online reads, once over training sets. Prints the figures.
"""

import datetime
import json
import os
import pathlib
import subprocess
import sys
import threading
import time
import urllib.request

import pyarrow as pa
import pyarrow.flight as flight
import pyarrow.parquet as pq

from served import Server, descriptor, get, provender

N_STREAMS, N_CONNECTIONS, N_FEATURES, N_IDS = 200, 8, 10, 1_000
# Online: what each stream sends, whose answers together have some 9 GB.
N_BATCHES, BATCH_ROWS = 100, 5_000
# Training sets: spines of 2 MB each, and answers of a little more.
SPINE_ROWS = 10_000
# The most that a stream may hold in the server: what its transport has buffered both ways, and the message and the batch that come next.
ONLINE_MB, HISTORICAL_MB = 1.5, 4.0
# What the work of 200 calls of a departed client may take to end on a machine that is busy with other things; that of one
# ends within a second.
SOON = 60.0

NOON = datetime.datetime(2026, 1, 1, 12, tzinfo=datetime.timezone.utc)
STAMP = pa.timestamp("us", tz="UTC")
FEATURES = [f"f{i}" for i in range(N_FEATURES)]
KEYS = pa.schema([("id", pa.int64())])
ONLINE = {"op": "online", "features": ["measured"]}
HISTORICAL = {"op": "historical", "features": ["measured"], "timestamp": "at"}
DEFINITIONS = f"""
entities:
  - {{name: item, join_keys: [{{name: id, type: int64}}]}}
sources:
  - {{name: readings, table: readings, timestamp: at}}
feature_views:
  - {{name: measured, entities: [item], source: readings, features: [{', '.join(f'{{name: {name}, type: float64}}' for name in FEATURES)}]}}
"""
CONFIG = f"""project: slow
limits: {{memory: 1GiB, spill_path: spill}}
server: {{metrics: "127.0.0.1:0", max_background_calls: {N_STREAMS + 1}}}
"""


def value(key, number):
    return key * 100.0 + number


def keys_of(stream, batch):
    return [(stream * 7 + batch * 13 + row) % (N_IDS + 10) for row in range(BATCH_ROWS)]


# The client: a process of its own, told by lines what to do next.


def client_main(kind, address):
    # A client takes in little ahead of what is read, and no more the faster the network is.
    options = [("grpc.http2.bdp_probe", 0), ("grpc.http2.lookahead_bytes", 65_536)]
    clients = [flight.connect(address, generic_options=options) for _ in range(N_CONNECTIONS)]
    streams = [clients[number % N_CONNECTIONS].do_exchange(descriptor(ONLINE if kind == "online" else HISTORICAL)) for number in range(N_STREAMS)]
    n_sent = [0] * N_STREAMS
    {"online": online_client, "historical": historical_client}[kind](streams, n_sent)


def say(**line):
    print(json.dumps(line), flush=True)


def until_told(word):
    assert sys.stdin.readline().strip() == word


def tell_progress(n_sent):
    def tell():
        while True:
            time.sleep(0.5)
            say(sent=sum(n_sent))

    threading.Thread(target=tell, daemon=True).start()


def or_tell(work, *args):
    try:
        work(*args)
    except (pa.ArrowException, flight.FlightError) as error:
        say(failed=str(error))


def online_client(streams, n_sent):
    def flood(number, writer):
        for batch in range(N_BATCHES):
            # Blocks once the server takes no more of this stream.
            writer.write_batch(pa.record_batch([pa.array(keys_of(number, batch), pa.int64())], schema=KEYS))
            n_sent[number] += 1
        writer.done_writing()

    for writer, reader in streams:
        writer.begin(KEYS)
        assert reader.schema.names == ["id", *FEATURES]
    say(open=True)
    until_told("go")
    for number, (writer, _) in enumerate(streams):
        threading.Thread(target=or_tell, args=(flood, number, writer), daemon=True).start()
    tell_progress(n_sent)
    until_told("read")
    for number in (0, N_STREAMS - 1):
        for batch in range(N_BATCHES):
            n_rows = 0
            keys = keys_of(number, batch)
            while True:
                chunk = streams[number][1].read_chunk()
                found = chunk.data.to_pydict()
                part = keys[n_rows : n_rows + chunk.data.num_rows]
                assert found["id"] == part
                assert found["f7"] == [value(key, 7) if key < N_IDS else None for key in part]
                n_rows += chunk.data.num_rows
                if chunk.app_metadata is not None:
                    break
            assert json.loads(chunk.app_metadata.to_pybytes()) == {"seq": batch, "rows": BATCH_ROWS} and n_rows == BATCH_ROWS
    say(read=True)
    until_told("never")


def spine():
    ids = [row % (N_IDS + 10) for row in range(SPINE_ROWS)]
    return pa.table({"id": ids, "at": pa.array([NOON] * SPINE_ROWS, STAMP), "payload": [f"{row:0150}" for row in range(SPINE_ROWS)]})


def historical_client(streams, n_sent):
    rows = spine()

    def send(number, writer):
        writer.write_table(rows, 500)
        writer.done_writing()
        n_sent[number] = 1

    for writer, _ in streams:
        writer.begin(rows.schema)
    for _, reader in streams:
        assert reader.schema.names == ["id", "at", "payload", *FEATURES]
    say(open=True)
    until_told("go")
    for number, (writer, _) in enumerate(streams):
        threading.Thread(target=or_tell, args=(send, number, writer), daemon=True).start()
    tell_progress(n_sent)
    until_told("read")
    for number in (0, N_STREAMS - 1):
        answer = streams[number][1].read_all()
        assert answer.select(["id", "at", "payload"]).equals(rows)
        assert answer["f7"].to_pylist() == [value(key, 7) if key < N_IDS else None for key in rows["id"].to_pylist()]
    say(read=True)
    until_told("never")


# The checks.


class Watched(Server):
    def status(self, field):
        lines = pathlib.Path(f"/proc/{self.process.pid}/status").read_text().splitlines()
        return next(int(line.split()[1]) / 1e3 for line in lines if line.startswith(field))

    def anonymous_mb(self):
        """Memory that belongs to no file."""
        return self.status("RssAnon")

    def cpu_seconds(self):
        fields = pathlib.Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def n_spilled(self):
        """Files of spilled rows that are open: they have no names."""
        n = 0
        for entry in pathlib.Path(f"/proc/{self.process.pid}/fd").iterdir():
            try:
                n += "/spill/" in os.readlink(entry)
            except OSError:
                pass
        return n

    def metric(self, series):
        where = next(line.split()[-1] for line in self.log.read_text().splitlines() if line.startswith("metrics on"))
        text = urllib.request.urlopen(where, timeout=30).read().decode()
        return float(next(line.split()[-1] for line in text.splitlines() if line.startswith(series)))


def wait_for(what, is_so, limit=120.0):
    started = time.monotonic()
    while not is_so():
        assert time.monotonic() - started < limit, f"it never came to be that {what}"
        time.sleep(0.02)
    return time.monotonic() - started


def check(server, kind, most_mb):
    with server.connect() as other:
        ask = lambda: get(other, **ONLINE, entities={"id": [3, N_IDS + 1]})  # noqa: E731
        right = ask()
        assert right["f7"].to_pylist() == [value(3, 7), None]
        process = subprocess.Popen(
            [sys.executable, __file__, "--client", kind, server.address], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

        def tell(word):
            process.stdin.write(word + "\n")
            process.stdin.flush()

        def hear(key):
            while True:
                line = process.stdout.readline()
                assert line, "the client ended"
                found = json.loads(line)
                assert "failed" not in found, found
                if key in found:
                    return found[key]

        try:
            hear("open")
            wait_for("all streams are at work", lambda: server.metric("provender_calls_at_work") >= N_STREAMS)
            quiet = server.anonymous_mb()
            tell("go")
            # Until no stream gets anything more through, and the server rests.
            sent, n_same, cpu, started = -1, 0, 0.0, time.monotonic()
            while n_same < 6 or sent < N_STREAMS:
                assert time.monotonic() - started < 300, f"{sent} went in, and the server does not rest"
                before = server.cpu_seconds()
                found = hear("sent")
                cpu = server.cpu_seconds() - before
                n_same = n_same + 1 if found == sent and cpu < 0.1 else 0
                sent = found
                assert ask().equals(right), "others are not answered as before"
            if kind == "online":
                assert N_STREAMS <= sent < N_STREAMS * N_BATCHES / 2, f"{sent} batches went in"
            else:
                assert sent == N_STREAMS, f"{sent} of {N_STREAMS} spines went in"
                assert server.n_spilled() > 0
            full = server.anonymous_mb()
            held = server.metric("provender_held_bytes") / 1e6
            for _ in range(50):
                assert ask().equals(right)
                time.sleep(0.05)
            later = server.anonymous_mb()
            grown = max(full, later) - quiet
            assert grown < most_mb * N_STREAMS, f"{grown:.0f} MB more for {N_STREAMS} streams that nobody reads"
            assert later - full < 16, f"memory goes on rising: {full:.0f} MB, {later:.0f} MB"
            tell("read")
            hear("read")
        finally:
            process.kill()
            process.wait()
        left = wait_for(
            "the departed client's work and files are gone",
            lambda: server.n_spilled() == 0 and server.metric("provender_calls_at_work") == 0 and server.metric("provender_held_bytes") == 0,
        )

        def rests():
            before = server.cpu_seconds()
            time.sleep(0.2)
            return server.cpu_seconds() - before < 0.04

        rested = left + wait_for("the server rests", rests)
        assert rested < SOON, f"the work ended after {left:.2f} s and the server rested after {rested:.2f} s"
        assert ask().equals(right)
    after = server.anonymous_mb()
    return (
        f"{kind}: {grown:.0f} MB more with {N_STREAMS} streams unread ({grown / N_STREAMS:.2f} MB each, {held:.0f} MB of it held messages), "
        f"{sent} sent; gone {left:.2f} s after the client, {after - quiet:+.0f} MB then"
    )


def main(binary, folder):
    project = pathlib.Path(folder) / "slow"
    (project / "features").mkdir(parents=True)
    (project / "provender.yaml").write_text(CONFIG)
    (project / "features/all.yaml").write_text(DEFINITIONS)
    columns = {name: [value(key, number) for key in range(N_IDS)] for number, name in enumerate(FEATURES)}
    early = NOON - datetime.timedelta(hours=1)
    pq.write_table(pa.table({"id": list(range(N_IDS)), "at": pa.array([early] * N_IDS, STAMP), **columns}), project / "readings.parquet")
    provender(binary, project, "import", "readings", project / "readings.parquet")
    provender(binary, project, "apply", "--yes")
    provender(binary, project, "materialize", "2025-01-01", "2026-02-01")
    told = []
    for kind, most_mb in (("online", ONLINE_MB), ("historical", HISTORICAL_MB)):
        with Watched(binary, project, f"{kind}.log") as server:
            told.append(check(server, kind, most_mb))
    print("slow readers leave memory flat; " + "; ".join(told))


if __name__ == "__main__":
    if sys.argv[1] == "--client":
        client_main(*sys.argv[2:])
    else:
        main(*sys.argv[1:])
