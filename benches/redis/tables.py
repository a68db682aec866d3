"""Prints the tables of run.sh from its JSON lines: medians over the rounds."""

import collections
import json
import statistics
import sys


def table(title, heads, rows):
    rows = [heads, *([cell if isinstance(cell, str) else f"{cell:,.4g}" for cell in row] for row in rows)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(heads))]
    print(f"\n{title}\n")
    for row in rows:
        first, *others = (cell.ljust(width) if not at else cell.rjust(width) for at, (cell, width) in enumerate(zip(row, widths)))
        print("  ".join([first, *others]).rstrip())


def main():
    path, profile = sys.argv[1:]
    with open(path, encoding="utf-8") as file:
        lines = [json.loads(line) for line in file]
    found = collections.defaultdict(list)
    for line in lines:
        numbers = {name: line.pop(name) for name in list(line) if isinstance(line[name], (int, float)) and name not in KEYS}
        found[tuple(line.items())].append(numbers)
    medians = []
    for line, rounds in found.items():
        of = {name: statistics.median(each[name] for each in rounds) for name in rounds[0]}
        medians.append((dict(line), of))
    print(f"profile {profile}")
    for what, title in READS.items():
        rows = [
            (line["reader"], str(line["keys"]), str(line["tasks"]), of["p50_us"], of["p99_us"], of["calls_per_s"], of["own_cpu_us"], of["redis_cpu_us"])
            for line, of in medians
            if line["what"] == what
        ]
        if rows:
            table(title, ["reader", "keys", "tasks", "p50 us", "p99 us", "calls/s", "CPU us a call", "Redis' CPU us"], rows)
    rows = [
        (line["reader"], "-" if of.get("back_ms") is None else of["back_ms"], of["slowest_while_down_ms"], of["failed_while_down"], of["without_answer_while_down"])
        for line, of in medians
        if line["what"] == "restart"
    ]
    if rows:
        heads = ["reader", "back after ms", "slowest call while down, ms", "calls that failed", "calls without an answer"]
        table("Redis killed for a second and started again; calls are given 250 ms", heads, rows)
    rows = []
    counted = {(line["reader"], line["n_calls"]): of for line, of in medians if line["what"] == "allocations"}
    for reader in dict.fromkeys(reader for reader, _ in counted):
        few, many = counted[reader, 100], counted[reader, 1100]
        values = 100 * 1000
        rows.append((reader, (many["allocations"] - few["allocations"]) / values, (many["bytes"] - few["bytes"]) / values))
    if rows:
        table("Allocations per value, 100 keys a call", ["reader", "allocations", "bytes"], rows)
    rows = {}
    for line, of in medians:
        if line["what"] == "store reads":
            rows.setdefault((line["keys"], line["features"]), {})[line["of"]] = of
    if rows:
        heads = ["keys x features", "bare p50 us", "store p50 us", "ratio", "bare p99 us", "store p99 us"]
        cells = [
            (f"{keys} x {features}", of["bare"]["p50_us"], of["store"]["p50_us"], of["store"]["p50_us"] / of["bare"]["p50_us"], of["bare"]["p99_us"], of["store"]["p99_us"])
            for (keys, features), of in rows.items()
        ]
        table("The store's reader beside the bare read of the same bytes", heads, cells)
    rates = {line["of"]: of["rows_per_s"] for line, of in medians if line["what"] == "writes"}
    if rates:
        cells = []
        for of, rate in rates.items():
            beside = "bare, empty" if "empty" in of else "bare, over existing"
            goal = GOALS.get(of)
            cells.append((of, rate, rate / rates[beside], "-" if goal is None else f">= {goal}"))
        table("Writes of rows of 10 float64", ["what", "rows/s", "of bare", "goal"], cells)
    cells = [
        (line["of"], of["calls"], of["mean_us"], of["over_1_ms"], of["longest_us"])
        for line, of in medians
        if line["what"] == "scripts"
    ]
    if cells:
        table("Scripts of these writes, as Redis times them", ["on", "scripts", "mean us", "over 1 ms", "the longest of those, us"], cells)
    sizes = {line["of"]: of["bytes_per_row"] for line, of in medians if line["what"] == "memory"}
    if sizes:
        bare = sizes["bare, keys of 10 bytes"]
        cells = [(of, size, size / bare) for of, size in sizes.items()]
        table("Memory of rows of 10 float64; MB per million rows", ["what", "MB", "of bare"], cells)


KEYS = ("keys", "tasks", "features", "n_calls")
READS = {"alone": "One Redis", "cluster": "A Cluster of three nodes"}
GOALS = {
    "store, empty": 0.5,
    "store, over existing": 0.3,
    "store on a cluster, empty": 0.2,
    "store on a cluster, over existing": 0.2,
}

if __name__ == "__main__":
    main()
