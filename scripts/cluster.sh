# Sourced: start and stop a private cluster with a socket and no TCP port.
# shellcheck shell=bash
# shellcheck source=scripts/common.sh

# cluster_start DIR BINDIR [CONFIG-LINE…]: makes a cluster in DIR (once) and starts it; its socket is DIR/s/.s.PGSQL.5432.
cluster_start() {
    local dir=$1 bindir=$2
    shift 2
    if [ ! -f "$dir/data/PG_VERSION" ]; then
        rm -rf "$dir"
        mkdir -p "$dir"
        [ "$(id -u)" != 0 ] || chown postgres: "$dir"
        as_server mkdir -m 700 "$dir/s"
        as_server "$bindir/initdb" -D "$dir/data" -U postgres -A trust -E UTF8 --locale=C.UTF-8 --no-instructions > "$dir/initdb.log" \
            || { cat "$dir/initdb.log" >&2; die "initdb failed"; }
        { printf "listen_addresses = ''\nunix_socket_directories = '%s/s'\n" "$dir"; printf '%s\n' "$@"; } | as_server tee -a "$dir/data/postgresql.conf" >/dev/null
    fi
    if ! cluster_running "$dir"; then
        as_server "$bindir/pg_ctl" -D "$dir/data" -l "$dir/server.log" -w -s start || { tail -n 20 "$dir/server.log" >&2; die "the server in $dir did not start"; }
    fi
}

# True while the postmaster named in DIR's pid file runs on DIR's data.
cluster_running() {
    local pid
    pid=$(head -n1 "$1/data/postmaster.pid" 2>/dev/null) || return 1
    [ -n "$pid" ] && [ "$(readlink "/proc/$pid/cwd" 2>/dev/null)" = "$(readlink -f "$1/data")" ]
}

# cluster_stop DIR: stops the server by its pid and removes DIR.
cluster_stop() {
    local dir=$1 pid tries
    if cluster_running "$dir"; then
        pid=$(head -n1 "$dir/data/postmaster.pid")
        kill -INT "$pid"
        for tries in {1..100}; do
            [ -d "/proc/$pid" ] || break
            [ "$tries" != 100 ] || kill -QUIT "$pid"
            sleep 0.1
        done
    fi
    rm -rf "$dir"
}
