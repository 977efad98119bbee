"""Runs candidates in turn and measures them: wall time, size of what they wrote, memory and CPU of a backend."""

import os
import re
import shutil
import statistics
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

SAMPLE_EVERY = 0.05  # seconds
TICK = os.sysconf("SC_CLK_TCK")


@dataclass
class Server:
    """A database of a server, and the directory that outputs are written to."""

    bin: str
    socket: str
    database: str
    out: Path
    user: str

    def environment(self):
        return {**os.environ, "PGHOST": self.socket, "PGUSER": "postgres", "PGDATABASE": self.database, "PSQL": f"{self.bin}/psql"}

    def psql(self, *commands):
        arguments = [f"{self.bin}/psql", "-X", "-q", "-tA", "-v", "ON_ERROR_STOP=1"]
        return arguments + [word for command in commands for word in ("-c", command)]

    def query(self, *commands):
        done = subprocess.run(self.psql(*commands), env=self.environment(), check=True, capture_output=True, text=True)
        return done.stdout.strip()

    def quiesce(self):
        """The same start for all: no output of an earlier run, no record of it, nothing left to write."""
        shutil.rmtree(self.out)
        self.out.mkdir(mode=0o755)
        shutil.chown(self.out, self.user)
        self.query("DELETE FROM agent_backup.backup_catalog", "CHECKPOINT")
        os.sync()


@dataclass
class Candidate:
    """A command to compare. Its output on stdout must be `expected`, so that no failure counts as a fast run."""

    name: str
    server: Server
    command: list
    expected: str = ""
    prepare: object = None
    seconds: list = field(default_factory=list)
    size: int = 0

    def run(self):
        self.server.quiesce()
        if self.prepare:
            self.prepare()
        before = written(self.server.out)
        begun = time.perf_counter()
        done = subprocess.run(self.command, env=self.server.environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        took = time.perf_counter() - begun
        if done.returncode != 0 or done.stdout.strip() != self.expected:
            raise SystemExit(f"{self.name}: status {done.returncode}, {done.stdout!r} instead of {self.expected!r}\n{done.stderr}")
        self.size = written(self.server.out) - before
        return took

    def median(self):
        return statistics.median(self.seconds)


def written(directory):
    """Bytes of what a candidate made: the archive with the manifest beside it, or else all its files."""
    if archives := list(directory.rglob("*.tar.gz")):
        return sum(f.stat().st_size for f in archives) + sum(f.stat().st_size for f in directory.rglob("metadata_*.json"))
    return sum(f.stat().st_size for f in directory.rglob("*") if f.is_file())


def interleave(candidates, runs):
    """A B C A B C …; the first round warms up and is not counted."""
    for number in range(runs + 1):
        for candidate in candidates:
            took = candidate.run()
            told = "warming up" if number == 0 else f"{number} of {runs}"
            print(f"   {candidate.name}, {told}: {took:.3f} s", file=sys.stderr, flush=True)
            if number > 0:
                candidate.seconds.append(took)


@dataclass
class Sample:
    at: float
    private: int = 0  # bytes
    backend: tuple = (0.0, 0.0)  # user and system seconds of the backend's own thread
    process: tuple = (0.0, 0.0)  # of all its threads, those that ended included


@dataclass
class Watched:
    """One call, looked at every 50 ms. Times are seconds since it began."""

    took: float
    notices: list  # (time, text)
    samples: list

    def peak(self):
        return max(sample.private for sample in self.samples)

    def before(self):
        return self.samples[0].private

    def at(self, moment):
        """The last sample not after a moment."""
        return [sample for sample in self.samples if sample.at <= moment][-1]


def watch(server, sql, memory):
    """Runs `sql` in a session of its own and samples its backend: memory, which slows it down, or CPU."""
    server.quiesce()
    command = server.psql(
        "DO $$ BEGIN RAISE NOTICE 'backend %', pg_backend_pid(); END $$",
        "SELECT pg_sleep(0.2)",
        "DO $$ BEGIN RAISE NOTICE 'begin'; END $$",
        sql,
        "DO $$ BEGIN RAISE NOTICE 'end'; END $$",
        "SELECT pg_sleep(0.2)",
    )
    lines = []
    process = subprocess.Popen(command, env=server.environment(), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    reader = threading.Thread(target=lambda: lines.extend((time.perf_counter(), line.strip()) for line in process.stderr))
    reader.start()
    samples = []
    while process.poll() is None:
        if pid := next((int(m[1]) for _, line in lines if (m := re.search(r"NOTICE:  backend (\d+)", line))), None):
            try:
                samples.append(sample(pid, memory))
            except (FileNotFoundError, ProcessLookupError):
                break  # the session ended
        time.sleep(SAMPLE_EVERY)
    reader.join()
    if process.wait() != 0:
        raise SystemExit("\n".join(line for _, line in lines))
    begin, end = (next(at for at, line in lines if line.endswith(f"NOTICE:  {word}")) for word in ("begin", "end"))
    for each in samples:
        each.at -= begin
    return Watched(end - begin, [(at - begin, line) for at, line in lines if begin < at < end], samples)


def sample(pid, memory):
    return Sample(
        time.perf_counter(),
        private_bytes(pid) if memory else 0,
        cpu(f"/proc/{pid}/task/{pid}/stat"),
        cpu(f"/proc/{pid}/stat"),
    )


def private_bytes(pid):
    """Private_Clean and Private_Dirty of all that is not mapped shared: shared buffers that only this backend has touched
    so far count as private in the sums of smaps_rollup, and are not its own."""
    total = 0
    own = False
    with open(f"/proc/{pid}/smaps", encoding="utf-8") as smaps:
        for line in smaps:
            word, rest = line.split(maxsplit=1)
            if not word.endswith(":"):
                own = rest[3] == "p"
            elif own and word in ("Private_Clean:", "Private_Dirty:"):
                total += int(rest.split()[0]) * 1024
    return total


def cpu(path):
    with open(path, encoding="utf-8") as stat:
        fields = stat.read().rpartition(")")[2].split()
    return int(fields[11]) / TICK, int(fields[12]) / TICK
