#!/bin/bash
# Brings the lab up, runs every test against it, prints how many there were, and takes the lab down again.
#
#   LAB_BARMAN=3.9.0   another Barman than the newest
#
# and what own.sh says. The tests find the lab through LAB_ENV, the path of its lab.env. A test that is skipped counts as a failure.
set -euo pipefail
tree=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd -P)
cd "$tree"
# shellcheck source=own.sh
. tests/lab/own.sh
own_lab test

"$lab" packages strace=strace curl=curl openssl=openssl
cargo build --locked
target=$(target_dir)
"$lab" up "$dir" ${LAB_BARMAN:+--barman "$LAB_BARMAN"}
"$lab" install-binary "$dir" "$target/debug/barmanapi"
output=$target/tests.log outcome=0
LAB_ENV=$dir/lab.env cargo test --locked --no-fail-fast 2>&1 | tee "$output" || outcome=$?

# Every "test result: ok. 3 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out" counts.
read -r passed failed ignored filtered < <(sed -n 's/^test result: .*\. \(.*\)/\1/p' "$output" | awk -F'[; ]+' '
    { for (i = 2; i <= NF; i++) sum[$i] += $(i - 1) }
    END { print sum["passed"] + 0, sum["failed"] + 0, sum["ignored"] + 0, sum["filtered"] + 0 }')
echo
echo "tests: $passed passed, $failed failed, $((ignored + filtered)) skipped"
((outcome == 0)) || missing "cargo test ended with exit code $outcome"
((failed == 0)) || missing "$failed tests failed"
((ignored + filtered == 0)) || missing "$((ignored + filtered)) tests were skipped"
((passed > 0)) || missing "no test ran"
