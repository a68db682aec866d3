#!/usr/bin/env bash
# Builds Feast's server in Go from a checkout of Feast: feast_go.sh CHECKOUT TO. Needs Go and Python; safe to repeat.
# It is not published as a Go module that could be installed, and what protoc makes of its definitions is not in its
# repository, so that is made here.
set -euo pipefail
[ $# -eq 2 ] || { sed -n '2,4p' "${BASH_SOURCE[0]}" >&2; exit 2; }
checkout="$(cd "$1" && pwd)" to="$(realpath -m "$2")"
work="$(mktemp -d)"
trap 'chmod -R u+w "$work"; rm -rf "$work"' EXIT
cp -r "$checkout"/{go,go.mod,go.sum,protos} "$work"
cd "$work"
python3 -m venv python
python/bin/pip install --quiet --disable-pip-version-check grpcio-tools
(
  cd python
  GOBIN="$work/bin" go install google.golang.org/protobuf/cmd/protoc-gen-go@v1.31.0
  GOBIN="$work/bin" go install google.golang.org/grpc/cmd/protoc-gen-go-grpc@v1.3.0
)
mkdir -p go/protos
for folder in core registry serving types storage; do
  PATH="$work/bin:$PATH" python/bin/python -m grpc_tools.protoc --proto_path=protos \
    --go_out=go/protos --go_opt=module=github.com/feast-dev/feast/go/protos \
    --go-grpc_out=go/protos --go-grpc_opt=module=github.com/feast-dev/feast/go/protos protos/feast/"$folder"/*.proto
done
mkdir -p "$(dirname "$to")"
GOFLAGS=-mod=mod go build -o "$to" ./go/
