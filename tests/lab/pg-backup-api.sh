#!/bin/bash
# pg-backup-api as its README says to run it, under gunicorn, on the Barman of a lab. It is for comparisons; it lies in the lab's folder and nowhere else.
#
#   pg-backup-api.sh install DIR                 get it and install it into DIR/peer, with the lab's own Barman
#   pg-backup-api.sh serve DIR PORT [WORKERS]    serve on loopback until the process is ended; by itself it answers whoever asks
#
# PG_BACKUP_API=URL or PATH of a repository   another one than the public one
# PG_BACKUP_API_VERSION=TAG                   another one than release/2.2.0
set -euo pipefail
umask 022
export LC_ALL=C.UTF-8

say() { printf 'pg-backup-api: %s\n' "$*" >&2; }
die() { printf 'pg-backup-api: failed: %s\n' "$*" >&2; exit 1; }

[[ $# -ge 2 ]] || { sed -n '2,8s/^# \{0,1\}//p' "$0" >&2; exit 2; }
verb=$1 dir=$(realpath -m -s -- "$2")
[[ -r $dir/lab.env ]] || die "'$dir' is no lab that is up; run lab.sh up '$dir'"
# shellcheck disable=SC1091
. "$dir/lab.env"
peer=$dir/peer

install() {
    local source=${PG_BACKUP_API:-https://github.com/EnterpriseDB/pg-backup-api} tag=${PG_BACKUP_API_VERSION:-release/2.2.0} log=$dir/log/pg-backup-api.log
    if [[ -f $peer/installed && $(cat "$peer/installed") == "$source $tag" ]]; then
        return
    fi
    rm -rf "$peer"
    mkdir "$peer"
    say "$tag from $source"
    git -c advice.detachedHead=false clone -q --depth 1 --branch "$tag" -- "$source" "$peer/source" >"$log" 2>&1 \
        || { tail -n 5 "$log" >&2; die "$source does not give $tag"; }
    "$PYTHON" -m venv "$peer/venv" >>"$log" 2>&1 || { tail -n 5 "$log" >&2; die "no virtual environment"; }
    # The very Barman of the lab, and not a second one.
    "$BARMAN_PYTHON" -c 'import sysconfig; print(sysconfig.get_paths()["purelib"])' \
        >"$("$peer/venv/bin/python3" -c 'import sysconfig; print(sysconfig.get_paths()["purelib"])')/barman-of-the-lab.pth"
    # Barman stands in what it asks for; it is there already.
    "$peer/venv/bin/python3" -m pip install --disable-pip-version-check --no-input -q 'Flask>=1.1.4,<3.0.0' 'requests>=2.0.0,<3.0.0' gunicorn setuptools \
        jsonschema PyYAML >>"$log" 2>&1 || { tail -n 10 "$log" >&2; die "pip could not install what it needs; see $log"; }
    (cd "$peer/source/pg_backup_api" && "$peer/venv/bin/python3" -m pip install --disable-pip-version-check --no-input -q --no-deps --no-build-isolation .) \
        >>"$log" 2>&1 || { tail -n 10 "$log" >&2; die "pip could not install it; see $log"; }
    # It starts `barman` by that name and without `-c`; its log has one place.
    mkdir "$peer/bin"
    cat >"$peer/bin/barman" <<SH
#!/bin/sh
exec '$BARMAN' -c '$BARMAN_CONF' "\$@"
SH
    chmod 0755 "$peer/bin/barman"
    cat >"$peer/lab_application.py" <<'PY'
import os
import pg_backup_api.utils

pg_backup_api.utils.LOG_FILENAME = os.environ["LAB_LOG"]
from pg_backup_api.app import application  # noqa: E402,F401
PY
    echo "$source $tag" >"$peer/installed"
}

serve() {
    local port=$1 workers=${2:-2}
    [[ $port =~ ^[0-9]+$ && $workers =~ ^[0-9]+$ ]] || die "a port and a number of workers are numbers"
    [[ -f $peer/installed ]] || die "it is not installed in $dir"
    exec "$LAB_RUN" env PATH="$peer/bin:$peer/venv/bin:/usr/local/bin:/usr/bin:/bin" PG_BACKUP_API_BARMAN_CONF="$BARMAN_CONF" \
        LAB_LOG="$WORK_DIR/pg-backup-api.log" "$peer/venv/bin/gunicorn" --chdir "$peer" --workers "$workers" --timeout 60 \
        --bind "127.0.0.1:$port" --log-level warning lab_application:application
}

case $verb in
    install) install ;;
    serve) [[ $# -ge 3 ]] || die "serve needs a port"; serve "$3" "${4:-}" ;;
    *) die "unknown command '$verb'" ;;
esac
