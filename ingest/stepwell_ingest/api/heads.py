"""HTTP connections with a limit on the size of a whole request head.

aiohttp limits the length of a header line and the number of lines. Names of keys and cursors of live views may be long,
so these two limits together would allow tens of megabytes for each connection. Stands between the sockets and aiohttp.
A connection that sends more than `Limits.head_bytes` outside of bodies and streams is closed.
"""

from __future__ import annotations

import asyncio
from typing import Any

from aiohttp import web
from aiohttp.web_protocol import RequestHandler


class Connection(RequestHandler):
    """aiohttp's protocol of a connection, which also counts the bytes of request heads.

    Args:
        manager: the server of the runner.
        head_bytes: the largest size of one head.
        settings: the other arguments of `RequestHandler`.
    """

    __slots__ = ("_counted", "_most", "_served", "_streams")

    def __init__(self, manager: web.Server, head_bytes: int, **settings: Any) -> None:
        super().__init__(manager, loop=asyncio.get_running_loop(), **settings)
        self._most = head_bytes
        self._counted = 0
        self._served: web.BaseRequest | None = None
        self._streams = False

    def begin(self, request: web.BaseRequest) -> None:
        """Called when the handler of a request begins: the head is complete, and the body is not counted."""
        self._counted, self._served = 0, request

    def upgrade(self) -> None:
        """Called when the connection becomes a stream, whose bytes are not counted."""
        self._streams = True

    def data_received(self, data: bytes) -> None:
        """Passes bytes on, or closes the connection if the head is too large."""
        if not self._streams and (self._served is None or self._served.content.is_eof()):
            self._counted += len(data)
            if self._counted > self._most:
                if self.transport is not None:
                    self.transport.abort()
                return
        super().data_received(data)
