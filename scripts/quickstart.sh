#!/usr/bin/env bash
# Builds Provender, makes a training set of all flights that left New York in 2013, and serves the latest
# values of the same features to a client that has nothing of it. Safe to repeat.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/setup.sh"

need cc gcc python3 python3
need_rust
need_python
say "building (the first time on a machine takes about a quarter of an hour, later seconds)"
# The whole workspace is selected, as in the tests, so that both share one build of the dependencies.
cargo build --locked --quiet --workspace --bin provender
provender="$CARGO_TARGET_DIR/debug/provender"

cd examples/nyc-flights
rm -rf data .provender training.parquet

say "writing the raw tables as Delta tables"
for table in weather airports planes flights; do
  "$provender" import "$table" "raw/$table.parquet"
done

say "what apply would change"
"$provender" plan
say "applying it"
"$provender" apply --yes

say "the training set: every departure, with features as they were at its scheduled hour"
"$provender" historical --service departure_delay --spine raw/flights.parquet --timestamp time_hour \
  --out training.parquet
"$provender" historical --service departure_delay --spine raw/flights.parquet --timestamp time_hour --limit 5

say "the online store: the newest values of every key as of the end of 2013"
"$provender" materialize-incremental --end 2014-01-01
"$provender" status

say "the latest values of some routes and of their origins, as a model gets them"
"$provender" online --features airport_facts:alt,route_delay --status \
  --entity origin=JFK,dest=LAX --entity origin=EWR,dest=SFO --entity origin=LGA,dest=XXX
say "the weather of 2013 is older than its ttl of 3 hours, so it is not served"
"$provender" online --features airport_weather:temp,airport_weather:visib --status --entity origin=JFK --entity origin=LGA

say "what is online is what the offline store says"
"$provender" verify

say "the same values for any Arrow Flight client: read_online.py, with pyarrow alone"
address=$(mktemp)
"$provender" serve --flight 127.0.0.1:0 >"$address" &
server=$!
# However this script ends, the server ends with it.
trap 'kill "$server" 2>/dev/null || true; wait "$server" || true; rm -f "$address"' EXIT
until [ -s "$address" ]; do
  kill -0 "$server" # ends the script if the server did not start
  sleep 0.1
done
"$PROVENDER_VENV/bin/python" read_online.py "$(cat "$address")"
kill "$server"
wait "$server"

say "done"
cat >&2 <<END
The training set is examples/nyc-flights/training.parquet. Where to look next:
  examples/nyc-flights/features/   the definitions, in YAML
  $provender -C examples/nyc-flights list
  $provender -C examples/nyc-flights describe departure_delay
  $provender -C examples/nyc-flights online --service departure_delay --status --entity origin=JFK,dest=LAX,tailnum=N14228
  $provender -C examples/nyc-flights serve
  docs/clients.md                  clients of that server, in Python, Java and Go
  README.md                        a tour, and how to choose stores
END
