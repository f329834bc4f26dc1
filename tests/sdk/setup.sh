#!/bin/sh
# Installs the official client SDKs that the suites drive, and what origins check signatures with,
# into a cache folder:
#
#   tests/sdk/setup.sh CACHE
#
# CACHE/venv gets the Python packages of python/requirements.txt, CACHE/node the Node packages of
# node/package-lock.json. What is already there for the same files is left alone, so a second run
# takes no time. A run that is broken off leaves no stamp and the next one starts over.
set -eu

if [ $# -ne 1 ]; then
    echo "usage: $0 CACHE" >&2
    exit 2
fi
here=$(cd "$(dirname "$0")" && pwd)
mkdir -p "$1"
cache=$(cd "$1" && pwd)

need() {
    if ! command -v "$1" >/dev/null 2>&1; then
        echo "$0: $1 is missing; install $2" >&2
        exit 1
    fi
}
need python3 "Python 3.9 or later with its venv module"
need node "Node.js 20 or later"
need npm "npm"

# state FILE...: what an installation depends on. current STAMP FILE...: whether STAMP is of that.
state() {
    python3 --version
    node --version
    cat "$@"
}
current() {
    stamp=$1
    shift
    [ -f "$stamp" ] && [ "$(cat "$stamp")" = "$(state "$@" | cksum)" ]
}

if ! current "$cache/python.stamp" "$here/python/requirements.txt"; then
    rm -rf "$cache/venv" "$cache/python.stamp"
    python3 -m venv "$cache/venv"
    "$cache/venv/bin/pip" install --quiet --disable-pip-version-check --root-user-action ignore \
        --requirement "$here/python/requirements.txt"
    state "$here/python/requirements.txt" | cksum >"$cache/python.stamp"
fi

if ! current "$cache/node.stamp" "$here/node/package.json" "$here/node/package-lock.json"; then
    rm -rf "$cache/node" "$cache/node.stamp"
    mkdir "$cache/node"
    cp "$here/node/package.json" "$here/node/package-lock.json" "$cache/node/"
    (cd "$cache/node" && npm ci --silent --ignore-scripts --no-audit --no-fund)
    state "$here/node/package.json" "$here/node/package-lock.json" | cksum >"$cache/node.stamp"
fi
