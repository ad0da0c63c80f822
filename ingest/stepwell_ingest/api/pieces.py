"""Frames out of binary messages: a stream of frames that is cut into messages wherever it suits the sender.

Behind the socket, before intake. Messages are small (`wire.MAX_MESSAGE_BYTES`), so that thousands of slow connections
cannot fill the memory with halves of messages; a frame that is larger comes in several, and this puts it together.
"""

from __future__ import annotations

from collections.abc import Iterator

from stepwell import wire


class Pieces:
    """The bytes of one connection that are not yet a whole frame.

    Attributes:
        kept: how many bytes of a frame that has begun are here.
        missing: how many more bytes the frame that has begun needs; 0 when none has, or its header is not whole.
    """

    def __init__(self) -> None:
        self._begun: list[bytes] = []
        self.kept = 0
        self.missing = 0

    def feed(self, data: bytes) -> Iterator[tuple[wire.Header, memoryview]]:
        """The frames that are whole with `data`; what is left of it waits for more. Read it to its end.

        Raises:
            FrameCorruptError, FrameVersionError: what comes is no frame; nothing more can be read.
        """
        if self._begun:
            self._begun.append(data)
            self.kept += len(data)
            if len(data) < self.missing:
                self.missing -= len(data)
                return
            data = b"".join(self._begun)  # once a frame: a large one would be copied again and again otherwise
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
