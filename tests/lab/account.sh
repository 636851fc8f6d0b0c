# shellcheck shell=bash
# The account that everything in the lab runs as, and the processes that belong to it.

set_account() {
    step="the account"
    LAB_HOME=$dir/home
    if [[ $(id -u) == 0 ]]; then
        LAB_USER=''
        make_account
        say "account $LAB_USER"
    else
        LAB_USER=$(id -un)
    fi
    LAB_UID=$(id -u "$LAB_USER")
    LAB_GID=$(id -g "$LAB_USER")
    LAB_DIR=$dir
    LAB_RUN=$dir/as-lab
    {
        echo '#!/bin/sh'
        echo "# Runs a command as $LAB_USER with a clean environment; \`env NAME=VALUE COMMAND\` adds to it."
        echo "cd '$LAB_HOME' || exit 126"
        echo 'umask 022'
        if [[ $(id -u) == 0 ]]; then
            echo "[ \"\$(/usr/bin/id -u)\" = $LAB_UID ] || exec /usr/bin/setpriv --reuid=$LAB_UID --regid=$LAB_GID --init-groups \"\$0\" \"\$@\""
        fi
        echo "exec /usr/bin/env -i HOME='$LAB_HOME' USER='$LAB_USER' LOGNAME='$LAB_USER' SHELL=/bin/bash LANG=C.UTF-8 \\"
        echo "    PATH=/usr/local/bin:/usr/bin:/bin \"\$@\""
    } >"$LAB_RUN"
    chmod 0755 "$LAB_RUN"
    # Checked early: the folders above may be closed to the account.
    if [[ $(id -u) == 0 ]]; then
        setpriv --reuid="$LAB_UID" --regid="$LAB_GID" --init-groups test -x "$LAB_RUN" \
            || die "the account $LAB_USER can't reach $dir; take a folder that all may enter, such as $(default_dir)"
    fi
}

# Takes barmanlab, or the next free name when another lab on this machine has that one. One lab chooses at a time.
make_account() {
    local lock
    exec {lock}>/run/lock/barmanapi-lab
    flock "$lock"
    choose_account
    exec {lock}>&-
}

choose_account() {
    local number name home
    for number in '' 2 3 4 5 6 7 8 9; do
        name=barmanlab$number
        if ! getent passwd "$name" >/dev/null; then
            # '*' instead of a password: no login by password, yet not locked, which sshd would refuse.
            quietly "the account" useradd --system --user-group --no-create-home --home-dir "$LAB_HOME" --shell /bin/bash \
                --comment "barmanapi lab" --password '*' "$name"
            LAB_USER=$name
            return
        fi
        home=$(getent passwd "$name" | cut -d: -f6)
        if [[ $home == "$LAB_HOME" ]]; then
            LAB_USER=$name
            return
        fi
        # One that was left over when its folder was removed by hand.
        if [[ ! -e ${home%/home} && $(getent passwd "$name" | cut -d: -f5) == "barmanapi lab" ]] \
            && usermod --home "$LAB_HOME" "$name" 2>/dev/null; then
            LAB_USER=$name
            return
        fi
    done
    die "nine labs run on this machine already; take one down with '$0 down DIR'"
}

# The account of the lab in $dir, also of one that was never finished.
know_account() {
    [[ -z ${LAB_UID:-} ]] || return 0
    if [[ $(id -u) == 0 ]]; then
        IFS=: read -r LAB_USER _ LAB_UID _ < <(getent passwd | grep ":barmanapi lab:$dir/home:") || true
    else
        LAB_USER=$(id -un) LAB_UID=$(id -u)
    fi
}

# Only an account that was made for this lab.
remove_account() {
    [[ $(id -u) == 0 ]] || return 0
    local name
    name=$(getent passwd | grep ":barmanapi lab:$dir/home:" | cut -d: -f1) || return 0
    # Control sockets of ssh: a path to one inside the lab could be too long.
    find /tmp -maxdepth 1 -name "barmanapi-$LAB_UID-*" -user "$LAB_UID" -exec rm -rf {} +
    userdel "$name" >/dev/null 2>&1 || say "the account $name could not be removed"
}

# Barman's rsync backups take a semaphore in /dev/shm, and fail without a word about it.
check_account() {
    as_lab test -w /dev/shm || die "$LAB_USER can't write to /dev/shm: 'mount -t tmpfs -o mode=1777 tmpfs /dev/shm'"
}

as_lab() { "$dir/as-lab" "$@" 9<&-; }

mkdir_of_account() {
    local name
    for name in "$@"; do
        mkdir "$dir/$name"
        chmod 0750 "$dir/$name"
        [[ $(id -u) != 0 ]] || chown "$LAB_UID:$LAB_GID" "$dir/$name"
    done
}

# Ends what still runs out of this folder: the processes of the lab's account whose program, script, data or working folder are in it,
# and their children. The number of the account alone says too little: a container may have the same one for another lab.
stop_the_rest() {
    [[ -n ${LAB_UID:-} ]] || return 0
    local round left
    for round in TERM TERM KILL KILL; do
        left=$(processes_left)
        [[ -n $left ]] || return 0
        # shellcheck disable=SC2086
        kill -"$round" $left 2>/dev/null || true
        for _ in 1 2 3 4 5 6 7 8 9 10; do
            [[ -n $(processes_left) ]] || return 0
            sleep 0.1
        done
    done
    say "these processes of the lab could not be ended: $(processes_left | tr '\n' ' ')"
}

processes_left() {
    local own=no
    [[ $(id -u) != 0 || $LAB_UID == 0 ]] || own=yes
    "$PYTHON" - "$dir" "$LAB_UID" "$own" <<'PY'
import os, sys
folder, uid, own = sys.argv[1] + "/", int(sys.argv[2]), sys.argv[3] == "yes"
here = os.stat("/")

def read(pid, name):
    with open(f"/proc/{pid}/{name}", "rb") as file:
        return file.read().decode(errors="replace")

def parent(pid):
    return int(read(pid, "stat").rpartition(")")[2].split()[1])

# True for a living process of the account that sees the same root as we do.
def of_account(pid):
    root = os.stat(f"/proc/{pid}/root/")
    return (os.stat(f"/proc/{pid}").st_uid == uid and read(pid, "stat").rpartition(")")[2].split()[0] != "Z"
            and (root.st_dev, root.st_ino) == (here.st_dev, here.st_ino))

def names_folder(pid):
    program = os.readlink(f"/proc/{pid}/exe")
    words = read(pid, "cmdline").split("\0")
    name = os.path.basename(program)
    if own:
        # Nobody works by hand as this account: a word or the working folder is enough, and a session of sshd has neither.
        return name == "sshd" or any(folder in word for word in [program, os.readlink(f"/proc/{pid}/cwd") + "/", *words])
    if name == "postgres" or name.startswith("pg_") or name in ("rsync", "sshd"):
        return any(folder in word for word in words)
    if name.startswith("python3"):
        return any(word.startswith(folder) for word in words[:3])
    return program.startswith(folder)

# Whoever asks for the end, and the shells above, are spared.
spared, pid = set(), os.getpid()
while pid > 1:
    spared.add(pid)
    pid = parent(pid)
parents, found = {}, set()
for entry in os.listdir("/proc"):
    try:
        if entry.isdigit() and int(entry) not in spared and of_account(entry):
            parents[int(entry)] = parent(entry)
            if names_folder(entry):
                found.add(int(entry))
    except OSError:
        pass
while grown := {pid for pid, above in parents.items() if above in found and pid not in found}:
    found |= grown
print(*sorted(found), sep="\n")
PY
}
