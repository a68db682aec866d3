"""Computes what examples/nyc-flights must hold online as of an instant, in DuckDB, and compares cell by cell.

usage: check_flights_online.py keys RAW_DIR KEYS.csv
       check_flights_online.py check RAW_DIR ANSWERS.parquet INSTANT held|dropped
The first writes keys to ask for: every plane, and with them every route, and some that never flew. The
second takes the answers to these, with statuses, prints one line and exits 0 if every row and column
agrees; prints the first differences and exits 1 if not. `dropped` says that the store drops rows that have
expired, so that nothing of them is found.
"""

import sys

import duckdb

mode, raw, path = sys.argv[1:4]
db = duckdb.connect()
db.execute("SET TimeZone = 'UTC'")
for table in ("flights", "weather", "airports", "planes"):
    db.execute(f"CREATE TABLE {table} AS FROM read_parquet('{raw}/{table}.parquet')")

if mode == "keys":
    db.execute(f"""
COPY (
  WITH routes AS (SELECT *, row_number() OVER (ORDER BY origin, dest) AS n FROM (SELECT DISTINCT origin, dest FROM flights)),
  tails AS (SELECT *, row_number() OVER (ORDER BY tailnum) AS n FROM (SELECT DISTINCT tailnum FROM flights WHERE tailnum IS NOT NULL)),
  flown AS (
    SELECT r.origin, r.dest, t.tailnum, t.n FROM tails t
    JOIN routes r ON r.n = (t.n - 1) % (SELECT count(*) FROM routes) + 1)
  SELECT origin, dest, tailnum FROM (
    FROM flown UNION ALL VALUES ('JFK', 'EWR', 'N0', -1), ('SFO', 'JFK', 'N14228', -2), ('???', 'LAX', '', -3))
  ORDER BY n
) TO '{path}' (HEADER)""")
    sys.exit(0)

instant = f"TIMESTAMPTZ '{sys.argv[4]}'"
db.execute(f"CREATE TABLE answer AS SELECT * EXCLUDE (file_row_number), file_row_number AS row FROM read_parquet('{path}', file_row_number = true)")
# Windows as of the instant; a route without departures in them, or without any, has counts of zero.
db.execute(f"""
CREATE TABLE delays AS
WITH departures AS (
  SELECT origin, dest, dep_delay, time_hour + to_minutes(minute + dep_delay) AS departed_at
  FROM flights WHERE dep_delay IS NOT NULL)
SELECT a.row,
  avg(d.dep_delay) FILTER (d.departed_at > {instant} - INTERVAL 3 HOUR) AS mean_dep_delay_3h,
  max(d.dep_delay) AS max_dep_delay_1d,
  count(d.departed_at) AS departures_1d
FROM answer a LEFT JOIN departures d
  ON d.origin = a.origin AND d.dest = a.dest
  AND d.departed_at <= {instant} AND d.departed_at > {instant} - INTERVAL 24 HOUR
GROUP BY ALL
""")
# The newest observation is far older than its three hours by now, so it is named and not served.
db.execute(f"""
CREATE TABLE seen AS SELECT origin, max(time_hour) AS seen_at FROM weather WHERE time_hour <= {instant} GROUP BY ALL
""")
if sys.argv[5] == "dropped":
    db.execute("DELETE FROM seen")
db.execute("""
CREATE TABLE expected AS
SELECT a.row,
  CASE WHEN s.seen_at IS NULL THEN 'NOT_FOUND' ELSE 'OUTSIDE_MAX_AGE' END AS airport_weather__status,
  s.seen_at AS airport_weather__event_timestamp,
  NULL::DOUBLE AS temp, NULL::DOUBLE AS wind_speed, NULL::DOUBLE AS wind_dir, NULL::DOUBLE AS precip,
  NULL::DOUBLE AS visib, NULL::DOUBLE AS wind_chill,
  o.lat AS origin_airport__lat, o.lon AS origin_airport__lon, o.alt AS origin_airport__alt,
  CASE WHEN o.faa IS NULL THEN 'NOT_FOUND' ELSE 'PRESENT' END AS origin_airport__status,
  d.lat AS dest_airport__lat, d.lon AS dest_airport__lon, d.alt AS dest_airport__alt,
  CASE WHEN d.faa IS NULL THEN 'NOT_FOUND' ELSE 'PRESENT' END AS dest_airport__status,
  p.manufacturer, p.model, p.seats, p.year AS built,
  CASE WHEN p.tailnum IS NULL THEN 'NOT_FOUND' ELSE 'PRESENT' END AS plane__status,
  r.mean_dep_delay_3h, r.max_dep_delay_1d, r.departures_1d
FROM answer a
LEFT JOIN seen s ON s.origin = a.origin
LEFT JOIN airports o ON o.faa = a.origin
LEFT JOIN airports d ON d.faa = a.dest
LEFT JOIN planes p ON p.tailnum = a.tailnum
JOIN delays r ON r.row = a.row
""")

columns = [row[0] for row in db.execute("DESCRIBE expected").fetchall()]
answered = {row[0] for row in db.execute("DESCRIBE answer").fetchall()}
problems = [f"no column {column}" for column in columns if column not in answered]
n_rows = db.execute("SELECT count(*) FROM answer").fetchall()[0][0]
if n_rows < 4000:
    problems.append(f"only {n_rows} rows were answered")
n_compared = 0
for column in columns:
    if problems or column == "row":
        continue
    differs = f'e."{column}" IS DISTINCT FROM a."{column}"'
    # Means may differ in the last digits; all else is compared exactly.
    if column == "mean_dep_delay_3h":
        differs = (
            f'((e."{column}" IS NULL) <> (a."{column}" IS NULL)'
            f' OR abs(e."{column}" - a."{column}") > 1e-9 * greatest(1, abs(e."{column}")))'
        )
    bad = db.execute(
        f'SELECT a.origin, a.dest, a.tailnum, e."{column}", a."{column}", count(*) OVER ()'
        f" FROM expected e JOIN answer a USING (row) WHERE {differs} ORDER BY e.row LIMIT 3"
    ).fetchall()
    n_compared += 1
    if bad:
        problems.append(f"{column}: {bad[0][-1]} rows differ, first (key, expected, answered): {[b[:-1] for b in bad]}")
if problems:
    print("\n".join(problems))
    sys.exit(1)
found = db.execute(
    "SELECT count(DISTINCT (origin, dest)) FILTER (departures_1d > 0), count(DISTINCT (origin, dest)) FILTER (departures_1d = 0),"
    " count(DISTINCT tailnum) FILTER (manufacturer IS NOT NULL), count(DISTINCT dest) FILTER (dest_airport__lat IS NOT NULL) FROM answer"
).fetchall()[0]
print(
    f"{n_rows} rows x {n_compared} columns agree; routes flown that day {found[0]}, not flown {found[1]},"
    f" planes {found[2]}, airports {found[3]}"
)
