# shellcheck shell=bash
# Barman: from PyPI, with two servers. `main` takes backups by pg_basebackup and gets its WAL by archive_command; `other` takes them by a
# local rsync and gets its WAL by streaming, through a slot, with passwords in its connection strings.

build_barman() {
    step=Barman
    say "Barman from PyPI (${wanted:-the newest})"
    BARMAN=$dir/venv/bin/barman BARMAN_PYTHON=$dir/venv/bin/python3
    # By the caller, whose pip configuration and proxies count; the account only reads it.
    quietly "virtual environment" "$PYTHON" -m venv "$dir/venv"
    pip_install --no-deps "barman${wanted:+==$wanted}"
    # Barman asks for psycopg2, which needs a compiler; psycopg2-binary is the same, built.
    local needs
    mapfile -t needs < <("$BARMAN_PYTHON" - <<'PY'
import re, sys
from importlib.metadata import requires
for need in requires("barman") or []:
    if "extra ==" not in need:
        need = re.sub(r"^psycopg2(?![\w-])", "psycopg2-binary", need.replace("(", "").replace(")", ""))
        # Barman up to 2.15 names no upper bound and breaks with a later argh.
        print("argh<0.28" if need.startswith("argh") else need)
if sys.version_info >= (3, 12):
    # Barman up to 3.18 imports distutils, which Python no longer has.
    print("setuptools<81")
PY
    )
    pip_install "${needs[@]}"
    BARMAN_VERSION=$(as_lab "$BARMAN" --version 2>&1 | grep -oE '[0-9]+(\.[0-9]+)+' | head -n 1) \
        || die "the Barman from PyPI does not start: $(as_lab "$BARMAN" --version 2>&1 | tail -n 1)"
    configure_barman
    record_help
    first_wal
}

pip_install() {
    local try
    for try in 1 2 3; do
        if "$BARMAN_PYTHON" -m pip install --disable-pip-version-check --no-input -q "$@" </dev/null >"$dir/log/pip.log" 2>&1; then
            return
        fi
        # A version that PyPI does not have is not there at the third attempt either.
        ! grep -q 'from versions: .*[0-9]' "$dir/log/pip.log" || break
        say "pip did not succeed (attempt $try of 3)"
        sleep 3
    done
    tail -n 10 "$dir/log/pip.log" | sed 's/^/lab:   | /' >&2
    die "pip could not install $*; the whole output is in $dir/log/pip.log"
}

configure_barman() {
    mkdir_of_account etc/barman.d
    BARMAN_HOME=$dir/barman BARMAN_CONF=$dir/etc/barman.conf
    # Barman 3 and later copy from a cluster on the same machine; before, only through SSH.
    local method=local-rsync
    [[ ${BARMAN_VERSION%%.*} -ge 3 ]] || method=postgres
    as_lab tee "$BARMAN_CONF" >/dev/null <<CONF
; Barman of the lab
[barman]
barman_user = $LAB_USER
configuration_files_directory = $dir/etc/barman.d
barman_home = $BARMAN_HOME
log_file = $dir/barman/barman.log
log_level = INFO
; PostgreSQL's programs, the newest of this machine
path_prefix = $PG_BIN
immediate_checkpoint = true
CONF
    as_lab tee "$dir/etc/barman.d/main.conf" >/dev/null <<CONF
; Backups by pg_basebackup, WAL by archive_command
[main]
description = "Main PostgreSQL of the lab"
conninfo = host=$PGHOST port=$PGPORT user=barman dbname=$PGDATABASE
streaming_conninfo = host=$PGHOST port=$PGPORT user=streaming dbname=$PGDATABASE
backup_method = postgres
archiver = on
CONF
    as_lab tee "$dir/etc/barman.d/other.conf" >/dev/null <<CONF
; Backups by rsync, WAL by streaming; over TCP, with passwords
[other]
description = "Other PostgreSQL of the lab"
conninfo = host=127.0.0.1 port=$PGPORT user=barman dbname=$PGDATABASE password=$OTHER_PASSWORD
streaming_conninfo = host=127.0.0.1 port=$PGPORT user=streaming dbname=$PGDATABASE password=$OTHER_STREAMING_PASSWORD
backup_method = $method
backup_options = concurrent_backup
archiver = off
streaming_archiver = on
slot_name = barman_other
create_slot = manual
CONF
    as_lab chmod 0640 "$BARMAN_CONF" "$dir/etc/barman.d/main.conf"
    as_lab chmod 0600 "$dir/etc/barman.d/other.conf"
}

barman_as_lab() { as_lab "$BARMAN" -c "$BARMAN_CONF" "$@"; }

# What `barman --help` and `barman COMMAND --help` say, one file each, unwrapped: the texts of the stand-in.
record_help() {
    step="Barman's help"
    say "Barman $BARMAN_VERSION, its help texts"
    HELP_DIR=$dir/help
    mkdir_of_account help
    as_lab "$BARMAN_PYTHON" - "$BARMAN" "$HELP_DIR" <<'PY' || die "Barman's help texts could not be recorded"
import os, re, subprocess, sys
from concurrent.futures import ThreadPoolExecutor
barman, folder = sys.argv[1:]
env = dict(os.environ, COLUMNS="10000", LC_ALL="C.UTF-8", NO_COLOR="1", TERM="dumb")
def record(name, *arguments):
    text = subprocess.run([barman, *arguments], env=env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, check=True).stdout
    with open(os.path.join(folder, name + ".txt"), "wb") as file:
        file.write(text)
    return text.decode()
record("_version", "--version")
names = re.search(r"\{([a-z][a-z-]*(?:,[a-z-]+){8,})\}", record("_help", "--help")).group(1).split(",")
with ThreadPoolExecutor(os.cpu_count()) as pool:
    list(pool.map(lambda name: record(name, name, "--help"), names))
PY
}

# WAL has to come in before `barman check` is content: it waits ten seconds for a server that has none.
first_wal() {
    say "WAL archiving of main and other"
    quietly "replication slot" barman_as_lab receive-wal --create-slot other
    quietly "barman cron" barman_as_lab cron
    local try server
    for try in {1..50}; do
        ! wal_streams || break
        sleep 0.2
    done
    ((try < 50)) || die "barman receive-wal does not stream from the cluster; see $dir/barman/barman.log"
    quietly "first WAL of main" barman_as_lab switch-wal --force --archive --archive-timeout 60 main
    # Barman leaves the newest streamed segment alone until the next one begins, which an idle cluster takes a while to do.
    quietly "row after the first WAL" psql_as_lab -c "SELECT pg_logical_emit_message(true, 'lab', 'up')"
    for try in {1..60}; do
        quietly "first WAL of other" barman_as_lab archive-wal other
        [[ -z $(as_lab find "$BARMAN_HOME/other/wals" -type f -name "0000*") ]] || break
        sleep 0.5
    done
    for server in main other; do
        quietly "barman check $server" barman_as_lab check "$server"
    done
}

# True when receive-wal holds its slot; one that has died is started again by `barman cron`.
wal_streams() {
    [[ $(psql_as_lab -At -c "SELECT active FROM pg_replication_slots WHERE slot_name = 'barman_other'" 2>/dev/null) == t ]] && return
    barman_as_lab cron >/dev/null 2>&1 || true
    sleep 1
    [[ $(psql_as_lab -At -c "SELECT active FROM pg_replication_slots WHERE slot_name = 'barman_other'" 2>/dev/null) == t ]]
}
