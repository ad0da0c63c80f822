"""The attach message: the run that a writer logs to, and the writer's identity. Shared by the stream and POST
/v1/attach.

Parses and checks the message, checks that the sender may write to the project, and has the catalog open the session.
"""

from __future__ import annotations

from typing import Any, Protocol

import orjson

from stepwell.errors import DataError, UsageError
from stepwell.wire import (
    MAX_DEPTH,
    MAX_NAME,
    MAX_NAME_BYTES,
    MAX_STEP,
    PROTOCOL_VERSION,
    holds_nul,
    is_name,
    is_too_deep,
)
from stepwell_ingest.access.rights import Authorize, Principal, Right, require
from stepwell_ingest.write.admission import Rate
from stepwell_ingest.write.attachment import AttachRequest
from stepwell_ingest.write.batcher import rejections_as_list
from stepwell_ingest.write.catalog import Catalog
from stepwell_ingest.write.ledger import LedgerCursor
from stepwell_ingest.write.pace import Pace

#: 317 years, which Postgres can still subtract from the current time.
_MAX_AGE_S = 10_000_000_000
#: About how many bytes a run takes in the tables besides its config.
_ATTACH_BYTES = 4096


def parse_attach(raw: bytes | str) -> AttachRequest:
    """Parses and validates an attach message.

    Raises:
        UsageError: the message has another type or another protocol version.
        DataError: the message is not JSON, or a field is missing or invalid; the error names the field.
    """
    try:
        message = orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        raise DataError("the attach message is not JSON", detail=str(error)) from error
    if not isinstance(message, dict) or message.get("type") != "attach":
        raise UsageError(
            "the first message must be an attach message",
            detail=f"got {str(message)[:100]}",
            hint='{"type": "attach", "protocol": 1, "entity": …, "project": …, "run": …, "writer": …, "session": …}',
        )
    if message.get("protocol") != PROTOCOL_VERSION:
        raise UsageError(
            f"protocol version {message.get('protocol')} is not supported",
            detail=f"this server supports version {PROTOCOL_VERSION}",
            hint="install the same version of the SDK and the server",
        )
    names = []
    for field in ("entity", "project", "run", "writer"):
        value = message.get(field)
        if not isinstance(value, str) or not is_name(value):
            raise DataError(
                f"{field!r} must be 1 to {MAX_NAME} printable characters, and {MAX_NAME_BYTES} bytes of UTF-8 at most",
                detail=f"it is {str(value)[:80]!r}",
            )
        names.append(value)
    try:
        session = bytes.fromhex(message["session"])
    except (KeyError, TypeError, ValueError):
        session = b""
    if len(session) != 16:
        raise DataError("'session' must be 32 hexadecimal digits", detail=f"it is {message.get('session')!r}")
    info = message.get("info", {})
    if is_too_deep(raw if isinstance(raw, bytes) else raw.encode(), info):
        raise DataError("'info' is nested too deeply", detail=f"the limit is {MAX_DEPTH} levels")
    if not isinstance(info, dict) or holds_nul(orjson.dumps(info)):
        raise DataError("'info' must be an object without NUL characters", detail=f"it is {str(info)[:80]}")
    if not isinstance(info.get("config", {}), dict):
        raise DataError("'config' in 'info' must be an object", detail=f"it is {str(info['config'])[:80]}")
    fork_run = message.get("fork_run")
    if fork_run is not None and (not isinstance(fork_run, str) or not fork_run.isprintable()):
        raise DataError("'fork_run' must be the id of a run", detail=f"it is {str(fork_run)[:80]!r}")
    if (fork_run is None) != (message.get("fork_step") is None):
        raise DataError(
            "'fork_run' and 'fork_step' must be given together",
            hint="give the parent run, and the last of its steps that the fork shows",
        )
    entity, project, run, writer = names
    return AttachRequest(
        *(entity, project, run, writer, session, bool(message.get("late", False)), info),
        resume=_one_of(message, "resume", ("allow", "must", "never")),
        rewind_to=_step(message, "rewind_to"),
        fork_run=fork_run,
        fork_step=_step(message, "fork_step"),
        from_seq=_step(message, "from_seq"),
        age_s=_age_s(message),
    )


def _one_of(message: dict[str, Any], field: str, known: tuple[str, ...]) -> str | None:
    value = message.get(field)
    if value is None or value in known:
        return value
    raise DataError(f"{field!r} must be one of {', '.join(known)}", detail=f"it is {str(value)[:80]!r}")


def _step(message: dict[str, Any], field: str) -> int | None:
    value = message.get(field)
    if value is None or (type(value) is int and 0 <= value <= MAX_STEP):
        return value
    raise DataError(f"{field!r} must be a number from 0 to 2^63 − 2", detail=f"it is {str(value)[:80]!r}")


def _age_s(message: dict[str, Any]) -> float:
    value = message.get("age_s")
    if value is None or (type(value) in (int, float) and 0 <= value <= _MAX_AGE_S):
        return float(value or 0)
    raise DataError(
        f"'age_s' must be a number of seconds from 0 to {_MAX_AGE_S:,}",
        detail=f"it is {str(value)[:80]!r}",
        hint="it is the age of the logging process; without 'age_s', the process counts as started now",
    )


class AttachServices(Protocol):
    """The services that attaching needs."""

    @property
    def authorize(self) -> Authorize: ...
    @property
    def catalog(self) -> Catalog: ...
    @property
    def attaches(self) -> Rate: ...
    @property
    def pace(self) -> Pace: ...


async def attach(
    services: AttachServices, principal: Principal, raw: bytes | str
) -> tuple[LedgerCursor, dict[str, Any]]:
    """Opens the session of an attach message.

    Args:
        principal: the sender of the message.
        raw: the message, as JSON.

    Returns:
        The cursor of the session, and the reply.

    Raises:
        UsageError, DataError: the message is invalid (see `parse_attach`).
        ForbiddenError: the principal may not write to this project.
        OverloadedError: too many bytes of attach messages have arrived lately.
        Error: the session cannot be opened (see `Catalog.attach`).
    """
    request = parse_attach(raw)
    await require(services.authorize, principal, request.entity, request.project, Right.WRITE)
    services.attaches.take(_ATTACH_BYTES + len(raw))
    made = await services.catalog.attach(request)
    cursor = made.cursor
    reply: dict[str, Any] = {
        "type": "attached",
        "protocol": PROTOCOL_VERSION,
        "run_id": cursor.run_id,
        "writer": cursor.writer,
        "epoch": cursor.epoch,
        "resumed": made.resumed,
        "next_seq": cursor.committed_seq,
        "last_step": cursor.committed_step,
        "rejected": rejections_as_list(made.rejected),
        "pace_ms": services.pace.advised_ms,
    }
    if made.config is not None:
        reply["config"], reply["meta"] = made.config, made.meta
    if made.tables:
        reply["tables"] = made.tables
    if made.earlier is not None:
        reply["earlier"] = made.earlier._asdict()
    return cursor, reply
