"""POST /v1/attach and POST /v1/frames: the same frames as on the stream, for clients without a WebSocket.

Under overload the server answers before it reads the body. Status 200 means that every frame is in Postgres; any other
answer says which frames were stored, which were not, and whether to send those again.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Collection
from typing import Any, Protocol

import orjson
from aiohttp import web

from stepwell import wire
from stepwell.errors import DataError, Error, FrameTooLargeError, ServerError, UnavailableError, UsageError
from stepwell_ingest.access.rights import LOCAL, Principal, Right
from stepwell_ingest.api.access import PRINCIPAL
from stepwell_ingest.api.attach import AttachServices, attach
from stepwell_ingest.api.errors import ErrorReply, json_response
from stepwell_ingest.api.query import Query
from stepwell_ingest.config import Config, Limits
from stepwell_ingest.write.admission import Room
from stepwell_ingest.write.batcher import Submission
from stepwell_ingest.write.catalog import unknown_session
from stepwell_ingest.write.intake import Intake
from stepwell_ingest.write.session_projects import SessionProjects

#: The most sessions in one request.
_MAX_SESSIONS = 1000


class FrameServices(AttachServices, Protocol):
    """The services that these routes need."""

    @property
    def config(self) -> Config: ...
    @property
    def room(self) -> Room: ...
    @property
    def intake(self) -> Intake: ...
    @property
    def session_projects(self) -> SessionProjects: ...


async def post_attach(services: FrameServices, request: web.Request, query: Query) -> web.Response:
    """Opens a session from an attach message in a JSON body; answers as the stream does."""
    # Parsed JSON needs several times the memory of its text.
    async with _body(services, request, services.config.limits.attach_bytes, weight=8) as body:
        _, reply = await attach(services, request[PRINCIPAL], body)
        return json_response(reply)


async def post_sessions(services: FrameServices, request: web.Request, query: Query) -> web.Response:
    """Answers how much of some sessions is stored, so that a client can learn without attaching that nothing is left to
    send.

    A session is a secret, so it is in the body and not in the URL. Unknown sessions are left out, and so are those of
    projects to which the caller may not write.

    Raises:
        DataError: the body is not a list of sessions.
    """
    async with _body(services, request, services.config.limits.attach_bytes) as body:
        try:
            sessions = [bytes.fromhex(session) for session in orjson.loads(body)["sessions"]]
        except (orjson.JSONDecodeError, KeyError, TypeError, ValueError) as error:
            raise DataError("'sessions' must be a list of hexadecimal strings", detail=str(error)) from error
        if len(sessions) > _MAX_SESSIONS or any(len(session) != 16 for session in sessions):
            raise DataError(f"'sessions' must have at most {_MAX_SESSIONS} strings of 32 hexadecimal digits each")
        stored = await services.catalog.stored(list(await _permitted(services, request[PRINCIPAL], sessions)))
    return json_response(
        {
            "sessions": {
                session.hex(): {"next_seq": next_seq, "fenced": fenced, "state": state}
                for session, (next_seq, fenced, state) in stored.items()
            }
        }
    )


async def post_frames(services: FrameServices, request: web.Request, query: Query) -> web.Response:
    """Stores frames of any attached sessions, concatenated in the body.

    A session of a project to which the caller may not write is treated as one that never attached.
    """
    async with _body(services, request, services.config.limits.message_bytes) as body:
        return await _store(services, request[PRINCIPAL], body)


async def _permitted(services: FrameServices, principal: Principal, sessions: Collection[bytes]) -> Collection[bytes]:
    """Selects the sessions that log to projects to which the caller may write."""
    if principal == LOCAL:
        return sessions
    projects = await services.session_projects.of(list(sessions))
    return {
        session
        for session, (entity, project) in projects.items()
        if await services.authorize(principal, entity, project, Right.WRITE)
    }


@contextlib.asynccontextmanager
async def _body(services: FrameServices, request: web.Request, limit: int, weight: int = 1) -> AsyncIterator[bytes]:
    """Reads the body, and holds room for it until the end of the block.

    Args:
        limit: the most bytes that the body may have.
        weight: bytes of room for each byte of the body.

    Raises:
        DataError: the body is compressed, or its length is not given.
        FrameTooLargeError: the body is longer than `limit`.
        OverloadedError: there is no room; nothing of the body was read.
        UnavailableError: the body did not arrive in time.
    """
    size = _check_body(request, limit)
    services.room.reserve_now(size * weight)
    try:
        try:
            async with asyncio.timeout(services.config.timeouts.body_s):
                body = await request.read()
        except TimeoutError:
            raise UnavailableError(
                "the body did not arrive in time", detail=f"{size} bytes within {services.config.timeouts.body_s:g} s"
            ) from None
        yield body
    finally:
        services.room.give_back(size * weight)


def _check_body(request: web.Request, limit: int) -> int:
    size = request.content_length
    if request.headers.get("Content-Encoding", "identity") != "identity":
        raise DataError("a body must not be compressed", hint="leave Content-Encoding out")
    if size is None:
        raise DataError(
            "a request must declare the length of its body", hint="set Content-Length; chunked bodies are not accepted"
        )
    if size > limit:
        raise FrameTooLargeError(
            "the body is too large",
            detail=f"{size} bytes; the limit is {limit}",
            hint="send fewer frames in one body",
        )
    return size


async def _store(services: FrameServices, principal: Principal, body: bytes) -> web.Response:
    by_session, problem = _by_session(body, services.config.limits)
    permitted = await _permitted(services, principal, by_session)
    submissions: list[Submission] = []
    for session, frames in by_session.items():
        try:
            if session not in permitted:
                raise unknown_session(session)
            cursor = await services.catalog.cursor(session)
            if frames[0][0].seq > cursor.tail_seq:
                # Looked up again before this counts as a gap: another worker may have stored the missing frames.
                cursor = await services.catalog.cursor(session, fresh=True)
            taken = services.intake.take(cursor, frames)
        except Error as error:
            problem = problem or error
            continue
        problem = problem or taken.error
        if taken.submission is not None:
            submissions.append(taken.submission)
    overhead = sum(submission.overhead for submission in submissions)
    services.room.add(overhead)
    try:
        return await _answer(submissions, problem)
    finally:
        services.room.give_back(overhead)


Frames = list[tuple[wire.Header, memoryview]]


def _by_session(body: bytes, limits: Limits) -> tuple[dict[bytes, Frames], Error | None]:
    """The frames of a body by session, and the error after the last of them, if any.

    Raises:
        FrameTooLargeError: too many frames or sessions.
        Error: the body holds no valid frame.
    """
    by_session: dict[bytes, Frames] = {}
    problem: Error | None = None
    count = 0
    try:
        for header, view in wire.split(body):
            by_session.setdefault(header.session, []).append((header, view))
            count += 1
    except Error as error:
        problem = error
    if count > limits.post_frames or len(by_session) > limits.post_sessions:
        raise FrameTooLargeError(
            "the body holds too many frames or sessions",
            detail=f"{count} frames of {len(by_session)} sessions; "
            f"the limits are {limits.post_frames} and {limits.post_sessions}",
            hint="send the frames in several requests",
        )
    if not by_session:
        raise problem or UsageError("the body holds no frame")
    return by_session, problem


async def _answer(submissions: list[Submission], problem: Error | None) -> web.Response:
    writers: list[dict[str, Any]] = []
    for submission, outcome in zip(
        submissions, await asyncio.gather(*(item.done for item in submissions), return_exceptions=True), strict=True
    ):
        if isinstance(outcome, Error):
            problem = problem or outcome
        elif isinstance(outcome, BaseException):
            problem = problem or UnavailableError("unexpected error while storing frames", detail=str(outcome))
        else:
            writers.append({"session": submission.cursor.session.hex(), **outcome.as_dict()})
            for _, refusal in outcome.rejected:
                # Retryable errors come first: the sender must retry before it gives a frame up.
                problem = problem if isinstance(problem, ServerError) else problem or refusal
    if problem is not None:
        raise ErrorReply(problem, writers=writers)
    return json_response({"writers": writers})
