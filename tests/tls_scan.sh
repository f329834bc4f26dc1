#!/usr/bin/env bash
# Judges our TLS as a stranger sees it, with sslyze: Mozilla's "intermediate" by default, "modern" with
# min_version "1.3".
#
#   tests/tls_scan.sh [BINARY]
#
# The gateway is built unless BINARY is given. sslyze is fetched into target/sslyze once. Needs python3 and openssl.
set -euo pipefail

cd "$(dirname "$0")/.."
target=${CARGO_TARGET_DIR:-target}
binary=${1:-}
say() { echo "tls_scan: $*" >&2; }
if [ -z "$binary" ]; then
  cargo build --locked --quiet -p tollkeep
  binary=$target/debug/tollkeep
fi
venv=$target/sslyze
[ -x "$venv/bin/sslyze" ] || { python3 -m venv "$venv" && "$venv/bin/pip" -q install 'sslyze==6.3.1'; }

tmp=$(mktemp -d "${TMPDIR:-/tmp}/tollkeep-tls-scan.XXXXXX")
gateway=''
stop() {
  [ -z "$gateway" ] || { kill "$gateway" 2>/dev/null && wait "$gateway" 2>/dev/null; } || true
  gateway=''
}
trap 'stop; rm -rf "$tmp"' EXIT
made() { openssl "$@" 2>/dev/null || { say "openssl $1 failed"; exit 1; }; }
p256=(-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes)
made req -x509 "${p256[@]}" -days 90 -subj /CN=Root -keyout "$tmp/root.key" -out "$tmp/root.pem" \
  -addext basicConstraints=critical,CA:TRUE -addext keyUsage=critical,keyCertSign,cRLSign
made req "${p256[@]}" -subj /CN=localhost -keyout "$tmp/key.pem" -out "$tmp/request.pem"
printf '%s\n' subjectAltName=DNS:localhost basicConstraints=critical,CA:FALSE keyUsage=critical,digitalSignature \
  extendedKeyUsage=serverAuth authorityKeyIdentifier=keyid >"$tmp/extensions"
made x509 -req -in "$tmp/request.pem" -CA "$tmp/root.pem" -CAkey "$tmp/root.key" -CAcreateserial -days 90 -sha256 \
  -extfile "$tmp/extensions" -out "$tmp/cert.pem"
chmod 600 "$tmp/key.pem"

scan() { # scan MIN_VERSION MOZILLA
  "$binary" serve --print-addr --set "data_dir=$tmp/$2" --set "audit.file=$tmp/$2/audit.log" \
    --set "store.path=$tmp/$2/tollkeep.db" --set server.port=0 --set management.listen= --set metrics.enabled=false \
    --set server.tls.enabled=true --set "server.tls.cert_file=$tmp/cert.pem" --set "server.tls.key_file=$tmp/key.pem" \
    --set "server.tls.min_version=$1" >"$tmp/$2.out" 2>"$tmp/$2.err" &
  gateway=$!
  for _ in $(seq 200); do grep -q '"data"' "$tmp/$2.out" && break; sleep 0.05; done
  local port
  port=$(sed -n 's/.*"data":"[^"]*:\([0-9]*\)".*/\1/p' "$tmp/$2.out")
  [ -n "$port" ] || { say "the gateway did not start: $(tail -3 "$tmp/$2.err")"; exit 1; }
  "$venv/bin/sslyze" --certinfo_ca_file="$tmp/root.pem" --mozilla_config="$2" "localhost:$port" >"$tmp/$2.scan" || {
    say "not $2:"; cat "$tmp/$2.scan" >&2; exit 1
  }
  say "min_version $1 is Mozilla's $2"
  stop
}
scan 1.2 intermediate
scan 1.3 modern
