"""The registry of a worker's open WebSocket connections: counts them, stops them, and lists their writers."""

from __future__ import annotations

from typing import Protocol

from stepwell_ingest.write.ledger import LedgerCursor


class OpenStream(Protocol):
    """A connection, as far as the registry needs it."""

    cursor: LedgerCursor | None

    def stop(self) -> None: ...


class OpenStreams:
    """A set of connections; its length is their number."""

    def __init__(self) -> None:
        self._streams: set[OpenStream] = set()

    def __len__(self) -> int:
        return len(self._streams)

    def add(self, stream: OpenStream) -> None:
        """Adds a connection that has opened."""
        self._streams.add(stream)

    def discard(self, stream: OpenStream) -> None:
        """Removes a connection that has ended."""
        self._streams.discard(stream)

    def stop(self) -> None:
        """Asks every connection to end once its frames are answered."""
        for stream in list(self._streams):
            stream.stop()

    def cursors(self) -> list[LedgerCursor]:
        """The cursors of the writers that are attached now."""
        return [stream.cursor for stream in self._streams if stream.cursor is not None]
