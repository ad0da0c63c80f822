"""A server whose answers never end: logging and reading processes give up at a limit."""

from __future__ import annotations

import contextlib
import socket
import threading
import tracemalloc
from collections.abc import Iterator

import pytest

import stepwell
from stepwell.api._http import MAX_ANSWER_BYTES, Client
from stepwell.errors import Error, FrameCorruptError, UnavailableError
from stepwell.transport.endpoint import Endpoint
from stepwell.transport.http import MAX_JSON_BYTES, HttpClient
from stepwell.wire import columns

CHUNK = b"10000\r\n" + b"[" * 65536 + b"\r\n"


@contextlib.contextmanager
def server(head: bytes, forever: bytes) -> Iterator[str]:
    """Answers every request with `head`, then repeats `forever` until the client disconnects."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            with contextlib.suppress(OSError):
                while True:
                    connection, _ = listener.accept()
                    with connection, contextlib.suppress(OSError):
                        connection.recv(65536)
                        connection.sendall(head)
                        while forever:
                            connection.sendall(forever)

        threading.Thread(target=serve, daemon=True).start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        listener.shutdown(socket.SHUT_RDWR)


def head(status: str, kind: str) -> bytes:
    return f"HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nTransfer-Encoding: chunked\r\n\r\n".encode()


@pytest.mark.parametrize("status", ["200 OK", "500 Oops"])
def test_logging_process_reads_a_bounded_answer(status: str) -> None:
    with server(head(status, "application/json"), CHUNK) as url:
        tracemalloc.start()
        try:
            with pytest.raises(UnavailableError, match="too long"):
                HttpClient(Endpoint.of(url), 10.0).get_json(("v1", "sessions"))
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    assert peak < 4 * MAX_JSON_BYTES


def test_huge_batch_is_refused_before_allocation() -> None:
    claim = columns._HEADER.pack(columns.MAGIC, columns.VERSION, 0, 8, 0, MAX_ANSWER_BYTES + 8)
    body = f"{len(claim):x}\r\n".encode() + claim + b"\r\n"
    with (
        server(head("200 OK", columns.CONTENT_TYPE) + body, b"") as url,
        pytest.raises(FrameCorruptError, match="too long"),
    ):
        list(Client(Endpoint.of(url), 5.0).get_batches(("v1",), {}))


def test_api_gives_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stepwell.api.MAX_ANSWER_BYTES", MAX_JSON_BYTES)
    with server(head("200 OK", "application/json"), CHUNK) as url:
        monkeypatch.setenv("STEPWELL_URL", url)
        with pytest.raises(Error, match="too long"):
            stepwell.Api().run("team/mnist/run-1")
