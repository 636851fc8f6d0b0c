#!/bin/bash
# Measures barmanapi side by side with what it stands on, in one run, and prints ratios. See tests/bench/main.rs.
set -euo pipefail
tree=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd -P)
cd "$tree"
# shellcheck source=rust.sh
. tests/lab/rust.sh
need_rust
export CARGO_TERM_COLOR=never

dir=${LAB_DIR:-$("$lab" default-dir bench)}
unset LAB_DIR
leave() {
    local code=$?
    [[ ${KEEP_LAB:-} || ! -f $dir/.barmanapi-lab ]] || "$lab" down "$dir" || code=1
    exit "$code"
}
trap leave EXIT
trap 'exit 130' INT TERM HUP

"$lab" packages wrk=wrk
cargo build --locked --release --benches
"$lab" up "$dir"
LAB_ENV=$dir/lab.env cargo bench --locked --bench bench
