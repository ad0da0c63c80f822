"""HTTP and WebSocket, as far as the proxy must know them: message boundaries, and their meaning in Stepwell's protocol.

    > request              < answer  < upgraded         the head of an HTTP message; bodies follow without a name
    > attach  > finish     < attached  < finished       control messages on the stream
    > frames               < ack       < error
    > close   > ping …     < close     < pong …         WebSocket's own

Messages are forwarded unchanged, including their masks.
"""

from __future__ import annotations

import struct

from faults.proxy import Pieces

_CONTROL = {8: "close", 9: "ping", 10: "pong"}
_TEXT, _BINARY = 1, 2


class WebWire:
    """One connection: HTTP until a request upgrades it."""

    peer: int | None = None

    def __init__(self) -> None:
        self._up = _Side("> ", "request", answers=False)
        self._down = _Side("< ", "answer", answers=True)

    def up(self, data: bytes) -> Pieces:
        return self._up.feed(data)

    def down(self, data: bytes) -> Pieces:
        return self._down.feed(data)


class _Side:
    def __init__(self, prefix: str, head: str, *, answers: bool) -> None:
        self._prefix = prefix
        self._head = prefix + head
        self._answers = answers
        self._buffer = bytearray()
        self._body = 0  # the remaining bytes of an HTTP body
        self._upgraded = False

    def feed(self, data: bytes) -> Pieces:
        self._buffer += data
        while self._buffer:
            if self._upgraded:
                size = _message_size(self._buffer)
                if size is None or len(self._buffer) < size:
                    return
                message = self._take(size)
                yield message, self._prefix + _kind(message)
            elif self._body:
                part = self._take(min(self._body, len(self._buffer)))
                self._body -= len(part)
                yield part, None
            else:
                end = self._buffer.find(b"\r\n\r\n")
                if end < 0:
                    return
                head = self._take(end + 4)
                self._read_head(head)
                yield head, "< upgraded" if self._upgraded and self._answers else self._head

    def _read_head(self, head: bytes) -> None:
        first, *lines = head.lower().split(b"\r\n")
        fields = dict(line.split(b":", 1) for line in lines if b":" in line)
        self._body = int(fields.get(b"content-length", b"0"))
        if self._answers:
            self._upgraded = b" 101 " in first
        else:
            self._upgraded = b"websocket" in fields.get(b"upgrade", b"")

    def _take(self, size: int) -> bytes:
        taken = bytes(self._buffer[:size])
        del self._buffer[:size]
        return taken


def answer(status: str, body: bytes, content_type: str = "text/html") -> bytes:
    """An HTTP answer like that of a captive portal or a load balancer."""
    head = f"HTTP/1.1 {status}\r\nContent-Type: {content_type}\r\nContent-Length: {len(body)}\r\nConnection: close\r\n"
    return head.encode() + b"\r\n" + body


def message(payload: bytes, opcode: int = _BINARY) -> bytes:
    """A WebSocket message of a server."""
    size = len(payload)
    if size < 126:
        head = bytes([0x80 | opcode, size])
    elif size < 1 << 16:
        head = bytes([0x80 | opcode, 126]) + struct.pack(">H", size)
    else:
        head = bytes([0x80 | opcode, 127]) + struct.pack(">Q", size)
    return head + payload


def _message_size(buffer: bytearray) -> int | None:
    if len(buffer) < 2:
        return None
    size, start = buffer[1] & 0x7F, 2
    if size == 126:
        start = 4
    elif size == 127:
        start = 10
    if len(buffer) < start:
        return None
    if start == 4:
        (size,) = struct.unpack_from(">H", buffer, 2)
    elif start == 10:
        (size,) = struct.unpack_from(">Q", buffer, 2)
    return start + (4 if buffer[1] & 0x80 else 0) + int(size)


def _kind(message: bytes) -> str:
    opcode = message[0] & 0x0F
    if opcode in _CONTROL:
        return _CONTROL[opcode]
    start = {126: 4, 127: 10}.get(message[1] & 0x7F, 2)
    payload = message[start:]
    if message[1] & 0x80:
        mask = message[start : start + 4]
        payload = bytes(byte ^ mask[i % 4] for i, byte in enumerate(message[start + 4 : start + 4 + 64]))
    # Every control message of the protocol is JSON whose first field is its type.
    if payload.startswith(b'{"type":"'):
        return payload[9:].partition(b'"')[0].decode()
    return "frames"
