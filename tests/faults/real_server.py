"""A worker in a separate process, with chosen limits: for properties that can only be measured from outside.

    with real_server() as server: …             with a Postgres of its own
    with worker_process(dsn, directory) as …    with one that is there

Run as a module it is that process: it reads its configuration as a line of JSON and prints its URL.
"""

from __future__ import annotations

import contextlib
import logging
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from stepwell_ingest.config import Config, Limits, Reads, Timeouts
from stepwell_ingest.config_json import decode, encode
from stepwell_ingest.db.cluster import Cluster, ClusterSettings, embedded_binaries
from stepwell_ingest.server import loop
from stepwell_ingest.server.serving import Stop, serve
from stepwell_ingest.server.worker import Worker

_LIMITS, _TIMEOUTS, _READS = Limits(), Timeouts(), Reads()


@dataclass(frozen=True)
class RealServer:
    """url, pid: the URL and pid of the worker. dsn: the DSN of its Postgres. directory: a directory for files."""

    url: str
    dsn: str
    pid: int
    directory: Path

    def rss_mib(self, line: str = "VmRSS") -> float:
        """The resident memory of the worker, in MiB."""
        found = re.search(rf"{line}:\s+(\d+) kB", Path(f"/proc/{self.pid}/status").read_text())
        assert found
        return int(found[1]) / 1024

    def peak_mib(self) -> float:
        """The peak of that memory."""
        return self.rss_mib("VmHWM")

    def log(self) -> str:
        """The log of the worker, which is empty unless something is wrong."""
        return (self.directory / "worker.log").read_text()


@contextlib.contextmanager
def real_postgres() -> Iterator[tuple[str, Path]]:
    """The DSN of a Postgres and its directory, which is removed at the end."""
    directory = Path(tempfile.mkdtemp(prefix="stepwell-faults-"))
    directory.chmod(0o755)  # the account of Postgres needs access
    settings = ClusterSettings(shared_buffers_mb=128, max_wal_size_mb=1024, min_wal_size_mb=80)
    try:
        with Cluster(directory / "data", embedded_binaries(), settings) as cluster:
            yield cluster.dsn(), directory
    finally:
        shutil.rmtree(directory, ignore_errors=True)


@contextlib.contextmanager
def real_server(limits: Limits = _LIMITS, timeouts: Timeouts = _TIMEOUTS) -> Iterator[RealServer]:
    """A worker and its Postgres."""
    with real_postgres() as (dsn, directory), worker_process(dsn, directory, limits, timeouts) as server:
        yield server


@contextlib.contextmanager
def worker_process(
    dsn: str,
    directory: Path,
    limits: Limits = _LIMITS,
    timeouts: Timeouts = _TIMEOUTS,
    port: int = 0,
    reads: Reads = _READS,
) -> Iterator[RealServer]:
    """A worker over `dsn`, on a free port unless one is given; its log is in `directory`."""
    with (directory / "worker.log").open("w") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "faults.real_server"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        )
    assert process.stdin is not None
    assert process.stdout is not None
    with process.stdin, process.stdout:
        try:
            process.stdin.write(encode(Config(dsn, port=port, limits=limits, timeouts=timeouts, reads=reads)))
            process.stdin.flush()
            url = process.stdout.readline().decode().strip()
            if not url:
                raise AssertionError((directory / "worker.log").read_text())
            yield RealServer(url, dsn, process.pid, directory)
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(60)


def _main() -> None:
    logging.basicConfig(level=logging.WARNING)
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    loop.run(_serve(Worker(decode(sys.stdin.buffer.readline()))))


async def _serve(worker: Worker) -> None:
    stop = Stop()
    stop.on_signals()

    def say(url: str) -> None:
        sys.stdout.write(url + "\n")
        sys.stdout.flush()

    await serve(worker, stop, say, lambda: None)


if __name__ == "__main__":
    _main()
