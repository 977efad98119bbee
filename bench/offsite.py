"""Copies in a store: how fast they are sent, and how much of them is read for one table."""

import os
import shutil
import socket
import subprocess
import threading
from pathlib import Path
from urllib.parse import urlsplit

from measure import Candidate

SET = "bench_offsite"


class Meter:
    """Passes bytes on between a client and the store, and counts them: headers, signatures and all."""

    def __init__(self, endpoint):
        there = urlsplit(endpoint)
        self.there = (there.hostname, there.port)
        self.given = 0
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.endpoint = "http://127.0.0.1:%d" % self.listener.getsockname()[1]
        threading.Thread(target=self.listen, daemon=True).start()

    def listen(self):
        while True:
            here, _ = self.listener.accept()
            there = socket.create_connection(self.there)
            threading.Thread(target=self.copy, args=(here, there, False), daemon=True).start()
            threading.Thread(target=self.copy, args=(there, here, True), daemon=True).start()

    def copy(self, source, sink, counted):
        try:
            while data := source.recv(1 << 16):
                if counted:
                    self.given += len(data)
                sink.sendall(data)
            sink.shutdown(socket.SHUT_WR)
        except OSError:
            pass  # either side went away: the other sees the end of it


class Store:
    """The store that the environment names, as scripts/garage prints it."""

    def __init__(self):
        names = ("ENDPOINT", "BUCKET", "REGION", "KEY_ID", "SECRET")
        self.endpoint, self.bucket, self.region, self.key_id, self.secret = (os.environ[f"AGENT_BACKUP_S3_{name}"] for name in names)
        self.places = 0

    def connect(self, server):
        server.query(
            "DROP SERVER IF EXISTS bench CASCADE",
            f"CREATE SERVER bench FOREIGN DATA WRAPPER agent_backup_s3 OPTIONS (endpoint '{self.endpoint}', region '{self.region}', "
            "path_style 'true', allow_http 'true')",
            f"CREATE USER MAPPING FOR postgres SERVER bench OPTIONS (access_key_id '{self.key_id}', secret_access_key '{self.secret}')",
        )

    def speak_to(self, server, endpoint):
        server.query(f"ALTER SERVER bench OPTIONS (SET endpoint '{endpoint}')")

    def place(self):
        """A prefix where nothing is."""
        self.places += 1
        return f"bench-{os.getpid()}-{self.places}"

    def move(self, server):
        """The set's copies go to a new place from now on."""
        old = server.query(f"SELECT url FROM agent_backup.offsite_destinations WHERE set_name = '{SET}'")
        new = f"s3://{self.bucket}/{self.place()}"
        drop = [f"SELECT agent_backup.remove_destination('{SET}', '{old}')"] if old else []
        server.query(*drop, f"SELECT agent_backup.add_destination('{SET}', '{new}', server_name => 'bench')")

    def clients(self, server, file, size):
        """The clients of S3 that are here, each to send a file to a new place."""
        target = f"{self.bucket}/{self.place()}/file"
        os.environ.pop("AWS_CA_BUNDLE", None)  # the store speaks HTTP, and rclone takes no other authorities
        os.environ.update(AWS_ACCESS_KEY_ID=self.key_id, AWS_SECRET_ACCESS_KEY=self.secret, AWS_REGION=self.region, RCLONE_CONFIG="/dev/null")
        known = {
            "rclone": ["rclone", "copyto", "--s3-provider", "Other", "--s3-env-auth", "--s3-endpoint", self.endpoint, "--s3-region", self.region]
            + ["--s3-no-check-bucket", "--s3-upload-concurrency", "4", "--ignore-times", str(file), f":s3:{target}"],
            "aws": ["aws", "--endpoint-url", self.endpoint, "s3", "cp", "--only-show-errors", str(file), f"s3://{target}"],
        }
        found = [Candidate(f"{name} of {size / 1e6:.0f} MB", server, command) for name, command in known.items() if shutil.which(name)]
        if not found:
            raise SystemExit("neither rclone nor aws is here: apt-get install rclone")
        return found


def compare(report, server, tables, runs, interleave):
    store, set_name = Store(), SET
    store.connect(server)
    members = [f"SELECT agent_backup.add_table('{set_name}', '{table}')" for table in tables]
    server.query(f"SELECT agent_backup.create_set('{set_name}')", *members)
    # Before each run the backups of the run before are gone, so that each sends one: of the same tables, as the file that the peers send.
    backup = f"SELECT count(*) FROM agent_backup.backup('{set_name}')"
    server.query(backup)
    made = next(server.out.rglob(f"{set_name}_backup_*.tar.gz"))
    file = server.out.parent / "offsite.tar.gz"
    shutil.copyfile(made, file)
    size = file.stat().st_size

    def backed_up():
        server.query(backup, "CHECKPOINT")
        store.move(server)
        os.sync()

    sql = f"SELECT count(*) FILTER (WHERE action = 'uploaded'), count(*) FROM agent_backup.upload('{set_name}')"
    mine = Candidate("our upload", server, server.psql(sql), "2|2", prepare=backed_up)
    peers = store.clients(server, file, size)
    interleave([*peers, mine], runs)
    fastest = min(peers, key=Candidate.median)
    report.ratio("(o) a backup sent to a store", fastest, mine, 0.8)
    for each in (fastest, mine):
        report.sizes.add("(o) a backup sent to a store", each.name, f"{size / 1e6:.2f} MB", "", f"{size / each.median() / 1e6:.0f} MB/s")
    for peer in peers:
        if peer is not fastest:
            report.ratios.add("(o) the same, the slower client", peer.name, f"{peer.median():.3f} s", "", "", "", "")
    one_table(report, server, store, backed_up)


def one_table(report, server, store, backed_up):
    """The files here are gone, so that each table is read from the copy alone."""
    server.quiesce()
    backed_up()
    server.query(f"SELECT count(*) FROM agent_backup.upload('{SET}')")
    for each in [path for path in Path(server.out).rglob("*") if path.is_file()]:
        each.unlink()
    meter = Meter(store.endpoint)
    store.speak_to(server, meter.endpoint)
    for table in ("agent_approvals", "AgentQuery", "agent_sdk_learning_data"):
        stored = int(
            server.query(
                "SELECT stored_bytes FROM agent_backup.backup_entry JOIN agent_backup.backup_catalog USING (backup_id) "
                f"WHERE set_name = '{SET}' AND table_name = '{table}' AND format = 'csv'"
            )
        )
        server.query("DROP SCHEMA IF EXISTS from_store CASCADE", "CREATE SCHEMA from_store", f'CREATE TABLE from_store."{table}" (LIKE public."{table}" INCLUDING ALL)')
        before = meter.given
        call = f"restore_table('\"{table}\"', target => 'from_store.\"{table}\"', set_name => '{SET}', confirm => true)"
        server.query(f"SELECT count(*) FROM agent_backup.{call}")
        moved = meter.given - before
        ratio = moved / stored
        good = "ok" if ratio <= 1.1 else "MISSED"
        report.ratios.add(f"(o) restore of {table} from the store", "its stored bytes", f"{stored / 1e6:.2f} MB", f"{moved / 1e6:.2f} MB", f"{ratio:.3f}", "≤ 1.1", good)
    store.speak_to(server, store.endpoint)
    server.query("DROP SCHEMA from_store CASCADE")
