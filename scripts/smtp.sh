#!/bin/sh
# Prints the path of a Python with aiosmtpd for the tests of e-mail; installs one if there is none.
#
#   scripts/smtp.sh
#
# WELLSPRING_TEST_SMTP names another one.
set -eu

say() {
    echo "smtp.sh: $*" >&2
}

fail() {
    say "$*"
    exit 1
}

find_python() {
    for candidate in "${WELLSPRING_TEST_SMTP:-}" python3 /usr/bin/python3; do
        [ -n "$candidate" ] || continue
        path=$(command -v "$candidate" 2>/dev/null) || continue
        if "$path" -c 'import aiosmtpd.smtp' >/dev/null 2>&1; then
            echo "$path"
            return 0
        fi
    done
    return 1
}

install_server() {
    say "no aiosmtpd found; installing the package python3-aiosmtpd with apt-get"
    command -v apt-get >/dev/null 2>&1 ||
        fail "there is no apt-get here: install aiosmtpd for Python yourself and run this again"
    if [ "$(id -u)" -eq 0 ]; then
        as_root=""
    elif command -v sudo >/dev/null 2>&1; then
        as_root="sudo"
    else
        fail "not root and no sudo here: install the package python3-aiosmtpd yourself and run this again"
    fi
    log=$(mktemp)
    if ! { $as_root apt-get update &&
        $as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends \
            python3-aiosmtpd; } >"$log" 2>&1; then
        tail -n 20 "$log" >&2
        rm -f "$log"
        fail "apt-get could not install python3-aiosmtpd, see above"
    fi
    rm -f "$log"
}

[ "$#" -eq 0 ] || fail "usage: scripts/smtp.sh"
find_python && exit 0
install_server
find_python || fail "installed, but no Python has aiosmtpd"
