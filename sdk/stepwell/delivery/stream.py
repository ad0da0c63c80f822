"""The connection that sends frames from the outbox to the server and receives acknowledgements.

Reads frames by seq from a `Source` (the outbox of a live run, or a spool that is delivered later), and sends their
bytes over one WebSocket, pipelined within a window. Promises: temporary errors are retried without limit, except for
frames that arrive damaged again and again; after each reconnect the stream resumes at the position that the server
reports; a frame counts as delivered only when an acknowledgement echoes its checksum. Runs as one asyncio task;
everything here belongs to that loop. docs/wire-format.md describes the protocol.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol

import orjson

from stepwell import wire
from stepwell.delivery.attaching import attach_text
from stepwell.delivery.in_flight import InFlight, StreamCounts
from stepwell.delivery.messages import messages
from stepwell.delivery.replies import attach_warnings, control, error_of, not_a_server, pace_s, refusals
from stepwell.delivery.waiters import Waiters
from stepwell.errors import (
    Error,
    FrameCorruptError,
    OverloadedError,
    RejectionError,
    SpoolError,
    SpoolLockedError,
    UnavailableError,
)
from stepwell.settings import Limits, Timeouts
from stepwell.transport.backoff import Backoff
from stepwell.transport.endpoint import Endpoint
from stepwell.transport.reasons import LostError

if TYPE_CHECKING:
    from stepwell.transport.websocket import AsyncClient, Socket

log = logging.getLogger("stepwell")

#: The number of tries without progress after which damaged frames are no longer blamed on the network.
_MAX_CORRUPT_TRIES = 5


class Source(Protocol):
    """A source of frames: an `Outbox` or a `Spool`."""

    @property
    def next_seq(self) -> int: ...
    @property
    def first_seq(self) -> int: ...
    def read(self, from_seq: int, max_bytes: int, max_frames: int) -> list[bytes]: ...
    def acknowledge(self, next_seq: int) -> None: ...


class Stream:
    """Delivers one session.

    Args:
        endpoint: the server.
        source: the source of frames.
        attach: returns the attach message; called for each connection.
        limits, timeouts: of the run's settings.
        on_rejection: called with the seq and the error of each frame refused for good, before it leaves the source.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        source: Source,
        attach: Callable[[], dict[str, Any]],
        limits: Limits,
        timeouts: Timeouts,
        on_rejection: Callable[[int, RejectionError], None],
    ) -> None:
        self._endpoint = endpoint
        self._source = source
        self._attach = attach
        self._limits = limits
        self._timeouts = timeouts
        self._on_rejection = on_rejection
        self.counts = StreamCounts()
        self.attached: dict[str, Any] | None = None  # the server's last attach reply
        self.connected = False
        self.pace_s = 0.0  # how long rows should gather while a frame is in flight, as the server advises
        self.finished = False  # the server has confirmed the writer's end
        self.last_error: Exception | None = None
        self.failed: Error | None = None  # the final error, after which there are no retries
        self._session = bytes(16)
        self._sent_seq = 0
        self._in_flight = InFlight()
        self._more = asyncio.Event()  # set for frames to send, for room in the window, or for the end
        self._exit_code: int | None = None
        self._finish_sent = False
        self._server_moved = 0
        self._waiters = Waiters()

    def wake(self) -> None:
        """Notifies the stream of new frames."""
        self._more.set()

    def finish(self, exit_code: int) -> None:
        """Requests the end: once all frames are acknowledged, the server is told that the writer has ended; `run`
        returns once the server has answered."""
        self._exit_code = exit_code
        self._more.set()

    @property
    def progress(self) -> int:
        """A number that grows with any progress: connections, frames sent and acknowledged, and frames of other
        writers that the server stores before those of this one."""
        return self._source.first_seq + self.counts.frames_sent + self.counts.connections + self._server_moved

    async def acknowledged(self, next_seq: int) -> None:
        """Waits until everything below `next_seq` is acknowledged.

        Raises:
            Error: the final error, if delivery has failed for good.
        """
        if self.failed is not None:
            raise self.failed
        if self._source.first_seq >= next_seq:
            return
        await self._waiters.acknowledged(next_seq)

    async def first_attached(self) -> dict[str, Any]:
        """Waits for the server's first answer to the attach message, and returns it.

        Raises:
            Error: the server has refused this writer for good.
        """
        if self.failed is not None:
            raise self.failed
        if self.attached is not None:
            return self.attached
        return await self._waiters.attached()

    async def run(self) -> None:
        """Delivers until `finish` is answered or the server refuses for good (`failed`)."""
        from stepwell.transport.websocket import AsyncClient  # imports aiohttp; see `Sender.start`

        backoff = Backoff(self._timeouts.retry_min_s, self._timeouts.retry_max_s)
        corrupt_tries = 0
        async with AsyncClient(self._endpoint) as client:
            while True:
                before = self._source.first_seq
                pause = 0.0
                try:
                    await self._deliver(client)
                    return
                except Error as error:
                    corrupt_tries = corrupt_tries + 1 if isinstance(error, FrameCorruptError) else 0
                    # A disk error may be temporary; a spool that another process has taken is lost to this one.
                    again = error.retryable or (
                        isinstance(error, SpoolError) and not isinstance(error, SpoolLockedError)
                    )
                    if not again or corrupt_tries > _MAX_CORRUPT_TRIES:
                        self._fail(error)
                        return
                    self.last_error = error
                    pause = error.retry_after_s if isinstance(error, OverloadedError) else 0.0
                except (OSError, TimeoutError, RuntimeError) as error:
                    self.last_error = error  # RuntimeError: at exit, the executor for name look-ups is gone
                except Exception as error:
                    log.exception("unexpected error during delivery; retrying")
                    self.last_error = error
                finally:
                    self.connected = False
                if self._source.first_seq > before:
                    backoff.reset()
                    corrupt_tries = 0
                delay = backoff.next_s(pause)
                log.debug("%s: trying again in %.1f s: %s", self._endpoint, delay, self.last_error)
                await asyncio.sleep(delay)

    async def _deliver(self, client: AsyncClient) -> None:
        """Serves one connection, until the writer's end is confirmed."""
        async with asyncio.timeout(self._timeouts.connect_s):
            socket = await client.websocket(
                "/v1/stream", heartbeat_s=self._timeouts.heartbeat_s, max_message_bytes=wire.MAX_FRAME_BYTES
            )
        try:
            async with asyncio.timeout(self._timeouts.connect_s):
                await self._start(client, socket)
            tasks = {asyncio.create_task(self._send(socket)), asyncio.create_task(self._receive(socket))}
            try:
                await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for task in tasks:
                    task.cancel()
                outcomes = await asyncio.gather(*tasks, return_exceptions=True)
            # An error that the server has sent explains the broken socket of the sender, so it takes precedence.
            errors = [item for item in outcomes if isinstance(item, Exception)]
            for error in sorted(errors, key=lambda item: not isinstance(item, Error) or isinstance(item, LostError)):
                raise error
        finally:
            await socket.close()

    async def _start(self, client: AsyncClient, socket: Socket) -> None:
        """Attaches, and continues at the server's position."""
        attach = self._attach()
        self._session = bytes.fromhex(attach["session"])
        message = {**attach, "progress": True, "from_seq": self._source.first_seq}
        await socket.send_text(await attach_text(client, message))
        reply = control(await socket.receive())
        if reply.get("type") == "error":
            raise error_of(reply)
        if reply.get("type") != "attached" or not isinstance(reply.get("next_seq"), int):
            raise not_a_server(str(reply)[:200])
        next_seq = reply["next_seq"]
        if next_seq < self._source.first_seq:
            log.error(
                "frames %d to %d are neither in the spool nor on the server, and are recorded as dropped",
                next_seq,
                self._source.first_seq - 1,
            )
        self.connected = True
        self.counts.connections += 1
        # The server has stored frames whose acknowledgement was lost with the last connection.
        self._count(next_seq, refusals(reply))
        self._in_flight.clear()
        self._finish_sent = False
        self._settle(next_seq)
        self._sent_seq = next_seq
        self._more.set()
        for warning in attach_warnings(attach, reply) if self.attached is None else ():
            log.warning("%s", warning)
        self.attached = reply
        self.pace_s = pace_s(reply)
        self._waiters.tell_attached(reply)

    async def _send(self, socket: Socket) -> None:
        source, limits = self._source, self._limits
        while True:
            room = min(limits.message_bytes, limits.in_flight_bytes - self._in_flight.size)
            window = wire.WINDOW_FRAMES - len(self._in_flight)
            if self._sent_seq < source.next_seq and room > 0 and window > 0:
                if self._sent_seq < source.first_seq:  # dropped before the server had them
                    missing = range(self._sent_seq, min(source.first_seq, self._sent_seq + window))
                    frames = [wire.encode_tombstone(self._session, seq, 0) for seq in missing]
                else:
                    frames = source.read(self._sent_seq, room, window)
                for frame in frames:
                    self._in_flight.add(frame)
                self._sent_seq += len(frames)
                self.counts.frames_sent += len(frames)
                self.counts.bytes_sent += sum(map(len, frames))
                for message in messages(frames):
                    await socket.send_bytes(message)
                continue
            delivered = source.first_seq >= source.next_seq and not self._in_flight
            if self._exit_code is not None and not self._finish_sent and delivered:
                self._finish_sent = True
                await socket.send_text(orjson.dumps({"type": "finish", "exit_code": self._exit_code}).decode())
            self._more.clear()
            await self._more.wait()

    async def _receive(self, socket: Socket) -> None:
        while True:
            reply = control(await socket.receive())
            kind = reply.get("type")
            if kind == "ack":
                self._acknowledge(reply)
            elif kind == "error":
                raise error_of(reply)
            elif kind == "finished":
                if not self._finish_sent:
                    raise UnavailableError(
                        "the server confirmed an end that was never sent",
                        hint="is there a proxy between this process and the server that generates answers of its own?",
                    )
                self.finished = True
                return
            elif kind == "storing":
                self._server_moved += 1
            self._more.set()

    def _acknowledge(self, reply: dict[str, Any]) -> None:
        next_seq, checksum = reply.get("next_seq"), reply.get("checksum")
        if not isinstance(next_seq, int) or not self._in_flight.has(next_seq - 1, checksum):
            raise UnavailableError(
                "an acknowledgement has the wrong checksum",
                detail=f"seq {next_seq}, checksum {checksum}",
                hint="is there a proxy between this process and the server that generates answers of its own?",
            )
        refused = refusals(reply)
        self.pace_s = pace_s(reply)
        try:
            stored, duplicate = int(reply.get("stored", 0)), int(reply.get("duplicate", 0))
        except (TypeError, ValueError) as error:
            raise UnavailableError("invalid acknowledgement", detail=f"{reply!r:.200}") from error
        self._count(next_seq, refused)
        self.counts.frames_stored += stored
        self.counts.frames_duplicate += duplicate
        self._settle(next_seq)

    def _count(self, next_seq: int, refused: dict[int, RejectionError]) -> None:
        """Counts the frames in flight below `next_seq`, and reports refused ones."""
        self._in_flight.count(self.counts, self._source.first_seq, next_seq, refused)
        for seq, error in refused.items():
            self.counts.frames_rejected += 1
            self._on_rejection(seq, error)

    def _settle(self, next_seq: int) -> None:
        """Records that everything below `next_seq` is on the server."""
        self._in_flight.settle(next_seq)
        self._source.acknowledge(min(next_seq, self._source.next_seq))
        self._waiters.tell_acknowledged(next_seq)

    def _fail(self, error: Error) -> None:
        self.failed = self.last_error = error
        self._waiters.tell_failed(error)
