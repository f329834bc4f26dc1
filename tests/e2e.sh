#!/usr/bin/env bash
# End to end: the demo on free ports, called by the official SDKs, unmodified; what other clients make of the
# gateway; origins that check signatures; and callers that pay.
set -euo pipefail
cd "$(dirname "$0")/.."

cache=${XDG_CACHE_HOME:-${HOME:-/tmp}/.cache}/tollkeep/sdk
binary=${CARGO_TARGET_DIR:-target}/debug/tollkeep
tmp=$(mktemp -d "${TMPDIR:-/tmp}/tollkeep-e2e.XXXXXX")
demo=''
stop() {
  if [ -n "$demo" ] && kill -INT "$demo" 2>/dev/null; then
    for _ in $(seq 100); do kill -0 "$demo" 2>/dev/null || break; sleep 0.1; done
    kill -9 "$demo" 2>/dev/null || true
  fi
  rm -rf "$tmp"
}
trap stop EXIT

# Of the whole workspace, as the other tests are built: by itself the package would be built anew. The binary comes with it.
cargo test --quiet --locked --workspace --test blackbox -- --ignored a_browser_shows behind_nginx
mkdir -p "$cache"
tests/sdk/setup.sh "$cache"

exec {lines}< <(exec "$binary" demo --json --port 0 2>"$tmp/log")
demo=$!
read -r -t 60 TOLLKEEP_DEMO <&"$lines" || { echo "e2e: the demo did not start:" >&2; cat "$tmp/log" >&2; exit 1; }
export TOLLKEEP_DEMO
status=0
tests/sdk/run.sh "$cache" || status=1
"$cache/venv/bin/python" tests/clients/run.py "$binary" || status=1
tests/origin/run.sh "$cache" "$binary" || status=1
tests/api/run.sh "$cache" "$binary" || status=1
tests/lab/run.py "$binary" --short || status=1
exit $status
