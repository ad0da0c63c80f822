"""The open WebSocket connections of one worker: counted, stopped together, asked for their writers."""

from __future__ import annotations

from typing import Protocol

from stepwell_ingest.write.ledger import Cursor


class OpenStream(Protocol):
    """What the registry knows of a connection."""

    cursor: Cursor | None

    def stop(self) -> None: ...


class OpenStreams:
    """A set of connections. Its length is how many there are."""

    def __init__(self) -> None:
        self._streams: set[OpenStream] = set()

    def __len__(self) -> int:
        return len(self._streams)

    def add(self, stream: OpenStream) -> None:
        """Counts `stream` from now on."""
        self._streams.add(stream)

    def discard(self, stream: OpenStream) -> None:
        """The connection has ended."""
        self._streams.discard(stream)

    def stop(self) -> None:
        """Asks every connection to end once its frames are answered."""
        for stream in list(self._streams):
            stream.stop()

    def cursors(self) -> list[Cursor]:
        """The cursors of the writers that are attached now."""
        return [stream.cursor for stream in self._streams if stream.cursor is not None]
