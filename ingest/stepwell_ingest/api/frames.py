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
from stepwell_ingest.write.batcher import Submission

if TYPE_CHECKING:
    from stepwell_ingest.worker import Worker


async def post_attach(request: web.Request, worker: Worker) -> web.Response:
    """The attach message as a JSON body; answers what the stream answers."""
    async with _body(request, worker) as body:
        _, reply = await attach(worker.catalog, parse_attach(body))
        return json_response(reply)


async def post_frames(request: web.Request, worker: Worker) -> web.Response:
    """Frames of any attached sessions, one after the other."""
    async with _body(request, worker) as body:
        return await _store(body, worker)


@contextlib.asynccontextmanager
async def _body(request: web.Request, worker: Worker) -> AsyncIterator[bytes]:
    """The body, with room held for it until the end of the block.

    Raises:
        OverloadedError: there is none; nothing of the body was read.
        UnavailableError: it did not arrive in time.
    """
    size = _check_body(request, worker)
    worker.room.take_now(size)
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
        worker.room.give_back(size)


def _check_body(request: web.Request, worker: Worker) -> int:
    limit = worker.config.limits.message_bytes
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
    by_session: dict[bytes, list[tuple[wire.Header, memoryview]]] = {}
    problem: Error | None = None
    try:
        for header, view in wire.split(body):
            by_session.setdefault(header.session, []).append((header, view))
    except Error as error:
        problem = error
    if not by_session:
        raise problem or UsageError("the body holds no frame")
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
