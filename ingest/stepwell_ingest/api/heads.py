"""Connections whose heads of requests are bounded as a whole.

aiohttp bounds each line of a head and their number, which together allow tens of megabytes a connection: names of keys
and cursors of live views may be long. Stands between the sockets and aiohttp. A connection that sends more than
`Limits.head_bytes` outside of bodies and streams is closed.
"""

from __future__ import annotations

import asyncio
from typing import Any

from aiohttp import web
from aiohttp.web_protocol import RequestHandler


class Connection(RequestHandler):
    """aiohttp's own protocol, which counts.

    Args:
        manager: of the runner.
        head_bytes: of one head.
        settings: of `RequestHandler`.
    """

    __slots__ = ("_counted", "_most", "_served", "_streams")

    def __init__(self, manager: web.Server, head_bytes: int, **settings: Any) -> None:
        super().__init__(manager, loop=asyncio.get_running_loop(), **settings)
        self._most = head_bytes
        self._counted = 0
        self._served: web.BaseRequest | None = None
        self._streams = False

    def begin(self, request: web.BaseRequest) -> None:
        """The handler of a request begins: its head has come, and its body is not counted."""
        self._counted, self._served = 0, request

    def upgrade(self) -> None:
        """From now on, the connection is a stream."""
        self._streams = True

    def data_received(self, data: bytes) -> None:
        """Passes bytes on, or closes the connection."""
        if not self._streams and (self._served is None or self._served.content.is_eof()):
            self._counted += len(data)
            if self._counted > self._most:
                if self.transport is not None:
                    self.transport.abort()
                return
        super().data_received(data)
