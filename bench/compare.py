"""The comparison with the peers, item by item; called by scripts/bench. What is compared and why: README.md."""

import argparse
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import capture
import erase
import offsite
from measure import Candidate, Server, interleave, watch

MIB = 1 << 20
HERE = Path(__file__).parent
APPROVALS = "public.agent_approvals"
# Nobody has its identity.
RECIPIENT = "age1k82hujqq52m0x54u795az49hs2u990uplrh4c5y0za0kupv5j9hq63r9nw"


def arguments():
    parser = argparse.ArgumentParser()
    for name in ("bin", "socket", "database", "everyday", "out", "user", "items"):
        parser.add_argument(f"--{name}", required=True)
    for name in ("rows", "runs", "factor", "large"):
        parser.add_argument(f"--{name}", type=int, required=True)
    parser.add_argument("--tables", nargs="+", required=True)
    return parser.parse_args()


def quoted(table):
    return ".".join('"' + part + '"' for part in table.split("."))


def rows_of(server, tables):
    return sum(int(server.query(f"SELECT count(*) FROM {quoted(table)}")) for table in tables)


def bytes_of(server, tables):
    return sum(int(server.query(f"SELECT pg_table_size('{quoted(table)}')")) for table in tables)


def ours(server, set_name, tables):
    """One call from connecting to the end; every member ok and every row there, or the run does not count."""
    sql = f"SELECT count(*) FILTER (WHERE status = 'ok'), sum(row_count) FROM agent_backup.backup('{set_name}')"
    return Candidate("ours", server, server.psql(sql), f"{len(tables)}|{rows_of(server, tables)}")


def pg_dump(server, tables, *options):
    command = [f"{server.bin}/pg_dump", "-Fc", *options, *(f"-t{quoted(table)}" for table in tables), "-f", f"{server.out}/dump"]
    return Candidate(" ".join(["pg_dump -Fc", *options]), server, command)


def copy_json(server, table):
    copy = f"COPY (SELECT row_to_json(t) FROM {quoted(table)} t) TO PROGRAM 'gzip > {server.out}/copy.json.gz'"
    return Candidate("COPY row_to_json | gzip", server, server.psql(copy))


def seed_script(server, tables):
    def directory_for_both():  # psql writes as the caller, COPY as the server
        (server.out / "day").mkdir()
        shutil.chown(server.out / "day", server.user)

    command = ["bash", str(HERE / "seed_daily.sh"), str(server.out), "day", *tables]
    return Candidate("the seed's daily script", server, command, prepare=directory_for_both)


class Table:
    """Lines of text in columns."""

    def __init__(self, *head):
        self.lines = [head]

    def add(self, *cells):
        """Adds a line, and tells it at once to whoever waits."""
        self.lines.append(cells)
        print("  ", *(cell for cell in cells if cell), sep="  ", file=sys.stderr, flush=True)

    def show(self):
        if len(self.lines) == 1:
            return
        widths = [max(len(line[i]) for line in self.lines) for i in range(len(self.lines[0]))]
        for line in self.lines:
            print("  ".join(cell.ljust(width) for cell, width in zip(line, widths)).rstrip(), flush=True)
        print()


def spread(candidate):
    return f"{candidate.median():.3f} s [{min(candidate.seconds):.3f}–{max(candidate.seconds):.3f}]"


def verdict(good):
    return "ok" if good else "MISSED"


class Report:
    """Ratios in one table, sizes and rates in another."""

    def __init__(self):
        self.ratios = Table("what", "peer", "peer's time", "our time", "ratio", "wanted", "")
        self.sizes = Table("what", "who", "written", "of the tables' size", "rate")

    def compare(self, what, peers, mine, heap, at_most=False):
        """`peers`: (candidate, wanted). The ratio is peer / ours, or with `at_most` ours / peer."""
        for peer, wanted in peers:
            self.ratio(what, peer, mine, wanted, at_most)
        for each in [peer for peer, _ in peers] + [mine]:
            rate = f"{heap / each.median() / 1e6:.0f} MB/s"
            self.sizes.add(what, each.name, f"{each.size / 1e6:.2f} MB", f"{each.size / heap:.1%}", rate)

    def ratio(self, what, peer, mine, wanted, at_most=False):
        """One line of ratios alone."""
        ratio = mine.median() / peer.median() if at_most else peer.median() / mine.median()
        good = ratio <= wanted if at_most else ratio >= wanted
        bar = f"{'≤' if at_most else '≥'} {wanted}"
        self.ratios.add(what, peer.name, spread(peer), spread(mine), f"{ratio:.2f}", bar, verdict(good))

    def seconds(self, what, mine, wanted):
        self.ratios.add(what, "–", "–", spread(mine), "", f"≤ {wanted} s", verdict(mine.median() <= wanted))

    def memory(self, what, watched, wanted):
        if watched is None:
            self.ratios.add(what, "–", "–", "not run", "", f"≤ {wanted} MiB", "")
            return
        peak, before = watched.peak() / MIB, watched.before() / MIB
        self.ratios.add(what, "–", f"idle {before:.1f} MiB", f"peak {peak:.1f} MiB", "", f"≤ {wanted} MiB", verdict(peak <= wanted))


def compare_csv(report, server, runs):
    heap = bytes_of(server, [APPROVALS])
    peers = [(pg_dump(server, [APPROVALS]), 4), (pg_dump(server, [APPROVALS], "-Z1"), 1.7)]
    mine = ours(server, "bench_csv", [APPROVALS])
    interleave([peer for peer, _ in peers] + [mine], runs)
    report.compare("(a) CSV in gzip, agent_approvals", peers, mine, heap)


def compare_json(report, server, runs):
    peer, mine = copy_json(server, APPROVALS), ours(server, "bench_json", [APPROVALS])
    interleave([peer, mine], runs)
    report.compare("(b) JSON in gzip, agent_approvals", [(peer, 4)], mine, bytes_of(server, [APPROVALS]))


def compare_set(report, server, tables, runs):
    peer, mine = seed_script(server, tables), ours(server, "bench_all", tables)
    interleave([peer, mine], runs)
    report.compare("(c) CSV and JSON, eight tables", [(peer, 6)], mine, bytes_of(server, tables))


def compare_memory(report, server, args):
    """At the given size, and at ten times it where that is wanted."""

    def peak(set_name):
        return watch(server, f"SELECT count(*) FROM agent_backup.backup('{set_name}')", memory=True)

    many = args.rows * args.factor
    report.memory(f"(d) private memory, eight tables, {args.rows} rows", peak("bench_all"), 100)
    report.memory(f"(d) private memory, agent_approvals, {args.rows} rows", peak("bench_both"), 100)
    report.memory(f"(d) private memory, agent_approvals, {many} rows", peak("bench_large") if args.large else None, 100)


def compare_scale(report, server, args):
    """Our time at ten times the size over that at the size."""
    many = args.rows * args.factor
    wanted = args.factor * 1.1
    what = f"(e) time at {many} rows / time at {args.rows}"
    if not args.large:
        report.ratios.add(what, "–", "–", "not run", "", f"≤ {wanted:g}", "")
        return
    one, ten = ours(server, "bench_both", [APPROVALS]), ours(server, "bench_large", ["large.agent_approvals"])
    interleave([one, ten], args.runs)
    one.name = f"ours at {args.rows}"
    report.compare(what, [(one, wanted)], ten, bytes_of(server, ["large.agent_approvals"]), at_most=True)


def compare_everyday(report, server, tables, runs):
    """Once as the first backup of all, and once with that of the day before in place."""

    def yesterday():
        server.query(f"SELECT count(*) FROM agent_backup.backup('{set_name}')", "CHECKPOINT")
        os.sync()

    set_name = "bench_all"
    rows, heap = rows_of(server, tables), bytes_of(server, tables)
    peer, first, later = pg_dump(server, [f"public.{table}" for table in tables]), ours(server, set_name, tables), ours(server, set_name, tables)
    later.prepare = yesterday
    interleave([peer, first, later], runs * 4)  # each takes a moment only
    report.compare(f"(f) everyday, eight tables, {rows} rows", [(peer, 0.5)], first, heap, at_most=True)
    report.compare("(f) the same, a backup of the day before there", [(peer, 0.5)], later, heap, at_most=True)


def own_columns(server):
    """The columns of agent_approvals that are not generated."""
    return server.query(
        "SELECT string_agg(quote_ident(attname), ', ' ORDER BY attnum) FROM pg_attribute "
        f"WHERE attrelid = '{APPROVALS}'::regclass AND attnum > 0 AND NOT attisdropped AND attgenerated = ''"
    )


RESTORED = "restored.agent_approvals"


def restored_table(server):
    """The rows of agent_approvals in a table with primary key and two indexes, as CSV and as a dump, made once."""
    csv, dump = server.out.parent / "restore.csv", server.out.parent / "restore.dump"
    columns = own_columns(server)
    server.query(
        "DROP SCHEMA IF EXISTS restored CASCADE",
        "CREATE SCHEMA restored",
        f"CREATE TABLE {RESTORED} (LIKE {APPROVALS} INCLUDING DEFAULTS INCLUDING GENERATED INCLUDING CONSTRAINTS, PRIMARY KEY (id))",
        f"CREATE INDEX ON {RESTORED} (created_at)",
        f"CREATE INDEX ON {RESTORED} (priority, created_at)",
        f"INSERT INTO {RESTORED} ({columns}) SELECT {columns} FROM {APPROVALS}",
        f"VACUUM (FREEZE, ANALYZE) {RESTORED}",
        f"COPY (SELECT {columns} FROM {RESTORED}) TO '{csv}' (FORMAT csv)",
    )
    subprocess.run([f"{server.bin}/pg_dump", "-Fc", "-Z1", f"-t{RESTORED}", "-f", str(dump)], env=server.environment(), check=True)
    return csv, dump, columns


def compare_restore(report, server, runs):
    """Each into the same empty table; pg_restore makes it and builds the indexes last. Then verify and one record."""

    def before(*statements):
        return lambda: server.query(*statements, "CHECKPOINT")

    def backed_up(set_name, *statements):
        return before(f"SELECT count(*) FROM agent_backup.backup('{set_name}')", *statements)

    csv, dump, columns = restored_table(server)
    rows, heap = rows_of(server, [RESTORED]), bytes_of(server, [RESTORED])
    empty = f"TRUNCATE {RESTORED}"
    copy = Candidate("COPY FROM csv", server, server.psql(f"COPY {RESTORED} ({columns}) FROM '{csv}' (FORMAT csv)"), prepare=before(empty))
    command = [f"{server.bin}/pg_restore", "-d", server.database, str(dump)]
    restore = Candidate("pg_restore", server, command, prepare=before(f"DROP TABLE {RESTORED}"))
    call = f"restore_table('{APPROVALS}', target => '{RESTORED}', set_name => 'bench_csv', confirm => true)"
    sql = f"SELECT row_count FROM agent_backup.{call} WHERE action = 'restored'"
    mine = Candidate("ours", server, server.psql(sql), f"{rows}", prepare=backed_up("bench_csv", empty))
    interleave([copy, restore, mine], runs)
    report.compare("(g) restore of a table with three indexes", [(copy, 0.9), (restore, 1)], mine, heap, at_most=True)

    backup = ours(server, "bench_csv", [APPROVALS])
    sql = "SELECT count(*) FILTER (WHERE status = 'failed') FROM agent_backup.verify('latest', 'decode', 'bench_csv')"
    verify = Candidate("ours", server, server.psql(sql), "0", prepare=backed_up("bench_csv"))
    interleave([backup, verify], runs)
    backup.name = "our backup"
    report.compare("(h) verify, level decode", [(backup, 3)], verify, heap)

    server.query("SELECT agent_backup.create_set('bench_record', formats => ARRAY['csv'])", f"SELECT agent_backup.add_table('bench_record', '{RESTORED}')")
    key = server.query(f"SELECT id FROM {RESTORED} ORDER BY created_at, id OFFSET {rows // 2} LIMIT 1")
    sql = f"SELECT status FROM agent_backup.restore_record('{RESTORED}', '{key}', set_name => 'bench_record')"
    record = Candidate("ours", server, server.psql(sql), "restored", prepare=backed_up("bench_record", f"DELETE FROM {RESTORED} WHERE id = '{key}'"))
    interleave([record], runs)
    mine.name = "our restore of the table"
    report.compare("(i) restore of one record", [(mine, 0.02)], record, heap, at_most=True)


def compare_encryption(report, server, runs):
    """The same backup with and without recipients."""
    recipients = server.out.parent / "recipients"
    recipients.write_text(RECIPIENT + "\n")
    shutil.chown(recipients, server.user)
    heap = bytes_of(server, [APPROVALS])
    for formats, wanted_of in (("csv", "CSV"), ("csv,json", "CSV and JSON")):
        plain, sealed = (f"bench_{kind}_{formats.replace(',', '_')}" for kind in ("plain", "sealed"))
        for name in (plain, sealed):
            server.query(f"SELECT agent_backup.create_set('{name}', formats => '{{{formats}}}')", f"SELECT agent_backup.add_table('{name}', '{APPROVALS}')")
        server.query(f"SELECT agent_backup.set_encryption('{sealed}', '{recipients}')")
        peer, mine = ours(server, plain, [APPROVALS]), ours(server, sealed, [APPROVALS])
        peer.name = "ours, plain"
        interleave([peer, mine], runs)
        report.compare(f"(k) encrypted, agent_approvals as {wanted_of}", [(peer, 1.15)], mine, heap, at_most=True)


def where_time_goes(server):
    """Reading the tables against what follows, and the backend's own thread against the others."""
    watched = watch(server, "SELECT count(*) FROM agent_backup.backup('bench_all')", memory=False)
    tables = [(at, m) for at, line in watched.notices if (m := re.search(r"NOTICE:  (\S+): (\d+) rows, .* in ([\d.]+) s", line))]
    if not tables:
        print("no NOTICE told of a table: where the time goes is not known\n")
        return
    table = Table("where ours spends its time, (c) once more", "elapsed", "CPU of the backend thread", "CPU of the other threads")
    marks = [(0.0, None), *((at, m[1]) for at, m in tables), (watched.took, "after the last table: container, digests, fsync, read-back")]
    for (begin, _), (end, what) in zip(marks, marks[1:]):
        first, last = watched.at(begin), watched.at(end)
        own = [b - a for a, b in zip(first.backend, last.backend)]
        every = [b - a for a, b in zip(first.process, last.process)]
        other = [e - o for e, o in zip(every, own)]
        table.add(what, f"{end - begin:.2f} s", *(f"{user:.2f} s user, {system:.2f} s system" for user, system in (own, other)))
    table.show()


def main():
    args = arguments()
    server = Server(args.bin, args.socket, args.database, Path(args.out), args.user)
    everyday = Server(args.bin, args.socket, args.everyday, Path(args.out), args.user)
    version = subprocess.run([f"{args.bin}/postgres", "--version"], check=True, capture_output=True, text=True).stdout.strip()
    load = ", ".join(f"{each:.2f}" for each in os.getloadavg())
    print(f"{version}, {os.cpu_count()} cores, load before {load}; medians of {args.runs} runs [least–most]\n", flush=True)
    report = Report()
    items = {
        "a": lambda: compare_csv(report, server, args.runs),
        "b": lambda: compare_json(report, server, args.runs),
        "c": lambda: compare_set(report, server, args.tables, args.runs),
        "d": lambda: compare_memory(report, server, args),
        "e": lambda: compare_scale(report, server, args),
        "f": lambda: compare_everyday(report, everyday, args.tables, args.runs),
        "g": lambda: compare_restore(report, server, args.runs),
        "j": lambda: capture.compare(
            report, report.sizes, server, APPROVALS, own_columns(server), args.runs, lambda: ours(server, "bench_csv", [APPROVALS])
        ),
        "o": lambda: offsite.compare(report, server, args.tables, args.runs, interleave),
        "k": lambda: compare_encryption(report, server, args.runs),
    }
    items["l"] = lambda: erase.compare(report, report.sizes, server, APPROVALS, own_columns(server), args.rows)
    for item, run in items.items():
        if item in args.items:
            run()
    report.ratios.show()
    report.sizes.show()
    if "c" in args.items:
        where_time_goes(server)


if __name__ == "__main__":
    main()
