#!/bin/bash
# Sends the same requests to pg-backup-api and to barmanapi, on one Barman, and prints what each answered: equal, or different and why that is meant.
# It fails when an answer differs and nobody said why.
#
#   side-by-side.sh [--binary PATH]
#
#   --binary PATH   takes this program instead of building one
set -euo pipefail
tree=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd -P)
cd "$tree"
# shellcheck source=own.sh
. tests/lab/own.sh

binary=''
while (($#)); do
    case $1 in
        --binary) binary=${2:?--binary needs a path}; shift 2 ;;
        *) missing "unknown argument '$1'" ;;
    esac
done
own_lab side-by-side

served=()
# Leaves the exit status as it finds it, for `leave`.
stop_served() {
    local code=$?
    if ((${#served[@]})); then
        kill "${served[@]}" 2>/dev/null || true
        wait "${served[@]}" 2>/dev/null || true
    fi
    return "$code"
}
trap 'if stop_served; then leave; else leave; fi' EXIT

"$lab" packages git=git python3=python3 rsync=rsync
if [[ -z $binary ]]; then
    cargo build --locked
    binary=$(target_dir)/debug/barmanapi
fi
[[ -x $binary ]] || missing "there is no program $binary"
# What the requests change in a lab would be found by the next ones.
[[ ! -f $dir/.barmanapi-lab ]] || "$lab" down "$dir"
"$lab" up "$dir"
tests/lab/pg-backup-api.sh install "$dir"
program=$("$lab" install-binary "$dir" "$binary")
# shellcheck disable=SC1091
. "$dir/lab.env"

# A model to switch to, a backup to restore, and one that failed.
"$LAB_RUN" tee "$dir/etc/barman.d/model.conf" >/dev/null <<'CONF'
[main:small]
cluster = main
model = true
description = "Main PostgreSQL, by its model"
CONF
"$LAB_RUN" "$BARMAN" -c "$BARMAN_CONF" backup --name weekly --wait main >"$dir/log/backup.log" 2>&1 || { tail -n 5 "$dir/log/backup.log" >&2; exit 1; }
meta=$BARMAN_HOME/main/meta
newest=$("$LAB_RUN" ls "$meta" | tail -n 1)
"$LAB_RUN" sed 's/^status=.*/status=FAILED/; s/^backup_name=.*/backup_name=None/' "$meta/$newest" | "$LAB_RUN" tee "$meta/20200202T000000-backup.info" >/dev/null

free_port() { python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'; }
theirs=$(free_port) ours=$(free_port)
target="ssh -p $SSH_PORT -i $SSH_KEY -o UserKnownHostsFile=$SSH_KNOWN_HOSTS $LAB_USER@$SSH_HOST"
home=$WORK_DIR/side-by-side
"$LAB_RUN" rm -rf "$home"
"$LAB_RUN" mkdir -p "$home/store"
"$LAB_RUN" tee "$home/barmanapi.conf" >/dev/null <<CONF
[user]
config_file = $home/client.conf
[application]
store_directory = $home/store/
host = 127.0.0.1
port = $ours
[barman]
config_file = $BARMAN_CONF
command = $BARMAN
[target:lab]
ssh_command = $target
directories = $RESTORE_DIR
CONF
"$LAB_RUN" tee "$home/client.conf" </dev/null >/dev/null
"$LAB_RUN" chmod 0600 "$home/barmanapi.conf" "$home/client.conf"
python3 -c 'import secrets; print(secrets.token_urlsafe(18))' | "$LAB_RUN" "$program" user add pem --full --password-stdin --config "$home/barmanapi.conf" >/dev/null
token=$("$LAB_RUN" "$program" token pem --config "$home/barmanapi.conf")

tests/lab/pg-backup-api.sh serve "$dir" "$theirs" 2 >"$dir/log/peer.log" 2>&1 &
served+=($!)
"$LAB_RUN" "$program" serve --config "$home/barmanapi.conf" >"$dir/log/barmanapi.log" 2>&1 &
served+=($!)
THEIRS=127.0.0.1:$theirs OURS=127.0.0.1:$ours TOKEN=$token TARGET=$target RESTORE_DIR=$RESTORE_DIR BARMAN_HOME=$BARMAN_HOME LAB_UID=$LAB_UID LAB_GID=$LAB_GID \
    SCHEMA=$dir/peer/source/pg_backup_api/pg_backup_api/spec/pg_backup_api.yaml "$dir/peer/venv/bin/python3" -B tests/lab/side-by-side
