#!/usr/bin/env bash
# Runs all tests. Installs what they need; safe to repeat. Arguments go to `cargo test`.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/setup.sh"

need cc gcc python3 python3 openssl openssl redis-server redis-server
need_rust
if ! command -v initdb >/dev/null && ! ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1; then
  need initdb postgresql
fi
need_python
need_java
need_go
need_azurite
# With CI set, a test that lacks a server or a foreign client fails instead of skipping.
export CI="${CI:-true}"
say "testing"
log=$(mktemp)
trap 'rm -f "$log"' EXIT
status=0
cargo test --locked --workspace --no-fail-fast "$@" 2>&1 | tee "$log" || status=$?
# One line over all test programs.
awk '/^test result:/ { passed += $4; failed += $6; ignored += $8 }
  END { printf "%d passed, %d failed, %d skipped\n", passed, failed, ignored; exit passed == 0 }' "$log" || status=1
exit "$status"
