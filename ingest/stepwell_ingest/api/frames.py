"""POST /v1/attach and POST /v1/frames: the same frames as on the stream, for everyone who has no WebSocket.

Overload is answered before the body is read. An answer of 200 means that every frame is in Postgres (or was already);
anything else says what was stored, what was not, and whether to send it again.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any

from aiohttp import web

from stepwell import wire
from stepwell.errors import DataError, Error, FrameTooLargeError, ServerError, UnavailableError, UsageError
from stepwell_ingest.api.attach import attach, parse_attach
from stepwell_ingest.api.errors import error_response, json_response
from stepwell_ingest.config import Limits
from stepwell_ingest.write.batcher import Submission

if TYPE_CHECKING:
    from stepwell_ingest.server.worker import Worker


async def post_attach(request: web.Request, worker: Worker) -> web.Response:
    """The attach message as a JSON body; answers what the stream answers."""
    # Parsed JSON takes several times its text.
    async with _body(request, worker, worker.config.limits.attach_bytes, weight=8) as body:
        _, reply = await attach(worker.catalog, parse_attach(body))
        return json_response(reply)


async def post_frames(request: web.Request, worker: Worker) -> web.Response:
    """Frames of any attached sessions, one after the other."""
    async with _body(request, worker, worker.config.limits.message_bytes) as body:
        return await _store(body, worker)


@contextlib.asynccontextmanager
async def _body(request: web.Request, worker: Worker, limit: int, weight: int = 1) -> AsyncIterator[bytes]:
    """The body, with room held for it until the end of the block.

    Args:
        limit: bytes that it may have.
        weight: how much room a byte of it takes.

    Raises:
        OverloadedError: there is none; nothing of the body was read.
        UnavailableError: it did not arrive in time.
    """
    size = _check_body(request, limit)
    worker.room.take_now(size * weight)
    try:
        try:
            async with asyncio.timeout(worker.config.timeouts.body_s):
                body = await request.read()
        except TimeoutError:
            raise UnavailableError(
                "the body did not arrive in time", detail=f"{size} bytes in {worker.config.timeouts.body_s:g} s"
            ) from None
        yield body
    finally:
        worker.room.give_back(size * weight)


def _check_body(request: web.Request, limit: int) -> int:
    size = request.content_length
    if request.headers.get("Content-Encoding", "identity") != "identity":
        raise DataError("a body must not be compressed", hint="leave Content-Encoding out")
    if size is None:
        raise DataError("a body must say its length", hint="set Content-Length; chunked bodies are not taken")
    if size > limit:
        raise FrameTooLargeError(
            "the body is too large",
            detail=f"{size} bytes; the limit is {limit}",
            hint="send fewer frames at a time",
        )
    return size


async def _store(body: bytes, worker: Worker) -> web.Response:
    by_session, problem = _by_session(body, worker.config.limits)
    submissions: list[Submission] = []
    for session, frames in by_session.items():
        try:
            cursor = await worker.catalog.cursor(session)
            if frames[0][0].seq > cursor.tail_seq:
                # Before this is called a gap: another worker may have stored the frames that are missing here.
                cursor = await worker.catalog.cursor(session, fresh=True)
            taken = worker.intake.take(cursor, frames)
        except Error as error:
            problem = problem or error
            continue
        problem = problem or taken.error
        if taken.submission is not None:
            submissions.append(taken.submission)
    overhead = sum(submission.overhead for submission in submissions)
    worker.room.add(overhead)
    try:
        return await _answer(submissions, problem)
    finally:
        worker.room.give_back(overhead)


Frames = list[tuple[wire.Header, memoryview]]


def _by_session(body: bytes, limits: Limits) -> tuple[dict[bytes, Frames], Error | None]:
    """The frames of a body, and what is wrong behind the last of them.

    Raises:
        FrameTooLargeError: too many frames or sessions.
        Error: there is not one frame.
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
            "the body holds too much",
            detail=f"{count} frames of {len(by_session)} sessions; "
            f"the limits are {limits.post_frames} and {limits.post_sessions}",
            hint="send it in several bodies",
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
            problem = problem or UnavailableError("the server could not store this", detail=str(outcome))
        else:
            writers.append({"session": submission.cursor.session.hex(), **outcome.as_dict()})
            for _, refusal in outcome.rejected:
                # What can be sent again comes first: the sender must do that before it gives a frame up.
                problem = problem if isinstance(problem, ServerError) else problem or refusal
    if problem is not None:
        return error_response(problem, writers=writers)
    return json_response({"writers": writers})
