"""Computes what programs of docs/clients.md print, in DuckDB and from the raw files alone.

usage: expect_clients.py RAW_DIR
Prints a JSON object: snippet -> the lines, with None for null.
"""

import json
import sys

import duckdb

db = duckdb.connect()
db.execute("SET TimeZone = 'UTC'")
for table in ("flights", "weather", "airports"):
    db.execute(f"CREATE TABLE {table} AS FROM read_parquet('{sys.argv[1]}/{table}.parquet')")
db.execute("""
CREATE TABLE departures AS
SELECT origin, dest, dep_delay, time_hour + to_minutes(minute + dep_delay) AS departed_at
FROM flights WHERE dep_delay IS NOT NULL
""")


def one(query, *args):
    rows = db.execute(query, args).fetchall()
    return rows[0] if rows else (None,)


def alt(origin):
    return one("SELECT alt FROM airports WHERE faa = ?", origin)[0]


def delays(origin, dest, at):
    """mean_dep_delay_3h, max_dep_delay_1d, departures_1d at an instant; nulls for a route without a name."""
    if dest is None:
        return None, None, None
    return one(
        """
        SELECT avg(dep_delay) FILTER (departed_at > $3::TIMESTAMPTZ - INTERVAL 3 HOUR), max(dep_delay), count(*) FROM departures
        WHERE origin = $1 AND dest = $2 AND departed_at <= $3::TIMESTAMPTZ AND departed_at > $3::TIMESTAMPTZ - INTERVAL 24 HOUR
        """,
        origin, dest, at,
    )


def weather(origin, at):
    """temp, wind_chill and visib of the newest reading of the three hours before an instant."""
    return one(
        """
        SELECT temp, CASE WHEN temp <= 50 AND wind_speed > 3
          THEN 35.74 + 0.6215 * temp + (0.4275 * temp - 35.75) * pow(wind_speed, 0.16) ELSE temp END, visib
        FROM weather WHERE origin = $1 AND time_hour <= $2::TIMESTAMPTZ AND time_hour >= $2::TIMESTAMPTZ - INTERVAL 3 HOUR
        ORDER BY time_hour DESC LIMIT 1
        """,
        origin, at,
    )


def latest(origin, dest):
    mean, _, count = delays(origin, dest, "2014-01-01T00:00:00Z")
    return [origin, dest, alt(origin), mean, count]


expected = {}
# A route is online if it had a departure in the longest window before the end.
expected["online"] = [
    [*row, "PRESENT" if row[4] else "NOT_FOUND"]
    for row in (latest("JFK", "LAX"), latest("EWR", "SFO"), latest("LGA", "XXX"))
]
expected["exchange"] = [latest(origin, dest) for dest in ("LAX", "MIA", "XXX") for origin in ("JFK", "LGA")]

labels = [
    ("EWR", "IAH", "2013-01-01T10:15:00Z", False),
    ("JFK", "MIA", "2013-07-04T18:00:00Z", True),
    ("JFK", "MIA", "2013-07-04T18:00:00Z", True),
    ("LGA", None, "2013-07-04T18:00:00Z", False),
]
expected["historical"] = [
    [origin, dest, delayed, *weather(origin, at)[:2], *delays(origin, dest, at)] for origin, dest, at, delayed in labels
]
expected["short_historical"] = [
    [origin, *weather(origin, at)[:2], delays(origin, dest, at)[2]]
    for origin, dest, at, _ in (labels[0], labels[1], labels[3])
]
expected["handle"] = [[origin, weather(origin, at)[0], weather(origin, at)[2]] for origin, _, at, _ in labels[:2]]
db.execute("""
CREATE TABLE training AS
SELECT f.origin, f.month, f.dep_delay, w.temp, w.visib
FROM flights f ASOF LEFT JOIN weather w ON f.origin = w.origin AND f.time_hour >= w.time_hour
WHERE w.time_hour IS NULL OR w.time_hour >= f.time_hour - INTERVAL 3 HOUR
UNION ALL
SELECT f.origin, f.month, f.dep_delay, NULL, NULL
FROM flights f ASOF JOIN weather w ON f.origin = w.origin AND f.time_hour >= w.time_hour
WHERE w.time_hour < f.time_hour - INTERVAL 3 HOUR
""")
expected["table"] = [list(one("SELECT count(*), count(temp) FROM training WHERE month = 1"))]
expected["duckdb"] = db.execute("""
    SELECT origin, count(*), count(temp), round(avg(dep_delay) FILTER (visib < 1), 2)
    FROM training GROUP BY origin ORDER BY origin
""").fetchall()
expected["table"] = [[f"{n_rows} rows, {n} with weather"] for n_rows, n in expected["table"]]
print(json.dumps({name: [" ".join(map(str, row)) for row in rows] for name, rows in expected.items()}))
