"""The services of one worker, as one frozen value that handlers receive.

`server.compose` builds it. A handler declares the part that it needs as a Protocol, which `Services` satisfies, so
handlers and their tests depend on nothing else.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from stepwell_ingest.access.keyring import Keyring
from stepwell_ingest.access.rights import Authorize
from stepwell_ingest.access.sign_ins import SignIns
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
from stepwell_ingest.write.admission import Gate, Rate, Room
from stepwell_ingest.write.batcher import Batcher
from stepwell_ingest.write.catalog import Catalog
from stepwell_ingest.write.intake import Intake
from stepwell_ingest.write.pace import Pace
from stepwell_ingest.write.session_projects import SessionProjects
from stepwell_ingest.write.space import Space


@dataclass(frozen=True, slots=True)
class Services:
    """The services of one worker.

    Attributes:
        config: the worker's settings.
        started_at: its start, in Unix seconds.
        keyring: the API keys, by which callers are identified.
        sign_ins: the people who are signed in to the pages.
        authorize: decides whether a caller has a right.
        metrics: counters for Prometheus.
        gate: open until the worker drains.
        room: the memory for frames between the sockets and COMMIT.
        batcher, catalog, intake: stations of the write path.
        session_projects: the project of each session.
        attaches: the limit on the bytes of attach messages.
        space: the free space on the disks.
        pace: how long senders should gather rows.
        streams: the open connections.
        edits: changes to runs, layouts and saved views that come from readers.
        reads: the database as reads use it.
        live: live views.
        sql: answers queries that people write.
        sizes: the amount of stored history.
        checks: each raises UnavailableError when the worker cannot do its work: a background loop has ended, or batches
            or attaches have been failing for a while.
        check_postgres: returns when Postgres answers; raises UnavailableError otherwise.
        pages: the built files of `workspace/`.
        blobs: the blob store; None: the server was started without one.
    """

    config: Config
    started_at: float
    keyring: Keyring
    sign_ins: SignIns
    authorize: Authorize
    metrics: Metrics
    gate: Gate
    room: Room
    batcher: Batcher
    catalog: Catalog
    intake: Intake
    session_projects: SessionProjects
    attaches: Rate
    space: Space
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
