"""A bare WebSocket to /v1/stream on uvloop, so that thousands of them leave the server its cores.

Stands between a `Writer` of the driver, which decides what is sent, and the socket. No library: masks are zero,
messages are small, and nothing else is needed.
"""

from __future__ import annotations

import asyncio
import base64
import json
import os
import struct
from typing import Any, Protocol, cast

TEXT, BINARY, _PING, _PONG = 0x81, 0x82, 0x89, 0x8A


class Owner(Protocol):
    """What a connection tells its owner."""

    def opened(self) -> None:
        """The handshake is done."""

    def heard(self, message: dict[str, Any]) -> None:
        """The server sent a message."""

    def lost(self, reason: str) -> None:
        """The connection has ended."""


class Link(asyncio.Protocol):
    """One connection.

    Args:
        host: the Host header.
        owner: whom it tells.
    """

    def __init__(self, host: str, owner: Owner) -> None:
        self._host = host
        self._owner = owner
        self._buffer = bytearray()
        self._upgraded = False
        self._refusal = ""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        key = base64.b64encode(os.urandom(16)).decode()
        self._transport.write(
            f"GET /v1/stream HTTP/1.1\r\nHost: {self._host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n\r\n".encode()
        )

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        if not self._upgraded and not self._handshake():
            return
        while len(self._buffer) >= 2:
            kind, length, at = self._buffer[0], self._buffer[1], 2
            if length == 126:
                if len(self._buffer) < 4:
                    return
                length, at = int.from_bytes(self._buffer[2:4]), 4
            if len(self._buffer) < at + length:
                return
            body = bytes(self._buffer[at : at + length])
            del self._buffer[: at + length]
            if kind == _PING:
                self.send(_PONG, body)
            elif kind in (TEXT, BINARY):
                self._owner.heard(json.loads(body))

    def _handshake(self) -> bool:
        head, found, rest = bytes(self._buffer).partition(b"\r\n\r\n")
        if not found:
            return False
        status = head.split(b"\r\n", 1)[0]
        if b" 101 " not in status:
            self._refusal = status.decode()
            self._transport.abort()
            return False
        self._upgraded = True
        self._buffer = bytearray(rest)
        self._owner.opened()
        return True

    def connection_lost(self, error: Exception | None) -> None:
        self._owner.lost(self._refusal or f"connection lost: {error}")

    def send(self, kind: int, body: bytes) -> None:
        """Sends a message."""
        size = len(body)
        if size < 126:
            head = struct.pack("!BB", kind, 0x80 | size)
        elif size < 1 << 16:
            head = struct.pack("!BBH", kind, 0xFE, size)
        else:
            head = struct.pack("!BBQ", kind, 0xFF, size)
        self._transport.write(head + b"\0\0\0\0" + body)  # a mask of zeros does not change the bytes

    def cut(self) -> None:
        """Ends the connection at once."""
        self._transport.abort()
