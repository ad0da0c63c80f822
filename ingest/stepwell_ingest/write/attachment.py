"""What a writer asks for when it attaches, what it is told, and what Postgres' refusals of it mean.

Beside the catalog, which opens the session.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import asyncpg

from stepwell.errors import DataError, Error, RejectionError, UsageError
from stepwell_ingest.db.errors import caused_by_rows, is_missing_partition, no_partition
from stepwell_ingest.write.ledger import Cursor


class AttachRequest(NamedTuple):
    """Which run a writer logs to, as whom, and where it starts.

    Attributes:
        entity, project, run, writer: names.
        session: 16 bytes.
        late: a spool is delivered after the fact.
        info: what the run and the writer say of themselves (config, host, …).
        resume, rewind_to, fork_run, fork_step: see functions/140_attach.sql of the schema.
        from_seq: what the sender knows to be stored; it hears of rejections from there on.
        age_s: how long ago the process started that logs.
    """

    entity: str
    project: str
    run: str
    writer: str
    session: bytes
    late: bool
    info: dict[str, Any]
    resume: str | None = None
    rewind_to: int | None = None
    fork_run: str | None = None
    fork_step: int | None = None
    from_seq: int | None = None
    age_s: float = 0.0

    @property
    def goes_on(self) -> bool:
        """Whether it asks where to go on, and so knows of what was logged before."""
        return self.resume is not None or self.rewind_to is not None or self.fork_run is not None


class Earlier(NamedTuple):
    """What an attach of a session that has stored nothing says of the processes before it.

    Attributes:
        last_step: the last step that earlier processes of its writer show; None: they show nothing.
        moved_s: how many seconds ago they stored something last.
        beside: another program is connected as the writer that the session asked for, so it got a writer of its own.
    """

    last_step: int | None
    moved_s: float | None
    beside: bool


class Attachment(NamedTuple):
    """What a session is told when it attaches.

    Attributes:
        cursor: where its frames go on.
        resumed: the writer was there before this session.
        config, meta: the run's, for a process that resumes it; None for others.
        tables: likewise, the last increment of each INCREMENTAL table of the writer, by metric.
        rejected: seqs that were refused, from the request's `from_seq` on.
        earlier: what the session will supersede, or why it has another writer than it asked for; None: nothing to tell.
    """

    cursor: Cursor
    resumed: bool
    config: dict[str, Any] | None
    meta: dict[str, Any] | None
    tables: dict[str, Any] | None
    rejected: list[tuple[int, Error]]
    earlier: Earlier | None = None


class WrongRunError(RejectionError):
    """The session was attached to another run before."""

    code = "wrong_run"


def attach_error(error: asyncpg.PostgresError, request: AttachRequest) -> Exception:
    """What the function's own SQLSTATEs mean; `error` itself where it is not one of them."""
    path = f"{request.entity}/{request.project}/{request.run}"
    match error.sqlstate:
        case "ST003":
            return WrongRunError(
                "this session belongs to another run",
                detail=f"{path}, session {request.session.hex()}",
                hint="a spool directory was mixed up; each run has its own",
            )
        case "ST004":
            done = "resumed" if request.rewind_to is None else "rewound"
            return UsageError(f"run {path} does not exist, so it cannot be {done}", hint='resume="allow" makes it')
        case "ST005":
            text = f"run {path} exists already"
            return UsageError(text, detail='resume="never"', hint="take another id, or resume it")
        case "ST006":
            return UsageError("the run to fork does not exist", detail=str(error))
        case "ST007":
            text = f"run {path} exists already, and is not this fork"
            return UsageError(text, detail=str(error), hint="give the fork another id")
    if is_missing_partition(error):
        return no_partition(error)
    if caused_by_rows(error):
        return DataError("Postgres does not take this attach message", detail=str(error)[:500])
    other: Exception = error
    return other
