#!/bin/bash
# Breaks things on purpose, for up to 30 minutes, and writes what was lost (nothing) to share/doc/FAULTS.md. See tests/faults/main.rs.
#
#   FAULTS_SEED=NUMBER   repeats a run; every run prints its seed
#
# and what own.sh says. Words after it name the faults to run, by parts of `family::name`; the page is then left as it is.
set -euo pipefail
tree=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd -P)
cd "$tree"
# shellcheck source=own.sh
. tests/lab/own.sh
own_lab faults

"$lab" packages strace=strace
cargo test --locked --release --test faults --no-run
"$lab" up "$dir"
export LAB_ENV=$dir/lab.env FAULTS_LONG=1
(($#)) || export FAULTS_DOC=$tree/share/doc/FAULTS.md
cargo test --locked --release --test faults -- "$@"
