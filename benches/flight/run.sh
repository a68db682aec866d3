#!/usr/bin/env bash
# Measures the Arrow Flight front end beside Flight itself. Safe to repeat.
# Arguments are those of the benchmark, all of them optional; README.md lists them.
# PROVENDER_BENCH_PROFILE=dev measures a development build, which says less and is made in a fraction of the time.
set -euo pipefail
called_from="$PWD"
. "$(dirname "${BASH_SOURCE[0]}")/../../scripts/setup.sh"
bench="$PWD/benches/flight"
profile="${PROVENDER_BENCH_PROFILE:-release}"

need cc gcc
need python3 python3
need_rust
say "building with profile $profile (for release, the first time on a machine this takes half an hour)"
built="$(
  # The floor is as much optimised as the server is, in a development build too.
  cargo build --locked --quiet --profile "$profile" --config profile.dev.package.provender-tests.opt-level=3 \
    -p provender-cli --bin provender -p provender-tests --bench flight --message-format json | python3 "$bench/built.py" provender flight
)"
{ read -r binary && read -r program; } <<<"$built"

cd "$called_from"
exec "$program" --work "$cache/bench/flight" --binary "$binary" "$@"
