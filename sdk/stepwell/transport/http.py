"""The blocking HTTP client: requests to an `Endpoint` over the sockets of the standard library.

Blocking, because it is used by plain programs and by threads that run during interpreter shutdown, when asyncio's
executor is gone. Every reply has a size limit, so that an endless response cannot fill the memory.
"""

from __future__ import annotations

import http.client
import json
import threading
import time
import weakref
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import Any
from urllib.parse import quote, urlencode

import orjson

from stepwell.errors import CommError, Error, OverloadedError, UnavailableError, from_dict
from stepwell.terminal.display import reason
from stepwell.transport.endpoint import Endpoint
from stepwell.wire import UNSTORABLE

#: The exceptions of a lost connection.
LOST = (http.client.HTTPException, OSError)
#: The longest error.
MAX_ERROR_BYTES = 1024 * 1024
#: The longest JSON reply in a process that logs. Parsed, a reply may take ten times the memory.
MAX_JSON_BYTES = 16 * 1024 * 1024

_KEPT = 4

Query = Mapping[str, str | int | Sequence[str] | None]


def connection(endpoint: Endpoint, timeout_s: float) -> http.client.HTTPConnection:
    """A connection that is opened by its first request, through the proxy if there is one."""
    proxy = endpoint.proxy
    host, port = (proxy.host, proxy.port) if proxy else (endpoint.host, endpoint.port)
    if endpoint.tls is None:
        return http.client.HTTPConnection(host, port, timeout=timeout_s)
    made = http.client.HTTPSConnection(host, port, timeout=timeout_s, context=endpoint.tls)
    if proxy:
        made.set_tunnel(endpoint.host, endpoint.port, dict(proxy.headers))
    return made


def target(endpoint: Endpoint, path: str) -> str:
    """The target of a request line: the path below the prefix or, for a proxy that sees the request, the whole URL."""
    return endpoint.url + path if endpoint.proxy and endpoint.tls is None else endpoint.prefix + path


def _quoted(part: str) -> str:
    """A quoted part of a path. Characters that cannot be stored are replaced, as they were when the name was stored."""
    return quote(UNSTORABLE.sub("\ufffd", part), safe="")


def read_all(reply: http.client.HTTPResponse, max_bytes: int) -> bytes:
    """Reads the body of a reply.

    Raises:
        UnavailableError: the body is longer than `max_bytes`.
    """
    body = reply.read(max_bytes + 1)
    if len(body) > max_bytes:
        raise UnavailableError("the server's reply is too long", detail=f"more than {max_bytes:,} bytes")
    return body


class HttpClient:
    """Sends requests to one server. Connections are kept, with one request at a time each; any thread may use it.

    Requests to an overloaded server are repeated until `timeout_s` is over; other failures are left to the caller.

    Args:
        endpoint: the server.
        timeout_s: the longest wait for a reply to begin, or to go on.
        json_bytes: the longest JSON reply.
    """

    def __init__(self, endpoint: Endpoint, timeout_s: float, json_bytes: int = MAX_JSON_BYTES) -> None:
        self.endpoint = endpoint
        self._json_bytes = json_bytes
        self._timeout_s = timeout_s
        self._headers = endpoint.request_headers
        self._idle: list[http.client.HTTPConnection] = []
        self._lock = threading.Lock()
        weakref.finalize(self, _close, self._idle)

    @property
    def hint(self) -> str:
        """The hint for answers that do not come from a Stepwell server."""
        return f"is it a Stepwell server that listens at {self.endpoint}? STEPWELL_URL sets the address"

    def get_json(self, path: Sequence[str], query: Query | None = None) -> Any:
        """Sends a GET request and returns the JSON of the reply.

        Args:
            path: the parts of the path, not yet quoted.
            query: parameters; a sequence repeats its name, None leaves it out.

        Raises:
            NotFoundError, UsageError: the server refuses the request.
            UnavailableError, OverloadedError: the server cannot be reached, or has no room.
            CommError: the reply is not JSON, or the server refuses the API key.
        """
        with self.get(path, query or {}, "application/json") as reply:
            return self._parsed(reply)

    def send_json(self, method: str, path: Sequence[str], body: object = None) -> Any:
        """Sends a request that changes something and may be repeated; returns the JSON of the reply.

        Args:
            method: POST, PATCH or DELETE.
            path: the parts of the path, not yet quoted.
            body: the body, sent as JSON; None: no body.

        Raises:
            Error: as `get_json`.
        """
        with self._send(method, path, body, "application/json") as reply:
            return self._parsed(reply)

    def post(self, path: Sequence[str], body: object, accept: str) -> Exchange:
        """Returns a POST of JSON as an `Exchange`: a `with` block sends it and gets the reply. It may be repeated."""
        return self._send("POST", path, body, accept)

    def _send(self, method: str, path: Sequence[str], body: object, accept: str) -> Exchange:
        where = target(self.endpoint, "/" + "/".join(map(_quoted, path)))
        sent = None if body is None else json.dumps(body).encode()  # integers of any size
        return Exchange(lambda: self._ask(where, accept, method, sent), self._give_back, self._lost)

    def _parsed(self, reply: http.client.HTTPResponse) -> Any:
        try:
            return orjson.loads(read_all(reply, self._json_bytes))
        except orjson.JSONDecodeError as error:
            raise CommError("the server's answer is not JSON", detail=str(error), hint=self.hint) from error

    def get(self, path: Sequence[str], query: Query, accept: str) -> Exchange:
        """Returns a GET request as an `Exchange`: a `with` block sends it and gets the reply. The connection is closed
        unless the reply is read to its end."""
        given = [
            (name, UNSTORABLE.sub("\ufffd", str(value)))
            for name, values in query.items()
            for value in ([values] if isinstance(values, str | int) else values or ())
        ]
        where = target(self.endpoint, "/" + "/".join(map(_quoted, path)))
        where = f"{where}?{urlencode(given)}" if given else where
        return Exchange(lambda: self._ask(where, accept), self._give_back, self._lost)

    def _ask(
        self, where: str, accept: str, method: str = "GET", body: bytes | None = None
    ) -> tuple[http.client.HTTPConnection, http.client.HTTPResponse]:
        """Returns a connection with a reply that has begun."""
        deadline = time.monotonic() + self._timeout_s
        while True:
            used, reply = self._once(where, accept, method, body)
            if reply.status == 200:
                return used, reply
            try:
                error = self._refusal(reply.status, read_all(reply, MAX_ERROR_BYTES))
            except LOST as lost:
                raise self._lost(lost) from lost
            finally:
                self._give_back(used, reply)
            pause = error.retry_after_s if isinstance(error, OverloadedError) else None
            if pause is None or time.monotonic() + pause > deadline:
                raise error
            time.sleep(pause)

    def _once(
        self, where: str, accept: str, method: str, body: bytes | None
    ) -> tuple[http.client.HTTPConnection, http.client.HTTPResponse]:
        headers = {**self._headers, "Accept": accept} | ({"Content-Type": "application/json"} if body else {})
        while True:
            with self._lock:
                kept = self._idle.pop() if self._idle else None
            used = kept or connection(self.endpoint, self._timeout_s)
            try:
                used.request(method, where, body, headers)
                return used, used.getresponse()
            except LOST as error:
                used.close()
                if kept is None:
                    raise self._lost(error) from error
                # The server may have closed a kept connection meanwhile: try once more with a new one.
            except BaseException:  # Ctrl-C: the server notices that nobody waits any more
                used.close()
                raise

    def _give_back(self, used: http.client.HTTPConnection, reply: http.client.HTTPResponse) -> None:
        with self._lock:
            if reply.isclosed() and not reply.will_close and len(self._idle) < _KEPT:
                self._idle.append(used)
                return
        reply.close()  # the reply holds the socket, too
        used.close()

    def _lost(self, error: BaseException) -> UnavailableError:
        what = f"no answer within {self._timeout_s:g} s" if isinstance(error, TimeoutError) else reason(error)
        return UnavailableError(
            f"the server at {self.endpoint} cannot be reached",
            detail=what,
            hint="is `stepwell up` running? Use STEPWELL_URL for another server",
        )

    def _refusal(self, status: int, body: bytes) -> Error:
        try:
            return from_dict(orjson.loads(body)["error"])
        except (orjson.JSONDecodeError, KeyError, TypeError, ValueError, AttributeError):
            return CommError(f"the server answered with status {status}", hint=self.hint)


class Exchange:
    """One request and its reply, as a `with` block. Created by `HttpClient`."""

    def __init__(
        self,
        ask: Callable[[], tuple[http.client.HTTPConnection, http.client.HTTPResponse]],
        give_back: Callable[[http.client.HTTPConnection, http.client.HTTPResponse], None],
        lost: Callable[[BaseException], UnavailableError],
    ) -> None:
        self._ask, self._give_back, self._lost = ask, give_back, lost

    def __enter__(self) -> http.client.HTTPResponse:
        self._connection, self._reply = self._ask()
        return self._reply

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self._give_back(self._connection, self._reply)
        if isinstance(error, LOST):
            raise self._lost(error) from error


def _close(connections: list[http.client.HTTPConnection]) -> None:
    for each in connections:
        each.close()
