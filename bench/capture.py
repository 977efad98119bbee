"""What capturing changes costs the writers, and how fast the log answers; item j of compare.py. README.md says why it is fair."""

from measure import Candidate, interleave

SCHEMA = "captured"
BULK = 100_000
SINGLE = 4_000

# The common recipe: a trigger in PL/pgSQL that stores each row as jsonb.
AUDIT = f"""
CREATE TABLE {SCHEMA}.audit (id bigserial PRIMARY KEY, at timestamptz NOT NULL DEFAULT clock_timestamp(), who text NOT NULL DEFAULT session_user,
    relation regclass NOT NULL, operation text NOT NULL, row_key text, old_row jsonb, new_row jsonb);
CREATE INDEX ON {SCHEMA}.audit (relation, row_key);
CREATE FUNCTION {SCHEMA}.audit_row() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO {SCHEMA}.audit (relation, operation, row_key, old_row, new_row)
    VALUES (TG_RELID, TG_OP, NEW.id::text, to_jsonb(OLD), to_jsonb(NEW));
    RETURN NULL;
END $$;
CREATE FUNCTION {SCHEMA}.audit_statement() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO {SCHEMA}.audit (relation, operation, row_key, old_row, new_row)
    SELECT TG_RELID, TG_OP, n.id::text, to_jsonb(o), to_jsonb(n) FROM new_rows n JOIN old_rows o USING (id);
    RETURN NULL;
END $$;
"""

TRIGGERS = {
    "row": f"CREATE TRIGGER audit AFTER UPDATE ON {SCHEMA}.by_row FOR EACH ROW EXECUTE FUNCTION {SCHEMA}.audit_row()",
    "statement": f"CREATE TRIGGER audit AFTER UPDATE ON {SCHEMA}.by_statement REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows "
    f"FOR EACH STATEMENT EXECUTE FUNCTION {SCHEMA}.audit_statement()",
}


def make(server, source, columns):
    """Four tables of the same rows, keys and indexes: with no capture, with ours, and with the two recipes."""
    rows = f"(SELECT {columns} FROM {source} ORDER BY id LIMIT {BULK})"
    server.query(f"DROP SCHEMA IF EXISTS {SCHEMA} CASCADE", f"CREATE SCHEMA {SCHEMA}", AUDIT)
    for name in ("plain", "ours", "by_row", "by_statement"):
        table = f"{SCHEMA}.{name}"
        server.query(
            f"CREATE TABLE {table} (LIKE {source} INCLUDING DEFAULTS INCLUDING GENERATED INCLUDING CONSTRAINTS, PRIMARY KEY (id)) WITH (fillfactor = 50)",
            f"CREATE INDEX ON {table} (created_at)",
            f"CREATE INDEX ON {table} (priority, created_at)",
            f"INSERT INTO {table} ({columns}) {rows}",
        )
    server.query(*TRIGGERS.values(), f"SELECT 1 FROM agent_backup.track('{SCHEMA}.ours')")
    server.query(f"CREATE TABLE {SCHEMA}.ids AS SELECT row_number() OVER (ORDER BY id) AS n, id FROM {SCHEMA}.plain", f"CREATE UNIQUE INDEX ON {SCHEMA}.ids (n)")
    server.query("VACUUM (FREEZE, ANALYZE)")


def bulk(server, label, table):
    """Every row changed by one statement."""
    update = f"UPDATE {SCHEMA}.{table} SET priority = priority % 5 + 1, updated_at = now()"
    return Candidate(label, server, server.psql(update), prepare=lambda: server.query(f"VACUUM {SCHEMA}.{table}", "CHECKPOINT"))


def single(server, label, table):
    """One row a transaction, by pgbench, prepared."""
    script = server.out.parent / f"{table}.pgbench"
    script.write_text(
        f"\\set n random(1, {BULK})\n"
        f"UPDATE {SCHEMA}.{table} SET tokens = coalesce(tokens, 0) + 1 WHERE id = (SELECT id FROM {SCHEMA}.ids WHERE n = :n);\n"
    )
    command = ["sh", "-c", f"{server.bin}/pgbench -n -M prepared -c 1 -t {SINGLE} -f {script} {server.database} > {server.out}/pgbench 2>&1"]
    return Candidate(label, server, command, prepare=lambda: server.query(f"VACUUM {SCHEMA}.{table}", "CHECKPOINT"))


def bytes_per_change(server, table, log):
    """Bytes of WAL, and of the table that keeps the changes, for each row of a bulk update."""
    parts = f"SELECT '{log}'::regclass UNION SELECT relid FROM pg_partition_tree('{log}')"
    size = f"SELECT sum(pg_total_relation_size(part)) FROM ({parts}) AS parts(part)" if log else "SELECT 0"
    before, start = int(server.query(size)), server.query("SELECT pg_current_wal_insert_lsn()")
    server.query(f"UPDATE {SCHEMA}.{table} SET priority = priority % 5 + 1, updated_at = now()")
    wal = int(server.query(f"SELECT pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '{start}')::bigint"))
    return wal / BULK, (int(server.query(size)) - before) / BULK


def compare(report, sizes, server, source, columns, runs, full):
    make(server, source, columns)
    labels = {"plain": "no capture", "ours": "ours", "by_row": "row trigger, jsonb", "by_statement": "statement trigger, jsonb"}
    plain, mine, by_row, by_statement = (bulk(server, label, table) for table, label in labels.items())
    interleave([plain, by_row, by_statement, mine], runs)
    what = f"(j) UPDATE of {BULK} rows"
    report.ratio(what, plain, mine, 1.8, at_most=True)
    report.ratio(what, by_row, mine, 3)
    report.ratio(what, by_statement, mine, 1)
    plain, mine = single(server, "no capture", "plain"), single(server, "ours", "ours")
    interleave([plain, mine], runs)
    report.ratio(f"(j) {SINGLE} transactions of one row", plain, mine, 1.15, at_most=True)
    logs = {"plain": None, "ours": "agent_backup.change_log", "by_row": f"{SCHEMA}.audit", "by_statement": f"{SCHEMA}.audit"}
    for table, log in logs.items():
        wal, kept = bytes_per_change(server, table, log)
        sizes.add(f"{what}, a change", labels[table], f"{wal:.0f} B of WAL", f"{kept:.0f} B of log")
    answer(report, server)
    incremental(report, server, source, runs, full)


def answer(report, server):
    """A deleted row brought back while the log holds a million changes."""
    missing = 1_000_000 - int(server.query("SELECT count(*) FROM agent_backup.change_log"))
    for _ in range(max(0, -(-missing // BULK))):
        server.query(f"UPDATE {SCHEMA}.ours SET priority = priority % 5 + 1", f"VACUUM {SCHEMA}.ours")
    server.query("VACUUM ANALYZE agent_backup.change_log")
    key = server.query(f"SELECT id FROM {SCHEMA}.ids WHERE n = {BULK // 2}")
    restore = server.psql(f"SELECT status FROM agent_backup.restore_record('{SCHEMA}.ours', '{key}')")
    record = Candidate("ours", server, restore, "restored", prepare=lambda: server.query(f"DELETE FROM {SCHEMA}.ours WHERE id = '{key}'"))
    interleave([record], 5)
    entries = int(server.query("SELECT count(*) FROM agent_backup.change_log"))
    report.seconds(f"(j) restore_record of a deleted row, {entries} changes in the log", record, 0.05)


def incremental(report, server, source, runs, full):
    """A thousand rows that changed since the last time, against a full backup of the table."""
    changed = 1_000
    server.query(f"SELECT 1 FROM agent_backup.track('{source}', baseline => false)")
    copy = "SELECT sum(rows_backed_up) FROM agent_backup.incremental('bench_csv')"
    update = f"UPDATE {source} SET tokens = coalesce(tokens, 0) + 1 WHERE id IN (SELECT id FROM {source} TABLESAMPLE SYSTEM (5) LIMIT {changed})"
    mine = Candidate("ours", server, server.psql(copy), f"{changed}", prepare=lambda: server.query(copy, update, "CHECKPOINT"))
    peer = full()
    interleave([peer, mine], runs)
    peer.name = "our full backup"
    report.ratio(f"(j) incremental of {changed} changed rows", peer, mine, 0.01, at_most=True)
    server.query(f"SELECT agent_backup.untrack('{source}')")
