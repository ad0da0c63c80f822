"""A small blocking HTTP client: JSON, and batches of columns as they come. Nothing but the standard library.

Stands between the read API and the socket. In go paths and queries; out come replies, or our errors. Connections are
kept and used again, one request at a time each, so an object may be used by several threads. A server that has no room
is asked again until `timeout_s` is over; any other failure is the caller's to judge.
"""

from __future__ import annotations

import http.client
import threading
import time
import weakref
from collections.abc import Generator, Mapping, Sequence
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

import orjson

from stepwell.errors import (
    CommError,
    Error,
    FrameCorruptError,
    OverloadedError,
    SettingError,
    UnavailableError,
    from_dict,
)
from stepwell.wire import columns
from stepwell.wire.columns import Batch

_KEPT = 4
_LOST = (http.client.HTTPException, OSError)

Query = Mapping[str, str | int | Sequence[str] | None]


class Client:
    """Requests to one server.

    Args:
        url: where it is.
        timeout_s: the longest wait for an answer to begin, or to go on.
        api_key: sent as a bearer token; None: none.
    """

    def __init__(self, url: str, timeout_s: float, api_key: str | None) -> None:
        self.url = url.rstrip("/")
        parts = urlsplit(self.url)
        try:
            self._host, self._port = parts.hostname or "", parts.port
        except ValueError as error:
            raise SettingError("the server's URL has no usable port", detail=url) from error
        self._kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
        self._prefix = parts.path
        self._timeout_s = timeout_s
        self._headers = {"User-Agent": "stepwell"} | ({"Authorization": f"Bearer {api_key}"} if api_key else {})
        self._idle: list[http.client.HTTPConnection] = []
        self._lock = threading.Lock()
        weakref.finalize(self, _close, self._idle)

    def get_json(self, path: Sequence[str], query: Query | None = None) -> Any:
        """The JSON of an answer.

        Raises:
            NotFoundError, UsageError: what the server says of the request.
            UnavailableError, OverloadedError: it cannot be reached, or has no room.
        """
        with _Exchange(self, path, query or {}, "application/json") as reply:
            try:
                return orjson.loads(reply.read())
            except orjson.JSONDecodeError as error:
                raise CommError("the server's answer is not JSON", detail=str(error), hint=self._hint) from error

    def get_batches(self, path: Sequence[str], query: Query) -> Generator[Batch, None, None]:
        """Batches of columns, the last one included.

        Raises:
            as `get_json`; also in the midst of the answer.
            FrameCorruptError: it ended without its last batch, or was damaged.
        """
        with _Exchange(self, path, query, columns.CONTENT_TYPE) as reply:
            while True:
                header = reply.read(columns.HEADER_BYTES)
                if len(header) < columns.HEADER_BYTES:
                    raise FrameCorruptError("the server's answer was cut off", hint="ask again")
                raw = bytearray(columns.length(header))
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
                    reply.read()  # so that the connection can be used again
                yield batch
                if last:
                    return

    @property
    def _hint(self) -> str:
        return f"is it a Stepwell server that listens at {self.url}? STEPWELL_URL names it"

    def _ask(self, target: str, accept: str) -> tuple[http.client.HTTPConnection, http.client.HTTPResponse]:
        """A connection with an answer that has begun."""
        deadline = time.monotonic() + self._timeout_s
        while True:
            connection, reply = self._once(target, accept)
            if reply.status == 200:
                return connection, reply
            error = self._refusal(reply.status, reply.read())
            self._give_back(connection, reply)
            pause = error.retry_after_s if isinstance(error, OverloadedError) else None
            if pause is None or time.monotonic() + pause > deadline:
                raise error
            time.sleep(pause)

    def _once(self, target: str, accept: str) -> tuple[http.client.HTTPConnection, http.client.HTTPResponse]:
        while True:
            with self._lock:
                connection = self._idle.pop() if self._idle else None
            fresh = connection is None
            if connection is None:
                connection = self._kind(self._host, self._port, timeout=self._timeout_s)
            try:
                connection.request("GET", target, headers={**self._headers, "Accept": accept})
                return connection, connection.getresponse()
            except _LOST as error:
                connection.close()
                if fresh:
                    raise self._lost(error) from error
                # A kept connection may have been closed by the server meanwhile: once more with a new one.

    def _give_back(self, connection: http.client.HTTPConnection, reply: http.client.HTTPResponse) -> None:
        with self._lock:
            if reply.isclosed() and not reply.will_close and len(self._idle) < _KEPT:
                self._idle.append(connection)
                return
        reply.close()  # it has the socket open, too
        connection.close()

    def _lost(self, error: BaseException) -> UnavailableError:
        what = f"no answer within {self._timeout_s:g} s" if isinstance(error, TimeoutError) else str(error)
        return UnavailableError(
            f"the server at {self.url} cannot be reached",
            detail=what or type(error).__name__,
            hint="is `stepwell up` running? Another server is named with STEPWELL_URL",
        )

    def _refusal(self, status: int, body: bytes) -> Error:
        try:
            return from_dict(orjson.loads(body)["error"])
        except (orjson.JSONDecodeError, KeyError, TypeError):
            return CommError(f"the server answered with status {status}", hint=self._hint)


def _close(connections: list[http.client.HTTPConnection]) -> None:
    for connection in connections:
        connection.close()


class _Exchange:
    """One request and its answer; an answer that was not read to its end costs the connection."""

    def __init__(self, client: Client, path: Sequence[str], query: Query, accept: str) -> None:
        given = [
            (name, str(value))
            for name, values in query.items()
            for value in ([values] if isinstance(values, str | int) else values or ())
        ]
        target = client._prefix + "/" + "/".join(quote(part, safe="") for part in path)
        self._client = client
        self._target = f"{target}?{urlencode(given)}" if given else target
        self._accept = accept

    def __enter__(self) -> http.client.HTTPResponse:
        self._connection, self._reply = self._client._ask(self._target, self._accept)
        return self._reply

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: object) -> None:
        self._client._give_back(self._connection, self._reply)
        if isinstance(error, _LOST):
            raise self._client._lost(error) from error
