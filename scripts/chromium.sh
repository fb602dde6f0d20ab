#!/bin/sh
# Prints the path of a Chromium for the tests of the connect page; installs one if there is none.
#
#   scripts/chromium.sh
#
# WELLSPRING_TEST_CHROMIUM names another one. A browser wrapped in a snap does not count: it
# cannot see the folders that the tests give it.
set -eu

say() {
    echo "chromium.sh: $*" >&2
}

fail() {
    say "$*"
    exit 1
}

find_browser() {
    for candidate in "${WELLSPRING_TEST_CHROMIUM:-}" chromium chromium-browser google-chrome \
        google-chrome-stable chrome headless_shell; do
        [ -n "$candidate" ] || continue
        path=$(command -v "$candidate" 2>/dev/null) || continue
        case "$(readlink -f "$path")" in
        /usr/bin/snap | /snap/*) continue ;;
        esac
        # Ubuntu's package is a script that only asks for the snap.
        if "$path" --version >/dev/null 2>&1; then
            echo "$path"
            return 0
        fi
    done
    return 1
}

install_browser() {
    say "no Chromium found; installing the package chromium with apt-get"
    command -v apt-get >/dev/null 2>&1 ||
        fail "there is no apt-get here: install Chromium yourself and run this again"
    if [ "$(id -u)" -eq 0 ]; then
        as_root=""
    elif command -v sudo >/dev/null 2>&1; then
        as_root="sudo"
    else
        fail "not root and no sudo here: install the package chromium yourself and run this again"
    fi
    log=$(mktemp)
    # A font, or headings and letters would all be boxes in the screenshots.
    if ! { $as_root apt-get update &&
        $as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends \
            chromium fonts-dejavu-core; } >"$log" 2>&1; then
        tail -n 20 "$log" >&2
        rm -f "$log"
        fail "apt-get could not install chromium, see above"
    fi
    rm -f "$log"
}

[ "$#" -eq 0 ] || fail "usage: scripts/chromium.sh"
find_browser && exit 0
install_browser
find_browser || fail "installed, but no chromium is to be found"
