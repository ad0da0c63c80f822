"""The frames that a stream has sent and the server has not acknowledged yet, and the counts of what became of them.

Belongs to one `Stream`. Takes encoded frames as they are sent, and positions as the server reports them. No I/O.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

from stepwell import wire


@dataclass(slots=True)
class StreamCounts:
    """What went over the wire. Values are points and objects."""

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
    """The window of one connection, oldest frame first.

    Attributes:
        size: bytes of its frames.
    """

    def __init__(self) -> None:
        self._sent: deque[_Sent] = deque()
        self.size = 0

    def __len__(self) -> int:
        return len(self._sent)

    def add(self, frame: bytes) -> None:
        """Appends a frame that is being sent."""
        header = wire.peek(frame)
        self._sent.append(_Sent(header.seq, header.checksum, len(frame), header.values))
        self.size += len(frame)

    def has(self, seq: object, checksum: object) -> bool:
        """Whether the frame at `seq` is in flight and has this checksum."""
        return any(item.seq == seq and item.checksum == checksum for item in self._sent)

    def count(self, counts: StreamCounts, first_seq: int, next_seq: int, refused: Mapping[int, object]) -> None:
        """Adds the values of what is in flight below `next_seq`, and of what is refused, to `counts`.

        Args:
            first_seq: where the source begins; frames below it were given up in the meantime and count as dropped.
            refused: the refused frames by seq.
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
