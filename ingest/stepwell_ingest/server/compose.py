"""Composes a worker: creates its services and background loops, and passes each the parts that it needs.

The only place where stations of the server meet. `Worker` opens the connections and runs the result.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from functools import partial
from typing import Any

import asyncpg

from stepwell_ingest.access.keyring import Keyring
from stepwell_ingest.access.rights import authorize
from stepwell_ingest.access.sign_ins import SignIns
from stepwell_ingest.api.open_streams import OpenStreams
from stepwell_ingest.api.pages import Pages
from stepwell_ingest.api.services import Services
from stepwell_ingest.blobs.collector import Collector
from stepwell_ingest.blobs.intake import BlobIntake
from stepwell_ingest.blobs.store import Store
from stepwell_ingest.config import Config
from stepwell_ingest.db.connect import check_answers
from stepwell_ingest.metrics import Metrics
from stepwell_ingest.read.database import Database
from stepwell_ingest.read.live import Live
from stepwell_ingest.read.sizes import Sizes
from stepwell_ingest.read.sql import SqlReader
from stepwell_ingest.server.edits import Edits
from stepwell_ingest.server.housekeeping import Housekeeping
from stepwell_ingest.server.lifecycle import Lifecycle
from stepwell_ingest.server.loops import Loops
from stepwell_ingest.write.admission import Gate, Rate, Room
from stepwell_ingest.write.batcher import Batcher
from stepwell_ingest.write.catalog import Catalog
from stepwell_ingest.write.copier import Copier
from stepwell_ingest.write.failures import Failures
from stepwell_ingest.write.intake import Intake
from stepwell_ingest.write.names import MetricNames
from stepwell_ingest.write.pace import Pace
from stepwell_ingest.write.pressure import Pressure
from stepwell_ingest.write.quota import Quota
from stepwell_ingest.write.session_projects import SessionProjects
from stepwell_ingest.write.space import Space

Loop = Callable[[], Coroutine[Any, Any, None]]


@dataclass(frozen=True, slots=True)
class Composition:
    """A worker's parts.

    Attributes:
        services: the services for handlers.
        housekeeping: the hourly work, also on demand.
        loops: by name; each runs until it is cancelled. Housekeeping is one of them.
    """

    services: Services
    housekeeping: Housekeeping
    loops: dict[str, Loop]


def compose(
    config: Config,
    writing: asyncpg.Pool,
    attaching: asyncpg.Pool,
    reading: asyncpg.Pool,
    querying: asyncpg.Pool,
    store: Store | None,
    running: Loops,
) -> Composition:
    """Creates the parts of a worker.

    Args:
        config: all settings of the server.
        writing: connections of the write path (`db.connect.write_pool`).
        attaching: connections for attaches, ends and disconnections of writers (`db.connect.attach_pool`).
        reading: connections of reads (`db.connect.read_pool`).
        querying: connections of SQL over HTTP (`db.connect.sql_pool`).
        store: the blob store; None: the worker accepts no files.
        running: the worker's running loops; services add the loops that they start on demand.
    """
    limits, timeouts = config.limits, config.timeouts
    metrics, streams = Metrics(), OpenStreams()
    batcher = Batcher(limits.batch_bytes, limits.batch_frames)
    attaches = Failures("writer could attach", timeouts.failing_s)
    catalog = Catalog(writing, attaching, timeouts, attaches)
    names = MetricNames(writing, limits.metrics_per_run, timeouts.connect_s)
    quota = Quota(writing, limits, catalog.cursors)
    pace = Pace(lambda: batcher.batch_s)
    files_in = None if config.blobs is None or "://" in config.blobs else config.blobs
    space = Space(config.data_dir, files_in, limits.free_bytes)
    pressure = Pressure(writing, config.seal)
    failing = Failures("batch was stored", timeouts.failing_s)
    copiers = [
        Copier(writing, catalog, names, batcher, metrics, timeouts, pressure, failing) for _ in range(limits.copiers)
    ]
    lifecycle = Lifecycle(writing, timeouts, streams.cursors, catalog.cursors)
    housekeeping = Housekeeping(writing, config.dsn, timeouts.connect_s)
    reads = Database(reading, config.reads)
    loops: dict[str, Loop] = {f"copier {number}": copier.run for number, copier in enumerate(copiers, 1)}
    loops |= {"pressure": pressure.run, "pace": pace.run, "heartbeats": lifecycle.run}
    loops["housekeeping"] = housekeeping.run
    if quota.limited:
        loops["quota"] = quota.run
    keyring = Keyring(writing, required=config.require_keys)
    if keyring.required:
        loops["keys"] = keyring.run
    blobs = None
    if store is not None:
        blobs = BlobIntake(writing, store, limits, timeouts)
        loops["uploads"] = blobs.run
        loops["collector"] = partial(Collector(config.dsn, store, timeouts).run, writing)
    services = Services(
        config=config,
        started_at=time.time(),
        keyring=keyring,
        sign_ins=SignIns(writing, keyring),
        authorize=authorize,
        metrics=metrics,
        gate=Gate(),
        room=Room(limits.memory_bytes, timeouts.retry_after_s),
        batcher=batcher,
        catalog=catalog,
        intake=Intake(batcher, limits.object_bytes, quota.refusal, space.check_frames),
        session_projects=SessionProjects(writing, timeouts.connect_s),
        attaches=Rate(limits.attach_burst_bytes, limits.attach_bytes_per_s),
        space=space,
        pace=pace,
        streams=streams,
        edits=Edits(config.dsn, timeouts.connect_s, timeouts.statement_s),
        reads=reads,
        live=Live(reads, partial(running.start, may_return=True)),
        sql=SqlReader(querying, config.sql),
        sizes=Sizes(writing),
        checks=(running.check, failing.check, attaches.check),
        check_postgres=partial(check_answers, writing),
        pages=Pages(),
        blobs=blobs,
    )
    return Composition(services, housekeeping, loops)
