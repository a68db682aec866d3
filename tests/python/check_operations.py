"""How a server is run: its log as JSON, without secrets and values, and how a second signal ends it.

    check_operations.py BINARY FOLDER
"""

import json
import os
import pathlib
import signal
import subprocess
import sys
import threading
import time

import pyarrow as pa
import pyarrow.flight as flight

import kinds_project
from served import Server, descriptor, get, provender

TOKEN = "canary-of-a-token-that-is-known"
UNKNOWN = "canary-of-a-token-that-is-not"
VALUE = "canary-of-a-key"
TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
CONFIG = "server:\n  tokens: [{env: CANARY_TOKEN, role: read, name: tester}]\n"


class Logged(Server):
    """A server with a token, everything logged as JSON."""

    def start(self):
        environment = {
            **os.environ, "CANARY_TOKEN": TOKEN, "PROVENDER_LOG_FORMAT": "json",
            "PROVENDER_LOG": "info,provender=debug,provender_server=debug,provender_store=debug,provender_providers_local=debug",
        }
        with open(self.log, "wb") as log:
            self.process = subprocess.Popen(self.command, stdout=subprocess.PIPE, stderr=log, text=True, env=environment)
        self.address = self.process.stdout.readline().strip()
        assert self.address.startswith("grpc://"), f"the server did not start: {self.log.read_text()}"
        return self


def headers(token):
    return [(b"authorization", f"Bearer {token}".encode()), (b"traceparent", f"00-{TRACE}-00f067aa0ba902b7-01".encode())]


def calls(token):
    return flight.FlightCallOptions(headers=headers(token))


def failing_calls(client):
    """One of each kind: refused by its token, its command, its role, its object, its deadline."""
    options = calls(TOKEN)
    late = flight.FlightCallOptions(timeout=1e-6, headers=headers(TOKEN))
    online = {"op": "online", "features": ["reading"], "entities": {"id": [1]}}
    assert client.do_get(flight.Ticket(json.dumps(online)), options).read_all().num_rows == 1
    wrong = [
        lambda: client.do_get(flight.Ticket(json.dumps(online)), calls(UNKNOWN)).read_all(),
        lambda: client.do_get(flight.Ticket(b"{" + VALUE.encode()), options).read_all(),
        lambda: client.do_get(flight.Ticket(json.dumps({**online, "features": [VALUE]})), options).read_all(),
        lambda: client.do_get(flight.Ticket(json.dumps({**online, "entities": {"id": [VALUE]}})), options).read_all(),
        lambda: client.do_get(flight.Ticket(json.dumps({"op": "read", "view": "reading"})), late).read_all(),
        lambda: list(client.do_action(flight.Action("materialize", b"{}"), options)),
    ]
    for call in wrong:
        try:
            call()
        except (pa.ArrowException, flight.FlightError, KeyError):
            continue
        raise AssertionError("a call that is wrong was answered")


def check_log(text):
    """Each line is an object with the fields of docs/operations.md; answers how many tell of failed calls."""
    for canary in (TOKEN, UNKNOWN, VALUE):
        assert canary not in text, f"{canary} is in the log"
    n_failed = 0
    for line in text.splitlines():
        if not line.startswith("{"):
            # What is said to whoever started it.
            assert line.startswith(("serving project", "metrics on", "interrupted")), line
            continue
        event = json.loads(line)
        assert {"timestamp", "level", "target", "message"} <= event.keys(), line
        if event["message"].startswith("a call failed"):
            n_failed += 1
            assert {"operation", "code", "trace_id", "duration_ms"} <= event.keys(), line
            assert event["code"].startswith("P") and event["trace_id"] == TRACE and event["duration_ms"] >= 0, line
    return n_failed


def second_signal(server, second):
    """A stream that is never idle keeps a stopping server at work; the second signal ends it at once."""
    keys = pa.table({"id": pa.array([1], pa.int64())})
    gone = threading.Event()
    with flight.connect(server.address) as client:
        writer, reader = client.do_exchange(descriptor({"op": "online", "features": ["reading"]}), calls(TOKEN))
        writer.begin(keys.schema)

        def ask():
            try:
                while not gone.is_set():
                    writer.write_table(keys)
                    reader.read_chunk()
                    time.sleep(0.02)
            except (pa.ArrowException, flight.FlightError, StopIteration):
                pass
            gone.set()

        asking = threading.Thread(target=ask)
        asking.start()
        time.sleep(0.5)
        assert not gone.is_set(), "the stream ended by itself"
        server.process.send_signal(signal.SIGTERM)
        time.sleep(1.5)
        assert server.process.poll() is None and not gone.is_set(), "a call at work was not let end"
        started = time.monotonic()
        server.process.send_signal(second)
        code = server.process.wait(timeout=20)
        took = time.monotonic() - started
        gone.set()
        asking.join()
    # As a shell tells a program that a signal ended.
    assert code == 130, code
    return took


def main(binary, folder):
    project = pathlib.Path(folder) / "kinds"
    kinds_project.make(binary, project)
    provender(binary, project, "materialize", "2025-01-01", "2026-02-01")
    config = project / "provender.yaml"
    config.write_text(config.read_text() + CONFIG)
    took = []
    for second in (signal.SIGTERM, signal.SIGINT):
        server = Logged(binary, project).start()
        try:
            with flight.connect(server.address) as client:
                failing_calls(client)
            took.append(second_signal(server, second))
        finally:
            server.kill()
        n_failed = check_log(server.log.read_text())
        assert n_failed >= 4, (n_failed, server.log.read_text())
    print(f"the log keeps its word; second signals ended the server in {max(took):.2f} s")


if __name__ == "__main__":
    main(*sys.argv[1:])
