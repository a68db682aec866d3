"""Checks a training set of a million rows whose client writes all of them before it reads one, under a small memory limit.

usage: check_flight_scale.py PROVENDER EMPTY_DIR
DuckDB computes the answer independently. Prints what was compared, and the server's greatest memory.
"""

import pathlib
import sys

import duckdb
import pyarrow.parquet as pq

from served import Server, descriptor, provender

N_ROWS, N_KEYS, N_READINGS = 1_000_000, 20_000, 400_000
LIMIT_MIB = 64
# Ten days of readings, in microseconds and at the same instants each run.
INSTANT = "TIMESTAMPTZ '2026-01-01 00:00:00+00' + to_microseconds((hash(i, {}) % (86400000000 * {}))::BIGINT)"

DEFINITIONS = """
entities:
  - {name: user, join_keys: [{name: user_id, type: int64}]}
sources:
  - {name: scores, table: scores, timestamp: measured, tie_breakers: [score]}
feature_views:
  - {name: score, entities: [user], source: scores, features: [{name: score, type: float64}, {name: comment, type: string}]}
  - {name: fresh, entities: [user], source: scores, ttl: 12h, features: [{name: score, type: float64}]}
  - name: lately
    entities: [user]
    source: scores
    aggregations:
      - {feature: n_1d, function: count, window: 1d}
      - {feature: max_1d, function: max, column: score, window: 1d}
"""


def main(binary, folder):
    db = duckdb.connect()
    db.execute("SET TimeZone = 'UTC'")
    project = pathlib.Path(folder) / "scale"
    (project / "features").mkdir(parents=True)
    (project / "provender.yaml").write_text(f"project: scale\nlimits: {{memory: {LIMIT_MIB}MiB}}\n")
    (project / "features/all.yaml").write_text(DEFINITIONS)
    scores = db.sql(f"""
        SELECT (hash(i, 1) % {N_KEYS})::BIGINT AS user_id, {INSTANT.format(2, 10)} AS measured,
          (hash(i, 3) % 2000001)::DOUBLE / 1e6 - 1 AS score, CASE WHEN i % 7 > 0 THEN 'comment ' || i END AS comment
        FROM range({N_READINGS}) r(i)
    """).to_arrow_table()
    pq.write_table(scores, project / "scores.parquet")
    provender(binary, project, "import", "scores", project / "scores.parquet")
    provender(binary, project, "apply", "--yes")

    # Half of the users are known; every row brings 192 bytes of its own.
    spine = db.sql(f"""
        SELECT i AS row, (hash(i, 4) % {2 * N_KEYS})::BIGINT AS user_id, {INSTANT.format(5, 11)} AS event_timestamp,
          md5(i::VARCHAR) || md5('a' || i) || md5('b' || i) || md5('c' || i) || md5('d' || i) || md5('e' || i) AS payload
        FROM range({N_ROWS}) r(i)
    """).to_arrow_table()

    command = {"op": "historical", "features": ["score", "fresh", "lately"], "full_feature_names": True}
    with Server(binary, project) as server, server.connect() as client:
        writer, reader = client.do_exchange(descriptor(command))
        with writer:
            writer.begin(spine.schema)
            writer.write_table(spine, 50_000)
            writer.done_writing()
            # Only now is anything read.
            answer = reader.read_all()
        peak = server.peak_bytes()
    assert answer.schema.names == [
        *spine.schema.names, "score__score", "score__comment", "fresh__score", "lately__n_1d", "lately__max_1d",
    ], answer.schema.names
    assert answer["row"].to_pylist() == list(range(N_ROWS)), "rows are not in the spine's order"
    assert answer["payload"].equals(spine["payload"]), "a column of the spine was changed"

    differences = db.execute("""
        WITH newest AS (
          SELECT user_id, measured, max(score) AS score FROM scores GROUP BY ALL
        ), told AS (
          SELECT n.*, any_value(s.comment) AS comment FROM newest n JOIN scores s USING (user_id, measured, score) GROUP BY ALL
        ), expected AS (
          SELECT s.row, t.score, t.comment, CASE WHEN t.measured >= s.event_timestamp - INTERVAL 12 HOUR THEN t.score END AS fresh
          FROM spine s ASOF LEFT JOIN told t ON s.user_id = t.user_id AND s.event_timestamp >= t.measured
        )
        SELECT count(*) FILTER (e.score IS DISTINCT FROM a.score__score), count(*) FILTER (e.comment IS DISTINCT FROM a.score__comment),
          count(*) FILTER (e.fresh IS DISTINCT FROM a.fresh__score), count(e.score), count(e.fresh), count(*)
        FROM expected e JOIN answer a USING (row)
    """).fetchall()[0]
    assert differences[:3] == (0, 0, 0) and differences[5] == N_ROWS, differences
    windows = db.execute("""
        WITH expected AS (
          SELECT s.row, count(r.measured) AS n, max(r.score) AS most
          FROM spine s LEFT JOIN scores r
            ON r.user_id = s.user_id AND r.measured <= s.event_timestamp AND r.measured > s.event_timestamp - INTERVAL 24 HOUR
          GROUP BY s.row
        )
        SELECT count(*) FILTER (e.n IS DISTINCT FROM a.lately__n_1d), count(*) FILTER (e.most IS DISTINCT FROM a.lately__max_1d), sum(e.n)
        FROM expected e JOIN answer a USING (row)
    """).fetchall()[0]
    assert windows[:2] == (0, 0), windows
    # Spine and answer have over 200 MB each.
    assert spine.nbytes > 200e6 and peak < 400e6, f"the server took {peak / 1e6:.0f} MB"
    print(
        f"{N_ROWS} rows x {answer.num_columns} columns agree; scores {differences[3]}, fresh {differences[4]}, readings in windows {windows[2]}; "
        f"spine {spine.nbytes / 1e6:.0f} MB, server at most {peak / 1e6:.0f} MB"
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
