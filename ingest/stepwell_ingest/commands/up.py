"""`stepwell up`: a whole server on this machine, in the foreground, until Ctrl-C or SIGTERM.

Runs a Postgres (the embedded one, unless a DSN is given), workers and the sealer, each in a process of its own that is
replaced when it ends; prints where things are and what to type next. Promises to leave no process behind, and to drain
before it stops: accepted frames are committed and answered.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import importlib.util
import logging
import os
import re
import shlex
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import FrameType
from urllib.parse import urlsplit

from stepwell.cli import Command, ServerFile, data_directory, default_data
from stepwell.errors import Error, SettingError, UnavailableError
from stepwell_ingest.commands import exposure
from stepwell_ingest.commands.addresses import is_loopback, local_url, reserved_port
from stepwell_ingest.commands.data import InUseError, held
from stepwell_ingest.commands.move import move_data
from stepwell_ingest.commands.sql_login import SqlLogin, address, shown_url, sql_login
from stepwell_ingest.config import Config, Limits, Sql, Timeouts
from stepwell_ingest.config_json import encode
from stepwell_ingest.db import binaries
from stepwell_ingest.db.cluster import DATABASE, Cluster, ClusterSettings, embedded_binaries
from stepwell_ingest.server import loop
from stepwell_ingest.server.child import LOG_FORMAT
from stepwell_ingest.server.children import Children
from stepwell_ingest.server.serving import Stop
from stepwell_ingest.server.supervisor import Supervisor

DEFAULT_PORT = 8770
_WATCH_S = 1.0
#: The connections that make_sql_login_v1 allows the role of --listen-sql.
_SQL_CONNECTIONS = 20
#: How long the sealer may take to end: rolling back a pass in progress takes a moment.
_SEAL_STOP_S = 5.0
_SEAL_RETRY_S = 5.0

ABOUT = """start a server, with a Postgres of its own or yours

Without --dsn, the server creates a Postgres in the data directory, and starts and stops it. With --dsn, it keeps all
data but files in your Postgres (15 to 18), and the data directory holds only the files of runs (unless --blobs names
another place) and the address of the server."""


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on; default 127.0.0.1")
    parser.add_argument(
        "--port", type=_port, default=DEFAULT_PORT, help=f"port to listen on, 0 for a free one; default {DEFAULT_PORT}"
    )
    parser.add_argument(
        "--data",
        metavar="DIR",
        help="the data directory; default STEPWELL_DATA, else ~/.local/share/stepwell (root: /var/lib/stepwell)",
    )
    parser.add_argument(
        "--public-host",
        action="append",
        metavar="NAME",
        help="a name by which clients and proxies reach the server; may be repeated. IP addresses, "
        "localhost, --host, and (if --host is 0.0.0.0) this machine's name are always accepted. Default "
        "STEPWELL_PUBLIC_HOST, separated by commas",
    )
    exposure.configure(parser)
    parser.add_argument("--dsn", help="your Postgres, as postgresql://user@host/database; default STEPWELL_DSN")
    parser.add_argument("--sql-dsn", help="a login that only reads, for POST /v1/sql; default STEPWELL_SQL_DSN")
    parser.add_argument(
        "--listen-sql",
        type=address,
        metavar="HOST:PORT",
        help="the address at which psql, Grafana, DuckDB and so on may read the embedded Postgres, as a read-only role "
        "with the password in DIR/sql-password",
    )
    parser.add_argument("--workers", type=_count, default=1, metavar="N", help="number of worker processes; default 1")
    parser.add_argument(
        "--metrics-per-run",
        type=_count,
        default=Limits().metrics_per_run,
        metavar="N",
        help=f"the most metric names of one run; default {Limits().metrics_per_run}",
    )
    parser.add_argument(
        "--points-per-run", type=_count, metavar="N", help="the most points of one run; default: no limit"
    )
    parser.add_argument(
        "--bytes-per-run",
        type=_bytes,
        metavar="SIZE",
        help="the most bytes of frames that one run may send (500MB, 20GB); default: no limit",
    )
    parser.add_argument(
        "--free-bytes",
        type=_bytes,
        default=Limits().free_bytes,
        metavar="SIZE",
        help="space to keep free on the server's disks: with less, frames and files must wait (default: %(default)s)",
    )
    parser.add_argument(
        "--no-seal",
        dest="seal",
        action="store_false",
        help="leave sealing (which makes history small and quick to read) to other servers on the same Postgres",
    )
    parser.add_argument(
        "--blobs",
        metavar="PLACE",
        help="where to store the files of runs: a directory, or s3://bucket/prefix with endpoint and credentials in "
        "AWS_… variables; default STEPWELL_BLOBS, else DIR/blobs",
    )
    parser.add_argument(
        "--blob-bytes",
        type=_count,
        default=Limits().blob_bytes,
        metavar="N",
        help=f"the largest file to accept; default {Limits().blob_bytes}",
    )
    parser.add_argument(
        "--blob-grace-days",
        type=_count,
        default=round(Timeouts().blob_grace_s / 86400),
        metavar="N",
        help="how long to keep a file that no run references, since the reference may wait in a spool; default "
        f"{round(Timeouts().blob_grace_s / 86400)}",
    )
    parser.add_argument(
        "--until-stdin-ends",
        action="store_true",
        help="also stop when stdin ends, for programs that start a server and must not leave it behind",
    )


def run(options: argparse.Namespace) -> int:
    logging.basicConfig(level=logging.WARNING, format=LOG_FORMAT)
    exposure.check(options)
    # Until the loop handles signals, SIGTERM aborts the start, as Ctrl-C does.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    data = data_directory(options.data)
    if data == Path.home() / ".stepwell" and not (options.data or os.environ.get("STEPWELL_DATA")):
        before, data = data, default_data()
        move_data(before, data, _say)
    dsn = options.dsn or os.environ.get("STEPWELL_DSN")
    if dsn and options.listen_sql:
        raise SettingError(
            "--listen-sql is for the Postgres that `stepwell up` runs itself",
            hint="create a login in your own Postgres: docs/sql.md, The reader role",
        )
    with ExitStack() as exits:
        port = exits.enter_context(reserved_port(options.host, options.port))
        try:
            exits.enter_context(held(data))
            noted = True
        except SettingError as error:
            if dsn is None:
                raise
            # The data is elsewhere, so this only affects `stepwell sql` on this machine, which then needs the DSN.
            noted = False
            if not isinstance(error, InUseError):
                _say(f"{error.message}, so `stepwell sql` needs --dsn on this machine")
        login = None
        if options.listen_sql:
            sql_host, sql_port = options.listen_sql
            login = sql_login(sql_host, sql_port, data)
        cluster = None if dsn else exits.enter_context(_embedded(data, options.workers, login))
        config = Config(
            dsn or _dsn_of(cluster),
            options.host,
            port,
            public_hosts=",".join(options.public_host or [os.environ.get("STEPWELL_PUBLIC_HOST", "")]),
            reuse_port=True,
            require_keys=options.require_keys,
            data_dir=str(cluster.data_dir) if cluster else None,
            blobs=options.blobs or os.environ.get("STEPWELL_BLOBS") or str(data / "blobs"),
            sql=Sql(
                dsn=options.sql_dsn or os.environ.get("STEPWELL_SQL_DSN"),
                login_verifier=login.verifier if login else None,
            ),
            limits=Limits(
                metrics_per_run=options.metrics_per_run,
                points_per_run=options.points_per_run,
                bytes_per_run=options.bytes_per_run,
                free_bytes=options.free_bytes,
                blob_bytes=options.blob_bytes,
            ),
            timeouts=Timeouts(blob_grace_s=options.blob_grace_days * 86400.0),
        )
        server = _Server(config, options, data, cluster, login, noted)
        try:
            loop.run(server.run())
        except UnavailableError as error:
            if dsn is None:
                raise
            hint = "check --dsn or STEPWELL_DSN; without one, `stepwell up` starts a Postgres of its own"
            raise UnavailableError(f"{error.message} ({_shown(dsn)})", detail=error.detail, hint=hint) from error
        finally:
            if noted:
                ServerFile.remove(data)
    if server.failure:
        raise server.failure
    _say("stopped")
    return 0


class _Server:
    """The part of `run` inside the event loop."""

    def __init__(
        self,
        config: Config,
        options: argparse.Namespace,
        data: Path,
        cluster: Cluster | None,
        login: SqlLogin | None,
        noted: bool,
    ) -> None:
        self._config = config
        self._options = options
        self._workers: int = options.workers
        self._data_option: str | None = options.data
        self._until_stdin_ends: bool = options.until_stdin_ends
        self._data = data
        self._cluster = cluster
        self._login = login
        self._noted = noted
        self._seal: bool = options.seal
        self._children = Children(_say, config.timeouts.hung_s)
        self._sealing: asyncio.Task[object] | None = None
        self.failure: UnavailableError | None = None

    async def run(self) -> None:
        stop = Stop()
        stop.on_signals()
        if self._until_stdin_ends:
            stop.on_end_of_stdin()
        watch = asyncio.create_task(self._watch(stop))
        try:
            await Supervisor(self._config, self._workers, _say).run(stop, self._ready, self._stopping)
        finally:
            watch.cancel()
            if self._sealing is not None:
                self._sealing.cancel()
            await self._children.stop(_SEAL_STOP_S)
            await self._children.kill()

    async def _watch(self, stop: Stop) -> None:
        while self._cluster is not None:
            await asyncio.sleep(_WATCH_S)
            if self._cluster.pid is None:
                self.failure = UnavailableError(
                    "Postgres has stopped, so the server stops, too",
                    detail=f"its log is {self._cluster.log_file}",
                    hint="start the server again; meanwhile, runs keep their points in their spools",
                )
                stop.ask()
                stop.ask()
                return

    async def _start_sealing(self) -> None:
        line = encode(self._config)
        while True:
            try:
                await self._children.start("sealer", "stepwell_ingest.server.sealer_process", line)
            except Error as error:
                _say(f"the sealer could not be started; trying again in {_SEAL_RETRY_S:.0f} s: {error}")
                await asyncio.sleep(_SEAL_RETRY_S)
            else:
                return

    def _ready(self, url: str) -> None:
        if self._seal:  # the schema exists by now
            self._sealing = asyncio.create_task(self._start_sealing())
        local = local_url(url)
        if self._noted:
            try:
                ServerFile(local, self._config.dsn, os.getpid()).write(self._data)
            except OSError as error:
                _say(f"the server's address cannot be written to {self._data} ({error.strerror})")
        lines = ["", f"Stepwell is up, with {self._workers} workers." if self._workers > 1 else "Stepwell is up."]
        lines.append(f"  listens on   {url}")
        where = f"in {self._cluster.data_dir}" if self._cluster else f"in {_shown(self._config.dsn)}"
        lines += [
            f"  the data is  {where}",
            f"  files are    in {self._config.blobs}",
        ]
        if self._login:
            lines.append(f"  SQL clients  read {shown_url(self._login, DATABASE)}")
            lines.append(f"               with the password in {self._login.file}")
        lines += [
            "  stop it with Ctrl-C: accepted frames are stored first",
            "",
        ]
        lines.append("Next, in another terminal:")
        if local != f"http://127.0.0.1:{DEFAULT_PORT}":
            lines.append(f"  export STEPWELL_URL={local}")
        if self._data_option:
            lines.append(f"  export STEPWELL_DATA={shlex.quote(str(self._data))}")
        if importlib.util.find_spec("sklearn") is not None:  # without it, the first suggestion would fail
            lines.append(f"  stepwell demo --url {local}")
        lines += [
            '  stepwell sql "SELECT run, state, writers, points FROM runs ORDER BY created_at DESC LIMIT 10"',
        ]
        if self._login and not is_loopback(self._login.listen.host):
            lines += ["", "WARNING: what SQL clients read is not encrypted: docs/sql.md, psql and dashboards"]
        print("\n".join(lines + exposure.lines(self._options, url)), flush=True)

    def _stopping(self) -> None:
        if self.failure is None:
            _say("stopping: storing accepted frames (Ctrl-C again stops at once; senders keep the rest)")


@contextmanager
def _embedded(data: Path, workers: int, login: SqlLogin | None) -> Iterator[Cluster]:
    """Runs the embedded Postgres for the duration of the block."""
    bin_dir = embedded_binaries()
    # A worker has some twenty connections at most, those of reads included; at least 40 are left for others.
    settings = ClusterSettings(
        max_connections=max(100, 40 + 20 * workers) + (_SQL_CONNECTIONS if login else 0),
        listen=login.listen if login else None,
    )
    cluster = Cluster(data / "postgres", bin_dir, settings)
    new = "" if (cluster.data_dir / "PG_VERSION").exists() else "making a new database and "
    _say(f"{new}starting Postgres {binaries.version(bin_dir)} in {cluster.data_dir}")
    began = time.monotonic()
    cluster.start()
    try:
        _say(f"Postgres is ready ({time.monotonic() - began:.1f} s)")
        yield cluster
    finally:
        pid = cluster.pid
        if pid is not None:

            def at_once(number: int, frame: FrameType | None) -> None:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGQUIT)

            for number in (signal.SIGTERM, signal.SIGINT):
                signal.signal(number, at_once)
            _say("stopping Postgres")
        cluster.stop()


def _dsn_of(cluster: Cluster | None) -> str:
    assert cluster is not None
    return cluster.dsn()


def _shown(dsn: str) -> str:
    """The DSN without its password."""
    parts = urlsplit(dsn)
    if not parts.hostname:
        return "the Postgres of the DSN"
    user = f"{parts.username}@" if parts.username else ""
    port = f":{parts.port}" if parts.port else ""
    return f"{parts.scheme}://{user}{parts.hostname}{port}{parts.path}"


def _port(text: str) -> int:
    port = int(text) if text.isdecimal() else -1
    if not 0 <= port < 65536:
        raise argparse.ArgumentTypeError("a port must be a number from 0 to 65535")
    return port


def _count(text: str) -> int:
    count = int(text) if text.isdecimal() else 0
    if count < 1:
        raise argparse.ArgumentTypeError("must be a whole number, at least 1")
    return count


def _bytes(text: str) -> int:
    match = re.fullmatch(r"(\d+) ?([kMGT]?)B?", text)
    if match is None or int(match[1]) < 1:
        raise argparse.ArgumentTypeError("a size must be a number of bytes, or a number with kB, MB, GB or TB")
    unit: int = 1000 ** " kMGT".index(match[2] or " ")
    return int(match[1]) * unit


def _say(text: str) -> None:
    print(f"stepwell: {text}", file=sys.stderr, flush=True)


COMMAND = Command(ABOUT, configure, run)
