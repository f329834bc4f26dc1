#!/usr/bin/env bash
# Fuzzes each target for a while, from the seeds in fuzz/corpus.
#
#   fuzz/run.sh SECONDS [TARGET…]
#
# With libFuzzer where cargo-fuzz is installed (`cargo install cargo-fuzz`; stable Rust will do, as no sanitizer is
# used: the workspace forbids unsafe code), else with the mutations of fuzz/targets/tests, which learn nothing from
# one input to the next. Overflow checks are on in both. An input that fails is printed; libFuzzer leaves it in
# fuzz/artifacts too. Once fixed it goes into fuzz/corpus/TARGET under the name of what it showed.
set -euo pipefail
cd "$(dirname "$0")/.."

seconds=${1:?usage: fuzz/run.sh SECONDS [TARGET…]}
shift
[ $# -gt 0 ] || set -- $(cd fuzz/corpus && ls)

if cargo fuzz --version >/dev/null 2>&1; then
  for target in "$@"; do
    echo "== $target: libFuzzer, $seconds s"
    found=fuzz/target/corpus/$target
    mkdir -p "$found"
    cargo fuzz run --sanitizer none "$target" "$found" "fuzz/corpus/$target" -- \
      -max_total_time="$seconds" -timeout=10 -max_len=16384 -print_final_stats=1
  done
else
  export FUZZ_SECONDS=$seconds CARGO_PROFILE_RELEASE_LTO=off CARGO_PROFILE_RELEASE_CODEGEN_UNITS=16
  export CARGO_PROFILE_RELEASE_DEBUG_ASSERTIONS=true CARGO_PROFILE_RELEASE_OVERFLOW_CHECKS=true
  # A folder of its own: other settings would make cargo build the real release anew.
  export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-target}/fuzz
  cargo test --release --locked -p tollkeep-fuzz-targets --test fuzz --no-run
  for target in "$@"; do
    echo "== $target: mutations, $seconds s"
    cargo test --release --locked --quiet -p tollkeep-fuzz-targets --test fuzz -- \
      --ignored --exact --nocapture "long_form::$target"
  done
fi
