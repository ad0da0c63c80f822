"""A TCP proxy on loopback that injects faults: after any byte, or at named messages of the protocol.

It runs between two real parts, in the event loop of the test. A `Wire` per connection splits each direction into pieces
at message boundaries and names them (`faults.postgres_wire`, `faults.web_wire`). A `Rule` acts on the n-th piece of a
name; a `Shape` acts on the bytes of one direction, whatever their meaning.

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


#: Bytes that are forwarded together, and their name (None: unnamed).
Pieces = Iterator[tuple[bytes, str | None]]


class Wire(Protocol):
    """The parser of one connection.

    Attributes:
        peer: what the server has sent about itself and a rule may need (the pid of a Postgres backend).
    """

    peer: int | None

    def up(self, data: bytes) -> Pieces: ...
    def down(self, data: bytes) -> Pieces: ...


class PlainWire:
    """Recognizes no messages."""

    peer: int | None = None

    def up(self, data: bytes) -> Pieces:
        yield data, None

    def down(self, data: bytes) -> Pieces:
        yield data, None


class Action(Enum):
    """The fate of the connection when a rule fires, or when a shape's byte is reached."""

    CUT = auto()  # both ends are closed normally (FIN)
    RESET = auto()  # both ends get an RST
    HANG = auto()  # both ends stay open, but nothing is forwarded any more
    STALL = auto()  # like HANG, and nothing is read any more, so buffers fill until the sender must wait
    HALF_OPEN = auto()  # the server's end is closed, and the client is not told


@dataclass(slots=True)
class Rule:
    """An action at a place of the protocol.

    Attributes:
        at: the name of a piece; a trailing * matches anything.
        action: the action; a function is called with the link. If it returns None, the piece is forwarded; otherwise,
            its result is forwarded instead.
        after: whether the piece is forwarded before the action; otherwise it is lost (except with functions).
        skip: the number of pieces of that name to forward first.
        count: the maximum number of actions; None: no limit.
        probability, seed: the probability of the action for a matching piece, and the seed of that choice.
        fired: the number of actions so far.
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
        """Whether the rule acts on this piece."""
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
    """The treatment of the bytes of one direction.

    Attributes:
        latency_s, jitter_s: the delay before each piece.
        bytes_per_s: the bandwidth; 0: no limit.
        slice_bytes: the size of the slices, each a separate packet, into which pieces are cut; 0: pieces are not cut.
        end_after: the number of bytes after which, possibly inside a piece, `end` is applied.
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
        """The peer of the wire."""
        return self.wire.peer

    def reply(self, data: bytes) -> None:
        """Sends bytes to the client and ends the connection; the server is not told."""
        self._client[1].write(data)
        self._over.set()

    def end(self, action: Action) -> None:
        """Applies `action` to both ends."""
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
        """Forwards bytes until one side or a rule ends the connection."""
        client, server, shapes = self._client, self._server, self._shapes
        up = asyncio.create_task(self._pump(client[0], server[1], self.wire.up, shapes[0], rules))
        down = asyncio.create_task(self._pump(server[0], client[1], self.wire.down, shapes[1], rules))
        pumps = (up, down)
        over = asyncio.create_task(self._over.wait())
        try:
            await asyncio.wait({*pumps, over}, return_when=asyncio.FIRST_COMPLETED)
            if self._silent:  # until the client gives up, which must not see that the server has ended
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
        connect: a function that opens a connection to the server.
        wire: a function that makes the parser of a connection.
        tls: the TLS context for connections from clients; None: no TLS.

    Attributes:
        rules: the rules, checked in order for each named piece; may be changed at any time.
        up, down: the shapes of new connections; a function makes one for each connection from its number, starting at
            0.
        port: the port, once started.
        links: the number of connections so far.
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
        # Small, so that a stalled link soon makes its sender wait.
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
        """Applies `action` to every open connection."""
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
