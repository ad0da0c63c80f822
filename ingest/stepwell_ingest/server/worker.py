"""One worker process: start → serve → drain → stop. Holds all that the stations of the write path share.

Any number of workers may serve one Postgres; they need not know of each other, because the ledger is the judge.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import time
from typing import Any

import asyncpg
from aiohttp import web

from stepwell.errors import Error, SettingError, UnavailableError
from stepwell_ingest.api.app import create_app
from stepwell_ingest.api.stream import Stream
from stepwell_ingest.blobs.collector import Collector
from stepwell_ingest.blobs.intake import Blobs
from stepwell_ingest.blobs.store import open_store
from stepwell_ingest.config import Config
from stepwell_ingest.db.errors import postgres_errors
from stepwell_ingest.db.migrate import migrate
from stepwell_ingest.delete.sweeper import Sweeper
from stepwell_ingest.metrics import Metrics
from stepwell_ingest.read.database import Database
from stepwell_ingest.read.live import Live
from stepwell_ingest.read.sizes import Sizes
from stepwell_ingest.write.admission import Room
from stepwell_ingest.write.batcher import Batcher
from stepwell_ingest.write.catalog import Catalog
from stepwell_ingest.write.copier import Copier
from stepwell_ingest.write.intake import Intake
from stepwell_ingest.write.ledger import Cursor
from stepwell_ingest.write.lifecycle import Lifecycle
from stepwell_ingest.write.pressure import Pressure
from stepwell_ingest.write.quota import Quota
from stepwell_schema import queries

log = logging.getLogger(__name__)

_HOUSEKEEPING_EVERY_S = 3600.0


class Worker:
    """Serves frames into one Postgres.

    Attributes:
        config, metrics: settings and counters.
        room: bytes between the sockets and COMMIT.
        catalog, batcher, intake: stations of the write path; there from `start` on.
        reads, live: connections of those who read, and live views.
        streams: the open connections.
        draining: nothing new is taken in.
    """

    catalog: Catalog
    intake: Intake
    _sizes: Sizes

    def __init__(self, config: Config) -> None:
        self.config = config
        self.metrics = Metrics()
        self.room = Room(config.limits.memory_bytes, config.timeouts.retry_after_s)
        self.batcher = Batcher(config.limits.batch_bytes, config.limits.batch_frames)
        self.reads = Database(config.dsn, config.reads, config.timeouts.connect_s)
        self.live = Live(self.reads)
        self.streams: set[Stream] = set()
        self.draining = False
        self.started_at = time.time()
        self._sql = queries("write")
        self._pool: asyncpg.Pool | None = None
        self._blobs: Blobs | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self._runner: web.AppRunner | None = None
        self._port = config.port

    @property
    def url(self) -> str:
        """Where it listens, once started."""
        host = f"[{self.config.host}]" if ":" in self.config.host else self.config.host
        return f"http://{host}:{self._port}"

    async def start(self) -> None:
        """Brings the schema up to date, makes partitions ahead of need, starts the copiers and listens.

        Raises:
            UnavailableError: Postgres cannot be reached.
            SettingError: the address, the port or the place for blobs cannot be used, or Postgres does not fit this
                version.
        """
        limits, timeouts = self.config.limits, self.config.timeouts
        listener = self._listen()  # first: a taken port must not cost a migration
        try:
            store = open_store(self.config.blobs) if self.config.blobs else None
            with postgres_errors("be reached"):
                connection = await asyncpg.connect(self.config.dsn, timeout=timeouts.connect_s)
                try:
                    applied = await migrate(connection)
                    await connection.execute(self._sql["ensure_partitions"])
                finally:
                    await connection.close()
                if applied:
                    log.info("applied %s", ", ".join(applied))
                pool = self._pool = await asyncpg.create_pool(
                    self.config.dsn,
                    min_size=limits.copiers,
                    max_size=limits.copiers + 4,
                    timeout=timeouts.connect_s,
                    command_timeout=timeouts.statement_s,
                    # What is acknowledged must survive a crash, whatever the database's own default is (design §3.1).
                    server_settings={
                        "synchronous_commit": "on",
                        "application_name": "stepwell",
                        # The slot of the hot ring is read behind a lock, and must be the one of then.
                        "default_transaction_isolation": "read committed",
                        "TimeZone": "UTC",
                        # When the host of a worker goes away in the midst of a COPY, Postgres must notice: until then
                        # the ledger rows are locked, and no other worker can move them. (The default is two hours.)
                        "tcp_keepalives_idle": "15",
                        "tcp_keepalives_interval": "5",
                        "tcp_keepalives_count": "3",
                        "idle_in_transaction_session_timeout": f"{2 * timeouts.statement_s:.0f}s",
                    },
                )
                await self.reads.open()
            self.catalog = Catalog(pool, limits.metrics_per_run, timeouts.connect_s)
            quota = Quota(pool, limits, self.catalog.cursors)
            self.intake = Intake(self.batcher, limits.object_bytes, quota.refusal)
            self._sizes = Sizes(pool)
            pressure = Pressure(pool, self.config.seal)
            self._tasks += [asyncio.create_task(quota.run()), asyncio.create_task(pressure.run())]
            for _ in range(limits.copiers):
                copier = Copier(pool, self.catalog, self.batcher, self.metrics, timeouts, pressure)
                self._tasks.append(asyncio.create_task(copier.run()))
            if store is not None:
                self._blobs = Blobs(pool, store, limits, timeouts)
                collector = Collector(self.config.dsn, store, timeouts)
                self._tasks += [asyncio.create_task(self._blobs.run()), asyncio.create_task(collector.run(pool))]
            self._tasks.append(asyncio.create_task(self._keep_house()))
            lifecycle = Lifecycle(pool, timeouts, self._attached, self.catalog.cursors)
            self._tasks.append(asyncio.create_task(lifecycle.run()))
            self._runner = web.AppRunner(
                create_app(self),
                access_log=None,
                shutdown_timeout=1.0,
                # From the beginning of a connection to its first whole head, and from an answer to the next one.
                keepalive_timeout=timeouts.head_s,
                # Compressed bodies are refused; else aiohttp would inflate them all the same before it drops them.
                auto_decompress=False,
                max_line_size=limits.request_line_bytes,
                max_field_size=limits.request_line_bytes,
            )
            await self._runner.setup()
            await web.SockSite(self._runner, listener, backlog=1024).start()
        except BaseException:
            listener.close()
            await self.stop()
            raise

    def _listen(self) -> socket.socket:
        host, port = self.config.host, self.config.port
        try:
            family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
            listener = socket.socket(family)
            try:
                listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                if self.config.reuse_port:
                    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
                listener.bind(address)
            except BaseException:
                listener.close()
                raise
        except OSError as error:
            raise SettingError(
                f"cannot listen on {host} port {port}",
                detail=error.strerror or str(error),
                hint="is a Stepwell server running already? Take another port with --port, or --port 0 for a free one",
            ) from error
        self._port = listener.getsockname()[1]
        return listener

    async def drain(self) -> None:
        """Takes nothing more in, and waits until what was taken in is committed and answered, or `drain_s` is over."""
        self.draining = True
        self.batcher.close()
        self.live.close()
        for stream in list(self.streams):
            stream.stop()
        try:
            async with asyncio.timeout(self.config.timeouts.drain_s):
                while self.streams or not self.batcher.idle:  # noqa: ASYNC110 - two conditions of two objects, once a life
                    await asyncio.sleep(0.01)
        except TimeoutError:
            log.warning("stopped with frames not yet committed; their senders keep them and send them again")

    async def stop(self) -> None:
        """Ends everything; call `drain` first to lose no work in progress."""
        self.live.close()
        if self._runner is not None:
            await self._runner.cleanup()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.live.stop()
        await self.reads.close()
        if self._pool is not None:
            try:
                await asyncio.wait_for(self._pool.close(), 5)
            except TimeoutError:
                self._pool.terminate()

    async def finish(self, cursor: Cursor, exit_code: int) -> None:
        """Records that a writer has ended.

        Raises:
            FencedError: a newer session took the writer over; it has not ended.
            RunDeletedError: the run was deleted.
            UnavailableError: Postgres is away.
        """
        with postgres_errors("record the end of a writer"):
            async with self._connected().acquire(timeout=self.config.timeouts.connect_s) as connection:
                current = await connection.fetchval(self._sql["finish"], *cursor.key, exit_code)
        if not current:
            await self.catalog.reload(cursor)  # raises what has happened
            raise UnavailableError("the writer's position changed elsewhere", hint="attach again")

    async def check_ready(self) -> None:
        """Returns when frames would be taken in and Postgres answers.

        Raises:
            UnavailableError: otherwise.
        """
        if self.draining:
            raise UnavailableError("the server is stopping")
        with postgres_errors("answer"):
            async with asyncio.timeout(5), self._connected().acquire() as connection:
                await connection.execute("SELECT 1")

    def open_blobs(self) -> Blobs:
        """The blobs of this server.

        Raises:
            UnavailableError: it was started without a place for them.
        """
        if self._blobs is None:
            raise UnavailableError(
                "this server has no place for files", hint="start it with --blobs, a folder or s3://bucket/prefix"
            )
        return self._blobs

    async def about(self, sizes: bool) -> dict[str, Any]:
        """What `stepwell status` shows of this worker, and of the history behind it (None: Postgres does not say).

        Args:
            sizes: with the largest runs and projects.
        """
        storage = None if self._pool is None else await self._sizes.storage()
        largest = (await self._sizes.largest() if sizes and storage is not None else None) or {}
        return {
            "started_at": self.started_at,
            "draining": self.draining,
            "streams": len(self.streams),
            "held_bytes": self.room.held_bytes,
            "held_bytes_limit": self.room.limit_bytes,
            "submissions_waiting": self.batcher.waiting,
            "storage": storage,
            **largest,
        }

    def render_metrics(self) -> bytes:
        """The metrics page, with the gauges as they are now."""
        self.metrics.streams.set(len(self.streams))
        self.metrics.held_bytes.set(self.room.held_bytes)
        self.metrics.waiting.set(self.batcher.waiting)
        return self.metrics.render()

    def _connected(self) -> asyncpg.Pool:
        if self._pool is None:
            raise UnavailableError("the server has not started yet")
        return self._pool

    def _attached(self) -> list[Cursor]:
        return [stream.cursor for stream in self.streams if stream.cursor is not None]

    async def _keep_house(self) -> None:
        while True:
            await asyncio.sleep(_HOUSEKEEPING_EVERY_S)
            try:
                with postgres_errors("make partitions"):
                    await self._connected().execute(self._sql["ensure_partitions"])
                await self.sweep()
            except Error as error:
                log.warning("%s", error)  # there are two months left to succeed, and nobody sees what is swept
            except asyncpg.PostgresError as error:
                log.error("what deleted runs have left could not be removed: %s", error)

    async def sweep(self) -> None:
        """Removes what deleted runs have left, as far as no other worker does.

        Raises:
            UnavailableError: Postgres is away.
        """
        with postgres_errors("sweep"):
            # Its own: a sweep may take long, and the pool ends a statement after a minute.
            connection = await asyncpg.connect(
                self.config.dsn,
                timeout=self.config.timeouts.connect_s,
                server_settings={"application_name": "stepwell sweep"},
            )
            try:
                await Sweeper(connection).sweep()
            finally:
                await connection.close(timeout=5)
