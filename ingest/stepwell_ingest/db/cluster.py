"""A Postgres cluster that belongs to Stepwell: creates, starts, watches and stops it as a child process.

Used by `stepwell up` without `--dsn`, before the event loop runs. Receives a data directory and the programs
(`embedded_binaries()`, `system_binaries()`); returns a DSN. Promises: only the directory's owner can connect (a socket
in a 0700 directory; TCP only on request, with a password), Ctrl-C in the terminal does not reach Postgres, so that the
worker can drain first, and on Linux Postgres never outlives this process.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Literal, Self
from urllib.parse import quote

from stepwell.errors import SettingError, UnavailableError

from . import binaries, datadir, launch
from .binaries import embedded_binaries, system_binaries
from .datadir import DATABASE, ROLE, Postmaster

__all__ = ["DATABASE", "Cluster", "ClusterSettings", "Listen", "embedded_binaries", "system_binaries"]

# A socket's path may have 107 bytes on Linux and 103 on macOS; Postgres appends a slash and .s.PGSQL.NNNNN.lock.
_SOCKET_DIR_BYTES_MAX = 80
_LOG_BYTES_MAX = 16 << 20
_LOG_TAIL_BYTES = 4096
_LOG_TAIL_LINES = 15
_POLL_S = 0.02


@dataclass(frozen=True, slots=True)
class Listen:
    """TCP for one role, which needs its password (SCRAM). Nobody else can log in over TCP.

    Args:
        host: an address of this machine, `localhost`, or 0.0.0.0 or :: for all addresses.
        port: a port, not 0.
        role: the role; it reaches the database `stepwell` only.
    """

    host: str
    port: int
    role: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterSettings:
    """Settings of Postgres, chosen for many appended rows on a small machine. `fsync` stays on.

    Args:
        listen_tcp: also listen on 127.0.0.1, on a free port, and trust every connection. For tests with proxies.
        listen: also listen for logins of one role with a password.
        start_timeout_s: how long a start may take; recovery after a crash reads up to `max_wal_size_mb`.
        stop_timeout_s: how long a fast stop may take before it becomes an immediate one.
        extra: further server settings by their own names; they win over the fields.

    The other fields are the server's settings of the same names.
    """

    shared_buffers_mb: int = 256
    # Few checkpoints: after each of them, the first change of every page writes the whole page to the WAL.
    max_wal_size_mb: int = 4096
    min_wal_size_mb: int = 1024
    checkpoint_timeout_s: int = 900
    max_connections: int = 100
    synchronous_commit: str = "on"
    # Arrays of floats hardly compress, and the CPU is the bottleneck.
    wal_compression: str = "off"
    jit: bool = False
    autovacuum: bool = True
    listen_tcp: bool = False
    listen: Listen | None = None
    start_timeout_s: float = 300.0
    stop_timeout_s: float = 60.0
    extra: Mapping[str, str] = field(default_factory=dict)

    def server_settings(self) -> dict[str, str]:
        """The settings by the names that Postgres uses."""
        return {
            "shared_buffers": f"{self.shared_buffers_mb}MB",
            "max_wal_size": f"{self.max_wal_size_mb}MB",
            "min_wal_size": f"{self.min_wal_size_mb}MB",
            "checkpoint_timeout": f"{self.checkpoint_timeout_s}s",
            "max_connections": str(self.max_connections),
            "synchronous_commit": self.synchronous_commit,
            "wal_compression": self.wal_compression,
            "jit": "on" if self.jit else "off",
            "autovacuum": "on" if self.autovacuum else "off",
            **self.extra,
        }


class Cluster:
    """One data directory and the Postgres server on it; as a context manager, it starts and stops (fast).

    Args:
        data_dir: created on the first start, with its parents.
        bin_dir: the directory of the programs.
        settings: the server's settings.
        log_file: the file for the server's messages; default `postgres.log` beside the data directory.

    Start it from a thread that lives as long as the server should: Linux stops the server when that thread ends.
    """

    def __init__(
        self,
        data_dir: Path,
        bin_dir: Path,
        settings: ClusterSettings | None = None,
        *,
        log_file: Path | None = None,
    ) -> None:
        self.data_dir = Path(data_dir).expanduser().resolve()
        self.bin_dir = Path(bin_dir)
        self.settings = settings or ClusterSettings()
        self.log_file = Path(log_file) if log_file else self.data_dir.with_name("postgres.log")
        self._account: binaries.Account | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._socket_dir = self.data_dir
        self._port = 5432
        self._log_start = 0

    @property
    def pid(self) -> int | None:
        """The postmaster's process id while it runs, else None."""
        return self._process.pid if self._process is not None and self._process.poll() is None else None

    @property
    def port(self) -> int:
        """The port in the socket's name and, with `listen_tcp`, on 127.0.0.1."""
        return self._port

    def dsn(self, database: str = DATABASE, *, tcp: bool = False) -> str:
        """The DSN of a database on the started cluster, for asyncpg and libpq.

        Raises:
            SettingError: `tcp` is requested, but the settings have no `listen_tcp`.
        """
        name = quote(database, safe="")
        if not tcp:
            return f"postgresql://{ROLE}@/{name}?host={quote(str(self._socket_dir))}&port={self._port}"
        if not self.settings.listen_tcp:
            raise SettingError("this cluster does not listen on TCP", hint="use ClusterSettings(listen_tcp=True)")
        return f"postgresql://{ROLE}@127.0.0.1:{self._port}/{name}"

    def start(self) -> None:
        """Creates the cluster if there is none, starts the server and waits until it accepts connections.

        Raises:
            SettingError: the directory belongs to another version, server or purpose, or cannot be reached by the user
                that Postgres runs as.
            UnavailableError: initdb or the server failed; the end of the log is in the detail.
        """
        if self.pid is not None:
            return
        try:
            self._account = binaries.choose_account(self.data_dir)
            datadir.check_reachable(self.data_dir, self._account)
            datadir.make_parents(self.data_dir)
            self.bin_dir = binaries.usable_binaries(self.bin_dir, self._account, self.data_dir.parent)
            version = binaries.version(self.bin_dir)
            exists = datadir.is_cluster(self.data_dir)
            if exists:
                datadir.check_version(self.data_dir, self.bin_dir, version)
                datadir.await_predecessor(self.data_dir, self.settings.stop_timeout_s)
                datadir.own(self.data_dir, self._account)
            with self._open_log() as log:
                if not exists:
                    datadir.create(
                        self.data_dir, self.bin_dir, version, self._account, lambda *job: self._run(log, *job)
                    )
                self._launch(log)
            self._wait_until_ready()
        except OSError as error:
            self.stop("immediate")
            raise SettingError(f"Postgres cannot run in {self.data_dir}", detail=str(error)) from error
        except BaseException:
            # Ctrl-C during a long recovery leaves nothing behind, either.
            self.stop("immediate")
            raise

    def stop(self, mode: Literal["fast", "immediate"] = "fast") -> None:
        """Stops the server and removes its sockets. Stopping a stopped cluster does nothing.

        Args:
            mode: `fast` ends the sessions and writes a checkpoint; `immediate` leaves that to the next start.
        """
        process, self._process = self._process, None
        if process is not None:
            steps = [(signal.SIGQUIT, 5.0), (signal.SIGKILL, 5.0)]
            if mode == "fast":
                steps.insert(0, (signal.SIGINT, self.settings.stop_timeout_s))
            for number, patience_s in steps:
                if process.poll() is None:
                    process.send_signal(number)
                    with contextlib.suppress(subprocess.TimeoutExpired):
                        process.wait(patience_s)
            # A killed server leaves its socket behind, and the next one may already run there.
            if (other := Postmaster.read(self.data_dir)) is not None and not other.alive():
                for leftover in self._socket_dir.glob(f".s.PGSQL.{self._port}*"):
                    leftover.unlink(missing_ok=True)
        if self._socket_dir != self.data_dir:
            shutil.rmtree(self._socket_dir, ignore_errors=True)
            self._socket_dir = self.data_dir

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    def _launch(self, log: BinaryIO) -> None:
        if len(os.fsencode(self.data_dir)) > _SOCKET_DIR_BYTES_MAX or re.search(r"[,\"'\s]", str(self.data_dir)):
            # Too long for a socket, or with characters that the server or libpq would take for a list.
            self._socket_dir = Path(tempfile.mkdtemp(prefix="stepwell-"))
            datadir.own(self._socket_dir, self._account)
        listen = self.settings.listen
        self._port = listen.port if listen else _free_port() if self.settings.listen_tcp else 5432
        options = self.settings.server_settings() | {
            "unix_socket_directories": str(self._socket_dir),
            "unix_socket_permissions": "0700",
            "listen_addresses": listen.host if listen else "127.0.0.1" if self.settings.listen_tcp else "",
            "port": str(self._port),
            "logging_collector": "off",
            "log_destination": "stderr",
            "cluster_name": "stepwell",
        }
        over_tcp = "host all all 127.0.0.1/32 trust" if self.settings.listen_tcp else ""
        if listen:
            over_tcp = f"host {DATABASE} {listen.role} all scram-sha-256"
        if over_tcp:
            # The cluster's own pg_hba.conf asks every role for its password on TCP, and stays as it is.
            hba = self.data_dir / "stepwell_hba.conf"
            hba.write_text(f"local all all trust\n{over_tcp}\n")
            datadir.own(hba, self._account)
            options["hba_file"] = str(hba)
        account = self._account
        command = [sys.executable, "-I", "-S", launch.__file__, str(os.getpid())]
        command += [str(account.uid), str(account.gid)] if account else ["-1", "-1"]
        # When this process dies, the kernel sends SIGINT: a fast stop.
        command += [str(int(signal.SIGINT)), str(self.bin_dir / "postgres"), "-D", str(self.data_dir)]
        for name, value in options.items():
            command += ["-c", f"{name}={value}"]
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd="/",
            env=datadir.environment(),
            # In a session of its own, or the terminal's Ctrl-C would reach the server before the worker has drained.
            start_new_session=True,
        )

    def _wait_until_ready(self) -> None:
        deadline = time.monotonic() + self.settings.start_timeout_s
        process = self._process
        while process is not None:
            found = Postmaster.read(self.data_dir)
            if found is not None and found.pid == process.pid and found.status == "ready":
                return
            if process.poll() is not None:
                raise self._failure(f"Postgres exited during its start, with status {process.returncode}")
            if time.monotonic() > deadline:
                raise self._failure(f"Postgres was not ready within {self.settings.start_timeout_s:g} s")
            time.sleep(_POLL_S)

    def _run(self, log: BinaryIO, command: list[str], text: bytes) -> None:
        status = datadir.run_program(command, text, log.fileno(), self._account)
        if status != 0:
            raise self._failure(f"{Path(command[0]).name} failed with status {status}")

    def _open_log(self) -> BinaryIO:
        if self.log_file.exists() and self.log_file.stat().st_size > _LOG_BYTES_MAX:
            self.log_file.replace(self.log_file.with_name(f"{self.log_file.name}.1"))
        # Readable by its owner only: it contains failed statements with their values. A planted link is an error.
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW
        log = open(os.open(self.log_file, flags, 0o600), "ab")  # noqa: SIM115 - the caller closes it
        os.fchmod(log.fileno(), 0o600)
        self._log_start = log.tell()
        return log

    def _failure(self, message: str) -> UnavailableError:
        with self.log_file.open("rb") as log:
            size = log.seek(0, os.SEEK_END)
            log.seek(max(self._log_start, size - _LOG_TAIL_BYTES))
            lines = log.read().decode(errors="replace").splitlines()[-_LOG_TAIL_LINES:]
        return UnavailableError(
            message, detail="the end of its log:\n" + "\n".join(lines), hint=f"the complete log is in {self.log_file}"
        )


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port
