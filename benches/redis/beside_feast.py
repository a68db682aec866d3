"""Provender and Feast on one Redis, which both filled from the same files: one client in Python, one call after the
other, everything on this machine.

    python beside_feast.py --binary PROVENDER [--feast-go PROGRAM] [--drivers N] [--rounds N] [--seconds S]

Runs in the environment of benches/online, which benches/online/run.sh makes. It starts a Redis of its own and ends it.
Provender is `provender serve`, read by pyarrow's DoExchange; Feast is its SDK in this process, `feast serve`, and its
server in Go, which feast_go.sh builds; without that one it is left out. Rounds begin with another engine each time.
"""

import argparse
import http.client
import json
import os
import random
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time

import pyarrow
import pyarrow.flight as flight
import pyarrow.parquet

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(1, f"{HERE}/../online")
# Importing it takes the standard output for its own answers.
told = os.fdopen(os.dup(1), "w", encoding="utf-8")
import feast_worker  # noqa: E402
import generate  # noqa: E402
from workers import Redis  # noqa: E402

SHAPES = ((1, "narrow"), (100, "narrow"), (100, "wide"))
N_REQUESTS = 64


def main():
    parser = argparse.ArgumentParser(description="Measures Provender and Feast on one Redis.")
    parser.add_argument("--binary", required=True, help="the program provender")
    parser.add_argument("--feast-go", help="Feast's server in Go")
    parser.add_argument("--drivers", type=int, default=100_000, help="keys [%(default)s]")
    parser.add_argument("--rounds", type=int, default=5, help="[%(default)s]")
    parser.add_argument("--seconds", type=float, default=1.0, help="of each measurement in a round [%(default)s]")
    given = parser.parse_args()
    folder = tempfile.mkdtemp(prefix="provender-feast-")
    redis = Redis(folder)
    engines = {}
    try:
        raw = f"{folder}/raw"
        os.makedirs(raw)
        for view, width in generate.WIDTHS.items():
            rows = generate.table(given.drivers, width)
            pyarrow.parquet.write_table(rows, f"{raw}/feast_{view}.parquet", compression="zstd")
        engines["Provender"] = Provender(given.binary, f"{folder}/provender", raw, redis.port)
        engines["Feast, SDK"] = sdk = Sdk(f"{folder}/feast", raw, redis.port)
        engines["Feast, feast serve"] = sdk.serve()
        if given.feast_go:
            engines["Feast, Go server"] = sdk.serve_go(given.feast_go)
        measure(engines, given)
    finally:
        for engine in engines.values():
            engine.end()
        redis.end()
        shutil.rmtree(folder)


def measure(engines, given):
    chosen = random.Random(1)
    took = {}
    for n_keys, view in SHAPES:
        requests = [chosen.sample(range(given.drivers), n_keys) for _ in range(N_REQUESTS)]
        for name, engine in engines.items():
            check(name, engine.values(view, requests[0]), view, requests[0])
        names = list(engines)
        for number in range(given.rounds):
            turn = number % len(names)
            for name in names[turn:] + names[:turn]:
                calls = one_after_the_other(engines[name].reader(view, requests), given.seconds)
                took.setdefault((n_keys, view, name), []).append(calls)
    told.write("keys x features  engine              p50 us  x Provender  p99 us  x Provender\n")
    for n_keys, view in SHAPES:
        of = {name: took[n_keys, view, name] for name in engines}
        ours = of["Provender"]
        for name, rounds in of.items():
            figures = []
            for at in (0, 1):
                ratio = statistics.median(one[at] / our[at] for one, our in zip(rounds, ours))
                figures += [statistics.median(one[at] for one in rounds), ratio]
            shape = f"{n_keys} x {generate.WIDTHS[view]}"
            told.write("{:15}  {:18}  {:6.0f}  {:11.1f}  {:6.0f}  {:11.1f}\n".format(shape, name, *figures))
    told.flush()


def one_after_the_other(call, seconds):
    """p50 and p99 in us of calls, the first fifth of the time left out."""
    took, started = [], time.perf_counter()
    number = 0
    while time.perf_counter() < started + seconds or len(took) < 10:
        before = time.perf_counter()
        call(number % N_REQUESTS)
        if before >= started + seconds / 5:
            took.append((time.perf_counter() - before) * 1e6)
        number += 1
    took.sort()
    return took[len(took) // 2], took[len(took) * 99 // 100]


def check(name, columns, view, drivers):
    """Every engine must answer what the data are."""
    import numpy

    for number in range(generate.WIDTHS[view]):
        expected = generate.feature(numpy.array(drivers), number).tolist()
        if list(columns[f"f{number}"]) != expected:
            sys.exit(f"{name} answers another f{number} of {view}")


class Provender:
    """`provender serve`, and pyarrow's client of it."""

    def __init__(self, binary, folder, raw, redis_port):
        os.makedirs(f"{folder}/features")
        port = free_port()
        write(
            f"{folder}/provender.yaml",
            {
                "project": "online",
                "online_store": {"type": "redis", "url": f"redis://127.0.0.1:{redis_port}"},
                "server": {"flight": f"127.0.0.1:{port}"},
            },
        )
        names = generate.WIDTHS.items()
        features = {view: [{"name": f"f{n}", "type": "float64"} for n in range(width)] for view, width in names}
        write(
            f"{folder}/features/drivers.yaml",
            {
                "entities": [{"name": "driver", "join_keys": [{"name": "driver_id", "type": "int64"}]}],
                "sources": [
                    {
                        "name": f"{view}_file",
                        "table": f"{raw}/feast_{view}.parquet",
                        "timestamp": "event_timestamp",
                        "created_timestamp": "created",
                    }
                    for view in features
                ],
                "feature_views": [
                    {"name": view, "entities": ["driver"], "source": f"{view}_file", "ttl": "3650d", "features": own}
                    for view, own in features.items()
                ],
                "feature_services": [{"name": f"{view}_service", "features": [{"view": view}]} for view in features],
            },
        )
        command = [binary, "-C", folder]
        with open(f"{folder}/log", "wb") as log:
            start, end = (f"{us // 1_000_000}" for us in (generate.START_US - 1_000_000, generate.END_US))
            utc = [time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(int(second))) for second in (start, end)]
            subprocess.run([*command, "apply"], check=True, stdout=log, stderr=log)
            subprocess.run([*command, "materialize", *utc], check=True, stdout=log, stderr=log)
            self.process = subprocess.Popen([*command, "serve"], stdout=log, stderr=log)
        wait_for(self.process, port)
        self.client = flight.connect(f"grpc://127.0.0.1:{port}")

    def open(self, view):
        command = json.dumps({"op": "online", "service": f"{view}_service"}).encode()
        writer, reader = self.client.do_exchange(flight.FlightDescriptor.for_command(command))
        writer.begin(pyarrow.schema([("driver_id", pyarrow.int64())]))
        return writer, reader

    def reader(self, view, requests):
        writer, reader = self.open(view)
        batches = [batch_of(drivers) for drivers in requests]

        def call(number):
            writer.write_batch(batches[number])
            return reader.read_chunk().data

        return call

    def values(self, view, drivers):
        writer, reader = self.open(view)
        writer.write_batch(batch_of(drivers))
        answer = reader.read_chunk().data
        writer.close()
        return answer.to_pydict()

    def end(self):
        end(self.process)


class Sdk:
    """Feast in this process, with the settings that we know to be its fastest."""

    def __init__(self, folder, raw, redis_port):
        self.folder = folder
        self.store = feast_worker.open_store(f"redis:{redis_port}", folder, raw)
        self.worker = feast_worker.Worker(self.store)
        for view in generate.WIDTHS:
            self.worker.materialize(view)
        # The same project, as servers read it.
        write(
            f"{folder}/feature_store.yaml",
            {
                "project": "online",
                "provider": "local",
                "entity_key_serialization_version": 3,
                "offline_store": {"type": "dask"},
                "registry": {"path": f"{folder}/registry.db", "cache_ttl_seconds": 0},
                "online_store": {"type": "redis", "connection_string": f"127.0.0.1:{redis_port}"},
            },
        )

    def reader(self, view, requests):
        return lambda number: self.worker.get(view, requests[number])

    def values(self, view, drivers):
        return self.worker.get(view, drivers)

    def end(self):
        pass

    def serve(self):
        """`feast serve`, started and answering."""
        port = free_port()
        program = f"{os.path.dirname(sys.executable)}/feast"
        return Http([program, "-c", self.folder, "serve", "--port", str(port), "--no-access-log"], port, self.folder)

    def serve_go(self, program):
        """The server in Go, started and answering."""
        port = free_port()
        ports = ["-port", str(port), "-metrics-port", str(free_port())]
        return Http([program, "-chdir", self.folder, "-type", "http", "-host", "127.0.0.1", *ports], port, self.folder)


class Http:
    """A server of Feast, over a connection that stays open."""

    def __init__(self, command, port, folder):
        with open(f"{folder}/serve.log", "ab") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log)
        wait_for(self.process, port)
        self.connection = http.client.HTTPConnection("127.0.0.1", port)

    def ask(self, body):
        self.connection.request("POST", "/get-online-features", body, {"Content-Type": "application/json"})
        answer = self.connection.getresponse()
        text = answer.read()
        if answer.status != 200:
            sys.exit(f"Feast answers: {text[:500]}")
        return text

    def reader(self, view, requests):
        bodies = [body_of(view, drivers) for drivers in requests]
        return lambda number: self.ask(bodies[number])

    def values(self, view, drivers):
        answer = json.loads(self.ask(body_of(view, drivers)))
        names = answer["metadata"]["feature_names"]
        names = names["val"] if isinstance(names, dict) else names
        return {name.split("__")[-1]: column["values"] for name, column in zip(names, answer["results"])}

    def end(self):
        end(self.process)


def batch_of(drivers):
    return pyarrow.record_batch([pyarrow.array(drivers, pyarrow.int64())], ["driver_id"])


def body_of(view, drivers):
    return json.dumps({"feature_service": f"{view}_service", "entities": {"driver_id": drivers}})


def write(path, content):
    """JSON is YAML."""
    with open(path, "w", encoding="utf-8") as file:
        json.dump(content, file)


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def wait_for(process, port):
    for _ in range(600):
        try:
            socket.create_connection(("127.0.0.1", port)).close()
            return
        except OSError:
            if process.poll() is not None:
                break
            time.sleep(0.1)
    sys.exit(f"{process.args[0]} does not answer")


def end(process):
    process.terminate()
    process.wait()


if __name__ == "__main__":
    main()
