#!/bin/sh
# Runs a private PostgreSQL for the tests.
#
#   scripts/postgres.sh start DIR    starts a cluster in DIR and prints its URL
#   scripts/postgres.sh stop DIR     ends it and removes DIR
#
# It listens on 127.0.0.1 only, on a free port, and trusts everybody there: it is for tests.
set -eu

say() {
    echo "postgres.sh: $*" >&2
}

fail() {
    say "$*"
    exit 1
}

usage() {
    fail "usage: scripts/postgres.sh start DIR | stop DIR"
}

# Prints the folder of the server's programs, those of pg_config before all others.
find_bin() {
    found=""
    for candidate in \
        "$(dirname "$(command -v initdb 2>/dev/null || echo /nowhere/initdb)")" \
        /usr/lib/postgresql/*/bin \
        "$(pg_config --bindir 2>/dev/null || true)"; do
        if [ -x "$candidate/initdb" ] && [ -x "$candidate/pg_ctl" ] &&
            [ -x "$candidate/postgres" ]; then
            found=$candidate
        fi
    done
    echo "$found"
    [ -n "$found" ]
}

install_server() {
    say "no PostgreSQL server found; installing the package postgresql with apt-get"
    command -v apt-get >/dev/null 2>&1 ||
        fail "there is no apt-get here: install a PostgreSQL server yourself and run this again"
    if [ "$(id -u)" -eq 0 ]; then
        as_root=""
    elif command -v sudo >/dev/null 2>&1; then
        as_root="sudo"
    else
        fail "not root and no sudo here: install the package postgresql yourself and run this again"
    fi
    log=$(mktemp)
    # The package would start a cluster of its own, which nobody needs.
    if ! { $as_root apt-get update &&
        $as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends \
            postgresql; } >"$log" 2>&1; then
        tail -n 20 "$log" >&2
        rm -f "$log"
        fail "apt-get could not install postgresql, see above"
    fi
    rm -f "$log"
}

# The server does not run as root; whoever is root uses this account instead.
server_account() {
    for account in postgres nobody; do
        if id "$account" >/dev/null 2>&1; then
            echo "$account"
            return 0
        fi
    done
    fail "neither the user postgres nor nobody exists: run this as another user than root"
}

# Runs a program as the one who owns the cluster.
as_owner() {
    if [ "$(id -u)" -ne 0 ]; then
        "$@"
    elif command -v setpriv >/dev/null 2>&1; then
        setpriv --reuid="$owner" --regid="$(id -g "$owner")" --clear-groups \
            env HOME="$dir" "$@"
    elif command -v runuser >/dev/null 2>&1; then
        runuser -u "$owner" -- env HOME="$dir" "$@"
    else
        fail "neither setpriv nor runuser is here: run this as another user than root"
    fi
}

# Prints a port that nobody listens on now.
free_port() {
    hex_listening=$(awk '{ print $2 }' /proc/net/tcp /proc/net/tcp6 2>/dev/null |
        sed 's/.*://' | sort -u)
    port=$((20000 + ($$ * 7 + $1 * 101 + $(date +%S | sed 's/^0//')) % 10000))
    while echo "$hex_listening" | grep -q -i "^$(printf '%04X' "$port")\$"; do
        port=$((port + 1))
    done
    echo "$port"
}

start() {
    if [ -e "$dir" ] && [ -n "$(ls -A "$dir" 2>/dev/null)" ]; then
        fail "$dir is not empty"
    fi
    bin=$(find_bin) || {
        install_server
        bin=$(find_bin) || fail "installed, but initdb, pg_ctl and postgres are nowhere to be found"
    }
    mkdir -p "$dir" || fail "cannot make $dir"
    dir=$(cd "$dir" && pwd)
    if [ "${#dir}" -gt 80 ]; then
        fail "the path $dir is too long for a socket, use a shorter one"
    fi
    owner=$(id -un)
    if [ "$(id -u)" -eq 0 ]; then
        owner=$(server_account)
        chown "$owner" "$dir"
    fi
    chmod 700 "$dir"
    cd "$dir" || fail "cannot enter $dir"
    as_owner test -w "$dir" ||
        fail "the user $owner cannot write to $dir: the folders above it must let it through"

    as_owner "$bin/initdb" --pgdata="$dir/data" --username=postgres --auth=trust --encoding=UTF8 \
        --locale=C >"$dir/initdb.log" 2>&1 || {
        cat "$dir/initdb.log" >&2
        fail "initdb failed, see above"
    }
    # `fsync` stays on: what the tests assert is durability.
    as_owner tee -a "$dir/data/postgresql.conf" >/dev/null <<CONF
listen_addresses = '127.0.0.1'
unix_socket_directories = '$dir'
max_connections = 300
shared_buffers = 128MB
CONF
    for attempt in 1 2 3 4 5; do
        port=$(free_port "$attempt")
        if as_owner "$bin/pg_ctl" --pgdata="$dir/data" --log="$dir/server.log" --wait --timeout=60 \
            --options="-p $port" start >"$dir/pg_ctl.log" 2>&1; then
            echo "postgres://postgres@127.0.0.1:$port/postgres"
            return 0
        fi
        grep -q "Address already in use" "$dir/server.log" 2>/dev/null || break
        rm -f "$dir/server.log"
    done
    cat "$dir/pg_ctl.log" "$dir/server.log" >&2 2>/dev/null || true
    fail "the server did not start, see above"
}

stop() {
    [ -d "$dir" ] || return 0
    dir=$(cd "$dir" && pwd)
    # What a start that failed early leaves behind.
    if rmdir "$dir" 2>/dev/null; then
        return 0
    fi
    if [ ! -f "$dir/data/PG_VERSION" ]; then
        fail "$dir is not a cluster of this script, it stays as it is"
    fi
    bin=$(find_bin) || fail "the server's programs are gone; $dir stays as it is"
    owner=$(stat -c %U "$dir/data")
    cd /
    if [ -f "$dir/data/postmaster.pid" ]; then
        as_owner "$bin/pg_ctl" --pgdata="$dir/data" --mode=immediate --wait stop >/dev/null 2>&1 ||
            fail "the server in $dir did not stop"
    fi
    rm -rf "$dir"
}

[ "$#" -eq 2 ] || usage
dir=$2
case "$1" in
start) start ;;
stop) stop ;;
*) usage ;;
esac
