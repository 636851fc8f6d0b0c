# shellcheck shell=bash
# A lab for the time of one run. Sourced by test.sh, bench.sh and faults.sh in the project's folder.
#
#   KEEP_LAB=1   leaves the lab up
#   LAB_DIR=DIR  another folder

# shellcheck source=rust.sh
. tests/lab/rust.sh
need_rust
export CARGO_TERM_COLOR=never

# Says in $dir where the lab is to be, and has it taken down when the script ends: own_lab NAME
own_lab() {
    dir=${LAB_DIR:-$("$lab" default-dir "$1")}
    unset LAB_DIR
    trap leave EXIT
    trap 'exit 130' INT TERM HUP
}

leave() {
    local code=$?
    if [[ ${KEEP_LAB:-} ]]; then
        echo "the lab stays up: $dir"
    elif [[ -f $dir/.barmanapi-lab ]]; then
        "$lab" down "$dir" || code=1
    fi
    exit "$code"
}
