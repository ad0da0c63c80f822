"""Opens WebSockets to an `Endpoint`, and sends an occasional POST, in an asyncio loop.

The only module that uses aiohttp, whose import takes as long as that of numpy: code that does not deliver frames
(offline runs, most commands, readers of `Api`) does not import it. Errors of aiohttp leave here in plain words.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import aiohttp

from stepwell.errors import UnavailableError
from stepwell.transport.endpoint import Endpoint
from stepwell.transport.reasons import LostError, RefusedError, in_plain_words, untrusted

_STATUSES = {
    403: "it refuses this client, or its key may not log (status 403)",
    407: "the proxy requires a name and password (status 407)",
}
_NO_KEY = "it requires an API key (status 401): run `stepwell login`, or set STEPWELL_API_KEY"
_BAD_KEY = (
    "it refuses the API key (status 401), which is wrong, revoked or expired: "
    "run `stepwell login`, or set STEPWELL_API_KEY"
)


class Socket:
    """An open WebSocket. Sending and receiving raise LostError once the connection has ended."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self._socket = socket

    async def send_text(self, text: str) -> None:
        with _plainly():
            await self._socket.send_str(text)

    async def send_bytes(self, message: bytes) -> None:
        with _plainly():
            await self._socket.send_bytes(message)

    async def receive(self) -> str | bytes:
        """Waits for the next message, and returns it.

        Raises:
            LostError: the connection has ended.
        """
        with _plainly():
            message = await self._socket.receive()
        if message.type not in (aiohttp.WSMsgType.TEXT, aiohttp.WSMsgType.BINARY):
            raise LostError(
                "the connection to the server has ended", detail=f"{message.type.name} {message.data!r:.100}"
            )
        data: str | bytes = message.data
        return data

    async def close(self) -> None:
        await self._socket.close()


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

    async def websocket(self, path: str, *, heartbeat_s: float, max_message_bytes: int) -> Socket:
        """Opens a WebSocket at `path` below the endpoint's prefix.

        Raises:
            RefusedError: the server refuses this client or its key.
            LostError, OSError: the server cannot be reached, or refuses the upgrade.
        """
        with _plainly(has_key="Authorization" in self.endpoint.headers):
            return Socket(
                await self._session.ws_connect(
                    self.endpoint.url + path,
                    headers=self.endpoint.request_headers,
                    heartbeat=heartbeat_s,
                    max_msg_size=max_message_bytes,
                    compress=0,
                    **self._how,
                )
            )

    async def post(self, path: str, data: bytes, *, max_reply_bytes: int) -> tuple[int, bytes]:
        """Sends a POST of JSON; returns status and body of the reply.

        Raises:
            LostError, OSError: the server cannot be reached.
            UnavailableError: the reply is longer than `max_reply_bytes`.
        """
        headers = {**self.endpoint.request_headers, "Content-Type": "application/json"}
        with _plainly():
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


@contextlib.contextmanager
def _plainly(*, has_key: bool = False) -> Iterator[None]:
    try:
        yield
    except aiohttp.WSServerHandshakeError as error:
        if error.status == 401:
            raise RefusedError(_BAD_KEY if has_key else _NO_KEY) from error
        raise (RefusedError if error.status == 403 else LostError)(_reason(error)) from error
    except aiohttp.ClientError as error:
        raise LostError(_reason(error)) from error


def _reason(error: aiohttp.ClientError) -> str:
    match error:
        case TimeoutError():
            return in_plain_words(error)
        case aiohttp.ClientConnectorCertificateError():
            return untrusted(error.certificate_error)
        case aiohttp.ClientConnectorDNSError():
            return "the name of the host cannot be resolved"
        case aiohttp.ClientConnectorSSLError():
            return "it does not speak TLS; should its URL begin with http://?"
        case aiohttp.ClientResponseError() if error.status in _STATUSES:
            return _STATUSES[error.status]
        case aiohttp.ClientHttpProxyError():
            return f"the proxy refuses the connection (status {error.status})"
        case aiohttp.ClientResponseError() if error.status >= 500:
            return f"it, or a proxy in front of it, answers with status {error.status}"
        case aiohttp.ClientResponseError():
            return f"the answer does not come from a Stepwell server (status {error.status})"
        case aiohttp.ClientConnectorError():
            return in_plain_words(error.os_error)
        case _:
            return in_plain_words(error)
