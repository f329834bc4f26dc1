#!/usr/bin/env bash
# Builds the binary to ship: a release build laid out by a profile of the gateway's main jobs.
#
#   deploy/dist.sh          leaves it in target/dist/tollkeep
#
# Built once with counters, run under the benchmark's load, and built again with what they counted: some
# 7 % less CPU per request than the plain release build (docs/performance.md). It needs llvm-profdata of rustc's LLVM: Debian's
# llvm-NN, or rustup's component llvm-tools.
set -euo pipefail

here=$(cd "$(dirname "$0")/.." && pwd)
target=${CARGO_TARGET_DIR:-$here/target}
host=$(rustc -vV | sed -n 's/^host: //p')
llvm=$(rustc -vV | sed -n 's/^LLVM version: \([0-9]*\).*/\1/p')
say() { echo "dist: $*" >&2; }

profdata=$(command -v "llvm-profdata-$llvm" || true)
[ -n "$profdata" ] || profdata=$(find "$(rustc --print sysroot)/lib/rustlib/$host/bin" -name llvm-profdata 2>/dev/null | head -1)
[ -n "$profdata" ] || {
  say "please install llvm-profdata of LLVM $llvm: sudo apt-get install llvm-$llvm, or rustup component add llvm-tools"
  exit 1
}

# With --target the flags reach the program alone, not what runs while it is built.
build() { # build FLAGS FOLDER
  (cd "$here" && RUSTFLAGS="${RUSTFLAGS:-} $1" cargo build --release --locked --quiet -p tollkeep --target "$host" --target-dir "$2")
}

counted=$target/dist-counted
rm -rf "$counted/counts"
say "building with counters"
build "-Cprofile-generate=$counted/counts" "$counted"
say "counting under load"
TOLLKEEP=$counted/$host/release/tollkeep ROUNDS=1 SECS=${SECS:-5} STEPS="closed sse tls" "$here/bench/run.sh" tollkeep >&2
"$profdata" merge -o "$counted/merged" "$counted"/counts/*.profraw
say "building"
build "-Cprofile-use=$counted/merged" "$target/dist-build"
install -D "$target/dist-build/$host/release/tollkeep" "$target/dist/tollkeep"
say "$target/dist/tollkeep"
