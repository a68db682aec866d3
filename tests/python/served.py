"""A `provender serve` for the checks beside this file, and calls by pyarrow alone."""

import json
import os
import pathlib
import signal
import subprocess

import pyarrow as pa
import pyarrow.flight as flight


def provender(binary, project, *args):
    """Runs a command of the project and answers what it prints."""
    done = subprocess.run([binary, "-C", str(project), *map(str, args)], capture_output=True, text=True)
    assert done.returncode == 0, f"{args}: {done.stdout}\n{done.stderr}"
    return done.stdout


class Server:
    """Serves a project on a free port while it is entered; `log` is the file that its standard error goes to."""

    def __init__(self, binary, project, log="serve.log"):
        self.command = [binary, "-C", str(project), "serve", "--flight", "127.0.0.1:0"]
        self.log = pathlib.Path(project) / log
        self.process = None
        self.address = None

    def start(self):
        with open(self.log, "ab") as log:
            environment = {**os.environ, "PROVENDER_LOG": "warn"}
            self.process = subprocess.Popen(self.command, stdout=subprocess.PIPE, stderr=log, text=True, env=environment)
        self.address = self.process.stdout.readline().strip()
        assert self.address.startswith("grpc://"), f"the server did not start: {self.log.read_text()}"
        return self

    def stop(self):
        """Asks the server to stop, and checks that it does so in order."""
        self.process.send_signal(signal.SIGTERM)
        assert self.process.wait(timeout=60) == 0, self.log.read_text()

    def kill(self):
        self.process.kill()
        self.process.wait()

    def connect(self):
        return flight.connect(self.address)

    def peak_bytes(self):
        """The most memory that the server ever had."""
        lines = pathlib.Path(f"/proc/{self.process.pid}/status").read_text().splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))

    def __enter__(self):
        return self.start()

    def __exit__(self, kind, error, trace):
        if kind is None:
            self.stop()
        else:
            self.kill()


def ticket(command):
    return flight.Ticket(json.dumps(command))


def descriptor(command):
    return flight.FlightDescriptor.for_command(json.dumps(command))


def get(client, **command):
    """DoGet, whole."""
    return client.do_get(ticket(command)).read_all()


def put(client, command, batches, schema=None):
    """DoPut of all batches; answers the metadata of each acknowledgement."""
    schema = schema or batches[0].schema
    writer, replies = client.do_put(descriptor(command), schema)
    acknowledged = []
    with writer:
        for batch in batches:
            writer.write_batch(batch)
        writer.done_writing()
        while (reply := replies.read()) is not None:
            acknowledged.append(json.loads(reply.to_pybytes()))
    return acknowledged


def exchange(client, command, batches, schema):
    """DoExchange that writes all before it reads anything."""
    writer, reader = client.do_exchange(descriptor(command))
    with writer:
        writer.begin(schema)
        for batch in batches:
            writer.write_batch(batch)
        writer.done_writing()
        return reader.read_all()


def act(client, name, body=None):
    """All answers of an action."""
    body = b"" if body is None else json.dumps(body).encode()
    return [json.loads(result.body.to_pybytes()) for result in client.do_action(flight.Action(name, body))]


def refused(kind, call, *words):
    """Checks that a call fails with an exception of just this kind, and that its text has the words."""
    try:
        call()
    except (pa.ArrowException, flight.FlightError, KeyError) as error:
        assert type(error) is kind, f"{type(error).__name__}, not {kind.__name__}: {error}"
        for word in words:
            assert word in str(error), f"{word!r} is not in: {error}"
        return
    raise AssertionError(f"not refused: {words}")
