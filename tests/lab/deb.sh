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
stop() { as_root kill -TERM "$(cat "$root/var/lib/barman/server")" 2>/dev/null || true; }
leave() {
    local code=$?
    [[ -z $server ]] || stop
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

# What is there answers, without systemd and under both of its names: a token, the commands of this Barman, its servers, its status.
serve() {
    local code=0 told
    as_barman barmanapi check-config || missing "after $step: check-config finds problems"
    told=$(as_barman pg-backup-api status --port "$local_port" 2>&1) || code=$?
    [[ $code == 255 && $told == *"nobody answers on 127.0.0.1:$local_port"* ]] || missing "after $step: without a service, pg-backup-api status: $code $told"
    # shellcheck disable=SC2016  # the shell in there fills it in
    as_barman sh -c 'echo $$ >/var/lib/barman/server && exec "$@"' sh "$@" >"$package/serve.log" 2>&1 &
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
    told=$(as_barman pg-backup-api status --port "$local_port") || missing "after $step: pg-backup-api status: $told"
    [[ $told == OK ]] || missing "after $step: pg-backup-api status: $told"
    say "after $step, by $*: list-servers: $answer; pg-backup-api status: $told"
    stop
    wait "$server" || missing "after $step: the service ended with $?: $(cat "$package/serve.log")"
    server=
}

# It takes the place of the package whose second name it has.
step="installing over pg-backup-api"
mkdir -p "$package/peer/DEBIAN" "$package/peer/usr/bin"
printf '%s\n' 'Package: pg-backup-api' 'Version: 2.2.0-1' 'Architecture: all' 'Maintainer: nobody <nobody@localhost>' 'Description: stand-in' >"$package/peer/DEBIAN/control"
install -m 755 /dev/null "$package/peer/usr/bin/pg-backup-api"
dpkg-deb --root-owner-group --build "$package/peer" "$package/peer.deb" >/dev/null
install_package "$package/peer.deb"
rm -r "$package/peer" "$package/peer.deb"
port=$(. tests/lab/packages.sh && free_port)
local_port=$(. tests/lab/packages.sh && free_port)
install_package "$deb"
[[ $(inside dpkg-query --show --showformat '${db:Status-Abbrev}' pg-backup-api 2>/dev/null) != ii* ]] || missing "pg-backup-api is installed still"
have -x /usr/bin/barmanapi
[[ $(inside readlink /usr/bin/pg-backup-api) == barmanapi ]] || missing "pg-backup-api is no second name of barmanapi"
mode /etc/barmanapi.conf "barman:barman 640"
mode /etc/barmanapi "barman:barman 750"
mode /etc/barmanapi/client.conf "barman:barman 600"
mode /var/lib/barmanapi "barman:barman 700"
mode /usr/bin/barmanapi "root:root 755"
for file in /usr/lib/systemd/system/barmanapi.service /usr/share/man/man1/barmanapi.1.gz /usr/share/man/man1/barmanapi-user-add.1.gz \
    /usr/share/man/man1/pg-backup-api.1.gz /usr/share/man/man1/pg-backup-api-serve.1.gz \
    /usr/share/{bash-completion/completions/,zsh/vendor-completions/_}{barmanapi,pg-backup-api} \
    /usr/share/fish/vendor_completions.d/{barmanapi,pg-backup-api}.fish /usr/share/doc/barmanapi/API.md.gz /usr/share/doc/barmanapi/copyright; do
    inside sh -c "test -s $file || test -s ${file%.gz}" || missing "$file is not installed"
done
inside bash -n /usr/share/bash-completion/completions/barmanapi
inside bash -n /usr/share/bash-completion/completions/pg-backup-api
# shellcheck disable=SC2016  # dpkg-query fills it in
conffiles=$(inside dpkg-query --show --showformat '${Conffiles}' barmanapi | awk '{ print $1 }' | sort | tr '\n' ' ')
[[ $conffiles == "/etc/barmanapi.conf /etc/barmanapi/client.conf " ]] || missing "conffiles: $conffiles"
inside sed -i "s/^port = 1935$/port = $port/; s/^local_port =$/& $local_port/; s/^local_user =$/& local/" /etc/barmanapi.conf
have -L /etc/systemd/system/multi-user.target.wants/barmanapi.service
echo 'correct horse battery' | as_barman barmanapi user add dba --full --password-stdin
echo 'correct horse battery' | as_barman barmanapi user add local --access barman/diagnose --password-stdin
serve barmanapi serve

step=upgrading
inside sed -i 's/^port = /# ours\n&/' /etc/barmanapi.conf
before=$(inside sha256sum /etc/barmanapi.conf /etc/barmanapi/client.conf)
build 2
install_package "$(echo "$package"/*-2_*.deb)"
[[ $(inside sha256sum /etc/barmanapi.conf /etc/barmanapi/client.conf) == "$before" ]] || missing "the upgrade changed the configuration"
mode /etc/barmanapi/client.conf "barman:barman 600"
[[ $(inside dpkg-query --show --showformat '${Version}' barmanapi) == *-2 ]] || missing "the upgrade is not there"
serve pg-backup-api serve --port "$local_port"

step=removing
inside dpkg -r barmanapi
have ! -e /usr/bin/barmanapi
have ! -L /usr/bin/pg-backup-api
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
