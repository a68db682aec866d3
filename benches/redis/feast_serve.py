"""Feast on Redis: its SDK, `feast serve` and its server in Go, one client, one call after the other; p50 and p99 in us.

Run with the environment and the data of benches/online, which benches/online/run.sh makes:
python feast_serve.py FOLDER-OF-THE-DATA [SECONDS]. It starts a Redis of its own and ends it. FEAST_GO_SERVER names the
server in Go, which feast_go.sh builds; without it that one is left out. FEAST_DRIVERS and FEAST_ROWS tell how much data
there is where it is not what benches/online makes by default.
"""

import http.client
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(1, f"{HERE}/../online")
# Importing it takes the standard output for its own answers.
told = os.fdopen(os.dup(1), "w", encoding="utf-8")
import feast_worker  # noqa: E402
from workers import Redis  # noqa: E402

SHAPES = ((1, "narrow"), (100, "narrow"), (100, "wide"))
N_DRIVERS = int(os.environ.get("FEAST_DRIVERS", 1_000_000))
N_ROWS = int(os.environ.get("FEAST_ROWS", 100_000))


def main():
    raw = f"{sys.argv[1]}/raw"
    seconds = float(sys.argv[2]) if len(sys.argv) > 2 else 2.0
    folder = tempfile.mkdtemp(prefix="provender-feast-")
    redis = Redis(folder)
    server = None
    try:
        worker = feast_worker.Worker(feast_worker.open_store(f"redis:{redis.port}", folder, raw))
        for view in ("narrow", "wide"):
            worker.materialize(view)
        for n_keys, view in SHAPES:
            sdk = worker.read(view, n_keys, seconds, [N_DRIVERS, N_ROWS], 1)
            tell("SDK", n_keys, view, sdk["p50_us"], sdk["p99_us"])
        configure(folder, redis.port)
        for engine, start in (("feast serve", serve), ("Go server", serve_go)):
            started = start(folder)
            if started is None:
                continue
            server, port = started
            for n_keys, view in SHAPES:
                tell(engine, n_keys, view, *over_http(port, n_keys, view, seconds))
            server.terminate()
            server.wait()
            server = None
    finally:
        if server:
            server.terminate()
            server.wait()
        redis.end()
        shutil.rmtree(folder)


def configure(folder, redis_port):
    """The same project, as servers read it."""
    with open(f"{folder}/feature_store.yaml", "w", encoding="utf-8") as file:
        file.write(
            "project: online\nprovider: local\nentity_key_serialization_version: 3\noffline_store: {type: dask}\n"
            f"registry: {{path: {folder}/registry.db, cache_ttl_seconds: 0}}\n"
            f"online_store: {{type: redis, connection_string: '127.0.0.1:{redis_port}'}}\n"
        )


def serve(folder):
    """`feast serve`, started and answering."""
    port = free_port()
    feast = f"{os.path.dirname(sys.executable)}/feast"
    return answering(folder, port, [feast, "-c", folder, "serve", "--port", str(port), "--no-access-log"])


def serve_go(folder):
    """The server in Go, started and answering, if there is one."""
    program = os.environ.get("FEAST_GO_SERVER")
    if not program:
        return None
    port = free_port()
    ports = ["-port", str(port), "-metrics-port", str(free_port())]
    return answering(folder, port, [program, "-chdir", folder, "-type", "http", "-host", "127.0.0.1", *ports])


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def answering(folder, port, command):
    log = open(f"{folder}/serve.log", "wb")
    server = subprocess.Popen(command, stdout=log, stderr=log)
    for _ in range(600):
        try:
            socket.create_connection(("127.0.0.1", port)).close()
            return server, port
        except OSError:
            time.sleep(0.1)
    sys.exit(f"{command[0]} does not answer")


def over_http(port, n_keys, view, seconds):
    """p50 and p99 of requests over one connection that stays open."""
    drivers = [number * 7_919 % N_ROWS * feast_worker.STRIDE % N_DRIVERS for number in range(n_keys)]
    body = json.dumps({"feature_service": f"{view}_service", "entities": {"driver_id": drivers}})
    connection = http.client.HTTPConnection("127.0.0.1", port)
    took, until = [], time.perf_counter() + seconds * 1.2
    while time.perf_counter() < until or len(took) < 10:
        started = time.perf_counter()
        connection.request("POST", "/get-online-features", body, {"Content-Type": "application/json"})
        answer = connection.getresponse()
        text = answer.read()
        took.append((time.perf_counter() - started) * 1e6)
        if answer.status != 200:
            sys.exit(f"Feast answers: {text[:500]}")
    found = json.loads(text)["results"]
    if any(value is None for column in found for value in column["values"]):
        sys.exit("a feature is missing")
    took = sorted(took[len(took) // 6 :])
    return took[len(took) // 2], took[len(took) * 99 // 100]


def tell(what, n_keys, view, p50, p99):
    features = feast_worker.WIDTHS[view]
    told.write(json.dumps({"engine": what, "keys": n_keys, "features": features, "p50_us": p50, "p99_us": p99}) + "\n")
    told.flush()


if __name__ == "__main__":
    main()
