"""The request and the answer of a writer that attaches, and the errors for Postgres' refusals.

Used by the catalog, which opens the session.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import asyncpg

from stepwell.errors import DataError, Error, RejectionError, UsageError
from stepwell_ingest.db.errors import caused_by_rows, is_missing_partition, no_partition
from stepwell_ingest.write.ledger import LedgerCursor


class AttachRequest(NamedTuple):
    """A parsed attach message: the run that a writer logs to, its identity, and where it starts.

    Attributes:
        entity, project, run, writer: names.
        session: the id of the session, 16 bytes.
        late: whether this is a late session, which delivers a spool that an earlier process left.
        info: what the run and the writer report about themselves (config, host, …).
        resume, rewind_to, fork_run, fork_step: see functions/140_attach.sql of the schema.
        from_seq: the seq below which the sender knows that everything is stored; the reply lists rejections from there
            on.
        age_s: the age of the logging process, in seconds.
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
    def continues(self) -> bool:
        """Whether the request asks where to continue, so that its process knows about earlier history."""
        return self.resume is not None or self.rewind_to is not None or self.fork_run is not None


class Earlier(NamedTuple):
    """The earlier processes of a writer, for the reply to a session that has stored nothing yet.

    Attributes:
        last_step: the last visible step of earlier processes; None: they have none.
        moved_s: the time since they last stored something, in seconds; None: they have no visible step.
        beside: another process is connected as the requested writer, so the session got a writer of its own.
    """

    last_step: int | None
    moved_s: float | None
    beside: bool


class Attachment(NamedTuple):
    """The answer to a session that attaches.

    Attributes:
        cursor: the ledger cursor of the session.
        resumed: whether the writer existed before this session.
        config, meta: the run's config and metadata, for a process that resumes it; None for others.
        tables: likewise, the last increment of each INCREMENTAL table of the writer, by metric.
        rejected: the seqs and errors of rejected frames, from the request's `from_seq` on.
        earlier: what the session will supersede, or why it got another writer than it requested; None: it supersedes
            nothing, and got the writer that it requested.
    """

    cursor: LedgerCursor
    resumed: bool
    config: dict[str, Any] | None
    meta: dict[str, Any] | None
    tables: dict[str, Any] | None
    rejected: list[tuple[int, Error]]
    earlier: Earlier | None = None


class WrongRunError(RejectionError):
    """The session is attached to another run already."""

    code = "wrong_run"


def wrong_run(request: AttachRequest) -> WrongRunError:
    """The error for a session that has logged to another run."""
    return WrongRunError(
        "this session belongs to another run",
        detail=f"{request.entity}/{request.project}/{request.run}, session {request.session.hex()}",
        hint="was a spool copied from another run? Each run needs a spool of its own",
    )


def attach_error(error: asyncpg.PostgresError, request: AttachRequest) -> Exception:
    """The error for the sender, if attach_v1 or the values of the request caused `error`; otherwise `error` itself."""
    path = f"{request.entity}/{request.project}/{request.run}"
    match error.sqlstate:
        case "ST003":
            return wrong_run(request)
        case "ST004":
            done = "resumed" if request.rewind_to is None else "rewound"
            return UsageError(f"run {path} does not exist, so it cannot be {done}", hint='resume="allow" creates it')
        case "ST005":
            text = f"run {path} exists already"
            return UsageError(text, detail='resume="never"', hint="choose another id, or resume the run")
        case "ST006":
            return UsageError("the run to fork does not exist", detail=str(error))
        case "ST007":
            text = f"run {path} exists already, and is not this fork"
            return UsageError(text, detail=str(error), hint="choose another id for the fork")
    if is_missing_partition(error):
        return no_partition(error)
    if caused_by_rows(error):
        return DataError("Postgres rejected a value of the attach message", detail=str(error)[:500])
    other: Exception = error
    return other
