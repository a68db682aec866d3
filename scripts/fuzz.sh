#!/usr/bin/env bash
# Runs each fuzz target over its corpus for a while, and fails on a finding. Safe to repeat.
#
#   scripts/fuzz.sh                 half a minute for each target: what CI does
#   scripts/fuzz.sh 600 wire        ten minutes of one target
#   scripts/fuzz.sh grow 600 wire   the same, then keeps what is new, minimised, in the target's corpus
#
# Targets are built with the flags that cargo-fuzz gives on the stable toolchain (coverage without a sanitizer), so
# that nothing has to be installed but a C++ compiler.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/setup.sh"

grow=
if [ "${1:-}" = grow ]; then grow=1; shift; fi
seconds="${1:-30}"
[ $# -eq 0 ] || shift

# Crate, target, the longest input, the largest allocation in MB that an input may lead to.
targets=(
  "server command 4096 64"
  "server wire 16384 64"
  "codec decode_bytes 4096 64"
  "codec mutate_row 4096 64"
)

need cc gcc c++ g++
need_rust
export CARGO_TARGET_DIR="$cache/fuzz/target"
host=$(rustc -vV | sed -n 's/^host: //p')
# Named for the host alone, so that build scripts and macros are built without.
variable="CARGO_TARGET_$(tr 'a-z-' 'A-Z_' <<<"$host")_RUSTFLAGS"
export "$variable=--cfg fuzzing -Cdebug-assertions -Cpasses=sancov-module \
-Cllvm-args=-sanitizer-coverage-level=4 -Cllvm-args=-sanitizer-coverage-inline-8bit-counters \
-Cllvm-args=-sanitizer-coverage-pc-table -Cllvm-args=-sanitizer-coverage-trace-compares"
for crate in server codec; do
  say "building the fuzz targets of $crate"
  cargo build --locked --quiet --release --target "$host" --manifest-path "crates/$crate/fuzz/Cargo.toml"
done

# One target: crate, name, longest input, allocation limit.
fuzz() {
  local corpus="crates/$1/fuzz/corpus/$2" seeds="crates/$1/fuzz/seeds/$2" program="$CARGO_TARGET_DIR/$host/release/$2"
  local new="$work/$2" log="$work/$2.log" artifacts="$cache/fuzz/artifacts/$2" status=0
  mkdir -p "$new" "$corpus" "$artifacts"
  "$program" -seed=1 "-max_total_time=$seconds" "-max_len=$3" "-malloc_limit_mb=$4" -rss_limit_mb=1024 -timeout=20 \
    -print_final_stats=1 "-artifact_prefix=$artifacts/" "$new" "$corpus" "$seeds" >"$log" 2>&1 || status=$?
  if [ "$status" != 0 ]; then
    tail -40 "$log" >&2
    printf '%s failed; the input lies in %s and becomes a seed once it is mended\n' "$2" "$artifacts" >&2
    return 1
  fi
  # A run that saw no coverage, or no more than the corpus, has shown nothing.
  local n_seeds n_runs
  n_seeds=$(find "$corpus" "$seeds" -type f | wc -l)
  n_runs=$(sed -n 's/^stat::number_of_executed_units: *//p' "$log")
  if ! grep -q 'inline 8-bit counters' "$log" || [ "${n_runs:-0}" -le "$((2 * n_seeds))" ]; then
    tail -40 "$log" >&2
    printf '%s ran %s inputs without coverage\n' "$2" "${n_runs:-0}" >&2
    return 1
  fi
  printf '%s: %s inputs from %s seeds, %s\n' "$2" "$n_runs" "$n_seeds" "$(grep -o 'cov: [0-9]* ft: [0-9]*' "$log" | tail -1)"
  if [ -n "$grow" ]; then
    # The seeds that people named stay; of the others as few as reach the same places in the code.
    local least="$work/$2.least"
    mkdir -p "$least"
    "$program" -set_cover_merge=1 -use_counters=0 "-max_len=$3" "$least" "$seeds" "$corpus" "$new" >>"$log" 2>&1
    rm -f "$corpus"/*
    cp "$least"/* "$corpus/"
  fi
}

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
say "fuzzing, $seconds s for each target"
running=() status=0
for line in "${targets[@]}"; do
  read -r crate target longest most <<<"$line"
  if [ $# -gt 0 ] && [[ " $* " != *" $target "* ]]; then continue; fi
  # As many at once as there are cores.
  if [ "${#running[@]}" -ge "$(nproc)" ]; then
    wait "${running[0]}" || status=1
    running=("${running[@]:1}")
  fi
  fuzz "$crate" "$target" "$longest" "$most" &
  running+=($!)
done
for one in "${running[@]}"; do wait "$one" || status=1; done
exit "$status"
