#!/usr/bin/env bash
# A PostgreSQL server to throw away: on loopback, on a free port, with a password of its own.
#
#   start-postgres.sh start DIR [--while PID]   starts it and prints its URL; if it runs, prints that
#   start-postgres.sh stop DIR                  stops it and removes its data
#   start-postgres.sh with COMMAND …            runs COMMAND with the URL in PORTWAY_TEST_POSTGRES
#   start-postgres.sh bin                       prints the folder of the newest server installed
#
# DIR remembers where the server is; its data are in a folder of their own below /tmp, because the
# server refuses to run as root and its user cannot enter root's folders. With --while the server
# ends with the process of that id, however that ends; a server that already runs is left as it is.
# It trades safety for speed: nothing is synced.
# PORTWAY_POSTGRES_BIN names the folder of another server.
set -euo pipefail

main() {
    case "${1-} $#" in
    'start 2') start "$2" ;;
    'start 4') [ "$3" = --while ] || usage; start "$2" "$4" ;;
    'stop 2') stop "$2" ;;
    'bin 1') server_folder ;;
    with\ *) [ $# -gt 1 ] || usage; shift; run_with "$@" ;;
    *) usage ;;
    esac
}

usage() {
    echo "usage: start-postgres.sh start DIR [--while PID] | stop DIR | with COMMAND … | bin" >&2
    exit 2
}

server_folder() {
    local initdb newest=''
    if [ -n "${PORTWAY_POSTGRES_BIN-}" ]; then echo "$PORTWAY_POSTGRES_BIN"; return; fi
    for initdb in /usr/lib/postgresql/*/bin/initdb /usr/pgsql-*/bin/initdb; do
        if [ -x "$initdb" ] && [ "$(printf '%s\n%s\n' "$newest" "$initdb" | sort -V | tail -n 1)" = "$initdb" ]; then
            newest=$initdb
        fi
    done
    newest=${newest:-$(command -v initdb || true)}
    [ -n "$newest" ] || fail "no server is installed; get the package postgresql, or set PORTWAY_POSTGRES_BIN"
    dirname "$newest"
}

start() { # folder, process to end with
    local bin data
    mkdir -p "$1"
    exec 9>"$1/lock"
    flock 9
    bin=$(server_folder)
    if [ -e "$1/url" ]; then
        data=$(readlink "$1/server")
        if as_server_user "$bin/pg_ctl" status -D "$data/data" >/dev/null 2>&1 9>&-; then cat "$1/url"; return; fi
        rm -rf "$data" "$1/url"
    fi
    data=$(mktemp -d /tmp/portway-postgres.XXXXXX)
    ln -sfn "$data" "$1/server"
    if ! launch "$1" "$bin" "$data"; then
        cat "$data/log" >&2
        rm -rf "$data" "$1/server"
        fail "the server does not start; its log is above"
    fi
    if [ -n "${2-}" ]; then stop_after "$1" "$2"; fi
    cat "$1/url"
}

launch() { # folder, programs, data
    local password port options
    password=$(od -An -N16 -tx1 /dev/urandom | tr -d ' \n')
    (umask 077 && printf '%s' "$password" >"$3/password")
    : >"$3/log"
    give_to_server_user "$3"
    as_server_user "$2/initdb" -D "$3/data" -U postgres -A scram-sha-256 --pwfile "$3/password" \
        --no-sync -E UTF8 --locale=C >"$1/initdb.log" 2>&1 9>&- || { cat "$1/initdb.log" >&2; return 1; }
    options="-k $3 -c listen_addresses=127.0.0.1 -c max_connections=200 -c shared_buffers=32MB"
    options+=" -c fsync=off -c synchronous_commit=off -c full_page_writes=off"
    # A port may be taken between the choice and the start; then another is tried.
    for _ in {1..20}; do
        port=$((20000 + RANDOM % 12000))
        if as_server_user "$2/pg_ctl" start -s -w -t 60 -D "$3/data" -l "$3/log" -o "-p $port $options" \
            >/dev/null 2>&1 9>&-; then
            (umask 077 && echo "postgres://postgres:$password@127.0.0.1:$port/postgres" >"$1/url")
            return 0
        fi
        grep -q 'could not bind' "$3/log" || return 1
        as_server_user truncate -s 0 "$3/log"
    done
    return 1
}

stop() { # folder
    local bin data
    [ -L "$1/server" ] || return 0
    data=$(readlink "$1/server")
    bin=$(server_folder)
    if as_server_user "$bin/pg_ctl" status -D "$data/data" >/dev/null 2>&1; then
        as_server_user "$bin/pg_ctl" stop -s -w -m immediate -D "$data/data" || fail "cannot stop the server in $data"
    fi
    rm -rf "$data"
    rm -f "$1/server" "$1/url" "$1/initdb.log"
}

# Waits in the background, without holding on to the caller's output.
stop_after() { # folder, process
    local folder
    folder=$(cd "$1" && pwd)
    # shellcheck disable=SC2016 # the inner shell expands these
    setsid bash -c 'while kill -0 "$1" 2>/dev/null; do sleep 1; done; exec "$2" stop "$3"' \
        watch "$2" "$(realpath "${BASH_SOURCE[0]}")" "$folder" </dev/null >/dev/null 2>&1 9>&- &
}

run_with() {
    local status=0
    folder=$(mktemp -d /tmp/portway-postgres-url.XXXXXX)
    trap 'stop "$folder"; rm -r "$folder"' EXIT
    trap 'exit 130' INT
    trap 'exit 143' TERM
    start "$folder" >/dev/null
    exec 9>&-
    PORTWAY_TEST_POSTGRES=$(cat "$folder/url") "$@" || status=$?
    exit "$status"
}

as_server_user() {
    if [ "$(id -u)" -eq 0 ]; then (cd / && runuser -u postgres -- "$@"); else "$@"; fi
}

give_to_server_user() { # folder
    if [ "$(id -u)" -eq 0 ]; then chown -R postgres: "$1"; fi
}

fail() {
    echo "start-postgres: $*" >&2
    exit 1
}

main "$@"
