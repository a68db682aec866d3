"""Runs one command as a whole process and says what it took: time, CPU time and peak memory.

Linux only: it reads /proc and waits for a child without reaping it. Imports little on purpose, since the kernel counts
the memory of the process that starts a child into the child's peak.
"""

import os
import signal
import subprocess
import tempfile
import threading
import time
from dataclasses import dataclass

POLL_S = 0.05
TAIL_CHARACTERS = 1_500


@dataclass
class Run:
    """How one process went. Times in seconds; `others_cpu_s` is the CPU time of everything else meanwhile."""

    wall_s: float
    cpu_s: float
    others_cpu_s: float
    peak_bytes: int
    failure: str  # empty if it ended with 0
    stdout: str
    messages: str  # the end of stderr


def run(command, timeout_s, memory_limit_bytes, folder, environment):
    """Runs a command to its end, or kills it and all that it started beyond the time or memory it is allowed."""
    with tempfile.TemporaryFile() as stdout, tempfile.TemporaryFile() as stderr:
        busy_before = machine_cpu_s()
        started = time.perf_counter()
        child = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=stdout,
            stderr=stderr,
            cwd=folder,
            env=environment,
            start_new_session=True,
        )
        killed = Watch(child.pid, timeout_s, memory_limit_bytes)
        # The child stays a zombie until it is reaped, so the watch never meets another process of its number.
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
        wall_s = time.perf_counter() - started
        reason = killed.end()
        _, status, usage = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
        cpu_s = usage.ru_utime + usage.ru_stime
        failure = reason or ("" if child.returncode == 0 else f"exit {child.returncode}")
        return Run(
            wall_s=wall_s,
            cpu_s=cpu_s,
            others_cpu_s=max(0.0, machine_cpu_s() - busy_before - cpu_s),
            peak_bytes=usage.ru_maxrss * 1024,
            failure=failure,
            stdout=tail(stdout, None),
            messages=tail(stderr, TAIL_CHARACTERS),
        )


class Watch:
    """Kills a process group when its leader takes too long or too much memory."""

    def __init__(self, pid, timeout_s, memory_limit_bytes):
        self.pid = pid
        self.deadline = time.monotonic() + timeout_s
        self.timeout_s = timeout_s
        self.memory_limit_bytes = memory_limit_bytes
        self.reason = ""
        self.ended = threading.Event()
        self.thread = threading.Thread(target=self.watch, daemon=True)
        self.thread.start()

    def watch(self):
        while not self.ended.wait(POLL_S):
            if time.monotonic() > self.deadline:
                self.reason = f"over {self.timeout_s:g} s"
            elif resident_bytes(self.pid) > self.memory_limit_bytes:
                self.reason = f"over {self.memory_limit_bytes / 2**30:.1f} GiB"
            if self.reason:
                os.killpg(self.pid, signal.SIGKILL)
                return

    def end(self):
        """Stops watching; answers why it killed, or nothing."""
        self.ended.set()
        self.thread.join()
        return self.reason


def tail(file, n_characters):
    file.seek(0)
    text = file.read().decode(errors="replace").strip()
    return text if n_characters is None else text[-n_characters:]


def resident_bytes(pid):
    """Memory that a process holds now; 0 for one that has ended."""
    try:
        with open(f"/proc/{pid}/statm", encoding="ascii") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, IndexError):
        return 0


def machine_cpu_s():
    """CPU time that all processes have taken since the machine started."""
    with open("/proc/stat", encoding="ascii") as file:
        user, nice, system, _, _, interrupts, soft_interrupts = map(int, file.readline().split()[1:8])
    return (user + nice + system + interrupts + soft_interrupts) / os.sysconf("SC_CLK_TCK")


def machine():
    """What the machine is, as a dictionary of texts and numbers."""
    return {
        "cpu": first_value("/proc/cpuinfo", "model name"),
        "n_cores": len(os.sched_getaffinity(0)),
        "memory_bytes": os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"),
        "system": f"{os.uname().sysname} {os.uname().release} {os.uname().machine}",
        "distribution": first_value("/etc/os-release", "PRETTY_NAME"),
        "load_1_minute": round(os.getloadavg()[0], 2),
    }


def first_value(path, name):
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            for line in file:
                key, _, value = line.replace("=", ":", 1).partition(":")
                if key.strip() == name:
                    return value.strip().strip('"')
    except OSError:
        pass
    return "unknown"
