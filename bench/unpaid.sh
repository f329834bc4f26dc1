#!/usr/bin/env bash
# How many callers that have not paid a gateway answers: the challenge of one priced route, without anything to pay.
#
#   bench/unpaid.sh          SECS=10 CONNECTIONS=64; TOLLKEEP=… is a binary to measure instead of building one
#
# The bar: 20,000 challenges a second on two cores, that is 100 us of one core each. Gateway and load share this machine, so
# what counts is the processor time of the gateway. Prints one line of JSON and the figure; fails below the bar.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
bar=20000 secs=${SECS:-10} connections=${CONNECTIONS:-64}
tools=${CARGO_TARGET_DIR:-$here/target} target=${CARGO_TARGET_DIR:-$here/../target} binary=${TOLLKEEP:-}
(cd "$here" && CARGO_TARGET_DIR=$tools cargo build --release --locked --quiet)
if [ -z "$binary" ]; then
  (cd "$here/.." && CARGO_TARGET_DIR=$target cargo build --release --locked --quiet -p tollkeep)
  binary=$target/release/tollkeep
fi
load=$tools/release/bench-load
tmp=$(mktemp -d "${TMPDIR:-/tmp}/tollkeep-unpaid.XXXXXX")
gateway=''
stop() {
  [ -z "$gateway" ] || { kill "$gateway" 2>/dev/null || true; wait "$gateway" 2>/dev/null || true; }
  rm -rf "$tmp"
}
trap stop EXIT

cat >"$tmp/tollkeep.yaml" <<YAML
data_dir: $tmp/data
server:
  port: 0
  security: {rate_limiting: {enabled: false}}
  limits: {connections_per_ip_max: 1000, concurrent_requests_per_ip_max: 1000}
  timeouts: {requests_per_connection_max: 1000000000}
management: {listen: "127.0.0.1:0"}
metrics: {port: 0}
payments: {sandbox: true}
accepts: [{asset: USDC, network: base-sepolia}]
wallets: {base-sepolia: "0x3C44CdDdB6a900fa2b585dd299e03d12FA4293BC"}
upstreams: {shop: {url: "http://127.0.0.1:20009", allow_private: [127.0.0.1/32]}}
routes: {"GET /sold": {upstream: shop, price: "\$0.01"}}
YAML
exec {lines}< <(cd "$tmp" && exec "$binary" serve --config tollkeep.yaml --print-addr 2>"$tmp/log")
gateway=$!
read -r -t 60 addresses <&"$lines" || { echo "unpaid: the gateway did not start:" >&2; cat "$tmp/log" >&2; exit 1; }
url=http://$(sed 's/.*"data":"\([^"]*\)".*/\1/' <<<"$addresses")/sold
for _ in $(seq 100); do
  status=$(curl -s -o /dev/null -w '%{http_code}' "$url" || true)
  [ "$status" != 402 ] || break
  sleep 0.1
done
[ "$status" = 402 ] || { echo "unpaid: $status instead of a challenge" >&2; cat "$tmp/log" >&2; exit 1; }
told=$("$load" closed --url "$url" -c "$connections" -d "$secs" --status 402 --pid "$gateway" --name unpaid)
echo "$told"
python3 - "$bar" "$told" <<'PYTHON'
import json, sys
bar, told = int(sys.argv[1]), json.loads(sys.argv[2])
each = told["cpu_us_per_req"]
print(f"{each:.1f} us of one core a challenge: {2e6 / each:,.0f} a second on two cores; {told['rps']:,.0f} were answered beside the load")
sys.exit(0 if told["bad"] == 0 and told["ok"] > 0 and 2e6 / each >= bar else 1)
PYTHON
