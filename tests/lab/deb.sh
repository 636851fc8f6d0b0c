#!/bin/bash
# Builds the Debian package into .lab/package; with --try it is installed, used, upgraded and removed in a Debian of its own (debootstrap),
# with that Debian's Barman. For --try: root or sudo.
#
#   DEB_SUITE=bookworm   another Debian than this host's
#   DEB_MIRROR=URL       where its packages come from, when not from where this host's do
set -euo pipefail
tree=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd -P)
cd "$tree"
# shellcheck source=rust.sh
. tests/lab/rust.sh
need_rust
say() { printf 'deb: %s\n' "$*"; }
package=$tree/.lab/package

cargo deb --version >/dev/null 2>&1 || { say "installing cargo-deb"; cargo install cargo-deb --locked; }
"$lab" packages dpkg-shlibdeps=dpkg-dev
say "building"
cargo build --locked --release
target=$(target_dir)
rm -rf "$package"
mkdir -p "$package"
"$target/release/barmanapi" generate "$package"
# What the lab's own version is called does not matter; an upgrade has to be a newer one.
build() { cargo deb --locked --no-build --quiet --deb-revision "$1" --output "$package"; }
build 1
deb=$(echo "$package"/*-1_*.deb)
say "built $deb"
[[ ${1:-} == --try ]] || exit 0

as_root() { if [[ $(id -u) == 0 ]]; then "$@"; else sudo "$@"; fi; }
"$lab" packages debootstrap=debootstrap
suite=${DEB_SUITE:-$(. /etc/os-release && echo "$VERSION_CODENAME")}
# shellcheck disable=SC2016  # apt fills it in
mirror=${DEB_MIRROR:-$(apt-get indextargets --format '$(SITE)' 'Created-By: Packages' | grep -v security | head -n 1)}
root=$(mktemp -d /var/tmp/barmanapi-deb.XXXXXX)
chmod 755 "$root"
inside() { as_root chroot "$root" env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C DEBIAN_FRONTEND=noninteractive "$@"; }
as_barman() { inside setpriv --reuid=barman --regid=barman --init-groups env HOME=/var/lib/barman "$@"; }
server=
leave() {
    local code=$?
    [[ -z $server ]] || as_root kill "$server" 2>/dev/null || true
    as_root umount -l "$root/proc" 2>/dev/null || true
    as_root rm -rf --one-file-system "$root"
    exit "$code"
}
trap leave EXIT
trap 'exit 130' INT TERM HUP

say "a Debian $suite of its own, with Barman"
as_root debootstrap --variant=minbase --include=adduser,barman,ca-certificates "$suite" "$root" "$mirror" >"$package/debootstrap.log" 2>&1 \
    || missing "debootstrap failed: $(tail -n 3 "$package/debootstrap.log")"
as_root mount -t proc proc "$root/proc"

have() { inside test "$@" || missing "after $step: not true: $*"; }
mode() { [[ $(inside stat -c '%U:%G %a' "$1") == "$2" ]] || missing "after $step: $1 is $(inside stat -c '%U:%G %a' "$1"), not $2"; }

install_package() {
    as_root cp "$1" "$root/tmp/package.deb"
    inside dpkg -i /tmp/package.deb || missing "$step failed"
}

# What is there answers, without systemd: a token, the commands of this Barman, its servers.
serve() {
    as_barman barmanapi check-config || missing "after $step: check-config finds problems"
    as_barman sh -c 'exec barmanapi serve' >"$package/serve.log" 2>&1 &
    server=$!
    local tries=0
    until as_barman barmanapi status >/dev/null 2>&1; do
        ((tries++ < 100)) || missing "after $step: no service: $(cat "$package/serve.log")"
        sleep 0.1
    done
    local token answer
    token=$(as_barman barmanapi token dba) || missing "after $step: no token"
    # 503 as long as Barman's commands are not known.
    answer=$(curl -s --retry 30 --retry-max-time 60 -H "Authorization: Bearer $token" "http://127.0.0.1:$port/barman/list-servers") \
        || missing "after $step: no answer"
    [[ $answer == *'"status_code":200'* ]] || missing "after $step: $answer"
    say "after $step, list-servers: $answer"
    as_root pkill -TERM -f '^barmanapi serve$' || true
    wait "$server" || missing "after $step: the service ended with $?: $(cat "$package/serve.log")"
    server=
}

step=installing
port=$(. tests/lab/packages.sh && free_port)
install_package "$deb"
have -x /usr/bin/barmanapi
mode /etc/barmanapi.conf "barman:barman 640"
mode /etc/barmanapi "barman:barman 750"
mode /etc/barmanapi/client.conf "barman:barman 600"
mode /var/lib/barmanapi "barman:barman 700"
mode /usr/bin/barmanapi "root:root 755"
for file in /usr/lib/systemd/system/barmanapi.service /usr/share/man/man1/barmanapi.1.gz /usr/share/man/man1/barmanapi-user-add.1.gz \
    /usr/share/bash-completion/completions/barmanapi /usr/share/zsh/vendor-completions/_barmanapi \
    /usr/share/fish/vendor_completions.d/barmanapi.fish /usr/share/doc/barmanapi/API.md.gz /usr/share/doc/barmanapi/copyright; do
    inside sh -c "test -s $file || test -s ${file%.gz}" || missing "$file is not installed"
done
inside bash -n /usr/share/bash-completion/completions/barmanapi
# shellcheck disable=SC2016  # dpkg-query fills it in
conffiles=$(inside dpkg-query --show --showformat '${Conffiles}' barmanapi | awk '{ print $1 }' | sort | tr '\n' ' ')
[[ $conffiles == "/etc/barmanapi.conf /etc/barmanapi/client.conf " ]] || missing "conffiles: $conffiles"
inside sed -i "s/^port = 1935$/port = $port/" /etc/barmanapi.conf
have -L /etc/systemd/system/multi-user.target.wants/barmanapi.service
echo 'correct horse battery' | as_barman barmanapi user add dba --full --password-stdin
serve

step=upgrading
inside sed -i 's/^port = /# ours\n&/' /etc/barmanapi.conf
before=$(inside sha256sum /etc/barmanapi.conf /etc/barmanapi/client.conf)
build 2
install_package "$(echo "$package"/*-2_*.deb)"
[[ $(inside sha256sum /etc/barmanapi.conf /etc/barmanapi/client.conf) == "$before" ]] || missing "the upgrade changed the configuration"
mode /etc/barmanapi/client.conf "barman:barman 600"
[[ $(inside dpkg-query --show --showformat '${Version}' barmanapi) == *-2 ]] || missing "the upgrade is not there"
serve

step=removing
inside dpkg -r barmanapi
have ! -e /usr/bin/barmanapi
[[ $(inside sha256sum /etc/barmanapi.conf /etc/barmanapi/client.conf) == "$before" ]] || missing "dpkg -r changed the configuration"
have -s /var/lib/barmanapi/logs/audit.log

step=purging
inside dpkg -P barmanapi
have ! -e /etc/barmanapi.conf
have ! -e /etc/barmanapi/client.conf
have -s /var/lib/barmanapi/logs/audit.log
say "installed, used, upgraded with its configuration kept, removed, purged with its history kept"

systemd-analyze --version >/dev/null 2>&1 || exit 0
systemd-analyze security --offline=true --threshold=25 share/systemd/barmanapi.service >"$package/security.log" \
    || missing "the unit leaves more open than it should: $(tail -n 1 "$package/security.log")"
say "the unit: $(tail -n 1 "$package/security.log")"
