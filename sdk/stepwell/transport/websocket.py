"""Opens WebSockets to an `Endpoint`, and sends the occasional POST beside them, in an asyncio loop."""

from __future__ import annotations

from typing import Any

import aiohttp

from stepwell.errors import UnavailableError
from stepwell.transport.endpoint import Endpoint


class AsyncClient:
    """An aiohttp session for one endpoint; `async with` closes it.

    Args:
        endpoint: the server.
    """

    def __init__(self, endpoint: Endpoint) -> None:
        self.endpoint = endpoint
        # Headers are set on each request, since those of a session are sent to the proxy, too, which would learn the
        # key.
        self._session = aiohttp.ClientSession(trust_env=False)
        proxy = endpoint.proxy
        self._how: dict[str, Any] = {"ssl": endpoint.tls or True}
        if proxy:
            self._how |= {"proxy": proxy.url, "proxy_headers": dict(proxy.headers) if endpoint.tls else None}

    async def __aenter__(self) -> AsyncClient:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._session.close()

    async def websocket(
        self, path: str, *, heartbeat_s: float, max_message_bytes: int
    ) -> aiohttp.ClientWebSocketResponse:
        """Opens a WebSocket at `path` below the endpoint's prefix.

        Raises:
            aiohttp.ClientError, OSError: the server cannot be reached, or refuses the upgrade.
        """
        socket: aiohttp.ClientWebSocketResponse = await self._session.ws_connect(
            self.endpoint.url + path,
            headers=self.endpoint.request_headers,
            heartbeat=heartbeat_s,
            max_msg_size=max_message_bytes,
            compress=0,
            **self._how,
        )
        return socket

    async def post(self, path: str, data: bytes, *, max_reply_bytes: int) -> tuple[int, bytes]:
        """Sends a POST of JSON; returns status and body of the reply.

        Raises:
            aiohttp.ClientError, OSError: the server cannot be reached.
            UnavailableError: the reply is longer than `max_reply_bytes`.
        """
        headers = {**self.endpoint.request_headers, "Content-Type": "application/json"}
        async with self._session.post(
            self.endpoint.url + path, data=data, headers=headers, allow_redirects=False, **self._how
        ) as response:
            body = bytearray()
            async for piece in response.content.iter_any():
                body += piece
                if len(body) > max_reply_bytes:
                    raise UnavailableError(
                        "the server's reply is too long", detail=f"more than {max_reply_bytes:,} bytes"
                    )
            return response.status, bytes(body)
