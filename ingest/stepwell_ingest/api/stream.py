"""One connection of GET /v1/stream: receives frames and sends acknowledgements, pipelined.

    client                                                        server
    {"type": "attach", "protocol": 1, run, writer, session, …}  →
                                                                ← {"type": "attached", "next_seq": N, …}
    binary: frames from seq N on, one after the other,          →
            cut into messages of at most 64 KiB
                                                                ← {"type": "ack", "next_seq", "stored", "duplicate",
                                                                   "rejected": […], "checksum"}
    {"type": "finish", "exit_code": 0}                          →
                                                                ← {"type": "finished"}
    while its frames wait behind others, if attach asked for it ← {"type": "storing"}
    at any time                                                 ← {"type": "error", code, …}, then close

Acknowledgements are sent after COMMIT, in order; each covers everything below `next_seq`. Another attach on the same
stream switches to another writer. When there is no room, the server stops reading and TCP makes the sender wait.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Iterator
from functools import partial
from typing import Protocol

import orjson
from aiohttp import WSCloseCode, WSMessage, WSMsgType, web

from stepwell import wire
from stepwell.errors import Error, FrameCorruptError, UnavailableError, UsageError
from stepwell_ingest.access.rights import Principal
from stepwell_ingest.api.answers import Answers, Finish, Stored
from stepwell_ingest.api.attach import AttachServices, attach
from stepwell_ingest.api.pieces import Pieces
from stepwell_ingest.config import Config
from stepwell_ingest.metrics import Metrics
from stepwell_ingest.write.admission import Room
from stepwell_ingest.write.attachment import WrongRunError
from stepwell_ingest.write.batcher import Outcome
from stepwell_ingest.write.intake import Intake
from stepwell_ingest.write.ledger import LedgerCursor

log = logging.getLogger(__name__)


#: The interval at which a waiting client is told that the worker is storing other frames; shorter than the time after
#: which the client gives up.
_TELL_S = 3.0


class StreamServices(AttachServices, Protocol):
    """The services that a connection needs."""

    @property
    def config(self) -> Config: ...
    @property
    def metrics(self) -> Metrics: ...
    @property
    def room(self) -> Room: ...
    @property
    def intake(self) -> Intake: ...


class StreamHandler:
    """One connection: a reader that queues frames, and a task that acknowledges them in order after COMMIT.

    Args:
        services: the services of the worker.
        principal: the client.
        socket: the connection, after its handshake.

    Attributes:
        cursor: the cursor of the attached writer; None before the first attach message.
    """

    def __init__(self, services: StreamServices, principal: Principal, socket: web.WebSocketResponse) -> None:
        self._services = services
        self._principal = principal
        self._socket = socket
        self._limits, self._timeouts = services.config.limits, services.config.timeouts
        self._room = Room(self._limits.connection_bytes, self._timeouts.retry_after_s)
        self._answers = Answers()
        self.cursor: LedgerCursor | None = None
        self._pieces = Pieces()
        self._held = 0  # bytes of room that no submission accounts for yet
        self._piece_deadline: float | None = None
        self._attach_deadline = time.monotonic() + self._timeouts.attach_s
        self._reader: asyncio.Task[None] | None = None
        self._wants_progress = False
        self._ended = False  # if true, the end of the connection says nothing about the writer

    async def run(self) -> None:
        """Serves the connection until either side ends it or `stop` is called."""
        self._reader = asyncio.create_task(self._read())
        answerer = asyncio.create_task(self._answer())
        alive = asyncio.create_task(self._show_life())
        progress = asyncio.create_task(self._tell_progress())
        try:
            await asyncio.wait({self._reader, answerer, alive}, return_when=asyncio.FIRST_COMPLETED)
            self._reader.cancel()
            self._answers.put(None)
            await answerer
        finally:
            self._reader.cancel()
            answerer.cancel()
            alive.cancel()
            progress.cancel()
            await asyncio.gather(self._reader, answerer, alive, progress, return_exceptions=True)
            self._let_go()
        if self.cursor is not None and not self._ended and not self.cursor.stale:
            with contextlib.suppress(Error):
                await self._services.catalog.left(self.cursor)

    def stop(self) -> None:
        """Stops reading; frames already read are still answered."""
        self._ended = True  # by the server, not by the client
        self._answers.put(UnavailableError("the server is stopping", hint="the SDK reconnects automatically"))

    def _let_go(self) -> None:
        """Gives back the room of answers that will not be sent, once their frames have left the batcher."""
        for answer in self._answers.drop():
            answer.submission.done.add_done_callback(partial(self._settled, answer.size))

    def _settled(self, size: int, _: asyncio.Future[Outcome]) -> None:
        self._give_back(size)

    def _give_back(self, size: int) -> None:
        self._room.give_back(size)
        self._services.room.give_back(size)

    async def _show_life(self) -> None:
        """Sends pings, so that the client does not mistake a server without room for a dead one; ends with the
        connection.

        The end of this task ends the reader: while it waits for room, a reader does not notice the end of the
        connection, and would keep its message in memory.
        """
        heartbeat_s = self._timeouts.heartbeat_s
        with contextlib.suppress(ConnectionError, TimeoutError):
            while True:
                await asyncio.sleep(heartbeat_s / 2)
                async with asyncio.timeout(heartbeat_s):
                    await self._socket.ping()

    async def _tell_progress(self) -> None:
        """Tells a client whose frames wait for their turn that the worker is storing others, so that it does not give
        up."""
        seen = self._services.metrics.batches
        with contextlib.suppress(ConnectionError):
            while True:
                await asyncio.sleep(_TELL_S)
                stored = self._services.metrics.batches
                if self._wants_progress and stored != seen and self._room.held_bytes:
                    await self._send({"type": "storing"})
                seen = stored

    async def _read(self) -> None:
        try:
            while True:
                message = await self._receive()
                if message.type is WSMsgType.BINARY:
                    await self._take_frames(message.data)
                elif message.type is WSMsgType.TEXT:
                    if self._pieces.kept:
                        raise FrameCorruptError(
                            "a frame is cut off",
                            detail=f"{self._pieces.kept} bytes arrived, {self._pieces.missing or 'some'} are missing",
                        )
                    await self._take_control(message.data)
                else:
                    return  # closed, closing, or a protocol error, which aiohttp has answered
        except Error as error:
            self._answers.put(error)
        except ConnectionError:
            return  # the client has gone
        except Exception:
            log.exception("unexpected error while reading a stream")
            self._answers.put(UnavailableError("unexpected error while reading the stream"))
        finally:
            # Given back now: a client that does not answer the close may keep this connection open for a while.
            self._give_back(self._held)
            self._held = 0
            self._pieces = Pieces()

    async def _receive(self) -> WSMessage:
        """The next message.

        Raises:
            UnavailableError: the first attach message, or the rest of a frame, did not come in time (an unfinished
                frame holds room).
        """
        deadline = self._piece_deadline if self.cursor is not None else self._attach_deadline
        if deadline is None:
            return await self._socket.receive()
        try:
            async with asyncio.timeout(max(0.0, deadline - time.monotonic())):
                return await self._socket.receive()
        except TimeoutError:
            pass
        if self.cursor is None:
            raise UnavailableError(
                "no attach message came in time", detail=f"none within {self._timeouts.attach_s:g} s"
            )
        raise UnavailableError(
            "a frame did not arrive in time",
            detail=f"{self._pieces.missing} bytes are missing after {self._timeouts.body_s:g} s",
        )

    async def _take_frames(self, data: bytes) -> None:
        if self.cursor is None:
            raise UsageError("frames arrived before the attach message")
        rest = self._pieces.missing
        if 0 < rest < len(data):
            # The bytes that complete the unfinished frame go first, in the room that is held for it: a connection that
            # holds room must never wait for more, or connections could wait for each other forever.
            await self._take_pieces(self.cursor, data[:rest])
            data = data[rest:]
        await self._take_pieces(self.cursor, data)

    async def _take_pieces(self, cursor: LedgerCursor, data: bytes) -> None:
        pieces = self._pieces
        if not pieces.missing:
            await self._reserve(len(data))
        if cursor.stale:
            raise UnavailableError(
                "this worker's copy of the writer's ledger row may be out of date", hint="attach again"
            )
        begun = pieces.missing
        taken = self._services.intake.take(cursor, self._own_frames(data, cursor))
        if len(data) < begun and taken.error is None:
            return  # a piece in the middle of a frame
        self._piece_deadline = None
        whole, self._held = self._held, 0
        # A frame that begins after the last complete one gets room of its own; a partial header needs none.
        beyond = min(pieces.kept, whole)
        self._give_back(beyond)
        if taken.submission is None:
            self._give_back(whole - beyond)
        else:
            overhead = taken.submission.overhead
            self._room.add(overhead)
            self._services.room.add(overhead)
            self._answers.put(Stored(taken.submission, whole - beyond + overhead))
        if taken.error is not None:
            raise taken.error
        if pieces.missing:
            await self._reserve(pieces.kept + pieces.missing)
            self._piece_deadline = time.monotonic() + self._timeouts.body_s

    async def _reserve(self, size: int) -> None:
        await self._room.reserve(size)
        try:
            await self._services.room.reserve(size)
        except BaseException:
            self._room.give_back(size)
            raise
        self._held += size

    def _own_frames(self, data: bytes, cursor: LedgerCursor) -> Iterator[tuple[wire.Header, memoryview]]:
        # Lazy, so that the frames before a bad one are accepted.
        for header, view in self._pieces.feed(data):
            if header.session != cursor.session:
                raise WrongRunError(
                    "a frame belongs to a different writer than the one that attached",
                    detail=f"session {header.session.hex()}, attached as {cursor.session.hex()}",
                    hint="attach again before sending the frames of another run or writer",
                )
            yield header, view

    async def _take_control(self, text: str) -> None:
        kind = _kind_of(text)
        if kind == "attach":
            self._wants_progress = orjson.loads(text).get("progress") is True
            self.cursor, reply = await attach(self._services, self._principal, text)
            await self._socket.send_bytes(orjson.dumps(reply))
        elif kind == "finish":
            if self.cursor is None:
                raise UsageError("a finish message arrived before the attach message")
            exit_code = orjson.loads(text).get("exit_code", 0)
            if not isinstance(exit_code, int) or not -(2**31) <= exit_code < 2**31:
                raise UsageError("'exit_code' must be a 32-bit integer", detail=f"it is {exit_code!r}")
            self._answers.put(Finish(self.cursor, exit_code))
        else:
            raise UsageError(
                "unknown type of message", detail=f"{text[:100]!r}", hint="the types are attach and finish"
            )

    async def _answer(self) -> None:
        """Sends acknowledgements in order; consecutive ones that are ready are merged into one."""
        while True:
            answer = await self._answers.next()
            if answer is None:
                return
            try:
                if isinstance(answer, Error):
                    raise answer
                if isinstance(answer, Finish):
                    await self._services.catalog.finish(answer.cursor, answer.exit_code)
                    self._ended = True
                    await self._send({"type": "finished"})
                else:
                    await self._acknowledge(answer)
            except ConnectionError:
                return  # the client is gone; its frames are stored all the same
            except Error as error:
                self._services.metrics.refused.labels(error.code).inc()
                with contextlib.suppress(ConnectionError):
                    await self._send({"type": "error", **error.as_dict()})
                    await self._socket.close(code=WSCloseCode.TRY_AGAIN_LATER, message=error.code.encode())
                return

    async def _acknowledge(self, first: Stored) -> None:
        outcomes: list[Outcome] = []
        failure: Error | None = None
        answer: Stored | None = first
        while answer is not None:
            try:
                outcomes.append(answer.submission.done.result())
            except Error as error:
                failure = error
            finally:
                self._give_back(answer.size)
            answer = None if failure else self._answers.next_stored(first.submission.cursor)
        if outcomes:
            await self._send({"type": "ack", **_merged(outcomes).as_dict(), "pace_ms": self._services.pace.advised_ms})
        if failure:
            raise failure

    async def _send(self, message: dict[str, object]) -> None:
        if not self._socket.closed:
            await self._socket.send_bytes(orjson.dumps(message))


def _kind_of(text: str) -> object:
    try:
        message = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise UsageError("a text message is not JSON", detail=str(error)) from error
    return message.get("type") if isinstance(message, dict) else None


def _merged(outcomes: list[Outcome]) -> Outcome:
    last = outcomes[-1]
    if len(outcomes) == 1:
        return last
    return Outcome(
        last.next_seq,
        sum(item.stored for item in outcomes),
        sum(item.duplicate for item in outcomes),
        [refused for item in outcomes for refused in item.rejected],
        last.checksum,
    )
