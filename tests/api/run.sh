#!/usr/bin/env bash
# Asks the management API everything that its own description allows, and much that it does not: no 5xx, no status and
# no body that is not described.
#
#   tests/api/run.sh CACHE BINARY [CASES]
#
# CACHE keeps the Python packages of requirements.txt. CASES is how many calls each operation gets at least; 8 if not
# given. From 50 on the edges of every schema are tried one by one as well.
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
mkdir -p "$1"
cache=$(cd "$1" && pwd)
binary=$(realpath "$2")
cases=${3:-8}

stamp="$cache/api.stamp"
state() { python3 --version; cat "$here/requirements.txt"; }
if [ ! -f "$stamp" ] || [ "$(cat "$stamp")" != "$(state | cksum)" ]; then
  rm -rf "$cache/api" "$stamp"
  python3 -m venv "$cache/api"
  "$cache/api/bin/pip" install --quiet --disable-pip-version-check --root-user-action ignore \
    --requirement "$here/requirements.txt"
  state | cksum >"$stamp"
fi

tmp=$(mktemp -d "${TMPDIR:-/tmp}/tollkeep-api.XXXXXX")
gateway=''
stop() {
  if [ -n "$gateway" ]; then kill -9 "$gateway" 2>/dev/null || true; fi
  rm -rf "$tmp"
}
trap stop EXIT

cat >"$tmp/tollkeep.yaml" <<'YAML'
server: { port: 0 }
metrics: { port: 0 }
management: { listen: "127.0.0.1:0" }
sandbox: { upstream: true }
YAML
cd "$tmp"
# The gateway refuses names it does not know, and those around us are not meant for it.
unset "${!TOLLKEEP_@}"
TOLLKEEP_MANAGEMENT_KEY=$("$binary" key generate)
export TOLLKEEP_MANAGEMENT_KEY
exec {lines}< <(exec "$binary" serve --print-addr --config tollkeep.yaml 2>"$tmp/log")
gateway=$!
read -r -t 60 ready <&"$lines" || { echo "api: the gateway did not start:" >&2; cat "$tmp/log" >&2; exit 1; }
management=$(python3 -c 'import json, sys; print(json.loads(sys.argv[1])["management"])' "$ready")

phases=fuzzing
[ "$cases" -lt 50 ] || phases=coverage,fuzzing
# The key stands in a file, not among the arguments that others can see.
cat >"$tmp/schemathesis.toml" <<TOML
headers = { Authorization = "Bearer \${TOLLKEEP_MANAGEMENT_KEY}" }
TOML
"$cache/api/bin/schemathesis" --config-file "$tmp/schemathesis.toml" run "http://$management/api/v1/openapi.json" \
  --phases "$phases" --max-examples "$cases" --continue-on-failure --suppress-health-check all --warnings off \
  --checks not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance
if grep -q 'panicked' "$tmp/log"; then
  echo "api: something panicked:" >&2
  grep 'panicked' "$tmp/log" >&2
  exit 1
fi
