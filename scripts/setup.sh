# Sourced by the other scripts: puts everything that builds and tests need in place. Safe to repeat.
# Nothing is installed that is already there.

cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit 1
cache="${PROVENDER_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/provender}"
mkdir -p "$cache"
# Shared between checkouts, so that only the first build on a machine takes long.
export CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-$cache/target}"

say() { printf '\033[1m== %s\033[0m\n' "$*" >&2; }

as_root() {
  if [ "$(id -u)" = 0 ]; then "$@"; elif command -v sudo >/dev/null; then sudo "$@"; else
    printf 'cannot install %s: neither root nor sudo\n' "$*" >&2
    return 1
  fi
}

# Installs Debian packages, given pairs of a command and the package that brings it.
need() {
  local missing=()
  while [ $# -gt 0 ]; do
    command -v "$1" >/dev/null || missing+=("$2")
    shift 2
  done
  if [ ${#missing[@]} -gt 0 ]; then
    say "installing ${missing[*]}"
    as_root apt-get update -qq
    as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq "${missing[@]}" >/dev/null
  fi
}

# The Rust toolchain, which Debian's own package is too old for.
need_rust() {
  command -v cargo >/dev/null || {
    printf 'Rust 1.95 or newer is required; https://rustup.rs installs it\n' >&2
    return 1
  }
}

# A Python environment with the foreign clients and independent engines that tests use.
need_python() {
  export PROVENDER_VENV="${PROVENDER_VENV:-$cache/venv}"
  local wanted=tests/requirements.txt stamp="$PROVENDER_VENV/requirements.txt"
  if ! cmp -s "$wanted" "$stamp"; then
    say "installing Python packages"
    # Debian's own Python has no venv until its package is there.
    python3 -c 'import ensurepip, venv' 2>/dev/null || {
      as_root apt-get update -qq
      as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq python3-venv >/dev/null
    }
    python3 -m venv "$PROVENDER_VENV"
    "$PROVENDER_VENV/bin/pip" install --quiet --disable-pip-version-check -r "$wanted"
    cp "$wanted" "$stamp"
  fi
}
