#!/usr/bin/env bash
# What origins check signatures with: the verifiers we ship against the vectors, and bolthub's own against live requests.
#
#   tests/origin/run.sh CACHE BINARY
#
# CACHE is the folder that tests/sdk/setup.sh filled, BINARY is tollkeep.
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
cache=$(cd "$1" && pwd)
binary=$(realpath "$2")
verifiers=$here/../../examples/origin-verifiers
status=0
say() { echo "origin: $*"; }

export PYTHONDONTWRITEBYTECODE=1
say "the verifier in Python"
(cd "$verifiers/python" && "$cache/venv/bin/python" -m unittest -q) || status=1
say "the verifier in Node"
(cd "$verifiers/node" && node --test --test-reporter=spec) || status=1
if command -v go >/dev/null; then
  say "the verifier in Go"
  (cd "$verifiers/go" && GOFLAGS=-mod=mod GOTOOLCHAIN=local go test ./...) || status=1
else
  say "SKIPPED: the verifier in Go, since there is no go"
fi
say "bolthub-verify, and live requests"
"$cache/venv/bin/python" "$here/live.py" "$binary" || status=1
exit $status
