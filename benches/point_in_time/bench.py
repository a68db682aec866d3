"""Runs the point-in-time benchmark and prints its tables; see README.md in this folder. Started by run.sh."""

import argparse
import dataclasses
import hashlib
import importlib.metadata
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import time

import measure
from engines import engines_of
from variants import VARIANTS, definitions

HERE = os.path.dirname(os.path.abspath(__file__))
# Reads the Parquet file that the other engines read: what they are compared with.
OURS = "provender"
# The same over a Delta table.
OURS_DELTA = "provender_delta"
# State the rules word by word: if one disagrees with us, one of us is wrong.
JUDGES = ("duckdb_range", "duckdb_windows")
# The verdict on an answer without a fault.
RIGHT = "0"
N_STARTS = 20
# From this share of the cores on, other processes make a run's wall time doubtful.
NOISE = 0.1


def arguments():
    parser = argparse.ArgumentParser(
        prog="run.sh", description="Compares Provender's point-in-time join with the same join in other engines."
    )
    parser.add_argument("--rows", type=int, default=1_000_000, help="facts [%(default)s]")
    parser.add_argument("--labels", type=int, default=100_000, help="rows of the spine [%(default)s]")
    parser.add_argument("--reps", type=int, default=5, help="how often each engine runs [%(default)s]")
    parser.add_argument("--variant", default="base", help="what is asked for, by commas, or all [%(default)s]")
    parser.add_argument("--peers", help="engines to compare with, by commas [all that answer the variant]")
    parser.add_argument("--no-table", action="store_true", help="leaves the Delta table of the same facts out")
    parser.add_argument("--limits-memory", help="limits.memory of Provender's project [its default]")
    parser.add_argument("--binary", help="the provender to measure, instead of a release build of this checkout")
    parser.add_argument("--profile", help="how the binary was built [by its path]")
    parser.add_argument("--work", help="folder for data and answers [in the cache]")
    parser.add_argument("--results", help="file to add JSON lines to [results.jsonl in --work]")
    parser.add_argument("--timeout", type=float, default=900, help="seconds that a process may take [%(default)g]")
    parser.add_argument(
        "--memory-limit", type=float, help="GiB that a process may take [three quarters of the machine's]"
    )
    given = parser.parse_args()
    if not given.binary or not given.work:
        parser.error("without run.sh it needs --binary and --work")
    given.variants = list(VARIANTS) if given.variant == "all" else given.variant.split(",")
    for name in given.variants:
        if name not in VARIANTS:
            parser.error(f"{name!r} is no variant; known are {', '.join(VARIANTS)}")
    known = {engine for name in given.variants for engine in engines_of(VARIANTS[name])}
    given.asked_peers = None if given.peers is None else [name for name in given.peers.split(",") if name]
    for name in given.asked_peers or []:
        if name not in known:
            parser.error(f"{name!r} does not answer {given.variant!r}; known are {', '.join(sorted(known))}")
    if given.rows < 1_000 or given.labels < 1_000 or given.reps < 1:
        parser.error("it takes at least 1,000 rows, 1,000 labels and one repetition")
    given.binary = os.path.abspath(given.binary)
    if not os.access(given.binary, os.X_OK):
        parser.error(f"{given.binary} is no program")
    if not given.profile:
        folder = os.path.basename(os.path.dirname(given.binary))
        given.profile = {"debug": "dev", "release": "release"}.get(folder, "unknown")
    given.work = os.path.abspath(given.work)
    given.results = os.path.abspath(given.results or f"{given.work}/results.jsonl")
    return given


class Bench:
    """One comparison: what was asked for, where it happens, and what came out."""

    def __init__(self, given):
        self.given = given
        # Another generator makes other data, and those lie elsewhere.
        self.variant = VARIANTS[given.variant]
        self.data = self.variant.data or given.variant
        with open(f"{HERE}/generate.py", "rb") as file:
            generator = hashlib.sha256(file.read()).hexdigest()[:8]
        self.folder = f"{given.work}/{given.rows}x{given.labels}-{self.data}-{generator}"
        # What the caller's shell says of Provender and Python must not change what is measured.
        self.environment = {
            name: value for name, value in os.environ.items() if not name.startswith(("PROVENDER_", "PYTHON"))
        }
        self.environment["NO_COLOR"] = "1"
        limit_gib = given.memory_limit or measure.machine()["memory_bytes"] * 0.75 / 2**30
        self.memory_limit_bytes = int(limit_gib * 2**30)
        tables = [] if given.no_table else [OURS_DELTA]
        self.runs = {name: [] for name in [OURS, *tables, *given.peers]}
        self.verdicts = {name: [] for name in self.runs}
        self.started_at = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())

    def run(self, command):
        return measure.run(command, self.given.timeout, self.memory_limit_bytes, self.folder, self.environment)

    def must(self, command):
        """Runs what everything else needs; ends the benchmark if it fails."""
        run = self.run(command)
        if run.failure:
            sys.exit(f"{' '.join(command)}: {run.failure}\n{run.messages}")
        return run

    def provender(self, *command):
        return [self.given.binary, "-C", self.folder, *command]

    def python(self, script, *command):
        return [sys.executable, f"{HERE}/{script}", *command]

    def command(self, engine, out):
        if engine in (OURS, OURS_DELTA):
            service = "from_file" if engine == OURS else "from_table"
            labels = f"{self.folder}/raw/labels.parquet"
            return self.provender("historical", "--service", service, "--spine", labels, "--out", out)
        return self.python("engines.py", "run", engine, self.given.variant, self.folder, out)

    def prepare(self):
        """Makes the data, once, and the projects, anew; answers how the import went."""
        os.makedirs(self.folder, exist_ok=True)
        rows, labels = str(self.given.rows), str(self.given.labels)
        raw = f"{self.folder}/raw"
        if not os.path.exists(f"{raw}/labels.parquet"):
            say(f"making {self.given.rows:,} facts and {self.given.labels:,} labels in {raw}")
            self.must(self.python("generate.py", "--variant", self.data, "--rows", rows, "--labels", labels, raw))
        for left in ("data", ".provender", "features", "answers"):
            shutil.rmtree(f"{self.folder}/{left}", ignore_errors=True)
        shutil.copytree(f"{HERE}/project", self.folder, dirs_exist_ok=True)
        os.makedirs(f"{self.folder}/answers")
        os.makedirs(f"{self.folder}/features")
        with open(f"{self.folder}/features/driver.yaml", "w", encoding="utf-8") as file:
            file.write(definitions(self.variant, with_table=not self.given.no_table))
        if self.given.limits_memory:
            with open(f"{self.folder}/provender.yaml", "a", encoding="utf-8") as file:
                file.write(f"limits: {{memory: {self.given.limits_memory}}}\n")
        say("making the projects")
        imported = None
        if not self.given.no_table:
            imported = self.must(self.provender("import", "facts", f"{raw}/facts.parquet"))
        self.must(self.provender("apply", "--yes"))
        for engine in self.given.peers:
            self.must(self.python("engines.py", "prepare", engine, self.given.variant, self.folder))
        self.warm()
        return imported

    def warm(self):
        """Reads all files once, so that no engine pays for the disk."""
        for parent, _, names in os.walk(self.folder):
            for name in names:
                with open(f"{parent}/{name}", "rb") as file:
                    while file.read(1 << 20):
                        pass

    def starts(self):
        """Median seconds of a start that does nothing, of one that reads the registry, and of decoding alone."""
        commands = {"--version": [self.given.binary, "--version"], "list": self.provender("list")}
        times = {name: [] for name in commands}
        for _ in range(N_STARTS):
            for name, command in commands.items():
                times[name].append(self.must(command).wall_s)
        command = self.python("engines.py", "floor", self.given.variant, self.folder)
        times["floor"] = [float(self.must(command).stdout) for _ in range(self.given.reps)]
        probe, out = f"{self.folder}/raw/probe.parquet", f"{self.folder}/answers/probe.parquet"
        command = self.provender("historical", "--service", "floor", "--spine", probe, "--out", out)
        probes = [self.must(command) for _ in range(self.given.reps)]
        times["own floor"], times["own floor CPU"], _ = columns(probes)
        return {name: statistics.median(values) for name, values in times.items()}

    def rounds(self):
        """Runs every engine in turn, as often as asked, each time beginning with another."""
        failed = set()
        for number in range(self.given.reps):
            engines = [engine for engine in self.runs if engine not in failed]
            first = number % len(engines)
            answers = {}
            for engine in engines[first:] + engines[:first]:
                out = f"{self.folder}/answers/{engine}.parquet"
                run = self.run(self.command(engine, out))
                self.runs[engine].append(run)
                self.tell_run(number, engine, run)
                if run.failure:
                    failed.add(engine)
                else:
                    answers[engine] = out
            if OURS not in answers:
                sys.exit(f"{OURS}: {self.runs[OURS][-1].failure}\n{self.runs[OURS][-1].messages}")
            # Ours with itself as well, which shows labels without a row.
            for engine, out in answers.items():
                self.compare(number, engine, answers[OURS], out)
            for out in answers.values():
                os.remove(out)

    def tell_run(self, number, engine, run):
        noise = run.others_cpu_s / run.wall_s
        note = f", others {noise:.1f} cores" if noise > NOISE else ""
        say(f"round {number + 1}: {engine} {run.failure or f'{run.wall_s:.2f} s'}{note}")
        if run.failure and run.messages:
            say(run.messages)
        row = {name: value for name, value in dataclasses.asdict(run).items() if name not in ("stdout", "messages")}
        self.record("run", engine=engine, round=number, **row)

    def compare(self, number, engine, ours, theirs):
        compared = self.run(self.python("compare.py", self.given.variant, str(self.given.labels), ours, theirs))
        if compared.failure:
            say(f"{engine} was not compared: {compared.failure}\n{compared.messages}")
            verdict = {"failure": compared.failure}
        else:
            verdict = json.loads(compared.stdout)
        self.verdicts[engine].append(verdict)
        self.record("comparison", engine=engine, round=number, **verdict)

    def record(self, kind, **values):
        """Adds one line to the results."""
        shared = {
            "kind": kind,
            "started_at": self.started_at,
            "rows": self.given.rows,
            "labels": self.given.labels,
            "profile": self.given.profile,
            "variant": self.given.variant,
        }
        with open(self.given.results, "a", encoding="utf-8") as file:
            file.write(json.dumps({**shared, **values}) + "\n")

    def describe(self):
        """Says on what and with what all this is measured."""
        versions = {"python": platform.python_version()}
        for package in ("pyarrow", *(engines_of(self.variant)[engine][2] for engine in self.given.peers)):
            versions[package] = importlib.metadata.version(package)
        ours = self.must([self.given.binary, "--version"]).stdout
        described = measure.machine()
        self.record(
            "machine", **described, versions=versions, binary=self.given.binary, provender=ours, commit=commit()
        )
        print(
            f"{described['cpu']}, {described['n_cores']} cores, {described['memory_bytes'] / 2**30:.1f} GiB, "
            f"{described['distribution']}, {described['system']}, load {described['load_1_minute']}"
        )
        print(f"{ours} (profile {self.given.profile}); {', '.join(f'{n} {v}' for n, v in versions.items())}")
        print(
            f"{self.given.variant}: {self.variant.about}; {self.given.rows:,} facts x {self.variant.n_columns} float64, "
            f"{self.given.labels:,} labels, {self.given.reps} rounds"
        )

    def report(self, imported, starts):
        """Prints the tables; answers whether the answers are right as far as can be told."""
        ours = [run for run in self.runs[OURS] if not run.failure]
        ours = [statistics.median(values) for values in columns(ours)]
        header = ["engine", "wall s", "from-to", "x ours", "CPU s", "x ours", "peak MB", "x ours", "wrong rows"]
        lines = [header]
        for engine, runs in self.runs.items():
            good = [run for run in runs if not run.failure]
            failure = next((run.failure for run in runs if run.failure), "")
            line = [engine]
            summary = {"failure": failure, "n_runs": len(good)}
            if good:
                wall, cpu, peak = columns(good)
                for name, values, our_value in zip(("wall_s", "cpu_s", "peak_mb"), (wall, cpu, peak), ours):
                    median = statistics.median(values)
                    summary.update({name: round(median, 3), f"{name}_to_ours": round(median / our_value, 3)})
                    line.append(f"{median:,.0f}" if values is peak else f"{median:.2f}")
                    if values is wall:
                        line.append(f"{min(wall):.2f}-{max(wall):.2f}")
                    line.append(f"{median / our_value:.2f}")
            else:
                line += ["-"] * 7
            line.append(failure or self.wrong(engine))
            self.record("summary", engine=engine, verdict=line[-1], **summary)
            lines.append(line)
        widths = [max(len(line[column]) for line in lines) for column in range(len(header))]
        print()
        for line in lines:
            cells = [line[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(line[1:-1], widths[1:]))]
            print("  ".join([*cells, line[-1]]))
        print()
        print(f"provender --version {starts['--version'] * 1000:.1f} ms, list {starts['list'] * 1000:.1f} ms", end="")
        print(f" (medians of {N_STARTS})", end="")
        print(f"; import {self.given.rows / imported.wall_s:,.0f} rows/s" if imported else "")
        for what, name in (("in Arrow's C++ reader", "floor"), ("in ours, the process around it too", "own floor")):
            floor = starts[name]
            print(f"floor (decoding keys and times alone) {what}: {floor:.2f} s;", end=" ")
            print(f"{OURS} takes {ours[0] / floor:.2f} times as long")
        self.tell_noise()
        self.record("starts", **starts, import_s=imported.wall_s if imported else None)
        is_right = True
        for engine in (OURS, OURS_DELTA, *JUDGES):
            if engine in self.runs and self.wrong(engine) != RIGHT:
                is_right = False
                print(f"{engine}: {self.wrong(engine)}, so the answers are not known to be right")
        return is_right

    def wrong(self, engine):
        """The verdict in words, of the round that went worst."""
        failed = any(run.failure for run in self.runs[engine])
        if failed or any("failure" in verdict for verdict in self.verdicts[engine]):
            return "not compared"
        worst = max(self.verdicts[engine], key=wrong_rows)
        if not wrong_rows(worst):
            return RIGHT
        parts = [f"{worst['n_missing']:,} missing", f"{worst['n_differing']:,} differ"]
        if worst["n_surplus"]:
            parts.append(f"{worst['n_surplus']:,} surplus")
        return f"WRONG: {', '.join(parts)}"

    def tell_noise(self):
        runs = [run for all_runs in self.runs.values() for run in all_runs]
        noise = sum(run.others_cpu_s for run in runs) / sum(run.wall_s for run in runs)
        if noise > NOISE:
            print(f"Other processes kept {noise:.1f} cores busy meanwhile: trust CPU time more than wall time.")


def columns(runs):
    """Wall seconds, CPU seconds and peak megabytes of runs."""
    return [run.wall_s for run in runs], [run.cpu_s for run in runs], [run.peak_bytes / 1e6 for run in runs]


def wrong_rows(verdict):
    return sum(verdict.get(name, 0) for name in ("n_missing", "n_surplus", "n_differing"))


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
    all_right, medians = True, {}
    for variant in given.variants:
        given.variant = variant
        known = engines_of(VARIANTS[variant])
        given.peers = [name for name in known if given.asked_peers is None or name in given.asked_peers]
        bench = Bench(given)
        imported = bench.prepare()
        bench.describe()
        starts = bench.starts()
        bench.rounds()
        all_right &= bench.report(imported, starts)
        good = [run for run in bench.runs[OURS] if not run.failure]
        medians[variant] = [statistics.median(values) for values in columns(good)]
        print(flush=True)
    if "base" in medians and len(medians) > 1:
        print(f"{OURS}, beside base:")
        for variant, values in medians.items():
            wall, cpu, peak = (value / base for value, base in zip(values, medians["base"]))
            print(f"  {variant}: wall {wall:.2f}, CPU {cpu:.2f}, peak {peak:.2f}")
    say(f"results were added to {given.results}")
    sys.exit(0 if all_right else 1)


if __name__ == "__main__":
    main()
