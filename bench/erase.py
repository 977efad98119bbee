"""Erasing a person from backups against making them; item l of compare.py. README.md says why it is fair."""

import time

SET = "bench_erase"
TABLE = "erased.agent_approvals"
BACKUPS = 5
ROWS_OF_PERSON = 20
EMAIL = "the.person@erase.example"


def compare(report, sizes, server, source, columns, rows):
    """Some backups of a table in which one person has twenty rows, spread evenly; the person is erased from all of them."""
    step = max(rows // ROWS_OF_PERSON, 1)
    server.query(
        "DROP SCHEMA IF EXISTS erased CASCADE",
        "CREATE SCHEMA erased",
        f"CREATE TABLE {TABLE} (LIKE {source} INCLUDING DEFAULTS INCLUDING GENERATED INCLUDING CONSTRAINTS, PRIMARY KEY (id))",
        f"INSERT INTO {TABLE} ({columns}) SELECT {columns} FROM {source} ORDER BY created_at, id",
        f"UPDATE {TABLE} t SET customer_email = '{EMAIL}' FROM "
        f"(SELECT ctid, row_number() OVER () AS n FROM {TABLE}) r WHERE r.ctid = t.ctid AND r.n % {step} = {step // 2}",
        f"VACUUM (FREEZE, ANALYZE) {TABLE}",
        f"SELECT agent_backup.create_set('{SET}')",
        f"SELECT agent_backup.add_table('{SET}', '{TABLE}', subject_columns => '{{customer_email}}')",
    )
    held = int(server.query(f"SELECT count(*) FROM {TABLE} WHERE customer_email = '{EMAIL}'"))

    def timed(sql):
        server.query("CHECKPOINT")
        begun = time.monotonic()
        answer = server.query(sql)
        return time.monotonic() - begun, answer

    # What an earlier run left is neither counted nor looked through.
    server.quiesce()
    made = [timed(f"SELECT count(*) FROM agent_backup.backup('{SET}')")[0] for _ in range(BACKUPS)]
    written = int(server.query(f"SELECT sum(size_bytes) FROM agent_backup.backups WHERE set_name = '{SET}'"))
    # The application deletes the live rows, as it would; what is counted is what is ours.
    server.query(f"DELETE FROM {TABLE} WHERE customer_email = '{EMAIL}'")
    call = f"erase_subject('customer_email', '{EMAIL}', 'bench', '{SET}', confirm => true)"
    took, answer = timed(
        "SELECT sum(row_count) FILTER (WHERE place = 'backup' AND action = 'erased'), sum(bytes), "
        f"count(*) FILTER (WHERE place = 'backup' AND action = 'erased' AND chunks IS NULL) FROM agent_backup.{call}"
    )
    erased, rewritten, whole = answer.split("|")
    if int(erased) != held * BACKUPS or int(whole) != 0:
        raise SystemExit(f"erased {answer}, not {held * BACKUPS} rows in place")
    what = f"(l) erase {held} rows from {BACKUPS} backups of {rows}"
    for unit, mine, all_of_it in (("s", took, sum(made)), ("MB", int(rewritten) / 1e6, written / 1e6)):
        ratio = mine / all_of_it
        good = "ok" if ratio <= 0.05 else "MISSED"
        report.ratios.add(what, "making them", f"{all_of_it:.3f} {unit}", f"{mine:.3f} {unit}", f"{ratio:.4f}", "≤ 0.05", good)
    sizes.add(what, "ours", f"{int(rewritten) / 1e6:.2f} MB", "", "")
    server.query("DROP SCHEMA erased CASCADE", f"SELECT agent_backup.drop_set('{SET}', confirm => true)")
