"""What is asked for: the keys, features and views of each variant of the benchmark, for all engines alike."""

from dataclasses import dataclass

DAY_US = 86_400_000_000
TTL_US = 2 * DAY_US
WINDOW_US = 7 * DAY_US


@dataclass(frozen=True)
class Variant:
    """One training set. `n_columns` features lie in the source, of which the first `n_features` are asked for."""

    about: str
    keys: tuple = (("driver_id", "int64"),)
    n_columns: int = 10
    n_features: int = 10
    n_views: int = 1
    # (output, function, column) over WINDOW_US; instead of features.
    windows: tuple = ()
    # The share of rows that one key in a hundred has; None spreads them evenly.
    skew: float | None = None
    # Whose data it reads, if not its own.
    data: str | None = None

    @property
    def key_names(self):
        return [name for name, _ in self.keys]

    @property
    def features(self):
        return [f"f{number}" for number in range(self.n_features)]

    @property
    def outputs(self):
        return [name for name, _, _ in self.windows] if self.windows else self.features


VARIANTS = {
    "base": Variant("ten features of one view, one int64 key"),
    "strings": Variant("the same with a string key", keys=(("driver_id", "string"),)),
    "two_keys": Variant("the same with two int64 keys", keys=(("region_id", "int64"), ("driver_id", "int64"))),
    "skew": Variant("the same, where one key in a hundred has half of all rows and labels", skew=0.5),
    "wide": Variant("ten of fifty features", n_columns=50),
    "two_features": Variant("two features", n_features=2, data="base"),
    "five_views": Variant("five views of one source, two features each", n_views=5, data="base"),
    "windows": Variant(
        "count, sum, mean and maximum over seven days",
        windows=(("n", "count", None), ("total", "sum", "f0"), ("average", "mean", "f1"), ("most", "max", "f2")),
        data="base",
    ),
}


def definitions(variant, with_table):
    """The definitions of a variant's project, over the file and, if there is one, over the table."""
    kinds = ("file", "table") if with_table else ("file",)
    lines = ["entities:", "  - name: driver", "    join_keys:"]
    lines += [f"      - {{name: {name}, type: {kind}}}" for name, kind in variant.keys]
    lines += ["sources:"]
    tables = {"file": "./raw/facts.parquet", "table": "facts"}
    for kind in kinds:
        lines += [f"  - name: facts_{kind}", f"    table: {tables[kind]}"]
        lines += ["    timestamp: event_timestamp", "    created_timestamp: created"]
    lines += ["feature_views:"]
    services = {}
    for kind in kinds:
        per_view = variant.n_features // variant.n_views
        for number in range(variant.n_views):
            view = f"driver_{kind}_{number}"
            services.setdefault(kind, []).append(view)
            lines += [f"  - name: {view}", "    entities: [driver]", f"    source: facts_{kind}"]
            if variant.windows:
                lines += ["    aggregations:"]
                for output, function, column in variant.windows:
                    of = f"column: {column}, " if column else ""
                    lines += [f"      - {{feature: {output}, function: {function}, {of}window: 7d}}"]
                continue
            lines += ["    ttl: 2d", "    features:"]
            for feature in variant.features[number * per_view : (number + 1) * per_view]:
                lines += [f"      - {{name: {feature}, type: float64}}"]
    # A view whose answer to one label takes the reading of keys and times, and nothing else.
    lines += ["  - name: driver_floor", "    entities: [driver]", "    source: facts_file"]
    lines += ["    features:", "      - {name: f0, type: float64}"]
    lines += ["feature_services:", "  - {name: floor, features: [driver_floor]}"]
    for kind, views in services.items():
        lines += [f"  - {{name: from_{kind}, features: [{', '.join(views)}]}}"]
    return "\n".join(lines) + "\n"
