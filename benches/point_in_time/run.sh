#!/usr/bin/env bash
# Compares Provender's point-in-time join with other engines. Installs what it needs; safe to repeat.
# Arguments are those of bench.py, all of them optional; --help lists them.
set -euo pipefail
called_from="$PWD"
. "$(dirname "${BASH_SOURCE[0]}")/../../scripts/setup.sh"
bench="$PWD/benches/point_in_time"

binary="" peers="feast, by default" previous=""
for argument in "$@"; do
  case "$argument" in
    -h | --help) exec python3 "$bench/bench.py" --help ;;
    --binary=*) binary="${argument#*=}" ;;
    --peers=*) peers="${argument#*=}" ;;
  esac
  case "$previous" in
    --binary) binary="$argument" ;;
    --peers) peers="$argument" ;;
  esac
  previous="$argument"
done

need python3 python3
python3 -c 'import ensurepip' 2>/dev/null || need ensurepip python3-venv
# Feast brings a hundred packages, so it is installed only for those who compare with it.
everything="$(cat "$bench/requirements.txt")"
wanted="$everything"
if [[ "$peers" != *feast* ]]; then wanted="$(grep -vE '^(dask|feast|ibis)' <<<"$everything")"; fi
venv="$cache/bench-venv"
installed="$(cat "$venv/requirements.txt" 2>/dev/null || true)"
if [[ "$installed" != "$wanted" && "$installed" != "$everything" ]]; then
  say "installing the engines to compare with"
  python3 -m venv "$venv"
  "$venv/bin/pip" install --quiet --disable-pip-version-check -r /dev/stdin <<<"$wanted"
  printf '%s\n' "$wanted" >"$venv/requirements.txt"
fi

if [ -z "$binary" ]; then
  need cc gcc cargo cargo
  say "building for release (the first time on a machine this takes half an hour)"
  cargo build --locked --quiet --release -p provender-cli
  set -- --binary "$CARGO_TARGET_DIR/release/provender" "$@"
fi

cd "$called_from"
exec "$venv/bin/python" "$bench/bench.py" --work "$cache/bench/point_in_time" "$@"
