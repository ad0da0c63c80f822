"""Ten thousand slow clients of one worker: its memory, and whether complete frames are still stored.

    PYTHONPATH=tests:sdk:ingest:schema python -m faults.slow_clients --clients 10000

Several processes open the connections in phases (connect, upgrade, attach, dribble), so that the worker's memory can be
measured for each. Most clients attach as writers and send only the first part of a message of 64 KiB, in small pieces.
Some never send a request, some never attach, some announce messages of 2⁶² bytes. Finally, the well-behaved ones send
the rest; they must be acknowledged, and the frames must be in Postgres.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import multiprocessing
import resource
import secrets
import struct
import time
from collections import Counter
from multiprocessing.connection import Connection
from typing import Any
from urllib.parse import urlsplit

import asyncpg
import numpy as np
import orjson

from faults.fuzz import say
from faults.real_server import RealServer, real_server
from fixtures.frames import with_checksums
from stepwell import wire

#: The kinds of clients and their shares.
KINDS = {"writer": 0.85, "announcer": 0.05, "mute": 0.05, "nameless": 0.05}
PHASES = ("connect", "upgrade", "attach", "dribble", "complete", "close")
MESSAGE_BYTES = 64 * 1024
_AT_ONCE = 100
_TEXT, _BINARY = 1, 2


class SlowClient:
    """One client of a kind; each phase is a method. An error ends it and is recorded as `end`."""

    def __init__(self, url: str, kind: str, number: int) -> None:
        self._address = urlsplit(url)
        self._kind = kind
        self._run = f"slow-{number % 100}"
        self.session = secrets.token_bytes(16)
        self.end = "held"
        self.acknowledged = False
        self._sent = 0

    async def connect(self) -> None:
        self._reader, self._writer = await asyncio.open_connection(
            self._address.hostname, self._address.port, limit=4096
        )

    async def upgrade(self) -> None:
        key = base64.b64encode(secrets.token_bytes(16)).decode()
        request = (
            f"GET /v1/stream HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n"
            f"Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n"
        )
        if self._kind == "mute":
            self._writer.write(request.encode())  # the empty line that ends the head is never sent
            return
        self._writer.write(f"{request}\r\n".encode())
        answer = (await self._reader.readuntil(b"\r\n\r\n")).lower()
        assert b" 101 " in answer, answer
        assert b"permessage-deflate" not in answer, answer

    async def attach(self) -> None:
        if self._kind in ("mute", "nameless"):
            return
        names = {"entity": "default", "project": "slow", "run": self._run, "writer": self.session.hex()}
        message = {"type": "attach", "protocol": 1, **names, "session": self.session.hex(), "info": {}}
        await self._send(_TEXT, orjson.dumps(message))
        reply = await self._receive()
        assert reply["type"] == "attached", reply

    async def dribble(self) -> None:
        """Sends all but the last bytes of a message in pieces; of a huge announced message, sends the same amount."""
        if self._kind == "mute":
            return
        if self._kind == "announcer":
            self._writer.write(struct.pack("!BBQ4s", 0x80 | _BINARY, 0x80 | 127, 2**62, bytes(4)))
        else:
            self._writer.write(_head(_BINARY, MESSAGE_BYTES))
        while self._sent < MESSAGE_BYTES - 8:
            piece = min(4096, MESSAGE_BYTES - 8 - self._sent)
            self._writer.write(frame(self.session)[self._sent : self._sent + piece])
            self._sent += piece
            await self._writer.drain()
            await asyncio.sleep(0.05)

    async def complete(self) -> None:
        if self._kind != "writer":
            return
        self._writer.write(frame(self.session)[self._sent :])
        reply = await self._receive()
        assert reply["type"] == "ack", reply
        assert (reply["stored"], reply["next_seq"]) == (1, 1), reply
        self.acknowledged = True

    async def close(self) -> None:
        self._writer.close()

    async def _send(self, opcode: int, payload: bytes) -> None:
        self._writer.write(_head(opcode, len(payload)) + payload)
        await self._writer.drain()

    async def _receive(self) -> dict[str, Any]:
        """Returns the next message of the server; answers pings."""
        while True:
            head = await self._reader.readexactly(2)
            size = head[1]
            if size == 126:
                (size,) = struct.unpack("!H", await self._reader.readexactly(2))
            payload = await self._reader.readexactly(size)
            if head[0] & 15 in (_TEXT, _BINARY):
                return dict(orjson.loads(payload))
            if head[0] & 15 == 8:
                raise ConnectionError(f"closed by the server: {payload!r}")
            if head[0] & 15 == 9:
                self._writer.write(_head(10, len(payload)) + payload)


def _head(opcode: int, size: int) -> bytes:
    """Sends a message that is masked with zeros, which leaves the payload unchanged."""
    if size < 126:
        return struct.pack("!BB4s", 0x80 | opcode, 0x80 | size, bytes(4))
    if size < 2**16:
        return struct.pack("!BBH4s", 0x80 | opcode, 0x80 | 126, size, bytes(4))
    return struct.pack("!BBQ4s", 0x80 | opcode, 0x80 | 127, size, bytes(4))


def _template() -> bytes:
    """A frame of exactly `MESSAGE_BYTES`: a block of 9 metrics, and an object that fills the rest."""
    steps = np.arange(700, dtype=np.int64)
    block = wire.Block(wire.pack_names([f"m/{k}" for k in range(9)]), steps, 10**15 + steps, np.ones((9, 700)))
    room = MESSAGE_BYTES - len(wire.encode(bytes(16), 0, [block], [wire.Object(0, 0, "x" * 8, b"")]))
    made = wire.encode(bytes(16), 0, [block], [wire.Object(0, 0, "x" * 8, b'"' + b"a" * (room - 2) + b'"')])
    assert len(made) == MESSAGE_BYTES
    return made


_TEMPLATE = _template()


def frame(session: bytes) -> bytes:
    """The message of a client with this session."""
    made = bytearray(_TEMPLATE)
    made[16:32] = session
    return with_checksums(made)


def kinds_of(clients: int) -> list[str]:
    """The kind of each client, according to the shares."""
    bounds = np.cumsum(list(KINDS.values()))
    return [list(KINDS)[int(np.searchsorted(bounds, (n % 100) / 100 + 1e-9))] for n in range(clients)]


async def run_phase(clients: list[SlowClient], phase: str) -> None:
    """Runs a phase for all open clients; `connect` to `attach` run in groups, like arriving clients."""
    gate = asyncio.Semaphore(_AT_ONCE if phase in ("connect", "upgrade", "attach") else len(clients))

    async def one(client: SlowClient) -> None:
        async with gate:
            try:
                async with asyncio.timeout(120):
                    await getattr(client, phase)()
            except (OSError, EOFError, AssertionError, TimeoutError) as error:
                client.end = f"{phase}: {type(error).__name__} {error}"[:120]

    await asyncio.gather(*(one(client) for client in clients if client.end == "held"))


def _process(url: str, kinds: list[str], first: int, pipe: Connection) -> None:
    """The main function of a client process: runs the requested phases, and answers each with its counts."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    clients = [SlowClient(url, kind, first + number) for number, kind in enumerate(kinds)]

    async def serve() -> None:
        while (phase := await asyncio.to_thread(pipe.recv)) is not None:
            await run_phase(clients, phase)
            acknowledged = [client.session for client in clients if client.acknowledged]
            pipe.send((Counter(client.end for client in clients), acknowledged))

    asyncio.run(serve())


def crowd(server: RealServer, clients: int, processes: int) -> None:
    """Runs all phases and prints the worker's memory after each. Raises if an acknowledged frame is not in Postgres."""
    context = multiprocessing.get_context("spawn")
    kinds, share = kinds_of(clients), -(-clients // processes)
    pipes: list[Connection] = []
    started = []
    for first in range(0, clients, share):
        ours, theirs = context.Pipe()
        process = context.Process(target=_process, args=(server.url, kinds[first : first + share], first, theirs))
        process.start()
        pipes.append(ours)
        started.append(process)
    before = server.rss_mib()
    say(f"before: {before:.0f} MiB")
    acknowledged: list[bytes] = []
    for phase in PHASES:
        for pipe in pipes:
            pipe.send(phase)
        ends: Counter[str] = Counter()
        acknowledged = []
        for pipe in pipes:
            counts, sessions = pipe.recv()
            ends += counts
            acknowledged += sessions
        rss = server.rss_mib()
        each = (rss - before) * 1024 / clients
        say(f"{phase}: {rss:.0f} MiB now, {each:.1f} KiB a client, peak {server.peak_mib():.0f} MiB; {dict(ends)}")
    for pipe, process in zip(pipes, started, strict=True):
        pipe.send(None)
        process.join()
    time.sleep(5)
    say(f"5 s later: {server.rss_mib():.0f} MiB")
    asyncio.run(check_stored(server.dsn, acknowledged))
    say(f"{len(acknowledged):,} frames acknowledged, all of them in Postgres")


async def check_stored(dsn: str, sessions: list[bytes]) -> None:
    """Checks that each of these sessions has its one frame in Postgres."""
    connection = await asyncpg.connect(dsn)
    sql = "SELECT l.session::text FROM stepwell.ledger l JOIN stepwell.hot_block b USING (run_id, writer_id, epoch)"
    found = Counter(row[0].replace("-", "") for row in await connection.fetch(sql))
    await connection.close()
    wrong = [session.hex() for session in sessions if found[session.hex()] != 1]
    assert not wrong, f"{len(wrong)} acknowledged frames are not there once: {wrong[:3]}"


def main() -> None:
    parser = argparse.ArgumentParser(prog="faults.slow_clients", description="Slow clients against a real worker.")
    parser.add_argument("--clients", type=int, default=10_000)
    parser.add_argument("--processes", type=int, default=4)
    arguments = parser.parse_args()
    with real_server() as server:
        crowd(server, arguments.clients, arguments.processes)
        if problems := server.log():
            say(f"the worker's log:\n{problems[:3000]}")


if __name__ == "__main__":
    main()
