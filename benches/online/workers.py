"""Programs that do what they are told, one JSON line for each command, and what they take meanwhile. Linux only."""

import json
import os
import select
import signal
import socket
import subprocess
import sys
import time

TICKS = os.sysconf("SC_CLK_TCK")
TAIL_CHARACTERS = 1_500


class Worker:
    """One such program, started. `beside` are servers that work for it."""

    def __init__(self, name, command, log, timeout_s, beside=()):
        self.name = name
        self.timeout_s = timeout_s
        self.log = log
        self.beside = beside
        self.buffer = b""
        # What the caller's shell says of Provender and Python must not change what is measured.
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("PROVENDER_", "PYTHON"))}
        with open(log, "ab") as messages:
            self.process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=messages, env=kept
            )
        self.answer("to start")

    def ask(self, **command):
        """Has a command done; answers its answer, with the CPU time that it and its servers took."""
        before = self.cpu_s()
        self.process.stdin.write(json.dumps(command).encode() + b"\n")
        self.process.stdin.flush()
        answer = self.answer(command)
        answer["all_cpu_s"] = self.cpu_s() - before
        return answer

    def answer(self, command):
        deadline = time.monotonic() + self.timeout_s
        while b"\n" not in self.buffer:
            readable, _, _ = select.select([self.process.stdout], [], [], max(0, deadline - time.monotonic()))
            if not readable:
                self.end()
                sys.exit(f"{self.name}: over {self.timeout_s:g} s for {command}")
            read = os.read(self.process.stdout.fileno(), 1 << 20)
            if not read:
                with open(self.log, encoding="utf-8", errors="replace") as log:
                    sys.exit(f"{self.name} ended at {command}\n{log.read()[-TAIL_CHARACTERS:]}")
            self.buffer += read
        line, _, self.buffer = self.buffer.partition(b"\n")
        answer = json.loads(line)
        if "error" in answer:
            sys.exit(f"{self.name}: {answer['error']} ({command})")
        return answer

    def cpu_s(self):
        return sum(cpu_s(pid) for pid in (self.process.pid, *(server.pid for server in self.beside)))

    def peak_bytes(self):
        """The greatest resident memory so far."""
        with open(f"/proc/{self.process.pid}/status", encoding="ascii") as file:
            found = [line.split() for line in file if line.startswith("VmHWM:")]
        return int(found[0][1]) * 1024

    def end(self):
        self.process.stdin.close()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.send_signal(signal.SIGKILL)
            self.process.wait()


class Redis:
    """A Redis of our own on a free port, which keeps nothing on disk."""

    def __init__(self, folder):
        import redis

        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        command = ["redis-server", "--bind", "127.0.0.1", "--port", str(self.port)]
        command += ["--save", "", "--appendonly", "no", "--dir", folder]
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.client = redis.Redis(port=self.port)
        for _ in range(100):
            try:
                self.version = self.client.info("server")["redis_version"]
                return
            except redis.ConnectionError:
                time.sleep(0.1)
        self.end()
        sys.exit("redis-server does not answer")

    def used_bytes(self):
        return self.client.info("memory")["used_memory"]

    def end(self):
        self.process.terminate()
        self.process.wait()


def cpu_s(pid):
    """CPU time that a process has taken."""
    with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
        user, system = file.read().rpartition(")")[2].split()[11:13]
    return (int(user) + int(system)) / TICKS


def disk_bytes(path):
    """What a file or folder takes on disk, without what the file system keeps ready for it to grow."""
    if os.path.isfile(path):
        found = os.stat(path)
        return min(found.st_size, found.st_blocks * 512)
    return sum(disk_bytes(f"{parent}/{name}") for parent, _, names in os.walk(path) for name in names)
