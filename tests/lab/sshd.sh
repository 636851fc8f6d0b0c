# shellcheck shell=bash
# sshd: on loopback, a port of its own, one account, one key.

build_sshd() {
    step=sshd
    say "sshd"
    mkdir_of_account ssh
    SSH_HOST=127.0.0.1 SSH_KEY=$dir/ssh/client_key SSH_KNOWN_HOSTS=$dir/ssh/known_hosts
    SSH_PORT=$(free_port)
    quietly "host key" as_lab ssh-keygen -q -t ed25519 -N '' -C host@lab -f "$dir/ssh/host_key"
    quietly "client key" as_lab ssh-keygen -q -t ed25519 -N '' -C client@lab -f "$SSH_KEY"
    as_lab cp "$SSH_KEY.pub" "$dir/ssh/authorized_keys"
    printf '[%s]:%s %s\n' "$SSH_HOST" "$SSH_PORT" "$(cut -d' ' -f1,2 "$dir/ssh/host_key.pub")" | as_lab tee "$SSH_KNOWN_HOSTS" >/dev/null
    # StrictModes would refuse any folder below /var/tmp.
    as_lab tee "$dir/ssh/sshd_config" >/dev/null <<CONF
ListenAddress $SSH_HOST
Port $SSH_PORT
HostKey $dir/ssh/host_key
PidFile $dir/run/sshd.pid
AuthorizedKeysFile $dir/ssh/authorized_keys
StrictModes no
AllowUsers $LAB_USER
UsePAM no
PubkeyAuthentication yes
PasswordAuthentication no
KbdInteractiveAuthentication no
X11Forwarding no
PrintMotd no
MaxStartups 200
LogLevel VERBOSE
Subsystem sftp internal-sftp
CONF
    # sshd insists on being called by its whole path.
    quietly "sshd starts" as_lab "$(command -v sshd)" -f "$dir/ssh/sshd_config" -E "$dir/ssh/sshd.log"
    local try
    for try in 1 2 3 4 5 6 7 8 9 10; do
        ! sshd_answers || return 0
        sleep 0.2
    done
    ((try == 0)) || { tail -n 5 "$dir/ssh/sshd.log" | sed 's/^/lab:   | /' >&2; die "sshd does not let the lab's key in"; }
}

sshd_answers() {
    as_lab ssh -p "$SSH_PORT" -i "$SSH_KEY" -F none -o UserKnownHostsFile="$SSH_KNOWN_HOSTS" -o StrictHostKeyChecking=yes \
        -o IdentitiesOnly=yes -o BatchMode=yes -o ConnectTimeout=5 "$LAB_USER@$SSH_HOST" true </dev/null >/dev/null 2>&1
}

stop_sshd() {
    local pid
    pid=$(cat "$dir/run/sshd.pid" 2>/dev/null) || return 0
    # Only when the number still is our sshd's.
    ! grep -qzF "$dir/ssh/sshd_config" "/proc/$pid/cmdline" 2>/dev/null || kill "$pid" 2>/dev/null || true
}
