"""Packs frames into WebSocket messages, just before the socket. Pure.

Takes encoded frames; returns messages of at most `wire.MAX_MESSAGE_BYTES` that hold the same bytes in the same order.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from stepwell.wire import MAX_MESSAGE_BYTES


def messages(frames: Iterable[bytes]) -> Iterator[bytes]:
    """Packs `frames` into messages of at most `MAX_MESSAGE_BYTES`: frames that fit a message as a whole, larger ones in
    pieces."""
    gathered: list[bytes] = []
    size = 0
    for frame in frames:
        if size + len(frame) > MAX_MESSAGE_BYTES and gathered:
            yield b"".join(gathered)
            gathered, size = [], 0
        if len(frame) > MAX_MESSAGE_BYTES:
            for start in range(0, len(frame), MAX_MESSAGE_BYTES):
                yield frame[start : start + MAX_MESSAGE_BYTES]
        else:
            gathered.append(frame)
            size += len(frame)
    if gathered:
        yield b"".join(gathered)
