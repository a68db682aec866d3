#!/usr/bin/env bash
# Measures clients of Redis, and the Redis online store beside bare Redis. Safe to repeat; README.md says what it does.
# Arguments: --rounds N --seconds S --rows N --parts reads,cluster,restart,allocations,store-reads,store-writes,store-memory
# PROVENDER_BENCH_PROFILE=dev measures a development build, which says less and is made in a fraction of the time.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/../../scripts/setup.sh"
bench="$PWD/benches/redis"
profile="${PROVENDER_BENCH_PROFILE:-release}"
rounds=5 seconds=1 rows=1000000 parts=reads,cluster,restart,allocations,store-reads,store-writes,store-memory
while [ $# -gt 0 ]; do
  case "$1" in
    --rounds) rounds="$2" ;;
    --seconds) seconds="$2" ;;
    --rows) rows="$2" ;;
    --parts) parts="$2" ;;
    *)
      sed -n '2,4p' "${BASH_SOURCE[0]}" >&2
      exit 2
      ;;
  esac
  shift 2
done

need cc gcc python3 python3 redis-server redis-server
need_rust
say "building with profile $profile (for release, the first time on a machine this takes half an hour)"
program="$(
  cargo build --locked --quiet --profile "$profile" -p provender-providers-redis --bench clients --message-format json |
    python3 "$bench/../flight/built.py" clients
)"
work="$cache/bench/redis"
mkdir -p "$work"
results="$work/results.jsonl"
: >"$results"

# What a thousand calls allocate: what 1,100 do, less what 100 do.
allocations() {
  cc -O2 -shared -fPIC -o "$work/count.so" "$bench/count.c"
  local reader calls n
  for reader in "floor MGET" "floor MGET, multiplexed" "redis MGET" "redis GET" "redis MGET+EXISTS" "fred MGET" "fred GET"; do
    for calls in 100 1100; do
      rm -f "$work/counted"
      LD_PRELOAD="$work/count.so" PROVENDER_COUNT_FILE="$work/counted" \
        "$program" --what calls --only "$reader" --keys 100 --calls "$calls"
      n="$(cat "$work/counted")"
      printf '{"what": "allocations", "reader": "%s", "n_calls": %s, "allocations": %s, "bytes": %s}\n' \
        "$reader" "$calls" "${n% *}" "${n#* }"
    done
  done
}

for part in ${parts//,/ }; do
  say "$part"
  if [ "$part" = allocations ]; then
    allocations
  else
    "$program" --what "$part" --rounds "$rounds" --seconds "$seconds" --rows "$rows"
  fi >>"$results"
done
python3 -B "$bench/tables.py" "$results" "$profile"
