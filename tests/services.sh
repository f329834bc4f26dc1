#!/usr/bin/env bash
# Runs a command with the services that tests need: PostgreSQL, Redis, Chromium, nginx.
#
#   tests/services.sh COMMAND…
#
# What is missing is installed with apt when run as root; otherwise it says what to install. PostgreSQL and Redis
# listen on free loopback ports, keep their files in a temporary folder and are gone when the command ends. It finds
# them by TEST_POSTGRES_URL, TEST_REDIS_URL, TEST_CHROMIUM and TEST_NGINX.
set -euo pipefail

say() { echo "services: $*" >&2; }
# Debian has it where not every user looks.
nginx_binary() { command -v nginx || echo /usr/sbin/nginx; }
postgres_bin() { find /usr/lib/postgresql -name initdb -printf '%h\n' 2>/dev/null | sort -V | tail -1; }

packages=()
[ -n "$(postgres_bin)" ] || packages+=(postgresql)
command -v redis-server >/dev/null || packages+=(redis-server)
command -v chromium >/dev/null || packages+=(chromium)
command -v python3 >/dev/null || packages+=(python3)
python3 -c 'import ensurepip' 2>/dev/null || packages+=(python3-venv)
command -v curl >/dev/null || packages+=(curl)
command -v jq >/dev/null || packages+=(jq)
command -v logrotate >/dev/null || [ -x /usr/sbin/logrotate ] || packages+=(logrotate)
command -v go >/dev/null || packages+=(golang-go)
command -v openssl >/dev/null || packages+=(openssl)
[ -x "$(nginx_binary)" ] || packages+=(nginx)
if [ ${#packages[@]} -gt 0 ]; then
  if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
    say "the tests need packages that are missing; on Debian: sudo apt-get install ${packages[*]}"
    exit 1
  fi
  say "installing ${packages[*]}"
  export DEBIAN_FRONTEND=noninteractive
  apt-get -qq -o DPkg::Lock::Timeout=600 update
  apt-get -qq -o DPkg::Lock::Timeout=600 install -y --no-install-recommends "${packages[@]}" >/dev/null
fi

tmp=$(mktemp -d "${TMPDIR:-/tmp}/tollkeep-services.XXXXXX")
redis_pid=''
stop() {
  [ -z "$redis_pid" ] || kill "$redis_pid" 2>/dev/null || true
  [ ! -d "$tmp/postgres/data" ] || as_postgres "$bin/pg_ctl" -D "$tmp/postgres/data" -m immediate stop >/dev/null || true
  rm -rf "$tmp"
}
trap stop EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

free_port() { python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'; }

# PostgreSQL refuses to run as root.
as_postgres() {
  if [ "$(id -u)" = 0 ]; then (cd / && runuser -u postgres -- "$@"); else "$@"; fi
}

bin=$(postgres_bin)
chmod 755 "$tmp"
install -d -m 700 "$tmp/postgres"
[ "$(id -u)" != 0 ] || chown postgres "$tmp/postgres"
as_postgres "$bin/initdb" -D "$tmp/postgres/data" -A trust -U postgres -E UTF8 --locale=C --no-sync --no-instructions >/dev/null
port=$(free_port)
as_postgres "$bin/pg_ctl" -D "$tmp/postgres/data" -w -l "$tmp/postgres/log" \
  -o "-p $port -c listen_addresses=127.0.0.1 -c unix_socket_directories=$tmp/postgres -c fsync=off" start >/dev/null
export TEST_POSTGRES_URL=postgres://postgres@127.0.0.1:$port/postgres

port=$(free_port)
redis-server --port "$port" --bind 127.0.0.1 --save '' --appendonly no --dir "$tmp" >"$tmp/redis.log" & redis_pid=$!
export TEST_REDIS_URL=redis://127.0.0.1:$port
for _ in $(seq 100); do redis-cli -p "$port" ping >/dev/null 2>&1 && break; sleep 0.05; done
redis-cli -p "$port" ping >/dev/null || { say "Redis did not start:"; tail -3 "$tmp/redis.log" >&2; exit 1; }

TEST_CHROMIUM=$(command -v chromium)
export TEST_CHROMIUM
TEST_NGINX=$(nginx_binary)
export TEST_NGINX
say "PostgreSQL, Redis, Chromium and nginx are ready"
"$@"
