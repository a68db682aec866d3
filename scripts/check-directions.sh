#!/usr/bin/env bash
# Proves that dependencies point the way docs/ARCHITECTURE.md says. Prints every arrow it refuses.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/setup.sh"

failed=0

# never A B...: package A must not depend on any of B (in the code that is shipped).
never() {
  local package="$1" tree
  shift
  tree=$(cargo tree --locked --quiet -p "$package" -e normal --prefix none --format '{p}' | awk '{print $1}' | sort -u)
  for other in "$@"; do
    if grep -qx -- "$other" <<<"$tree"; then
      printf '%s must not depend on %s\n' "$package" "$other" >&2
      failed=1
    fi
  done
}

providers=(provender-providers-delta provender-providers-local provender-providers-redis provender-providers-registry
  provender-providers-snowflake)
never provender-core tokio datafusion sqlx deltalake serde-saphyr \
  provender-definitions provender-engine provender-store provender-conformance "${providers[@]}"
never provender-definitions tokio datafusion provender-engine provender-store "${providers[@]}"
never provender-engine provender-definitions provender-store deltalake sqlx "${providers[@]}"
never provender-conformance provender-engine provender-definitions provender-store datafusion "${providers[@]}"
never provender-codec tokio datafusion provender-engine provender-store provender-conformance "${providers[@]}"
never provender-store deltalake sqlx heed provender-codec provender-server provender-cli "${providers[@]}"
never provender-server deltalake sqlx heed provender-codec provender-cli "${providers[@]}"
never provender-providers-local provender-engine provender-store provender-definitions datafusion
never provender-providers-delta provender-store provender-definitions provender-providers-registry provender-providers-snowflake
never provender-providers-registry provender-engine provender-store provender-definitions datafusion
never provender-providers-redis provender-engine provender-store provender-definitions datafusion fred
never provender-providers-snowflake provender-store provender-definitions deltalake
never provender-dialects tokio datafusion sqlparser provender-engine provender-store "${providers[@]}"
never provender-plugin datafusion provender-engine provender-store provender-definitions "${providers[@]}"

# A check that cannot fail is none: an arrow that is there must be seen.
if (failed=0; never provender-cli provender-core 2>/dev/null; [ "$failed" = 0 ]); then
  echo 'the check of directions does not see dependencies' >&2
  failed=1
fi
[ "$failed" = 0 ] && echo 'dependency directions hold' >&2
exit "$failed"
