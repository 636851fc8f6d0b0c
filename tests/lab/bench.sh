#!/bin/bash
# Measures barmanapi side by side with what it stands on, in one run, and prints ratios. See tests/bench/main.rs.
set -euo pipefail
tree=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd -P)
cd "$tree"
# shellcheck source=own.sh
. tests/lab/own.sh
own_lab bench

"$lab" packages wrk=wrk git=git
cargo build --locked --release --bench bench
"$lab" up "$dir"
tests/lab/pg-backup-api.sh install "$dir" || echo 'what is measured against pg-backup-api is left out'
LAB_ENV=$dir/lab.env cargo bench --locked --bench bench
