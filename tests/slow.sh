#!/usr/bin/env bash
# Slow clients, as slowhttptest makes them, against the gateway: heads, bodies and readers that never end, and ranges.
# All of their connections are gone by their deadline, and a fresh request is answered meanwhile.
set -euo pipefail
cd "$(dirname "$0")/.."

say() { echo "slow: $*" >&2; }
if ! command -v slowhttptest >/dev/null; then
  [ "$(id -u)" = 0 ] || { say "please install slowhttptest: sudo apt-get install slowhttptest"; exit 1; }
  export DEBIAN_FRONTEND=noninteractive
  apt-get -qq -o DPkg::Lock::Timeout=600 update
  apt-get -qq -o DPkg::Lock::Timeout=600 install -y --no-install-recommends slowhttptest >/dev/null
fi

cargo build --quiet --locked -p tollkeep
binary=${CARGO_TARGET_DIR:-target}/debug/tollkeep
tmp=$(mktemp -d "${TMPDIR:-/tmp}/tollkeep-slow.XXXXXX")
files='' gateway=''
stop() {
  for pid in $files $gateway; do kill "$pid" 2>/dev/null || true; done
  wait || true
  rm -rf "$tmp"
}
trap stop EXIT

# An upstream whose answer is larger than every socket buffer on its way, and one that fresh requests have to themselves:
# the first is busy sending.
mkdir "$tmp/files" && head -c 40000000 /dev/zero >"$tmp/files/large" && echo small >"$tmp/files/small"
serve_files() { # serve_files LOG: sets upstream
  python3 -u -m http.server --bind 127.0.0.1 --directory "$tmp/files" 0 >"$1" 2>&1 & files="$files $!"
  for _ in $(seq 100); do grep -q 'port [0-9]' "$1" && break; sleep 0.1; done
  upstream=$(sed -n 's/.* port \([0-9]*\).*/\1/p' "$1")
}
serve_files "$tmp/fresh.log"; fresh=$upstream
serve_files "$tmp/files.log"

deadline=4
cat >"$tmp/tollkeep.yaml" <<YAML
data_dir: $tmp/data
server:
  port: 0
  timeouts: { first_byte_ms: ${deadline}000, header_ms: ${deadline}000, body_ms: ${deadline}000, write_stall_ms: ${deadline}000 }
  limits: { connections_per_ip_max: 5000, concurrent_requests_per_ip_max: 5000 }
  security: { rate_limiting: { enabled: false } }
management: { listen: "127.0.0.1:0" }
metrics: { port: 0 }
upstreams:
  files: { url: "http://127.0.0.1:$upstream", allow_private: ["127.0.0.1/32"] }
  fresh: { url: "http://127.0.0.1:$fresh", allow_private: ["127.0.0.1/32"] }
routes:
  "GET /large": { upstream: files, access: free, rate_limit: { requests: 100000, window: 1s } }
  "POST /large": { upstream: files, access: free, rate_limit: { requests: 100000, window: 1s } }
  "GET /small": { upstream: fresh, access: free, rate_limit: { requests: 100000, window: 1s } }
  "HEAD /large": { upstream: files, access: free, rate_limit: { requests: 100000, window: 1s } }
YAML
exec {lines}< <(exec "$binary" serve --config "$tmp/tollkeep.yaml" --print-addr 2>"$tmp/log")
gateway=$!
read -r -t 60 addresses <&"$lines" || { say "the gateway did not start:"; cat "$tmp/log" >&2; exit 1; }
url=http://$(sed 's/.*"data":"\([^"]*\)".*/\1/' <<<"$addresses")/large

port=${url%/large} port=${port##*:}
open_connections() { ss -Htn state established "sport = :$port" | wc -l; }

attack() { # attack NAME CONNECTIONS LEAST SECONDS OPTIONS…: LEAST or more are open at once, all gone after SECONDS
  local name=$1 connections=$2 least=$3 within=$4 most=0 slowest=0 began took left attacker
  shift 4
  began=$(date +%s%N)
  slowhttptest -c "$connections" -r "$connections" -l 60 -v 0 -u "$url" "$@" >"$tmp/$name.out" 2>&1 & attacker=$!
  while :; do
    took=$(curl -s -o /dev/null -w '%{time_starttransfer}' -m 10 "${url%large}small" | awk '{ printf "%d", $1 * 1000 }')
    [ "$took" -le "$slowest" ] || slowest=$took
    left=$(open_connections) took=$((($(date +%s%N) - began) / 1000000))
    [ "$left" -le "$most" ] || most=$left
    [ "$took" -lt 3000 ] || [ "$left" -gt 0 ] || break
    [ "$took" -le $((within * 1000)) ] || { say "$name: $left connections open after $took ms"; exit 1; }
    sleep 0.1
  done
  kill "$attacker" 2>/dev/null || true
  wait "$attacker" || true
  [ "$most" -ge "$least" ] || { say "$name: only $most were open: no attack"; cat "$tmp/$name.out" >&2; exit 1; }
  [ "$slowest" -le 1000 ] || { say "$name: a fresh request took $slowest ms"; exit 1; }
  echo "$name: $most connections at once, gone after $took ms; the slowest fresh request took $slowest ms"
}

# The tool opens its connections in the first second or two; a slow reader takes bytes for a while before it stalls.
attack headers 1000 500 $((deadline + 4)) -H -i 1 -x 8
attack body 1000 500 $((deadline + 4)) -B -i 1 -x 8 -s 8192
attack ranges 200 0 $((deadline + 4)) -R -a 5 -b 2000 -t HEAD
attack reading 200 50 $((deadline + 16)) -X -w 8 -y 32 -n 10 -z 1 -k 1
