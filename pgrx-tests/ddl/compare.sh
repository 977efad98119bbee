#!/usr/bin/env bash
# Rebuild schemas from the ddl_*.sql queries in an empty database and compare pg_dump --schema-only of both, byte for byte.
# Usage: PGBIN=/usr/lib/postgresql/15/bin pgrx-tests/ddl/compare.sh [schema.sql …]     (default: nasty.sql beside this file)
# Runs a private cluster under a temporary directory, as user postgres when called by root, and stops it at the end.
#
# Differences by design, taken from the source database before the comparison:
#   - foreign servers are not rebuilt (they carry credentials), so `away` is created in the target first;
#   - functions that no relation needs are not rebuilt; they are dropped from the source, which fails if one was needed;
#   - views whose text changes when parsed from itself are compared after a round trip of pg_dump (the script says so);
#   - comments on extensions come from the extension itself.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
queries=$here/../../sql/query
pgbin=${PGBIN:-$(pg_config --bindir)}
work=$(mktemp -d /var/tmp/ddl_compare.XXXXXX)
run() { if [ "$(id -u)" = 0 ]; then runuser -u postgres -- env LC_ALL=C.UTF-8 TZ=UTC "$@"; else env LC_ALL=C.UTF-8 TZ=UTC "$@"; fi; }
cleanup() { run "$pgbin/pg_ctl" -D "$work/data" -m immediate -w stop >/dev/null 2>&1 || true; rm -rf "$work"; }
trap cleanup EXIT
[ "$(id -u)" != 0 ] || chown postgres "$work"

run "$pgbin/initdb" -D "$work/data" -U postgres -A trust -E UTF8 --locale=C.UTF-8 --no-sync >/dev/null
run "$pgbin/pg_ctl" -D "$work/data" -w -l "$work/log" -o "-c listen_addresses='' -k $work -c fsync=off ${PGOPTS_EXTRA:-}" start >/dev/null
psql() { run "$pgbin/psql" -X -q -h "$work" -U postgres -v ON_ERROR_STOP=1 "$@"; }

# Emit the DDL of the user relations of database $1 (those that fulfil $3; all but partitions) into file $2, in the order of
# sections in ddl_order.md. Of a whole list, drop the functions that none of them needs.
rebuild() {
    local which=${3:-NOT c.relispartition} drop=true
    [ -z "${3:-}" ] || drop=false
    {
        echo "SET search_path = '';"
        for name in types tables sequence_values; do
            printf 'CREATE TEMP TABLE %s AS\n' "out_$name"
            sed 's/\$1::oid\[\]/(SELECT pg_catalog.array_agg(oid) FROM pg_temp.wanted)/' "$queries/ddl_$name.sql"
            echo ';'
        done
    } >"$work/collect.sql"
    chmod a+r "$work/collect.sql"
    psql -d "$1" -At >"$2" <<SQL
CREATE TEMP TABLE wanted AS
SELECT c.oid FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'p', 'f', 'v', 'm') AND ($which) AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
  AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e')
ORDER BY c.relname;
\i $work/collect.sql
SELECT r.statement || ';' FROM (
    SELECT 1 AS file, * FROM pg_temp.out_types UNION ALL SELECT 2, * FROM pg_temp.out_tables UNION ALL SELECT 3, * FROM pg_temp.out_sequence_values) AS r
JOIN unnest(ARRAY['preamble', 'schema', 'extension', 'type', 'function', 'sequence', 'table', 'sequence_owned', 'sequence_value', 'function_late', 'constraint',
                  'view', 'function_last', 'index', 'foreign_key', 'refresh', 'rule', 'trigger', 'policy', 'comment', 'owner', 'grant'])
     WITH ORDINALITY AS o(section, n) USING (section)
ORDER BY o.n, r.file, r.ordinal;
\if $drop
DO \$\$
DECLARE unneeded text;
BEGIN
    FOR unneeded IN
        SELECT format('%I.%I(%s)', n.nspname, p.proname, pg_get_function_identity_arguments(p.oid))
        FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
        WHERE p.oid >= 16384 AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_proc'::regclass AND d.objid = p.oid AND d.deptype IN ('e', 'i'))
        EXCEPT SELECT object FROM pg_temp.out_types WHERE section ~ '^(function|type)'
    LOOP
        EXECUTE 'DROP ROUTINE ' || unneeded;
    END LOOP;
END \$\$;
\endif
SQL
}

dump() { run "$pgbin/pg_dump" -h "$work" -U postgres --schema-only "$1" | grep -v -e '^\\\(un\)\?restrict ' -e '^-- Dumped ' ; }

# Sequence values and the state of things that pg_dump --schema-only leaves out.
state() {
    psql -d "$1" -At -c "SELECT schemaname, sequencename, last_value FROM pg_sequences ORDER BY 1, 2" \
        -c "SELECT conrelid::regclass::text, contypid::regtype::text, conname, contype, convalidated, conislocal, coninhcount, condeferrable FROM pg_constraint WHERE connamespace >= 16384 OR conrelid >= 16384 ORDER BY 1, 2, 3" \
        -c "SELECT attrelid::regclass::text, attname, attislocal, attinhcount, attnotnull, atthasdef, attidentity FROM pg_attribute
            WHERE attrelid IN (SELECT oid FROM pg_class WHERE relnamespace >= 16384 AND relkind IN ('r', 'p', 'f')) AND attnum > 0 AND NOT attisdropped ORDER BY 1, 2"
}

failed=0
[ $# -gt 0 ] || set -- "$here/nasty.sql"
number=0
for schema in "$@"; do
    number=$((number + 1)); source=source_$number; target=target_$number
    psql -d postgres -c "CREATE DATABASE $source TEMPLATE template0" -c "CREATE DATABASE $target TEMPLATE template0"
    psql -d "$source" -o /dev/null -f "$schema"
    if [ "$(basename "$schema")" = nasty.sql ]; then
        psql -d "$target" -c 'CREATE SCHEMA ext' -c 'CREATE EXTENSION postgres_fdw SCHEMA ext' \
             -c "CREATE SERVER away FOREIGN DATA WRAPPER postgres_fdw OPTIONS (dbname 'x')"
    fi
    rebuild "$source" "$work/rebuilt.sql"
    cp "$work/rebuilt.sql" "${KEEP:-$work}/rebuilt_$number.sql" 2>/dev/null || true
    chmod a+r "$work/rebuilt.sql"
    psql -d "$target" -o /dev/null -f "$work/rebuilt.sql"
    dump "$source" >"$work/a"; dump "$target" >"$work/b"
    if ! cmp -s "$work/a" "$work/b"; then
        # The server prints some views differently once they were parsed from their own text (column names in a UNION):
        # then the measure is what pg_dump's own round trip makes of the source.
        psql -d postgres -c "CREATE DATABASE settled_$number TEMPLATE template0"
        chmod a+r "$work/a"; psql -d "settled_$number" -o /dev/null -f "$work/a"
        dump "settled_$number" >"$work/settled"
        echo "$(basename "$schema"): pg_dump's own round trip changes $(diff "$work/a" "$work/settled" | grep -c '^>') lines; comparing with that"
        mv "$work/settled" "$work/a"
    fi
    [ -s "$work/a" ] && grep -q 'CREATE TABLE' "$work/a" || { echo "the dump of the source holds no table"; failed=1; }
    state "$source" >>"$work/a"; state "$target" >>"$work/b"
    cp "$work/a" "$work/b" "${KEEP:-$work}/" 2>/dev/null || true
    if diff -u "$work/a" "$work/b"; then echo "$(basename "$schema"): equal, $(wc -l <"$work/a") lines, $(run "$pgbin/postgres" --version)"; else failed=1; fi
    if [ "$(basename "$schema")" = nasty.sql ]; then
        # A part of the list: a partition, a child and foreign keys without their other side still replay alone.
        psql -d postgres -c "CREATE DATABASE part TEMPLATE template0"
        rebuild "$target" "$work/part.sql" "c.oid = ANY ('{app.main, app.other, app.p_2024, app.kid, app.to_hashed}'::regclass[])"
        chmod a+r "$work/part.sql"
        psql -d part -o /dev/null -f "$work/part.sql"
        count=$(psql -d part -At -c "SELECT count(*) FROM pg_class WHERE oid = ANY (ARRAY[to_regclass('app.main'), to_regclass('app.p_2024'), to_regclass('app.kid'), to_regclass('app.to_hashed')])")
        [ "$count" = 4 ] || { echo "a part of the list: $count of 4 tables rebuilt"; failed=1; }
        { echo "SET search_path = '';"; sed "s/\$1::oid\[\]/'{app.main, app.p_2024, app.kid, app.far1}'::regclass[]::oid[]/" "$queries/ddl_left_out.sql"; } >"$work/left_out.sql"
        chmod a+r "$work/left_out.sql"
        psql -d "$source" -At -F ': ' -f "$work/left_out.sql" >"$work/left_out"
        for seen in 'large objects' 'foreign server "away"' 'parent table "app.base"' 'partitioned table "app.parted"' 'names "app.other"' 'policy "p3" reads "app.other"'; do
            grep -q "$seen" "$work/left_out" || { echo "left_out does not say: $seen"; failed=1; }
        done
    fi
    [ ! -e /tmp/never ] || { echo "a name ran a command"; failed=1; }
done
exit $failed
