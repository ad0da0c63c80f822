"""The Postgres protocol, as far as the proxy must know it: message boundaries, and the names of some messages.

> CopyData   > CopyDone   > COMMIT        up: before the server has it
< COPY       < COMMIT     < error         down: before the client has it ("COPY n" and "COMMIT" are command tags)
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

from faults.proxy import Pieces

_STARTUP = struct.Struct(">ii")
_HEADER = struct.Struct(">ci")
_SSL_REQUEST, _GSS_REQUEST, _CANCEL_REQUEST = 80877103, 80877104, 80877102


class PostgresWire:
    """One connection.

    Attributes:
        peer: the pid of the backend, once it has sent it.
    """

    def __init__(self) -> None:
        self.peer: int | None = None
        self._up = bytearray()
        self._down = bytearray()
        self._started = False
        self._asked = 0  # one-byte answers that are due, to requests for TLS or GSS

    def up(self, data: bytes) -> Pieces:
        self._up += data
        while not self._started:
            if len(self._up) < _STARTUP.size:
                return
            length, code = _STARTUP.unpack_from(self._up)
            if len(self._up) < length:
                return
            if code in (_SSL_REQUEST, _GSS_REQUEST):
                self._asked += 1
            elif code != _CANCEL_REQUEST:
                self._started = True
            yield _take(self._up, length), None
        for kind, message in _messages(self._up):
            yield message, self._name_up(kind, message)

    def down(self, data: bytes) -> Pieces:
        self._down += data
        while self._asked and self._down:
            self._asked -= 1
            yield _take(self._down, 1), None
        for kind, message in _messages(self._down):
            yield message, self._name_down(kind, message)

    def _name_up(self, kind: bytes, message: bytes) -> str | None:
        if kind == b"Q" and message[5:11].upper() == b"COMMIT":
            return "> COMMIT"
        return {b"d": "> CopyData", b"c": "> CopyDone"}.get(kind)

    def _name_down(self, kind: bytes, message: bytes) -> str | None:
        if kind == b"K":
            (self.peer,) = struct.unpack_from(">i", message, 5)
        elif kind == b"E":
            return "< error"
        elif kind == b"C":
            tag = message[5:-1]
            if tag == b"COMMIT":
                return "< COMMIT"
            if tag.startswith(b"COPY "):
                return "< COPY"
        return None


def command_complete(tag: bytes) -> bytes:
    """A CommandComplete message."""
    return _HEADER.pack(b"C", len(tag) + 5) + tag + b"\0"


def _messages(buffer: bytearray) -> Iterator[tuple[bytes, bytes]]:
    while len(buffer) >= _HEADER.size:
        kind, length = _HEADER.unpack_from(buffer)
        if len(buffer) < length + 1:
            return
        yield kind, _take(buffer, length + 1)


def _take(buffer: bytearray, size: int) -> bytes:
    taken = bytes(buffer[:size])
    del buffer[:size]
    return taken
