#!/bin/bash
# Measures barmanapi side by side with what it stands on, in one run, prints ratios, and writes them into share/doc/BENCHMARKS.md. See tests/bench/main.rs.
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
output=$dir/log/bench.txt
LAB_ENV=$dir/lab.env cargo bench --locked --bench bench 2>&1 | tee "$output"

# shellcheck disable=SC1091
. "$dir/lab.env"
page=share/doc/BENCHMARKS.md
cat >"$page.new" <<PAGE
# Measurements

\`make bench\` wrote this page. Everything is measured side by side in one run, both sides taking turns; what counts are the ratios. A goal that was missed says so.

Commit $(git describe --always --dirty), $(date -u +%Y-%m-%d), $(nproc) cores of $(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | head -n 1), $(awk '/MemTotal/ { printf "%.0f", $2 / 1048576 }' /proc/meminfo) GiB of memory, Linux $(uname -r | cut -d- -f1), Barman $BARMAN_VERSION, $("$BARMAN_PYTHON" --version), release build; clients, service, Barman and PostgreSQL on this one machine.

~~~
$(sed -n '/^machine: /,$p' "$output")
~~~
PAGE
mv "$page.new" "$page"
echo "written: $page"
