#!/usr/bin/env bash
# Runs the plug-in interface once under Miri, which finds undefined behaviour. Arguments go to the tests.
# Needs a nightly toolchain with Miri and installs one if rustup can have it. Where it cannot, or where the
# run takes longer than PROVENDER_MIRI_MINUTES, nothing is proven: the last line says NOT RUN, and nothing fails.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/setup.sh"

need_rust
toolchain="${PROVENDER_MIRI_TOOLCHAIN:-nightly}"
minutes="${PROVENDER_MIRI_MINUTES:-10}"
has_miri() { cargo "+$toolchain" miri --version >/dev/null 2>&1; }
not_run() {
  printf 'NOT RUN: Miri over the plug-in interface, since %s\n' "$*" >&2
  exit 0
}

if ! has_miri; then
  say "installing Miri"
  timeout 5m rustup toolchain install "$toolchain" --profile minimal --component miri --component rust-src || true
fi
has_miri || not_run "the toolchain $toolchain has no Miri here and cannot be had"
export CARGO_TARGET_DIR="$cache/miri"
say "Miri's standard library"
timeout 5m cargo "+$toolchain" miri setup || not_run "the standard library of $toolchain cannot be built here"
# Libraries are never unloaded, so what they hold is not a leak. Times and threads are the system's.
export MIRIFLAGS="${MIRIFLAGS:--Zmiri-disable-isolation -Zmiri-ignore-leaks}"
say "Miri over the plug-in interface"
status=0
timeout "${minutes}m" cargo "+$toolchain" miri test --locked -p provender-plugin --test memory -- "$@" || status=$?
[ "$status" != 124 ] || not_run "it did not end within $minutes minutes"
exit "$status"
