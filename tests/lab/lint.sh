#!/bin/bash
# Format, lints, and what the dependencies may be. Every check runs; any that fails makes this fail.
set -euo pipefail
tree=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd -P)
cd "$tree"
# shellcheck source=rust.sh
. tests/lab/rust.sh
need_rust

bad=()
check() {
    local name=$1
    shift
    echo "lint: $name"
    "$@" || bad+=("$name")
}

# An advisory that was found is a failure; a database that can't be reached is not, but is told.
advisories() {
    local log
    log=$(mktemp)
    if cargo deny fetch db >"$log" 2>&1; then
        rm -f "$log"
        cargo deny --offline check advisories
    elif grep -q 'failed to fetch advisory database' "$log"; then
        echo "lint: advisories NOT CHECKED: their database can't be reached ($(grep -v '^ *$' "$log" | tail -n 1))"
        rm -f "$log"
    else
        cat "$log" >&2
        rm -f "$log"
        return 1
    fi
}

check format cargo fmt --check
check clippy cargo clippy --locked --all-targets -- -D warnings
cargo deny --version >/dev/null 2>&1 || check "install cargo-deny" cargo install cargo-deny --locked
check "bans, licenses, sources" cargo deny --locked check bans licenses sources
check advisories advisories

((${#bad[@]} == 0)) || missing "lint: $(printf '%s; ' "${bad[@]}")"
echo "lint: all well"
