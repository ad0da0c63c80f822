"""A TCP proxy on the loopback that breaks things: by the byte, and at places that the protocol names.

Stands between two real parts, in the event loop of the test. A `Wire` per connection cuts each direction into pieces at
message boundaries and names them (`faults.postgres_wire`, `faults.web_wire`); a `Rule` says what happens at the n-th
piece of a name; a `Shape` says what happens to the bytes of one direction whatever they mean.

    client  ──up──►  proxy  ──►  server         names of pieces: "> CopyDone" up, "< COMMIT" down
            ◄─down──        ◄──
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import socket
import ssl
import struct
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Protocol

_CHUNK = 64 * 1024

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


#: Bytes that go on together, and what they are (None: nothing that has a name).
Pieces = Iterator[tuple[bytes, str | None]]


class Wire(Protocol):
    """Understands one connection.

    Attributes:
        peer: what the server said of itself that a rule may want to know (the pid of a Postgres backend).
    """

    peer: int | None

    def up(self, data: bytes) -> Pieces: ...
    def down(self, data: bytes) -> Pieces: ...


class PlainWire:
    """Knows no messages."""

    peer: int | None = None

    def up(self, data: bytes) -> Pieces:
        yield data, None

    def down(self, data: bytes) -> Pieces:
        yield data, None


class Action(Enum):
    """What becomes of the connection when a rule fires, or when a shape's byte is reached."""

    CUT = auto()  # both ends are closed in good manners (FIN)
    RESET = auto()  # both ends get an RST
    HANG = auto()  # both ends stay open, nothing passes any more
    STALL = auto()  # likewise, and nothing is read any more: buffers fill until the sender must wait
    HALF_OPEN = auto()  # the server's end is closed, the client never hears of it


@dataclass(slots=True)
class Rule:
    """Something that happens at a place of the protocol.

    Attributes:
        at: the name of a piece; a trailing * stands for anything.
        action: what happens; a function is called with the link (and the piece passes, when it returns None; else
            what it returns passes in its place).
        after: the piece goes on before it happens; else it is lost (but for functions).
        skip: so many pieces of that name pass first.
        count: so often it happens; None: always.
        probability, seed: whether it happens to a piece that counts.
        fired: how often it has happened.
    """

    at: str
    action: Action | Callable[[Link], bytes | Awaitable[bytes | None] | None]
    after: bool = False
    skip: int = 0
    count: int | None = 1
    probability: float = 1.0
    seed: int = 0
    fired: int = 0
    _random: random.Random = field(init=False)

    def __post_init__(self) -> None:
        self._random = random.Random(self.seed)

    def fires(self, name: str) -> bool:
        """Whether it happens to this piece."""
        matches = name.startswith(self.at[:-1]) if self.at.endswith("*") else name == self.at
        if not matches or (self.count is not None and self.fired >= self.count):
            return False
        if self.skip:
            self.skip -= 1
            return False
        if self.probability < 1.0 and self._random.random() >= self.probability:
            return False
        self.fired += 1
        return True


@dataclass(slots=True)
class Shape:
    """What happens to the bytes of one direction.

    Attributes:
        latency_s, jitter_s: before each piece.
        bytes_per_s: 0: no limit.
        slice_bytes: pieces are cut into slices of so many bytes, each a packet of its own; 0: they are not.
        end_after: after so many bytes of the connection, in the midst of a piece, `end` happens.
    """

    latency_s: float = 0.0
    jitter_s: float = 0.0
    bytes_per_s: float = 0.0
    slice_bytes: int = 0
    end_after: int | None = None
    end: Action = Action.CUT


class Link:
    """One connection through the proxy."""

    def __init__(self, client: Streams, server: Streams, wire: Wire, up: Shape, down: Shape) -> None:
        self.wire = wire
        self._shapes = up, down
        self._client = client
        self._server = server
        self._over = asyncio.Event()
        self._silent = False
        self._stalled = False

    @property
    def peer(self) -> int | None:
        """Of the wire."""
        return self.wire.peer

    def reply(self, data: bytes) -> None:
        """Bytes to the client, then the end of the connection; the server hears nothing of it."""
        self._client[1].write(data)
        self._over.set()

    def end(self, action: Action) -> None:
        """Does to both ends what `action` says."""
        if action in (Action.HANG, Action.STALL):
            self._silent = True
            self._stalled = action is Action.STALL
        elif action is Action.HALF_OPEN:
            self._silent = True
            self._server[1].close()
        else:
            for _, writer in (self._client, self._server):
                if action is Action.RESET:
                    _reset(writer)
            self._over.set()

    async def run(self, rules: list[Rule]) -> None:
        """Passes bytes on, until one side or a rule ends it."""
        client, server, shapes = self._client, self._server, self._shapes
        up = asyncio.create_task(self._pump(client[0], server[1], self.wire.up, shapes[0], rules))
        down = asyncio.create_task(self._pump(server[0], client[1], self.wire.down, shapes[1], rules))
        pumps = (up, down)
        over = asyncio.create_task(self._over.wait())
        try:
            await asyncio.wait({*pumps, over}, return_when=asyncio.FIRST_COMPLETED)
            if self._silent:  # until the client gives up; the end of the server is not to be seen
                await asyncio.wait({up, over}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (*pumps, over):
                task.cancel()
            await asyncio.gather(*pumps, over, return_exceptions=True)
            for _, writer in (self._client, self._server):
                writer.close()
                with contextlib.suppress(OSError):
                    await writer.wait_closed()

    async def _pump(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        pieces: Callable[[bytes], Pieces],
        shape: Shape,
        rules: list[Rule],
    ) -> None:
        left = [shape.end_after if shape.end_after is not None else 1 << 62]
        with contextlib.suppress(OSError):
            while data := await reader.read(_CHUNK):
                if self._stalled:
                    await self._over.wait()
                if self._silent:
                    continue
                for piece, name in pieces(data):
                    rule = next((rule for rule in rules if name is not None and rule.fires(name)), None)
                    if rule is None:
                        await self._pass(writer, piece, shape, left)
                        continue
                    if rule.after:
                        await self._pass(writer, piece, shape, left)
                    if isinstance(rule.action, Action):
                        self.end(rule.action)
                        break
                    changed = rule.action(self)
                    if isinstance(changed, Awaitable):
                        changed = await changed
                    if not rule.after:
                        await self._pass(writer, piece if changed is None else changed, shape, left)

    async def _pass(self, writer: asyncio.StreamWriter, piece: bytes, shape: Shape, left: list[int]) -> None:
        if self._silent or self._over.is_set():
            return
        if shape.latency_s + shape.jitter_s:
            await asyncio.sleep(shape.latency_s + random.random() * shape.jitter_s)
        size = shape.slice_bytes or len(piece)
        for start in range(0, len(piece), max(size, 1)):
            part = piece[start : start + size][: left[0]]
            left[0] -= len(part)
            writer.write(part)
            await writer.drain()
            await asyncio.sleep(len(part) / shape.bytes_per_s if shape.bytes_per_s else 0)
            if left[0] <= 0:
                self.end(shape.end)
                return


class Proxy:
    """Listens on a free port of the loopback.

    Args:
        connect: opens a connection to the server.
        wire: makes what understands a connection.
        tls: how connections from clients are encrypted; None: they are not.

    Attributes:
        rules: asked in order, for each piece that has a name; may be changed at any time.
        up, down: the shapes of new connections; a function makes one for each connection, by its number from 0 on.
        port: once started.
        links: how many connections there were.
    """

    def __init__(
        self,
        connect: Callable[[], Awaitable[Streams]],
        wire: Callable[[], Wire] = PlainWire,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self.rules: list[Rule] = []
        self.up: Shape | Callable[[int], Shape] = Shape()
        self.down: Shape | Callable[[int], Shape] = Shape()
        self.port = 0
        self.links = 0
        self._connect = connect
        self._wire = wire
        self._tls = tls
        self._open: dict[Link, asyncio.Task[None]] = {}
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        listener = socket.socket(proto=socket.IPPROTO_TCP)  # named, or asyncio would not switch Nagle's algorithm off
        # Small, so that a stalled link makes its sender wait at once.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _CHUNK)
        listener.bind(("127.0.0.1", 0))
        self._server = await asyncio.start_server(self._serve, sock=listener, ssl=self._tls)
        self.port = listener.getsockname()[1]

    async def stop(self) -> None:
        """Closes everything."""
        if self._server is not None:
            self._server.close()
        self.end_all(Action.CUT)
        await asyncio.gather(*self._open.values(), return_exceptions=True)

    def end_all(self, action: Action) -> None:
        """Does `action` to every connection that is open now."""
        for link in self._open:
            link.end(action)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            server = await self._connect()
        except OSError:
            _reset(writer)
            writer.close()
            return
        number, self.links = self.links, self.links + 1
        up, down = (shape if isinstance(shape, Shape) else shape(number) for shape in (self.up, self.down))
        link = Link((reader, writer), server, self._wire(), up, down)
        if (task := asyncio.current_task()) is not None:
            self._open[link] = task
        try:
            await link.run(self.rules)
        finally:
            del self._open[link]


def _reset(writer: asyncio.StreamWriter) -> None:
    sock = writer.get_extra_info("socket")
    if sock is not None and sock.family in (socket.AF_INET, socket.AF_INET6):
        with contextlib.suppress(OSError):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()
