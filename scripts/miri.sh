#!/usr/bin/env bash
# Runs the plug-in interface once under Miri, which finds undefined behaviour. Needs a nightly toolchain
# with Miri: `scripts/miri.sh --install` gets one, and so does a run in CI. Elsewhere a machine that has
# none is told that nothing was run.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/setup.sh"

need_rust
toolchain="${PROVENDER_MIRI_TOOLCHAIN:-nightly}"
has_miri() { cargo "+$toolchain" miri --version >/dev/null 2>&1; }

if [ "${1:-}" = --install ]; then
  shift
  CI="${CI:-install}"
fi
if ! has_miri && [ -n "${CI:-}" ]; then
  say "installing Miri"
  rustup toolchain install "$toolchain" --profile minimal --component miri --component rust-src
fi
if ! has_miri; then
  printf 'NOT RUN: the toolchain %s has no Miri; scripts/miri.sh --install gets one\n' "$toolchain" >&2
  [ -z "${CI:-}" ] && exit 0
  exit 1
fi
export CARGO_TARGET_DIR="$cache/miri"
# Libraries are never unloaded, so what they hold is not a leak. Times and threads are the system's.
export MIRIFLAGS="${MIRIFLAGS:--Zmiri-disable-isolation -Zmiri-ignore-leaks}"
say "Miri over the plug-in interface"
cargo "+$toolchain" miri test --locked -p provender-plugin --test memory "$@"
