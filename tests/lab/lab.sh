#!/bin/bash
# shellcheck disable=SC2034  # what stands in lab.env is read by others
# The lab: a real PostgreSQL, a real Barman and a real sshd in one folder, for the demo and the integration tests.
#
#   lab.sh up [DIR] [--barman VERSION]    bring it up; returns at once when it is up and well
#   lab.sh down DIR                       stop everything and remove DIR
#   lab.sh status DIR                     say what runs; exit 0 when all does
#   lab.sh run DIR COMMAND...             run a command as the lab's account, with a clean environment
#   lab.sh install-binary DIR PATH        copy a program to DIR/bin, where the lab's account can read it
#   lab.sh packages COMMAND=PACKAGE...    install the packages whose command is missing
#   lab.sh default-dir [NAME]             the folder that `up` takes when none is given
#
# PostgreSQL, Barman and sshd run as an account without rights: the caller, or one made for the lab when the caller is root.
# What one needs to know to use it is written to DIR/lab.env.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd -P)
tree=$(cd "$here/../.." && pwd -P)
PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin
umask 022
export LC_ALL=C.UTF-8

step=start
say() { printf 'lab: %s\n' "$*" >&2; }
die() { printf 'lab: failed: %s\n' "$*" >&2; exit 1; }

# Runs a command with its output in a log; what it said last is shown when it fails.
quietly() {
    step=$1; shift
    local log=$dir/log/${step// /-}.log
    if ! "$@" </dev/null >"$log" 2>&1; then
        tail -n 15 "$log" | sed 's/^/lab:   | /' >&2
        die "$step: '$1' did not succeed; the whole output is in $log"
    fi
}

# shellcheck source=packages.sh
. "$here/packages.sh"
# shellcheck source=account.sh
. "$here/account.sh"
# shellcheck source=postgres.sh
. "$here/postgres.sh"
# shellcheck source=barman.sh
. "$here/barman.sh"
# shellcheck source=sshd.sh
. "$here/sshd.sh"
# shellcheck source=patroni.sh
. "$here/patroni.sh"

default_dir() {
    # One per clone, so that two of them can be tested at once. Not inside the clone: the account must be able to reach it.
    printf '/var/tmp/barmanapi-%s-%s-%s\n' "${1:-lab}" "$(id -u)" "$(printf '%s' "$tree" | cksum | cut -d' ' -f1)"
}

# Takes a folder's name only when it can stand unquoted in every configuration file and carry a socket.
set_dir() {
    [[ -n ${1:-} ]] || die "a folder must be named"
    dir=$(realpath -m -s -- "$1")
    [[ $dir =~ ^/[A-Za-z0-9._/+-]+$ && $dir == /*/* ]] \
        || die "'$dir' can't hold a lab: take a folder below the top whose path has only letters, digits and . _ + - /"
    ((${#dir} <= 80)) || die "'$dir' is too long for a PostgreSQL socket: at most 80 characters"
    marker=$dir/.barmanapi-lab
    [[ ! -L $dir ]] || die "'$dir' is a symbolic link; name the folder itself"
}

need_lab() {
    set_dir "${1:-}"
    [[ -f $marker && -O $marker ]] || die "'$dir' is not a lab of yours (it has no file .barmanapi-lab)"
}

load_env() {
    [[ -r $dir/lab.env ]] || die "the lab in $dir is only half built; run '$0 up $dir'"
    # shellcheck disable=SC1091
    . "$dir/lab.env"
}

# Two at once would build over each other; the descriptor is closed in everything that runs on.
take_turn() { exec 9<"$dir"; flock 9; }

recipe() {
    { sed -n '1,$p' "$here"/{lab,packages,account,postgres,barman,sshd,patroni}.sh; echo "$tree"; } | cksum | cut -d' ' -f1
}

is_well() {
    [[ -r $dir/lab.env && $(cat "$marker" 2>/dev/null) == "$(recipe)" ]] || return 1
    load_env
    [[ -z $wanted || $wanted == "$BARMAN_VERSION" ]] || return 1
    getent passwd "$LAB_USER" >/dev/null || return 1
    postgres_answers && sshd_answers && wal_streams
}

write_env() {
    local file=$dir/lab.env.new name
    {
        echo "# The lab in $dir. Every value is in single quotes and holds none."
        for name in LAB_DIR LAB_USER LAB_UID LAB_GID LAB_HOME LAB_RUN BIN_DIR STAND_IN HELP_DIR RESTORE_DIR WORK_DIR \
            PYTHON BARMAN BARMAN_PYTHON BARMAN_VERSION BARMAN_CONF BARMAN_HOME OTHER_PASSWORD OTHER_STREAMING_PASSWORD \
            PG_BIN PG_VERSION PG_DATA PGHOST PGPORT PGUSER PGDATABASE LAB_TABLE LAB_ROWS SSH_HOST SSH_PORT SSH_KEY SSH_KNOWN_HOSTS \
            PATRONI_BARMAN; do
            printf "%s='%s'\n" "$name" "${!name}"
        done
    } >"$file"
    chmod 0640 "$file"
    [[ $(id -u) != 0 ]] || chgrp "$LAB_GID" "$file"
    mv "$file" "$dir/lab.env"
}

up() {
    local started=$SECONDS
    dir=''
    wanted=''
    while (($#)); do
        case $1 in
            --barman) wanted=${2:?--barman needs a version}; shift 2 ;;
            --barman=*) wanted=${1#*=}; shift ;;
            -*) die "unknown option '$1'" ;;
            *) [[ -z $dir ]] || die "one folder at a time, not '$dir' and '$1'"; dir=$1; shift ;;
        esac
    done
    [[ $wanted =~ ^([0-9]+(\.[0-9a-z]+)*)?$ ]] || die "'$wanted' is not a Barman version"
    set_dir "${dir:-$(default_dir)}"
    if [[ -e $dir && ! -f $marker ]] && { [[ ! -d $dir ]] || [[ -n $(ls -A "$dir") ]]; }; then
        die "'$dir' exists and is not a lab; name another folder, or an empty one"
    fi
    mkdir -p "$dir"
    [[ -O $dir ]] || die "'$dir' belongs to $(stat -c %U "$dir"), not to you"
    chmod 0755 "$dir"
    take_turn
    if is_well; then
        refresh_stand_in
        get_patroni
        say "up and well: $dir (Barman $BARMAN_VERSION, PostgreSQL $PG_VERSION on port $PGPORT, sshd on port $SSH_PORT)"
        return
    fi
    if [[ -f $marker ]]; then
        say "what is in $dir is not whole or not what is wanted: building it anew"
        stop_all
        find "$dir" -mindepth 1 -delete
    fi
    echo building >"$marker"
    mkdir "$dir/log" "$dir/bin"
    trap 'failed $?' EXIT
    trap 'exit 130' INT TERM HUP

    say "packages"
    install_packages
    set_account
    mkdir_of_account home restore run etc work
    check_account
    RESTORE_DIR=$dir/restore WORK_DIR=$dir/work BIN_DIR=$dir/bin
    PATRONI_BARMAN=$dir/patroni/bin/patroni_barman
    # Beside the rest, which waits for other things.
    get_patroni 9<&- &
    fetching=$!
    build_postgres
    build_sshd
    build_barman
    refresh_stand_in
    wait "$fetching"
    write_env
    recipe >"$marker"
    trap - EXIT INT TERM HUP
    say "up after $((SECONDS - started)) s: $dir (Barman $BARMAN_VERSION, PostgreSQL $PG_VERSION on port $PGPORT, sshd on port $SSH_PORT)"
}

# A lab that could not be built whole leaves its logs and nothing that runs.
failed() {
    [[ $1 == 1 ]] || say "failed: the step \"$step\" ended with exit code $1"
    [[ -z ${fetching:-} ]] || wait "$fetching" || true
    stop_all
}

refresh_stand_in() {
    STAND_IN=$dir/stand-in/barman
    mkdir -p "$dir/stand-in"
    install -m 0755 "$here/stand-in" "$STAND_IN.new"
    mv "$STAND_IN.new" "$STAND_IN"
}

# Stops what belongs to the lab in $dir, in the order in which it hurts least, and what is left with force.
stop_all() {
    [[ ! -r $dir/lab.env ]] || load_env
    know_account
    stop_postgres
    stop_sshd
    stop_the_rest
}

down() {
    need_lab "${1:-}"
    take_turn
    stop_all
    remove_account
    find "$dir" -mindepth 1 -delete
    rmdir "$dir"
    say "down, and $dir is removed"
}

status() {
    need_lab "${1:-}"
    load_env
    local bad=0
    if postgres_answers; then say "PostgreSQL $PG_VERSION answers on port $PGPORT"; else say "PostgreSQL is down"; bad=1; fi
    if sshd_answers; then say "sshd answers on port $SSH_PORT"; else say "sshd is down"; bad=1; fi
    local server
    for server in main other; do
        if as_lab "$BARMAN" -c "$BARMAN_CONF" check "$server" >/dev/null 2>&1; then
            say "barman check $server: all OK"
        else
            say "barman check $server: failed"; bad=1
        fi
    done
    return $bad
}

install_binary() {
    need_lab "${1:-}"
    [[ -f ${2:-} ]] || die "there is no program '${2:-}' to install"
    local target
    target=$dir/bin/$(basename "$2")
    install -m 0755 "$2" "$target.new"
    mv "$target.new" "$target"
    printf '%s\n' "$target"
}

command=${1:-}
(($# == 0)) || shift
case $command in
    up) up "$@" ;;
    down) down "$@" ;;
    status) status "$@" ;;
    run)
        need_lab "${1:-}"
        shift
        (($#)) || die "no command to run"
        exec "$dir/as-lab" "$@" ;;
    install-binary) install_binary "$@" ;;
    packages) install_commands "$@" ;;
    default-dir) default_dir "$@" ;;
    *) sed -n '3,/^set/s/^# \{0,1\}//p' "${BASH_SOURCE[0]}" >&2; exit 2 ;;
esac
