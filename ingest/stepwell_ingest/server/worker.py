"""One worker: start → serve → drain → stop. Opens connections, composes the services, listens, and ends in reverse
order.

Any number of workers may serve one Postgres; they need not know of each other, because the ledger decides.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from contextlib import AsyncExitStack

import asyncpg
from aiohttp import web

from stepwell_ingest.api.app import create_app
from stepwell_ingest.api.heads import Connection
from stepwell_ingest.api.services import Services
from stepwell_ingest.blobs.store import open_store
from stepwell_ingest.config import Config
from stepwell_ingest.db.connect import attach_pool, maintenance_connection, read_pool, sql_pool, write_pool
from stepwell_ingest.db.errors import postgres_errors
from stepwell_ingest.db.migrate import migrate
from stepwell_ingest.server.compose import compose
from stepwell_ingest.server.housekeeping import Housekeeping
from stepwell_ingest.server.listener import listen
from stepwell_ingest.server.loops import Loops
from stepwell_schema import queries

log = logging.getLogger(__name__)

_CLOSE_S = 5.0


class Worker:
    """Serves one Postgres over HTTP.

    Args:
        config: all settings.

    Attributes:
        services, housekeeping: its parts, available after `start`.
        loops: its background loops; when one of them ends unexpectedly, the worker must end.
    """

    services: Services
    housekeeping: Housekeeping

    def __init__(self, config: Config) -> None:
        self.config = config
        self.loops = Loops()
        self._exits = AsyncExitStack()
        self._pool: asyncpg.Pool | None = None
        self._port = config.port

    @property
    def url(self) -> str:
        """The URL at which the worker listens, once it has started."""
        host = f"[{self.config.host}]" if ":" in self.config.host else self.config.host
        return f"http://{host}:{self._port}"

    async def start(self) -> None:
        """Brings the schema up to date, creates partitions ahead of need, starts the loops and listens.

        Raises:
            UnavailableError: Postgres cannot be reached.
            SettingError: the address, the port or the place for blobs cannot be used, or Postgres does not fit this
                version.
        """
        config = self.config
        async with AsyncExitStack() as exits:
            # The port comes first: if it is taken, nothing is migrated.
            listener = listen(config.host, config.port, reuse_port=config.reuse_port)
            exits.callback(listener.close)
            self._port = listener.getsockname()[1]
            store = open_store(config.blobs) if config.blobs else None
            with postgres_errors("be reached"):
                await _prepare_schema(config)
                self._pool = writing = await write_pool(config.dsn, config.limits, config.timeouts)
                exits.push_async_callback(_close, writing)
                attaching = await attach_pool(config.dsn, config.timeouts)
                exits.push_async_callback(_close, attaching)
                reading = await read_pool(config.dsn, config.reads, config.timeouts.connect_s)
                querying = await sql_pool(config.dsn, config.sql, config.timeouts.connect_s)
            exits.push_async_callback(_close, querying)
            composed = compose(config, writing, attaching, reading, querying, store, self.loops)
            self.services, self.housekeeping = composed.services, composed.housekeeping
            exits.push_async_callback(self.services.reads.close)
            exits.push_async_callback(self.services.live.stop)
            exits.push_async_callback(self.loops.stop)
            for name, run in composed.loops.items():
                self.loops.start(name, run())
            runner = _runner(self.services)
            exits.push_async_callback(runner.cleanup)
            exits.callback(self.services.live.close)
            await runner.setup()
            await _listen(runner, listener, config, exits)
            self._exits = exits.pop_all()

    async def drain(self, patience_s: float | None = None) -> None:
        """Refuses new work, and waits until accepted frames are committed and answered.

        Args:
            patience_s: the longest wait; None: `drain_s`.
        """
        services = self.services
        services.gate.close()
        services.batcher.close()
        services.live.close()
        services.streams.stop()
        try:
            async with asyncio.timeout(self.config.timeouts.drain_s if patience_s is None else patience_s):
                while services.streams or not services.batcher.idle:  # noqa: ASYNC110 - two conditions of two objects, once for each worker
                    await asyncio.sleep(0.01)
        except TimeoutError:
            log.warning("stopped with uncommitted frames; their senders keep them and send them again")

    async def stop(self) -> None:
        """Ends everything; call `drain` first to lose no work in progress."""
        await self._exits.aclose()


async def _prepare_schema(config: Config) -> None:
    connection = await maintenance_connection(config.dsn, "migrate", config.timeouts.connect_s)
    try:
        applied = await migrate(connection)
        await connection.execute(queries("write")["ensure_partitions"])
        lacks = await connection.fetchval(queries("sql")["restore_reader"])
        left = await connection.fetchval(queries("sql")["bind_reader"])
        if config.require_keys:
            await connection.execute(queries("access")["own_old_blobs"])
        if config.sql.login_verifier:
            await connection.execute(queries("sql")["make_sql_login"], config.sql.login_verifier)
    finally:
        await connection.close()
    if applied:
        log.info("applied %s", ", ".join(applied))
    if lacks:
        log.warning(
            "stepwell_reader cannot read everything, and the server's role may not change that, so `stepwell sql` and "
            "`POST /v1/sql` may fail (docs/operations.md, Backup and restore). It lacks: %s",
            ", ".join(lacks),
        )
    if left:
        log.warning(
            "stepwell_reader may do more than read. In this database, everybody has rights that the server's role "
            "cannot or should not revoke (docs/sql.md): %s",
            ", ".join(left),
        )


def _runner(services: Services) -> web.AppRunner:
    return web.AppRunner(create_app(services), shutdown_timeout=1.0)


async def _listen(runner: web.AppRunner, listener: socket.socket, config: Config, exits: AsyncExitStack) -> None:
    """Takes connections until `exits` ends."""
    server, limits = runner.server, config.limits
    assert server is not None

    def connect() -> Connection:
        return Connection(
            server,
            limits.head_bytes,
            access_log=None,
            # From the beginning of a connection to its first whole head, and from an answer to the next one.
            keepalive_timeout=config.timeouts.head_s,
            # Compressed bodies are refused; otherwise aiohttp would inflate them before they are dropped.
            auto_decompress=False,
            max_line_size=limits.request_line_bytes,
            max_field_size=limits.request_line_bytes,
        )

    listening = await asyncio.get_running_loop().create_server(connect, sock=listener, backlog=1024)
    exits.callback(listening.close)


async def _close(pool: asyncpg.Pool) -> None:
    try:
        await asyncio.wait_for(pool.close(), _CLOSE_S)
    except TimeoutError:
        pool.terminate()
