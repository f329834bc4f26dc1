#!/usr/bin/env bash
# Measures gateways against nginx and a layer-4 relay on this machine, in one run.
#
#   bench/run.sh                                   tollkeep, nginx and relay
#   bench/run.sh nginx relay                       only these
#   bench/run.sh nginx relay url NAME URL PID      and a gateway that runs already (its chat path is URL)
#
# ROUNDS=3 SECS=5 RATE=1000 STREAMS=200 STEPS="idle closed rate wait50 sse conns streams2000 syscalls tls"
# The step tls is of nginx and tollkeep, loaded by h2load: HTTP/1.1 and HTTP/2 over TLS 1.3, and full handshakes.
# TOLLKEEP=… is a binary to measure instead of building one; SET=audit.enabled=false changes one of its settings.
# For a gateway that runs already, pinned by `taskset -c 0`: KEY=… is the token it wants, and UPSTREAM=127.0.0.1:22001
# is where it finds the mock. The gateway has core 0, the mock and the load core 1, so let nothing else run.
# Results: markdown on stdout, every line in results.jsonl.

set -euo pipefail

# A session of its own: with the kernel's autogrouping, nice counts only inside a session.
if [ -z "${BENCH_SESSION:-}" ]; then
  BENCH_SESSION=1 setsid -w bash "$0" "$@" & session=$!
  trap 'kill "$session"' INT TERM
  wait "$session"
  exit
fi
here=$(cd "$(dirname "$0")" && pwd)
tmp=$(mktemp -d "${TMPDIR:-/tmp}/tollkeep-bench.XXXXXX")
rounds=${ROUNDS:-3} secs=${SECS:-5} rate=${RATE:-1000} streams=${STREAMS:-200} niceness=-15
steps=${STEPS:-idle closed rate wait50 sse conns streams2000 syscalls tls}
key=${KEY:-sk-bench-0123456789abcdef}
target=${CARGO_TARGET_DIR:-$here/../target} binary=${TOLLKEEP:-} tools=${CARGO_TARGET_DIR:-$here/target}
load=$tools/release/bench-load
ulimit -n "$(ulimit -Hn)"
[ "$(id -u)" = 0 ] || niceness=0

say() { echo "bench: $*" >&2; }
load() { nice -n "$niceness" taskset -c 1 "$load" "$@"; }
launch() { # launch CORE LOG COMMAND…: in the background; sets launched
  local core=$1 log=$2
  shift 2
  nice -n "$niceness" taskset -c "$core" "$@" >"$log" 2>&1 & launched=$!
}
free_port() { "$load" port; }

# Ends what we started: TERM, then KILL for what drains for minutes.
stop() {
  kill "$1" 2>/dev/null || return 0
  for _ in $(seq 30); do kill -0 "$1" 2>/dev/null || return 0; sleep 0.1; done
  kill -9 "$1" 2>/dev/null || true
}
mock_pid='' gateway_pid='' foreign=''
finish() {
  [ -z "$gateway_pid" ] || [ -n "$foreign" ] || stop "$gateway_pid"
  [ -z "$mock_pid" ] || stop "$mock_pid"
  # Gigabytes of records.
  rm -rf "$tmp/tollkeep"
}
trap finish EXIT

need() { # need COMMAND PACKAGE
  command -v "$1" >/dev/null && return
  [ "$(id -u)" = 0 ] || { say "please install $2: sudo apt-get install $2"; exit 1; }
  say "installing $2"
  export DEBIAN_FRONTEND=noninteractive
  apt-get -qq -o DPkg::Lock::Timeout=600 update
  apt-get -qq -o DPkg::Lock::Timeout=600 install -y --no-install-recommends "$2" >/dev/null
}

prepare() {
  say "building the tools"
  (cd "$here" && CARGO_TARGET_DIR=$tools cargo build --release --locked --quiet)
  case " $* " in *" nginx "*) need nginx nginx ;; esac
  case " $steps " in *" syscalls "*) need strace strace ;; esac
  case " $steps " in *" tls "*) need h2load nghttp2-client; need openssl openssl ;; esac
  case " $* " in *" tollkeep "*)
    if [ -z "$binary" ]; then
      say "building tollkeep"
      (cd "$here/.." && CARGO_TARGET_DIR=$target cargo build --release --locked --quiet -p tollkeep)
      binary=$target/release/tollkeep
    fi ;;
  esac
  launch 1 "$tmp/mock.log" "$tools/release/bench-mock" "${UPSTREAM:-127.0.0.1:0}"
  mock_pid=$launched
  for _ in $(seq 100); do grep -q ^listening "$tmp/mock.log" && break; sleep 0.05; done
  upstream=$(sed -n 's/^listening //p' "$tmp/mock.log")
  [ -n "$upstream" ] || { say "the mock did not start: $(cat "$tmp/mock.log")"; exit 1; }
}

render() { # render FILE: prints the path of the filled-in copy
  local out
  out=$tmp/$(basename "$1")
  sed -e "s#@PORT@#$port#g; s#@MANAGEMENT_PORT@#$(free_port)#g; s#@METRICS_PORT@#$(free_port)#g" \
    -e "s#@KEY@#$key#g; s#@UPSTREAM@#$upstream#g; s#@TMP@#$tmp#g" "$1" >"$out"
  echo "$out"
}

over_tls() { # over_tls FILE: turns a rendered configuration into one of TLS 1.3 with HTTP/2
  local http2='http2 on;' listen=ssl version
  version=$(nginx -v 2>&1 | sed 's#.*/##; s# .*##')
  # Before 1.25.1 HTTP/2 was a word of `listen`.
  [ "$(printf '%s\n' 1.25.1 "$version" | sort -V | head -1)" = 1.25.1 ] || { http2='' listen='ssl http2'; }
  case $1 in
    *nginx.conf) sed -i "s#listen 127.0.0.1:$port backlog=4096;#listen 127.0.0.1:$port $listen backlog=4096; $http2 ssl_certificate $tmp/cert.pem; ssl_certificate_key $tmp/key.pem; ssl_protocols TLSv1.3;#" "$1" ;;
    *) sed -i "s#^server:#server:\n  tls: {enabled: true, cert_file: $tmp/cert.pem, key_file: $tmp/key.pem, min_version: \"1.3\"}#" "$1" ;;
  esac
}

certificate() {
  [ ! -f "$tmp/key.pem" ] || return 0
  (umask 077; openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 30 -subj /CN=localhost \
    -addext subjectAltName=IP:127.0.0.1 -keyout "$tmp/key.pem" -out "$tmp/cert.pem" 2>/dev/null)
}

wait_up() { # waits until the address answers anything; sets up_ms
  local begin now
  begin=$(date +%s%N)
  for _ in $(seq 2000); do
    if (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; then
      now=$(date +%s%N); up_ms=$(((now - begin) / 1000000)); return
    fi
    kill -0 "$gateway_pid" 2>/dev/null || break
    sleep 0.005
  done
  say "$name did not start:"; tail -5 "$tmp/$name.log" >&2; exit 1
}

start() { # start NAME [tls]: sets name, url, bearer, gateway_pid, up_ms
  name=$1 bearer=$key up_ms=0 foreign=''
  port=$(free_port) url=http://127.0.0.1:$port/v1/chat/completions
  case $name in
    nginx)
      config=$(render "$here/peers/nginx.conf")
      [ -z "${2:-}" ] || over_tls "$config"
      launch 0 "$tmp/nginx.log" nginx -c "$config" ;;
    relay) launch 0 "$tmp/relay.log" "$load" relay --url "http://$upstream" --listen "127.0.0.1:$port" ;;
    tollkeep)
      rm -rf "$tmp/tollkeep"
      install -d -m 700 "$tmp/tollkeep"
      config=$(render "$here/peers/tollkeep.yaml")
      [ -z "${2:-}" ] || over_tls "$config"
      launch 0 "$tmp/tollkeep.log" "$binary" serve --config "$config" ${SET:+--set "$SET"} ;;
    *) say "unknown gateway $name"; exit 2 ;;
  esac
  gateway_pid=$launched
  wait_up
  if [ "$name" = tollkeep ]; then
    for _ in $(seq 200); do [ ! -S "$tmp/tollkeep/tollkeep.sock" ] || break; sleep 0.01; done
    bearer=$("$binary" token create --json --data-dir "$tmp/tollkeep" \
      --requests-per-second 1000000 --burst 1000000 |
      sed -n 's/.*"secret"[^"]*"\([^"]*\)".*/\1/p')
    [ -n "$bearer" ] || { say "no token from tollkeep"; exit 1; }
  fi
}

body() { # body DELAY_MS CHUNKS GAP_MS SUM [stream]
  local stream=''
  [ "${5:-}" != stream ] || stream='"stream":true,"stream_options":{"include_usage":true},'
  echo "{\"model\":\"mock-1\",${stream}\"messages\":[{\"role\":\"system\",\"content\":\"You are a helpful assistant.\"},{\"role\":\"user\",\"content\":\"Say something about gateways. mock:delay=$1,chunks=$2,gap=$3,sum=$4;\"}],\"max_tokens\":256,\"temperature\":0.7}"
}

record() { sed "s/^{/{\"round\":$round,\"step\":\"$1\",/" | tee -a "$tmp/results.jsonl" | cut -c1-200 >&2; }

syscalls() { # system calls a request; rates under strace mean nothing
  local answered tracer child children processes=(-p "$gateway_pid")
  read -ra children < <(cat /proc/"$gateway_pid"/task/*/children; echo)
  for child in "${children[@]}"; do processes+=(-p "$child"); done
  strace -f -q -c -o "$tmp/$name.strace" "${processes[@]}" & tracer=$!
  sleep 0.7
  answered=$(load closed "${common[@]}" -c 16 -w 0 -d 3 --body "$(body 0 50 0 0)" | sed 's/.*"ok":\([0-9]*\).*/\1/')
  kill -INT $tracer; wait $tracer || true
  awk -v n="$answered" -v name="$name" '$4 ~ /^[0-9]+$/ && $NF != "total" { sum += $4; if ($4 / n > 0.02) list = list sprintf(" %s %.2f", $NF, $4 / n) }
    END { printf "{\"name\":\"%s\",\"mode\":\"syscalls\",\"ok\":%d,\"calls_per_req\":%.2f,\"calls\":\"%s\"}\n", name, n, sum / n, substr(list, 2) }' "$tmp/$name.strace"
}

ticks() { # CPU of the gateway and its children, in hundredths of a second
  local all=0 pid own
  for pid in "$gateway_pid" $(cat /proc/"$gateway_pid"/task/*/children); do
    own=$(awk '{ print $14 + $15 }' "/proc/$pid/stat")
    all=$((all + own))
  done
  echo "$all"
}

h2_load() { # h2_load MODE ARGUMENTS…: one measurement by h2load
  local mode=$1 before after
  shift
  before=$(ticks)
  nice -n "$niceness" taskset -c 1 h2load "$@" -d "$tmp/body" -H "authorization: Bearer $bearer" \
    -H 'content-type: application/json' "https://127.0.0.1:$port/v1/chat/completions" >"$tmp/$name.$mode.h2load" 2>&1
  after=$(ticks)
  awk -v ticks=$((after - before)) -v name="$name" -v mode="$mode" -v hz="$(getconf CLK_TCK)" '
    /^finished in/ { rps = $4 + 0 }
    /^requests:/ { all = $6; bad = $10 + $12 + $14 }
    /^status codes:/ { ok = $3; bad += $5 + $7 + $9 }
    END { printf "{\"name\":\"%s\",\"mode\":\"%s\",\"ok\":%d,\"bad\":%d,\"rps\":%.0f,\"cpu_us_per_req\":%.2f}\n", name, mode, ok, bad, rps, ok ? ticks * 1000000 / hz / ok : 0 }
  ' "$tmp/$name.$mode.h2load"
}

measure_tls() {
  local step
  body 0 50 0 0 | tr -d '\n' >"$tmp/body"
  h2_load warm -D 1 -c 4 -m 16 >/dev/null
  for step in "tls_h1 --h1 -D $secs -c 32" "tls_h2 -D $secs -c 4 -m 16" "tls_new --h1 -n 4000 -c 4000 -r 400"; do
    # shellcheck disable=SC2086  # words of one line
    h2_load $step | record "${step%% *}"
    sleep 0.3
  done
}

step() { # one measurement of the gateway that runs
  case $1 in
    idle) "$load" memory --name "$name" --pid "$gateway_pid" | sed "s/}$/,\"up_ms\":$up_ms}/" ;;
    closed) load closed "${common[@]}" -c 64 -w 1 -d "$secs" --body "$(body 0 50 0 0)" ;;
    rate) load rate "${common[@]}" -c 64 -r "$rate" -w 1 -d "$secs" --body "$(body 0 50 0 0)" ;;
    wait50) load closed "${common[@]}" -c 256 -w 2 -d "$secs" --body "$(body 50 50 0 0)" ;;
    sse) load sse "${common[@]}" -c "$streams" -w 3 -d "$secs" --body "$(body 0 50 20 0 stream)" ;;
    streams2000) load sse "${common[@]}" -c 2000 -w 10 -d 15 --body "$(body 0 50 200 1 stream)" ;;
    conns) load conns "${common[@]}" -c 10000 --body "$(body 0 50 0 0)" ;;
    syscalls) syscalls ;;
  esac
}

# The long steps are the same every time: once is enough. A relay has no memory or calls of interest.
wanted() {
  case $1 in
    conns | streams2000 | syscalls) [ "$round" = 1 ] && { [ "$name" != relay ] || [ "$1" = streams2000 ]; } ;;
    idle) [ "$name" != relay ] ;;
  esac
}

measure() {
  common=(--name "$name" --pid "$gateway_pid" --url "$url" -H "authorization: Bearer $bearer")
  # The same short warm-up for all, so that pools and compilers are ready.
  load closed "${common[@]}" -c 32 -w 0 -d 2 --body "$(body 0 50 0 0)" >/dev/null
  for step in $steps; do
    [ "$step" != tls ] || continue
    wanted "$step" || continue
    step "$step" | record "$step"
    sleep 0.3
  done
}

[ $# -gt 0 ] || set -- tollkeep nginx relay
prepare "$@"
[ ! -w /proc/self/autogroup ] || [ $niceness = 0 ] || echo $niceness >/proc/self/autogroup
for round in $(seq "$rounds"); do
  say "round $round of $rounds"
  gateways=("$@")
  while [ ${#gateways[@]} -gt 0 ]; do
    if [ "${gateways[0]}" = url ]; then
      name=${gateways[1]} url=${gateways[2]} gateway_pid=${gateways[3]} bearer=$key up_ms=0 foreign=1
      gateways=("${gateways[@]:4}")
      measure
    else
      start "${gateways[0]}"
      gateways=("${gateways[@]:1}")
      measure
      stop "$gateway_pid"; wait "$gateway_pid" 2>/dev/null || true
    fi
    gateway_pid=''
  done
  case " $steps " in *" tls "*) ;; *) continue ;; esac
  for gateway in "$@"; do
    case $gateway in nginx | tollkeep) ;; *) continue ;; esac
    certificate
    start "$gateway" tls
    measure_tls
    stop "$gateway_pid"; wait "$gateway_pid" 2>/dev/null || true
    gateway_pid=''
  done
done
"$here/table.py" "$tmp/results.jsonl"
say "every line: $tmp/results.jsonl"
