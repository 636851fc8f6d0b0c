# shellcheck shell=bash
# What building and testing needs besides the lab: Rust, a linker, git. Sourced by own.sh, lint.sh and demo.sh.

lab=$tree/tests/lab/lab.sh

missing() { printf 'failed: %s\n' "$*" >&2; exit 1; }

need_rust() {
    export HOME=${HOME:-$(getent passwd "$(id -u)" | cut -d: -f6)}
    # rustup's folder is often missing from the PATH of a bare environment.
    PATH=$PATH:${CARGO_HOME:-$HOME/.cargo}/bin:/usr/local/cargo/bin
    export PATH
    command -v git >/dev/null || missing "git is not installed: 'apt-get install git'"
    "$lab" packages cc=gcc,libc6-dev python3=python3
    local how="install Rust 1.89 or later, for instance with https://rustup.rs: curl --proto '=https' --tlsv1.2 -sSf https://sh.rustup.rs | sh"
    command -v cargo >/dev/null || missing "cargo is neither in PATH nor in ~/.cargo/bin; $how"
    local version
    version=$(rustc --version | cut -d' ' -f2) || missing "rustc does not start or is not in PATH; $how"
    [[ $(printf '%s\n' 1.89.0 "$version" | sort -V | head -n 1) == 1.89.0 ]] || missing "rustc $version is too old; $how"
}

# The folder that cargo builds into, whatever the environment or cargo's own configuration says.
target_dir() {
    cargo metadata --format-version 1 --no-deps --locked | python3 -c 'import json, sys; print(json.load(sys.stdin)["target_directory"])'
}
