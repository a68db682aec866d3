#!/usr/bin/env bash
# Proves that the crates which a vendor of providers needs can be published: that their packages hold all
# that they need, and that provender-core builds from its package alone. Prints nothing of a secret, and
# publishes nothing.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/setup.sh"

need_rust
crates=(-p provender-core -p provender-codec -p provender-conformance -p provender-plugin)
dirty=()
# A working tree with changes is packaged as it is; CI packages what is committed.
[ -n "${CI:-}" ] || dirty=(--allow-dirty)
say "packaging the vendor's crates"
cargo package --locked --no-verify "${dirty[@]}" "${crates[@]}"
say "building provender-core from its package"
cargo package --locked "${dirty[@]}" -p provender-core
