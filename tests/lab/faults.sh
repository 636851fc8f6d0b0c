#!/bin/bash
# Breaks things on purpose, for up to 30 minutes, and writes what was lost (nothing) to share/doc/FAULTS.md. See tests/faults/main.rs.
#
#   FAULTS_SEED=NUMBER   repeats a run; every run prints its seed
#   KEEP_LAB=1           leaves the lab up
#   LAB_DIR=DIR          another folder
#
# Words after it name the faults to run, by parts of `family::name`; the page is then left as it is.
set -euo pipefail
tree=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd -P)
cd "$tree"
# shellcheck source=rust.sh
. tests/lab/rust.sh
need_rust
export CARGO_TERM_COLOR=never

dir=${LAB_DIR:-$("$lab" default-dir faults)}
unset LAB_DIR
leave() {
    local code=$?
    [[ ${KEEP_LAB:-} || ! -f $dir/.barmanapi-lab ]] || "$lab" down "$dir" || code=1
    exit "$code"
}
trap leave EXIT
trap 'exit 130' INT TERM HUP

"$lab" packages strace=strace
cargo test --locked --release --test faults --no-run
"$lab" up "$dir"
export LAB_ENV=$dir/lab.env FAULTS_LONG=1
(($#)) || export FAULTS_DOC=$tree/share/doc/FAULTS.md
cargo test --locked --release --test faults -- "$@"
