#!/usr/bin/env bash
# Licences, bans and sources of all dependencies, by cargo-deny and deny.toml.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/setup.sh"

need python3 python3
need_python
deny=$(command -v cargo-deny || true)
[ -n "$deny" ] || deny="$PROVENDER_VENV/bin/cargo-deny"
# Advisories need a database from the network; `cargo deny check advisories` is for where it can be had.
"$deny" --locked check licenses bans sources
