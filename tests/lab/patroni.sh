# shellcheck shell=bash
# Patroni's `patroni_barman`, a client of pg-backup-api: the newest from PyPI, in a virtual environment of its own.
#
# Only tests need it. A lab that can't get it is up and well, and the tests that need it fail and name the log.

PATRONI_LOG=log/patroni.log

# Does nothing where it is there and starts.
get_patroni() {
    ! as_lab "$PATRONI_BARMAN" --help >/dev/null 2>&1 || return 0
    say "Patroni's patroni_barman from PyPI"
    rm -rf "$dir/patroni"
    install_patroni </dev/null >"$dir/$PATRONI_LOG" 2>&1 && return
    rm -rf "$dir/patroni"
    tail -n 5 "$dir/$PATRONI_LOG" | sed 's/^/lab:   | /' >&2
    say "Patroni could not be had, see $dir/$PATRONI_LOG: the tests with it will fail. Run '$0 up $dir' again to have another try"
}

install_patroni() {
    "$PYTHON" -m venv "$dir/patroni" || return
    local try pip=("$dir/patroni/bin/python3" -m pip install --disable-pip-version-check --no-input -q)
    for try in 1 2 3; do
        # Of all that Patroni asks for, this program needs a client of HTTP; should that change, all of it is installed.
        if "${pip[@]}" --no-deps patroni urllib3; then
            as_lab "$PATRONI_BARMAN" --help >/dev/null && return
            "${pip[@]}" patroni && as_lab "$PATRONI_BARMAN" --help >/dev/null && return
        fi
        ((try == 3)) || sleep 3
    done
    return 1
}
