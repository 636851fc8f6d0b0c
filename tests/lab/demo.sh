#!/bin/bash
# Shows barmanapi at work: a token, the servers, a backup of a real PostgreSQL by a real Barman, its ticket, its result.
#
#   demo.sh                     builds, starts everything, shows it, and leaves the server up
#   demo.sh --stop              stops the server and its lab and removes both
#   demo.sh --transcript FILE   runs in a lab of its own and writes what was shown between the markers of FILE
#   demo.sh --check FILE        runs in a lab of its own and compares with FILE all but times, ids, ports, paths and sizes
#
#   --binary PATH   takes this program instead of building one
#   --dir DIR       another folder for the lab
#   --remote        Barman is reached over SSH, as on another host (also: REMOTE=1)
set -euo pipefail
tree=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd -P)
cd "$tree"
# shellcheck source=rust.sh
. tests/lab/rust.sh

mode=show file='' binary='' dir='' remote=${REMOTE:-}
while (($#)); do
    case $1 in
        --stop) mode=stop; shift ;;
        --transcript | --check) mode=${1#--} file=${2:?"$1 needs a file"}; shift 2 ;;
        --binary) binary=${2:?--binary needs a path}; shift 2 ;;
        --dir) dir=${2:?--dir needs a folder}; shift 2 ;;
        --remote) remote=1; shift ;;
        *) missing "unknown argument '$1'" ;;
    esac
done
case $mode in
    show | stop) dir=${dir:-$("$lab" default-dir demo)} ;;
    # The name that the reader of the transcript sees.
    transcript) dir=${dir:-/var/tmp/barmanapi-demo} ;;
    check) dir=${dir:-$("$lab" default-dir "transcript${remote:+-remote}")} ;;
esac
begin='<!-- transcript:begin -->' end='<!-- transcript:end -->'

# Only a process that still is our server.
stop_server() {
    local pid
    pid=$(cat "$dir/demo.pid" 2>/dev/null) || return 0
    [[ $(readlink "/proc/$pid/exe" 2>/dev/null) == "$dir/bin/barmanapi"* ]] || return 0
    kill "$pid" 2>/dev/null || return 0
    for _ in {1..100}; do
        [[ -e /proc/$pid/exe && $(readlink "/proc/$pid/exe" 2>/dev/null) ]] || return 0
        sleep 0.1
    done
    kill -9 "$pid" 2>/dev/null || true
}

if [[ $mode == stop ]]; then
    [[ -f $dir/.barmanapi-lab ]] || { echo "no demo is up"; exit 0; }
    stop_server
    "$lab" down "$dir"
    exit 0
fi

if [[ $file ]]; then
    [[ $(grep -cxF -e "$begin" -e "$end" "$file") == 2 ]] || missing "$file lacks a line '$begin' or '$end'"
fi
shown=$(mktemp) answer=$(mktemp)
leave() {
    local code=$?
    rm -f "$shown" "$answer"
    if [[ $mode != show && -f $dir/.barmanapi-lab ]]; then
        stop_server
        "$lab" down "$dir" || code=1
    fi
    exit "$code"
}
trap leave EXIT
trap 'exit 130' INT TERM HUP

"$lab" packages curl=curl python3=python3
if [[ -z $binary ]]; then
    need_rust
    cargo build --release --locked
    binary=$(target_dir)/release/barmanapi
fi
[[ -x $binary ]] || missing "there is no program $binary"
[[ ! -f $dir/.barmanapi-lab ]] || stop_server
# A transcript starts with a Barman that has no backups.
[[ $mode == show || ! -f $dir/.barmanapi-lab ]] || "$lab" down "$dir"
"$lab" up "$dir"
"$lab" install-binary "$dir" "$binary" >/dev/null
# shellcheck disable=SC1091
. "$dir/lab.env"

# --- the configuration

port=$(python3 -c '
import socket
for port in (1935, 0):
    with socket.socket() as s:
        s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            s.bind(("127.0.0.1", port))
        except OSError:
            continue
        print(s.getsockname()[1])
        break')
config=$dir/etc/barmanapi.conf
over_ssh=''
if [[ $remote && $remote != 0 ]]; then
    over_ssh="remote = true
remote_ssh = ssh -p $SSH_PORT -i $SSH_KEY -o UserKnownHostsFile=$SSH_KNOWN_HOSTS $LAB_USER@$SSH_HOST
"
    echo "Barman is reached over SSH: ${over_ssh##*remote_ssh = }"
fi
program=$dir/bin/$(basename "$binary")
password=$(python3 -c 'import secrets; print(secrets.token_urlsafe(18))')
"$LAB_RUN" mkdir -p "$WORK_DIR/store"
"$LAB_RUN" tee "$config" >/dev/null <<CONF
; barmanapi of the demo
[user]
config_file = $dir/etc/client.conf

[application]
store_directory = $WORK_DIR/store/
host = 127.0.0.1
port = $port

[barman]
config_file = $BARMAN_CONF
command = $BARMAN
$over_ssh
; restores go below this folder of the Barman host, and nowhere else
[target:local]
ssh_command =
directories = $RESTORE_DIR
CONF
echo '; users of the demo' | "$LAB_RUN" tee "$dir/etc/client.conf" >/dev/null
"$LAB_RUN" chmod 0600 "$config" "$dir/etc/client.conf"

# --- showing

# What is shown goes to the terminal and to the transcript; neither ever holds the password or the token.
token=''
masked() {
    local text
    while IFS= read -r text || [[ $text ]]; do
        text=${text//"$password"/\$PASSWORD}
        [[ -z $token ]] || text=${text//"$token"/\$TOKEN}
        printf '%s\n' "$text"
    done
}
show() { masked | tee -a "$shown"; }

# ask PATH [CURL ARGUMENT...]: prints the HTTP status; the body is left in $answer.
ask() { curl -s --max-time 60 -o "$answer" -w '%{http_code}' "${@:2}" "http://127.0.0.1:$port$1" || true; }

# reveal STATUS WANTED PATH [CURL ARGUMENTS]: shows what was asked and answered, and fails on another status.
reveal() {
    {
        echo "\$ curl -s ${4:+$4 }\"http://127.0.0.1:$port$3\""
        python3 -m json.tool --no-ensure-ascii "$answer" 2>/dev/null || { cat "$answer"; echo; }
        echo
    } | show
    [[ $1 == "$2" ]] || give_up "$3 answered $1 instead of $2"
}

get() { reveal "$(ask "$2")" "$1" "$2"; }

field() { python3 -c 'import json, sys
value = json.load(open(sys.argv[1]))
for key in sys.argv[2:]:
    value = value[key]
print(value)' "$answer" "$@" 2>/dev/null || give_up "the answer has no $*"; }

give_up() {
    echo "--- the end of the server's log" >&2
    tail -n 20 "$dir/run/demo.log" 2>/dev/null | masked >&2
    missing "$(masked <<<"$*")"
}

# --- the demo

command="barmanapi user add demo --full --password-stdin --config $config"
echo "\$ printf %s \"\$PASSWORD\" | $command" | show
# shellcheck disable=SC2086
printf %s "$password" | "$LAB_RUN" "$program" ${command#* } >"$answer" 2>&1 || { cat "$answer" >&2; give_up "'$command' did not succeed"; }
{ cat "$answer"; echo; } | show

echo "\$ barmanapi serve --config $config &" | show
echo | show
log=$dir/run/demo.log
setsid "$LAB_RUN" "$program" serve --config "$config" </dev/null >"$log" 2>&1 &
pid=$!
echo "$pid" >"$dir/demo.pid"
for _ in {1..120}; do
    [[ $(ask /readyz) != 200 ]] || break
    kill -0 "$pid" 2>/dev/null || give_up "the server ended"
    sleep 0.5
done
[[ $(ask /readyz) == 200 ]] || give_up "/readyz did not answer 200 within a minute: $(cat "$answer")"

# Asked before it is shown: only then the token is known, and can be masked.
code=$(ask /auth/token -u "demo:$password")
[[ $code != 200 ]] || token=$(field token)
reveal "$code" 200 /auth/token "-u \"demo:$password\""
get 200 "/barman/list-server?token=$token"
get 202 "/barman/backup?SERVERNAME=main&token=$token"
ticket=$(field list ticket)
for _ in {1..240}; do
    ask "/history/result?ticket=$ticket&token=$token" >/dev/null
    [[ $(field status_code) == -99 ]] || break
    sleep 0.5
done
get 200 "/history/result?ticket=$ticket&token=$token"
[[ $(field status_code) == 200 ]] || give_up "the backup did not succeed"
{
    echo "\$ barman -c $BARMAN_CONF list-backups main"
    "$LAB_RUN" "$BARMAN" -c "$BARMAN_CONF" list-backups main
} | show
backups=$("$LAB_RUN" "$BARMAN" -c "$BARMAN_CONF" list-backups main --minimal)
id=$(grep -oE '[0-9]{8}T[0-9]{6}' <<<"${backups:-none}" | sort | tail -n 1)
grep -qF "${id:-none}" <<<"$(field list)" || give_up "barman list-backups does not show the backup"

# --- what to do with it

# Everything that differs from run to run, once.
normal() {
    sed -E \
        -e 's/[0-9]{8}T[0-9]{6}-[0-9a-z]{12}/TICKET/g' \
        -e 's/[0-9]{8}T[0-9]{6}/BACKUP/g' \
        -e 's/[0-9]{4}-[0-9]{2}-[0-9]{2}[T ][0-9]{2}:[0-9]{2}:[0-9]{2}([.,][0-9]+)?(Z|[+-][0-9]{2}:?[0-9]{2})?/TIME/g' \
        -e 's/[A-Z][a-z]{2} [A-Z][a-z]{2} +[0-9]{1,2} [0-9:]{8} [0-9]{4}/TIME/g' \
        -e 's/(elapsed time|\(time): [^,)]*/\1: SPAN/g' \
        -e 's/(\\t|\b)[0-9A-F]{24}\b/\1WAL/g; s/WAL\.[0-9A-F]{8}\.backup/WAL/g; s/(\(WAL, )[0-9A-F]{8}/\1OFFSET/g' \
        -e 's#\b[0-9A-F]+/[0-9A-F]{6,8}\b#LSN#g' \
        -e 's/\b[0-9]+(\.[0-9]+)? ([KMGT]iB|B)\b/SIZE/g' \
        -e 's/(127\.0\.0\.1:)[0-9]+/\1PORT/g' \
        -e 's/("(duration_ms|elapsed_ms|pid|.*_bytes|size)": )[0-9.]+/\1NUMBER/' \
        -e 's#(/[A-Za-z0-9._+-]+)+/(barman/main/|etc/|venv/|bin/|work/|run/)#LAB/\2#g' \
        | uniq
}

block() { sed -n "/^$begin\$/,/^$end\$/p" "$1" | sed '1d;$d' | grep -v '^```'; }

case $mode in
    show)
        cat <<TEXT

The server goes on at http://127.0.0.1:$port (log: $log). To go on by hand:

  PASSWORD='$password'
  TOKEN=\$(curl -s -u "demo:\$PASSWORD" http://127.0.0.1:$port/auth/token | python3 -c 'import json, sys; print(json.load(sys.stdin)["token"])')
  curl -s "http://127.0.0.1:$port/barman/help?token=\$TOKEN"
  curl -s "http://127.0.0.1:$port/barman/check?SERVERNAME=main&token=\$TOKEN"
  curl -s "http://127.0.0.1:$port/barman/list-backups?SERVERNAME=main&format=json&token=\$TOKEN"
  curl -s "http://127.0.0.1:$port/history/list?token=\$TOKEN"

To stop and remove it all: make demo-stop
TEXT
        ;;
    transcript)
        {
            sed "/^$begin\$/q" "$file"
            echo '```console'
            sed '$d' <(cat "$shown"; echo) | sed -e :a -e '/^\n*$/{$d;N;ba' -e '}'
            echo '```'
            sed -n "/^$end\$/,\$p" "$file"
        } >"$answer"
        ! grep -qF -e "$password" -e "$token" "$answer" || missing "the transcript would hold a secret"
        cat "$answer" >"$file"
        echo "written to $file"
        ;;
    check)
        if ! diff -u --label "$file" --label "now" <(block "$file" | sed '/^$/d' | normal) <(sed '/^$/d' "$shown" | normal); then
            missing "what the demo shows is not what $file says; 'make transcript' writes it anew"
        fi
        echo "$file says what the demo shows"
        ;;
esac
