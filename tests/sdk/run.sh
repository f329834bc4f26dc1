#!/bin/sh
# Runs both suites against the target that TOLLKEEP_DEMO describes (the line of `tollkeep demo --json`):
#
#   tests/sdk/run.sh CACHE [--direct]
#
# CACHE is the folder that setup.sh filled. With --direct the target is the sandbox upstream itself
# and the cases that need the gateway are skipped. Both suites run even if the first one fails.
set -eu

here=$(cd "$(dirname "$0")" && pwd)
cache=$(cd "$1" && pwd)
shift
status=0
PYTHONDONTWRITEBYTECODE=1 "$cache/venv/bin/python" "$here/python/run.py" "$@" || status=1
TOLLKEEP_SDK_CACHE="$cache" node --test-reporter=spec "$here/node/run.mjs" "$@" || status=1
exit $status
