"""What routes are answered from: the services of one worker as one frozen value.

`server.compose` makes it. A handler declares the part that it uses as a Protocol beside it, which `Services` fits, so
handlers and their tests depend on nothing else.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from stepwell_ingest.api.access import Authorize
from stepwell_ingest.api.edits import Edits
from stepwell_ingest.api.open_streams import OpenStreams
from stepwell_ingest.api.pages import Pages
from stepwell_ingest.blobs.intake import BlobIntake
from stepwell_ingest.config import Config
from stepwell_ingest.metrics import Metrics
from stepwell_ingest.read.database import Database
from stepwell_ingest.read.live import Live
from stepwell_ingest.read.sizes import Sizes
from stepwell_ingest.read.sql import SqlReader
from stepwell_ingest.write.admission import Gate, Room
from stepwell_ingest.write.batcher import Batcher
from stepwell_ingest.write.catalog import Catalog
from stepwell_ingest.write.intake import Intake
from stepwell_ingest.write.pace import Pace


@dataclass(frozen=True, slots=True)
class Services:
    """The services of one worker.

    Attributes:
        config: its settings.
        started_at: when it started, in seconds since 1970.
        authorize: decides what a caller may do.
        metrics: counters for Prometheus.
        gate: open until the worker drains.
        room: memory for frames between the sockets and COMMIT.
        batcher, catalog, intake: stations of the write path.
        pace: for how long senders should gather rows.
        streams: the open connections.
        edits: changes to runs that come from readers.
        reads: the database as reads use it.
        live: live views.
        sql: answers queries that people write.
        sizes: how much history there is.
        checks: each raises UnavailableError when the worker cannot do its work: a background loop has ended, or batches
            or attaches have been failing for a while.
        check_postgres: returns when Postgres answers; raises UnavailableError otherwise.
        pages: what `workspace/` was built into.
        blobs: files; None where the server was started without a place for them.
    """

    config: Config
    started_at: float
    authorize: Authorize
    metrics: Metrics
    gate: Gate
    room: Room
    batcher: Batcher
    catalog: Catalog
    intake: Intake
    pace: Pace
    streams: OpenStreams
    edits: Edits
    reads: Database
    live: Live
    sql: SqlReader
    sizes: Sizes
    checks: tuple[Callable[[], None], ...]
    check_postgres: Callable[[], Awaitable[None]]
    pages: Pages
    blobs: BlobIntake | None
