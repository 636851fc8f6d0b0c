#!/bin/bash
# Runs each fuzz target for a while; what one finds is a failure, and lies in tests/fuzz/artifacts. Needs a nightly compiler (rustup).
#
#   FUZZ_SECONDS=60   how long each of them runs
#
# Words after it name the targets to run.
set -euo pipefail
tree=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd -P)
cd "$tree"
# shellcheck source=rust.sh
. tests/lab/rust.sh
need_rust
cargo +nightly --version >/dev/null 2>&1 || missing "there is no nightly compiler; install one: rustup toolchain install nightly"
cargo fuzz --version >/dev/null 2>&1 || cargo install cargo-fuzz --locked

targets=("$@")
((${#targets[@]})) || mapfile -t targets < <(cargo +nightly fuzz list --fuzz-dir tests/fuzz)
declare -A seeds=([help]=tests/fixtures/help [inifile]=tests/fixtures/config)
bad=()
for target in "${targets[@]}"; do
    echo "fuzz: $target"
    mkdir -p "tests/fuzz/corpus/$target"
    cargo +nightly fuzz run --fuzz-dir tests/fuzz "$target" "tests/fuzz/corpus/$target" ${seeds[$target]:+"${seeds[$target]}"} -- \
        -max_total_time="${FUZZ_SECONDS:-60}" -timeout=20 -max_len=16384 -print_final_stats=1 || bad+=("$target")
done
((${#bad[@]} == 0)) || missing "fuzz: found by $(printf '%s; ' "${bad[@]}")"
echo "fuzz: nothing found"
