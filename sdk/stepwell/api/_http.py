"""Batches of columns over HTTP, decoded as they arrive: the read API's addition to the blocking client."""

from __future__ import annotations

from collections.abc import Generator, Sequence

from stepwell.errors import FrameCorruptError, from_dict
from stepwell.transport.http import HttpClient, Query
from stepwell.wire import columns
from stepwell.wire.columns import Batch

__all__ = ["Client", "Query"]


#: The longest JSON answer, and the longest batch of columns.
MAX_ANSWER_BYTES = 256 * 1024 * 1024


class Client(HttpClient):
    """Sends requests to one server; reads JSON, and batches of columns. See `HttpClient`."""

    @property
    def url(self) -> str:
        """The URL of the server, without credentials."""
        return self.endpoint.url

    def get_batches(self, path: Sequence[str], query: Query) -> Generator[Batch, None, None]:
        """Yields batches of columns, including the last one.

        Raises:
            Error: as `get_json`; also in the middle of the answer.
            FrameCorruptError: the answer ended without its last batch, or was damaged.
        """
        with self.get(path, query, columns.CONTENT_TYPE) as reply:
            while True:
                header = reply.read(columns.HEADER_BYTES)
                if len(header) < columns.HEADER_BYTES:
                    raise FrameCorruptError("the server's answer was cut off", hint="ask again")
                size = columns.length(header)
                if size > MAX_ANSWER_BYTES:  # what the header claims, before anything is allocated for it
                    raise FrameCorruptError(
                        "a batch of the server's answer is too long",
                        detail=f"{size:,} bytes; the limit is {MAX_ANSWER_BYTES:,}",
                    )
                raw = bytearray(size)
                raw[: len(header)] = header
                filled, view = len(header), memoryview(raw)
                while filled < len(raw):
                    count = reply.readinto(view[filled:])
                    if not count:
                        raise FrameCorruptError("the server's answer was cut off", hint="ask again")
                    filled += count
                batch = columns.decode(raw)
                if "error" in batch.head:
                    raise from_dict(batch.head["error"])
                last = bool(batch.head.get("end"))
                if last:
                    reply.read(1)  # so that the connection can be used again
                yield batch
                if last:
                    return
