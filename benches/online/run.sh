#!/usr/bin/env bash
# Measures online reads and writes, beside LMDB alone and Feast. Installs what it needs; safe to repeat.
# Arguments are those of bench.py, all of them optional; --help lists them.
# PROVENDER_BENCH_PROFILE=dev measures a development build, which says less and is made in a fraction of the time.
set -euo pipefail
called_from="$PWD"
. "$(dirname "${BASH_SOURCE[0]}")/../../scripts/setup.sh"
bench="$PWD/benches/online"
profile="${PROVENDER_BENCH_PROFILE:-release}"

worker="" peers="feast_sqlite,feast_redis" previous=""
for argument in "$@"; do
  case "$argument" in
    -h | --help) exec python3 "$bench/bench.py" --help ;;
    --worker=*) worker="${argument#*=}" ;;
    --peers=*) peers="${argument#*=}" ;;
  esac
  case "$previous" in
    --worker) worker="$argument" ;;
    --peers) peers="$argument" ;;
  esac
  previous="$argument"
done

need python3 python3
python3 -c 'import ensurepip' 2>/dev/null || need ensurepip python3-venv
if [[ "$peers" == *redis* ]]; then need redis-server redis-server; fi
venv="$cache/bench-venv-online"
if ! cmp -s "$bench/requirements.txt" "$venv/requirements.txt"; then
  say "installing Feast"
  python3 -m venv "$venv"
  "$venv/bin/pip" install --quiet --disable-pip-version-check -r "$bench/requirements.txt"
  cp "$bench/requirements.txt" "$venv/requirements.txt"
fi

if [ -z "$worker" ]; then
  need cc gcc
  need_rust
  say "building with profile $profile (for release, the first time on a machine this takes half an hour)"
  worker="$(
    cargo bench --locked --quiet --profile "$profile" -p provender-tests --bench online --no-run --message-format json |
      python3 "$bench/built.py"
  )"
  set -- --worker "$worker" "$@"
fi

cd "$called_from"
exec "$venv/bin/python" -B "$bench/bench.py" --work "$cache/bench/online" "$@"
