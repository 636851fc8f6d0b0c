# shellcheck shell=bash
# Debian packages: installs what is missing, and leaves none of its services running or enabled.

PYTHON=/usr/bin/python3

# Runs a command as root: directly, or through sudo.
as_root() {
    if [[ $(id -u) == 0 ]]; then
        "$@"
    elif ! command -v sudo >/dev/null; then
        die "packages are missing and can't be installed: you are not root and there is no sudo"
    elif [[ -t 0 ]]; then
        sudo "$@"
    else
        sudo -n "$@"
    fi
}

# The folder of PostgreSQL's server programs, newest version first.
find_postgres() {
    local found
    found=$(find /usr/lib/postgresql -path '*/bin/initdb' 2>/dev/null | sort -rV | head -n 1)
    [[ -n $found ]] || found=$(command -v initdb || true)
    [[ -n $found ]] || return 1
    PG_BIN=$(dirname "$found")
    [[ -x $PG_BIN/pg_basebackup && -x $PG_BIN/postgres ]]
}

install_packages() {
    local missing=()
    find_postgres || missing+=(postgresql)
    "$PYTHON" -c 'import venv, ensurepip' 2>/dev/null || missing+=(python3 python3-venv)
    command -v sshd >/dev/null || missing+=(openssh-server)
    command -v ssh-keygen >/dev/null || missing+=(openssh-client)
    command -v rsync >/dev/null || missing+=(rsync)
    # Barman asks `file` about compressed WAL.
    command -v file >/dev/null || missing+=(file)
    # Login shells that an account on a Barman host may have.
    command -v fish >/dev/null || missing+=(fish)
    command -v tcsh >/dev/null || missing+=(tcsh)
    # The tests set clocks.
    command -v faketime >/dev/null || missing+=(faketime)
    # The tests look at access lists and extended attributes.
    command -v setfacl >/dev/null || missing+=(acl)
    command -v setfattr >/dev/null || missing+=(attr)
    if ((${#missing[@]})); then
        apt_install "${missing[@]}"
    fi
    find_postgres || die "PostgreSQL's server programs (initdb, postgres, pg_basebackup) are still missing"
}

# install_commands COMMAND=PACKAGE[,PACKAGE]...
install_commands() {
    local pair missing=()
    for pair in "$@"; do
        # shellcheck disable=SC2206  # one word for each package
        command -v "${pair%%=*}" >/dev/null || { pair=${pair#*=}; missing+=(${pair//,/ }); }
    done
    ((${#missing[@]} == 0)) || apt_install "${missing[@]}"
}

apt_install() {
    command -v apt-get >/dev/null || die "please install what these Debian packages hold, there is no apt-get to do it: $*"
    say "installing $*"
    local log apt=(env DEBIAN_FRONTEND=noninteractive apt-get -q -o DPkg::Lock::Timeout=300 -o Acquire::Retries=3)
    log=$(mktemp)
    # A list that can't be refreshed may still do.
    as_root "${apt[@]}" update >"$log" 2>&1 || say "apt-get update did not succeed; going on with the lists that are there"
    services_kept_still begin "$@"
    local done_well=yes
    as_root "${apt[@]}" install -y --no-install-recommends "$@" >>"$log" 2>&1 || done_well=no
    services_kept_still end "$@"
    if [[ $done_well == no ]]; then
        tail -n 15 "$log" | sed 's/^/lab:   | /' >&2
        die "apt-get could not install: $*; the whole output is in $log"
    fi
    rm -f "$log"
}

# Debian starts a service when it is installed, makes PostgreSQL a cluster, and enables both at boot. The lab wants the programs alone:
# for the time of the installation policy-rc.d forbids starts and postgresql-common makes no cluster; afterwards services that came with it are disabled.
services_kept_still() {
    local policy=/usr/sbin/policy-rc.d aside=/usr/sbin/policy-rc.d.before-barmanapi-lab
    local no_cluster=/etc/postgresql-common/createcluster.d/barmanapi-lab.conf
    case $1 in
        begin)
            ! command -v psql >/dev/null || postgres_was_there=yes
            ! command -v sshd >/dev/null || sshd_was_there=yes
            as_root sh -c "
                test ! -e $policy || mv $policy $aside
                printf '#!/bin/sh\nexit 101\n' >$policy && chmod 755 $policy
                mkdir -p ${no_cluster%/*} && echo 'create_main_cluster = false' >$no_cluster" \
                || die "can't become root to install packages: ${*:2}"
            ;;
        end)
            as_root sh -c "rm -f $policy $no_cluster; test ! -e $aside || mv $aside $policy"
            if command -v systemctl >/dev/null; then
                [[ ${postgres_was_there:-} ]] || as_root systemctl disable postgresql >/dev/null 2>&1 || true
                [[ ${sshd_was_there:-} ]] || as_root systemctl disable ssh.service ssh.socket >/dev/null 2>&1 || true
            fi
            ;;
    esac
}

# Below the ports that the system gives to connections that go out: one of those could take it before it is listened on.
free_port() {
    "$PYTHON" - <<'PY'
import random, socket
while True:
    port = random.SystemRandom().randrange(20000, 32768)
    with socket.socket() as one:
        try:
            one.bind(("127.0.0.1", port))
        except OSError:
            continue
    print(port)
    break
PY
}

# A password with an @ and a colon, so that what hides it is put to the test. Barman splits connection strings at blanks.
random_password() {
    printf 'p@ss:%s' "$("$PYTHON" -c 'import secrets; print(secrets.token_hex(12))')"
}
