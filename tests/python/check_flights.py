"""Computes the training set of examples/nyc-flights in DuckDB, independently, and compares row for row.

usage: check_flights.py RAW_DIR TRAINING.parquet
Prints one line and exits 0 if every row and column agrees; prints the first differences and exits 1 if not.
"""

import sys

import duckdb

raw, training = sys.argv[1], sys.argv[2]
db = duckdb.connect()
db.execute("SET TimeZone = 'UTC'")
for table in ("flights", "weather", "airports", "planes"):
    db.execute(f"CREATE TABLE {table} AS FROM read_parquet('{raw}/{table}.parquet')")
db.execute(f"CREATE TABLE answer AS SELECT * EXCLUDE (file_row_number), file_row_number AS row FROM read_parquet('{training}', file_row_number = true)")

# The label rows, numbered in file order.
db.execute(f"CREATE TABLE spine AS SELECT * EXCLUDE (file_row_number), file_row_number AS row FROM read_parquet('{raw}/flights.parquet', file_row_number = true)")
db.execute("""
CREATE TABLE weather_at AS
SELECT s.row, w.temp, w.wind_speed, w.wind_dir::DOUBLE AS wind_dir, w.precip, w.visib
FROM spine s LEFT JOIN weather w
  ON w.origin = s.origin AND w.time_hour <= s.time_hour AND w.time_hour >= s.time_hour - INTERVAL 3 HOUR
QUALIFY row_number() OVER (PARTITION BY s.row ORDER BY w.time_hour DESC NULLS LAST) = 1
""")
db.execute("""
CREATE TABLE departures AS
SELECT origin, dest, dep_delay, time_hour + to_minutes(minute + dep_delay) AS departed_at
FROM flights WHERE dep_delay IS NOT NULL
""")
# Labels share few distinct (route, time) pairs, so windows are computed once for each of them.
db.execute("""
CREATE TABLE delays AS
WITH labels AS (SELECT DISTINCT origin, dest, time_hour AS t FROM spine)
SELECT l.origin, l.dest, l.t,
  avg(d.dep_delay) FILTER (d.departed_at > l.t - INTERVAL 3 HOUR) AS mean_dep_delay_3h,
  max(d.dep_delay) AS max_dep_delay_1d,
  count(d.departed_at) AS departures_1d
FROM labels l LEFT JOIN departures d
  ON d.origin = l.origin AND d.dest = l.dest
  AND d.departed_at <= l.t AND d.departed_at > l.t - INTERVAL 24 HOUR
GROUP BY ALL
""")
db.execute("""
CREATE TABLE expected AS
SELECT s.* EXCLUDE (row), w.* EXCLUDE (row),
  CASE WHEN w.temp <= 50 AND w.wind_speed > 3
    THEN 35.74 + 0.6215 * w.temp + (0.4275 * w.temp - 35.75) * pow(w.wind_speed, 0.16) ELSE w.temp END AS wind_chill,
  o.lat AS origin_airport__lat, o.lon AS origin_airport__lon, o.alt AS origin_airport__alt,
  d.lat AS dest_airport__lat, d.lon AS dest_airport__lon, d.alt AS dest_airport__alt,
  p.manufacturer, p.model, p.seats, p.year AS built,
  r.mean_dep_delay_3h, r.max_dep_delay_1d, r.departures_1d, s.row
FROM spine s
LEFT JOIN weather_at w ON w.row = s.row
LEFT JOIN airports o ON o.faa = s.origin
LEFT JOIN airports d ON d.faa = s.dest
LEFT JOIN planes p ON p.tailnum = s.tailnum
LEFT JOIN delays r ON r.origin = s.origin AND r.dest = s.dest AND r.t = s.time_hour
""")

columns = [row[0] for row in db.execute("DESCRIBE expected").fetchall()]
answered = [row[0] for row in db.execute("DESCRIBE answer").fetchall()]
problems = []
if columns != answered:
    problems.append(f"columns differ:\n  expected {columns}\n  answered {answered}")
n_expected, n_answered = (db.execute(f"SELECT count(*) FROM {t}").fetchall()[0][0] for t in ("expected", "answer"))
if n_expected != n_answered:
    problems.append(f"expected {n_expected} rows, answered {n_answered}")
# Floats of windows and formulas may differ in the last digits; all else is compared exactly.
approximate = {"mean_dep_delay_3h", "wind_chill"}
n_compared = 0
for column in columns:
    if problems or column == "row":
        continue
    differs = f'e."{column}" IS DISTINCT FROM a."{column}"'
    if column in approximate:
        differs = (
            f'((e."{column}" IS NULL) <> (a."{column}" IS NULL)'
            f' OR abs(e."{column}" - a."{column}") > 1e-9 * greatest(1, abs(e."{column}")))'
        )
    bad = db.execute(
        f'SELECT e.row, e."{column}", a."{column}", count(*) OVER () FROM expected e JOIN answer a USING (row) WHERE {differs} ORDER BY e.row LIMIT 3'
    ).fetchall()
    n_compared += 1
    if bad:
        problems.append(f"{column}: {bad[0][3]} rows differ, first (row, expected, answered): {[b[:3] for b in bad]}")
if problems:
    print("\n".join(problems))
    sys.exit(1)
found = db.execute("SELECT count(temp), count(built), count(mean_dep_delay_3h), count(dest_airport__lat) FROM answer").fetchall()[0]
print(f"{n_answered} rows x {n_compared} columns agree; not null: temp {found[0]}, built {found[1]}, mean_dep_delay_3h {found[2]}, dest_airport__lat {found[3]}")
