"""The frames that a stream has sent and the server has not acknowledged yet, and the counts of their outcomes.

Belongs to one `Stream`. Receives encoded frames when they are sent, and the positions that the server reports. No I/O.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

from stepwell import wire


@dataclass(slots=True)
class StreamCounts:
    """Counts of frames, bytes and values on the wire. Values are points and objects."""

    frames_sent: int = 0
    bytes_sent: int = 0
    frames_stored: int = 0
    frames_duplicate: int = 0
    frames_rejected: int = 0
    values_acknowledged: int = 0
    values_rejected: int = 0
    connections: int = 0


class _Sent(NamedTuple):
    seq: int
    checksum: int
    size: int
    values: int


class InFlight:
    """The frames in flight on one connection, oldest first.

    Attributes:
        size: the size of these frames in bytes.
    """

    def __init__(self) -> None:
        self._sent: deque[_Sent] = deque()
        self.size = 0

    def __len__(self) -> int:
        return len(self._sent)

    def add(self, frame: bytes) -> None:
        """Adds a frame that is being sent."""
        header = wire.peek(frame)
        self._sent.append(_Sent(header.seq, header.checksum, len(frame), header.values))
        self.size += len(frame)

    def has(self, seq: object, checksum: object) -> bool:
        """Returns whether the frame at `seq` is in flight and has this checksum."""
        return any(item.seq == seq and item.checksum == checksum for item in self._sent)

    def count(self, counts: StreamCounts, first_seq: int, next_seq: int, refused: Mapping[int, object]) -> None:
        """Adds the values of frames below `next_seq` to `counts`, as acknowledged or as refused.

        Args:
            counts: the counts of the stream.
            first_seq: the first seq of the source; frames below it were given up meanwhile and count as dropped.
            next_seq: the seq below which the server has decided about all frames.
            refused: the reasons for refused frames, by seq.
        """
        for item in self._sent:
            if item.seq < first_seq:
                continue
            if item.seq in refused:
                counts.values_rejected += item.values
            elif item.seq < next_seq:
                counts.values_acknowledged += item.values

    def settle(self, next_seq: int) -> None:
        """Removes the frames below `next_seq`."""
        while self._sent and self._sent[0].seq < next_seq:
            self.size -= self._sent.popleft().size

    def clear(self) -> None:
        """Removes all frames: the connection has ended."""
        self._sent.clear()
        self.size = 0
