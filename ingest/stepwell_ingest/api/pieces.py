"""Joins binary messages into frames: the sender may cut its stream of frames into messages anywhere.

Stands between the socket and intake. Messages are small (`wire.MAX_MESSAGE_BYTES`), so that thousands of slow
connections cannot fill the memory with partial messages; a larger frame arrives in several messages and is joined here.
"""

from __future__ import annotations

from collections.abc import Iterator

from stepwell import wire


class Pieces:
    """The unfinished frame of one connection.

    Attributes:
        kept: bytes of the unfinished frame that have arrived.
        missing: bytes that the unfinished frame still needs; 0 when there is none, or its header is not complete.
    """

    def __init__(self) -> None:
        self._begun: list[bytes] = []
        self.kept = 0
        self.missing = 0

    def feed(self, data: bytes) -> Iterator[tuple[wire.Header, memoryview]]:
        """Yields the frames that `data` completes; at its end, the iterator keeps the rest of `data` for the next call.

        Raises:
            FrameCorruptError, FrameVersionError: the bytes are not a frame; nothing more can be read.
        """
        if self._begun:
            self._begun.append(data)
            self.kept += len(data)
            if len(data) < self.missing:
                self.missing -= len(data)
                return
            data = b"".join(self._begun)  # once per frame, so that a large frame is not copied for every message
            self._begun, self.kept, self.missing = [], 0, 0
        view = memoryview(data)
        offset, end = 0, len(view)
        while end - offset >= wire.HEADER_BYTES:
            header = wire.peek(view, offset)
            if header.length > end - offset:
                self.missing = header.length - (end - offset)
                break
            yield header, view[offset : offset + header.length]
            offset += header.length
        if offset < end:
            self._begun, self.kept = [bytes(view[offset:])], end - offset
