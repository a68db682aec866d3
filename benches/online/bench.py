"""Runs the online benchmark and prints its tables; see README.md in this folder. Started by run.sh."""

import argparse
import hashlib
import importlib.metadata
import json
import math
import os
import platform
import random
import shutil
import statistics
import subprocess
import sys
import time

import numpy

import generate
from workers import Redis, Worker, disk_bytes

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(1, f"{HERE}/../point_in_time")
from measure import machine, machine_cpu_s  # noqa: E402

PEERS = ("feast_sqlite", "feast_redis")
# What our worker reads through, by the name in the tables; the first is what the others are compared with.
READERS = {"provender": "store", "provender_reader": "reader", "lmdb": "floor"}
OURS = "provender"
N_KEYS = (1, 10, 100, 500)
N_CHECKED = 1_000
# From this share of the cores on, other processes make a measurement doubtful.
NOISE = 0.1


def arguments():
    parser = argparse.ArgumentParser(
        prog="run.sh", description="Measures Provender's online reads and writes beside LMDB alone and Feast."
    )
    parser.add_argument("--drivers", type=int, default=1_000_000, help="keys [%(default)s]")
    parser.add_argument("--feast-drivers", type=int, default=100_000, help="keys that Feast holds [%(default)s]")
    parser.add_argument("--reps", type=int, default=3, help="rounds of reads [%(default)s]")
    parser.add_argument("--write-reps", type=int, default=3, help="rounds of writes [%(default)s]")
    parser.add_argument("--seconds", type=float, default=1, help="how long each read is measured [%(default)s]")
    parser.add_argument("--peers", default=",".join(PEERS), help="Feast's stores, by commas [%(default)s]")
    parser.add_argument("--rows-per-commit", type=int, default=500_000, help="of LMDB alone [%(default)s]")
    parser.add_argument("--worker", help="the program to measure, instead of a build of this checkout")
    parser.add_argument("--work", help="folder for data and stores [in the cache]")
    parser.add_argument("--results", help="file to add JSON lines to [results.jsonl in --work]")
    parser.add_argument("--timeout", type=float, default=1_800, help="seconds that a step may take [%(default)g]")
    given = parser.parse_args()
    if not given.worker or not given.work:
        parser.error("without run.sh it needs --worker and --work")
    given.peers = [name for name in given.peers.split(",") if name]
    for name in given.peers:
        if name not in PEERS:
            parser.error(f"{name!r} is none of {', '.join(PEERS)}")
    if min(given.feast_drivers, given.drivers) < 5_000 or given.reps < 1 or given.write_reps < 1:
        parser.error("it takes at least 5,000 keys and one round")
    if math.gcd(generate.STRIDE, given.drivers) != 1 or given.feast_drivers > given.drivers:
        parser.error("this number of keys is not possible")
    given.worker = os.path.abspath(given.worker)
    if not os.access(given.worker, os.X_OK):
        parser.error(f"{given.worker} is no program")
    # <profile's folder>/deps/<program>
    folder = os.path.basename(os.path.dirname(os.path.dirname(given.worker)))
    given.profile = {"debug": "dev"}.get(folder, folder)
    given.work = os.path.abspath(given.work)
    given.results = os.path.abspath(given.results or f"{given.work}/results.jsonl")
    return given


class Bench:
    """One run: what was asked for, the programs that work, and what came out."""

    def __init__(self, given):
        self.given = given
        # Another generator makes other data, and those lie elsewhere.
        with open(f"{HERE}/generate.py", "rb") as file:
            generator = hashlib.sha256(file.read()).hexdigest()[:8]
        self.data = f"{given.work}/{given.drivers}-{given.feast_drivers}-{generator}"
        self.scratch = f"{self.data}/stores"
        self.workers = {}
        self.redis = None
        self.writes = {}  # engine to its rates in rows/s, one of each round
        self.reads = {}  # (features, keys, engine) to its measurements, one of each round
        self.sizes = {}  # what to bytes per row
        self.noise = []
        self.wrong = {}
        self.started_at = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())

    def prepare(self):
        if not os.path.exists(f"{self.data}/raw/feast_wide.parquet"):
            say(f"making {self.given.drivers:,} rows in {self.data}/raw")
            drivers = ["--drivers", str(self.given.drivers), "--feast-drivers", str(self.given.feast_drivers)]
            subprocess.run([sys.executable, "-B", f"{HERE}/generate.py", *drivers, f"{self.data}/raw"], check=True)
        shutil.rmtree(self.scratch, ignore_errors=True)
        os.makedirs(self.scratch)
        if "feast_redis" in self.given.peers:
            self.redis = Redis(self.scratch)
        for name in os.listdir(f"{self.data}/raw"):
            # Once read, so that nobody pays for the disk.
            with open(f"{self.data}/raw/{name}", "rb") as file:
                while file.read(1 << 20):
                    pass

    # Programs

    def start_ours(self):
        """A new project in a new process, so that its stores are empty; the Delta table stays as it is."""
        folder = f"{self.scratch}/ours"
        self.stop(OURS)
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(f"{HERE}/project", folder)
        # As the definitions say it, the files lie beside the project's folder.
        if not os.path.exists(f"{self.scratch}/raw"):
            os.symlink(f"{self.data}/raw", f"{self.scratch}/raw")
        log = f"{self.scratch}/ours.log"
        self.workers[OURS] = Worker(OURS, [self.given.worker, folder], log, self.given.timeout)
        if not os.path.exists(f"{self.scratch}/tables"):
            self.workers[OURS].ask(do="import", table="narrow", drivers=self.given.drivers)
        self.workers[OURS].ask(do="apply")

    def start_feast(self, engine):
        """A new Feast project with an empty store."""
        folder = f"{self.scratch}/{engine}"
        self.stop(engine)
        shutil.rmtree(folder, ignore_errors=True)
        kind, beside = "sqlite", ()
        if engine == "feast_redis":
            self.redis.client.flushall()
            kind, beside = f"redis:{self.redis.port}", (self.redis.process,)
        command = [sys.executable, "-B", f"{HERE}/feast_worker.py", kind, folder, f"{self.data}/raw"]
        self.workers[engine] = Worker(engine, command, f"{folder}.log", self.given.timeout, beside)

    def stop(self, name):
        if name in self.workers:
            self.workers.pop(name).end()

    def end(self):
        for name in list(self.workers):
            self.stop(name)
        if self.redis:
            self.redis.end()
        shutil.rmtree(self.scratch, ignore_errors=True)

    # Writes

    def write_rounds(self):
        """Fills stores in turn, each time beginning with another; what the last round filled stays for the reads."""
        for number in range(self.given.write_reps):
            self.start_ours()
            steps = [self.write_ours, self.write_delta, self.write_bare, self.write_floors]
            steps += [lambda engine=engine: self.write_feast(engine) for engine in self.given.peers]
            first = number % len(steps)
            for step in steps[first:] + steps[:first]:
                step()
        self.materialize(OURS, "wide", "provender, 50 features")
        self.put("wide", "lmdb, 50 features", "floor_wide", False)
        for engine in self.given.peers:
            self.materialize(engine, "wide", f"{engine}, 50 features")

    def write_ours(self):
        self.materialize(OURS, "narrow", OURS)
        self.materialize(OURS, "narrow", "provender, again")

    def write_delta(self):
        self.materialize(OURS, "narrow_delta", "provender, from Delta")

    def write_feast(self, engine):
        self.start_feast(engine)
        self.materialize(engine, "narrow", engine)

    def materialize(self, engine, view, name):
        self.record_write(name, self.workers[engine], {"do": "materialize", "view": view})

    def write_bare(self):
        path = self.emptied("written")
        command = {"do": "write", "view": "narrow", "path": path, "drivers": self.given.drivers}
        self.record_write("OnlineStore::write", self.workers[OURS], command, path)

    def write_floors(self):
        self.put("narrow", "lmdb", "floor", False)
        self.put("narrow", "lmdb, all keys sorted", "floor_sorted", True)

    def put(self, view, name, folder, all_sorted):
        path = self.emptied(folder)
        command = {"do": "put", "view": view, "path": path, "drivers": self.given.drivers, "all_sorted": all_sorted}
        command["rows_per_commit"] = self.given.rows_per_commit
        self.record_write(name, self.workers[OURS], command, path)

    def emptied(self, folder):
        path = f"{self.scratch}/{folder}"
        shutil.rmtree(path, ignore_errors=True)
        return path

    def record_write(self, name, worker, command, path=None):
        """Has rows written; keeps their rate and what they take."""
        before = self.held_bytes(worker, path)
        answer, noise = self.quietly(worker, command)
        n_rows = self.n_rows(worker.name)
        held = self.held_bytes(worker, path) - before
        rate = n_rows / answer["seconds"]
        self.writes.setdefault(name, []).append(rate)
        self.sizes.setdefault(name, []).append(held / n_rows)
        say(f"{name}: {rate:,.0f} rows/s{tell(noise)}")
        if answer.get("n_rows", n_rows) != n_rows:
            sys.exit(f"{name} wrote {answer['n_rows']:,} of {n_rows:,} rows")
        peak = worker.peak_bytes()
        self.record("write", name=name, rows_per_s=rate, held_bytes=held, peak_bytes=peak, noise=noise, **answer)

    def n_rows(self, engine):
        return self.given.drivers if engine == OURS else self.given.feast_drivers

    def held_bytes(self, worker, path):
        if worker.name == "feast_redis":
            return self.redis.used_bytes()
        if worker.name == "feast_sqlite":
            return disk_bytes(f"{self.scratch}/{worker.name}/online.db")
        return disk_bytes(path or f"{self.scratch}/ours/online")

    # Reads

    def read_rounds(self):
        engines = [*READERS, *self.given.peers]
        for number in range(self.given.reps):
            for view, n_features in generate.WIDTHS.items():
                for n_keys in N_KEYS:
                    first = number % len(engines)
                    for engine in engines[first:] + engines[:first]:
                        self.read(engine, view, n_features, n_keys, number)
            say(f"round {number + 1} of reads is done")

    def read(self, engine, view, n_features, n_keys, number):
        command = {"do": "read", "view": view, "n_keys": n_keys, "seconds": self.given.seconds, "seed": number + 1}
        if engine in READERS:
            worker = self.workers[OURS]
            command.update(reader=READERS[engine], drivers=self.given.drivers)
        else:
            worker = self.workers[engine]
            command["drivers"] = [self.given.drivers, self.n_rows(engine)]
        answer, noise = self.quietly(worker, command)
        answer["rows_per_s"] = n_keys * answer["n_calls"] / answer["seconds"]
        self.reads.setdefault((n_features, n_keys, engine), []).append(answer)
        self.record("read", engine=engine, n_features=n_features, n_keys=n_keys, round=number, noise=noise, **answer)

    def check(self):
        """Compares answers with what the data must be, bit for bit."""
        chosen = random.Random(1)
        for engine in [name for name in READERS if READERS[name] != "floor"] + self.given.peers:
            for view, n_features in generate.WIDTHS.items():
                is_ours = engine in READERS
                worker = self.workers[OURS if is_ours else engine]
                held = self.n_rows(worker.name)
                drivers = [chosen.randrange(held) * generate.STRIDE % self.given.drivers for _ in range(N_CHECKED)]
                command = {"reader": READERS[engine]} if is_ours else {}
                columns = worker.ask(do="values", view=view, drivers=drivers, **command)["columns"]
                wanted = numpy.array(drivers, dtype=numpy.int64)
                n_wrong = sum(
                    got != generate.feature(wanted, number).tolist() for number, got in enumerate(columns)
                ) + abs(n_features - len(columns))
                self.wrong[engine] = self.wrong.get(engine, 0) + n_wrong
        self.record("check", wrong_columns=self.wrong)

    def quietly(self, worker, command):
        """Has a command done; answers its answer, and how many cores other processes kept busy meanwhile."""
        before, started = machine_cpu_s(), time.perf_counter()
        answer = worker.ask(**command)
        seconds = time.perf_counter() - started
        noise = max(0.0, machine_cpu_s() - before - answer["all_cpu_s"]) / seconds
        self.noise.append((noise, seconds))
        return answer, noise

    # Results

    def record(self, kind, **values):
        """Adds one line to the results."""
        shared = {"kind": kind, "started_at": self.started_at, "profile": self.given.profile}
        with open(self.given.results, "a", encoding="utf-8") as file:
            file.write(json.dumps({**shared, **values}) + "\n")

    def describe(self):
        versions = {"python": platform.python_version()}
        for package in ("pyarrow", "feast"):
            versions[package] = importlib.metadata.version(package)
        if self.redis:
            versions["redis-server"] = self.redis.version
        described = machine()
        asked = {name: value for name, value in vars(self.given).items() if name not in ("work", "results")}
        self.record("machine", **described, versions=versions, asked=asked, commit=commit())
        print(
            f"{described['cpu']}, {described['n_cores']} cores, {described['memory_bytes'] / 2**30:.1f} GiB, "
            f"{described['distribution']}, {described['system']}, load {described['load_1_minute']}"
        )
        print(f"profile {self.given.profile}, {', '.join(f'{name} {version}' for name, version in versions.items())}")
        feast = f", of which Feast holds {self.given.feast_drivers:,}" if self.given.peers else ""
        print(
            f"{self.given.drivers:,} keys{feast}; rounds of writes: {self.given.write_reps}, of reads: {self.given.reps}"
        )

    def report(self):
        """Prints the tables; answers whether our answers are right."""
        print("\nReads: one caller, one call after the other, random keys\n")
        lines = [["features", "keys", "engine", "p50 us", "from-to", "x ours", "p99 us", "x ours", "rows/s"]]
        for (n_features, n_keys, engine), measured in self.reads.items():
            ours = self.reads[n_features, n_keys, OURS]
            line = [str(n_features), str(n_keys), engine]
            summary = {}
            for name in ("p50_us", "p99_us", "rows_per_s"):
                value, ours_value = median(measured, name), median(ours, name)
                ratio = value / ours_value if value and ours_value else None
                summary.update({name: value, f"{name}_to_ours": ratio})
                line.append("-" if value is None else figure(value))
                if name == "p50_us":
                    all_p50 = [one[name] for one in measured]
                    line.append(f"{figure(min(all_p50))}-{figure(max(all_p50))}")
                if name != "rows_per_s":
                    line.append("-" if ratio is None else figure(ratio))
            lines.append(line)
            self.record("read_summary", n_features=n_features, n_keys=n_keys, engine=engine, **summary)
        show(lines, 3)
        print("\nWrites: one run, from its start until its rows are durable (Redis: in memory); 10 features\n")
        lines = [["what", "rows/s", "from-to", "time x ours", "MB held per million rows"]]
        for name, rates in self.writes.items():
            ours = self.writes["provender, 50 features" if "50" in name else OURS]
            ratio = statistics.median(ours) / statistics.median(rates)
            held = statistics.median(self.sizes[name])
            values = [figure(statistics.median(rates)), f"{figure(min(rates))}-{figure(max(rates))}"]
            lines.append([name, *values, figure(ratio), f"{held:,.0f}"])
            self.record(
                "write_summary", name=name, rows_per_s=statistics.median(rates), time_to_ours=ratio, bytes_per_row=held
            )
        show(lines, 1)
        print()
        noise = sum(cores * seconds for cores, seconds in self.noise) / sum(seconds for _, seconds in self.noise)
        self.record("noise", cores=noise)
        if noise > NOISE:
            print(f"Other processes kept {noise:.1f} cores busy meanwhile: trust ratios more than times.")
        wrong = {engine: n_wrong for engine, n_wrong in self.wrong.items() if n_wrong}
        for engine, n_wrong in wrong.items():
            print(f"{engine}: {n_wrong} columns are WRONG")
        if not wrong:
            print(f"All engines' answers to {N_CHECKED:,} keys of each view are right, bit for bit.")
        return not any(engine in READERS for engine in wrong)


def median(measured, name):
    values = [one[name] for one in measured if one[name] is not None]
    return statistics.median(values) if values else None


def figure(value):
    """Three digits that count, and thousands apart."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def tell(noise):
    return f", others {noise:.1f} cores" if noise > NOISE else ""


def show(lines, n_texts):
    """Prints a table whose first columns are texts."""
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    for line in lines:
        texts = [cell.ljust(width) for cell, width in zip(line[:n_texts], widths)]
        numbers = [cell.rjust(width) for cell, width in zip(line[n_texts:], widths[n_texts:])]
        print("  ".join([*texts, *numbers]).rstrip())


def commit():
    """The checkout's commit, if there is git to ask."""
    try:
        asked = subprocess.run(
            ["git", "-C", HERE, "describe", "--always", "--dirty"], capture_output=True, text=True, timeout=10
        )
    except (OSError, subprocess.TimeoutExpired):
        return "unknown"
    return asked.stdout.strip() or "unknown"


def say(text):
    print(text, file=sys.stderr, flush=True)


def main():
    given = arguments()
    os.makedirs(given.work, exist_ok=True)
    os.makedirs(os.path.dirname(given.results), exist_ok=True)
    bench = Bench(given)
    try:
        bench.prepare()
        bench.describe()
        bench.write_rounds()
        bench.check()
        bench.read_rounds()
        is_right = bench.report()
    finally:
        bench.end()
    say(f"results were added to {given.results}")
    sys.exit(0 if is_right else 1)


if __name__ == "__main__":
    main()
