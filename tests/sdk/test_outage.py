"""Messages about a server that is unreachable or stores nothing: one with the cause, and one after the outage."""

from __future__ import annotations

import dataclasses
import http.server
import re
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from fixtures.server import NOWHERE, PATIENCE_S, QUICK, Backend, StartRun, until
from stepwell.delivery.outage import Outage, Seen
from stepwell.errors import UnavailableError

#: The defaults, sped up.
TOLD_SOON = dataclasses.replace(QUICK, fsync_s=0.01, away_s=0.1, stalled_s=0.3, finish_idle_s=PATIENCE_S)


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def outage(clock: Clock) -> Outage:
    return Outage("http://host:8770", "/spool", 3.0, 30.0, clock)


AWAY = Seen(False, 0, 0, 5, ConnectionRefusedError(111, "Connection refused"))
KEPT = "What is logged is queued in /spool until the server"


def told(outage: Outage, clock: Clock, seen: Seen, seconds: int) -> list[tuple[float, str]]:
    """Checks every second."""
    lines = []
    for _ in range(seconds):
        clock.now += 1.0
        if line := outage.look(seen):
            lines.append((clock.now, line))
    return lines


def test_outage_and_recovery_are_logged_once(outage: Outage, clock: Clock) -> None:
    away = f"the server at http://host:8770 cannot be reached: Connection refused. {KEPT} is back"
    assert told(outage, clock, AWAY, 3600) == [(3.0, away)]
    assert told(outage, clock, Seen(True, 1, 0, 5, AWAY.error), 5) == []  # nothing is stored yet
    back = "the server at http://host:8770 is back after 1 h 0 min; 2 frames in the queue"
    assert told(outage, clock, Seen(True, 1, 3, 2, None), 10) == [(3606.0, back)]
    assert [at for at, _ in told(outage, clock, AWAY._replace(first_seq=3), 60)] == [3618.0]


def test_short_outage_is_not_logged(outage: Outage, clock: Clock) -> None:
    for connections in range(1, 100):
        assert told(outage, clock, AWAY._replace(attached=connections), 2) == []
        assert told(outage, clock, Seen(True, connections, connections, 0, None), 1) == []


@pytest.mark.parametrize("connected", [True, False])
def test_server_that_stores_nothing_is_logged(outage: Outage, clock: Clock, connected: bool) -> None:
    """Also applies to a server that accepts connections, and ends each after a moment."""
    cause = UnavailableError("the database takes no frames", detail="disk full")
    lines = told(outage, clock, Seen(True, 1, 7, 0, OSError("overcome long ago")), 1)
    for connections in range(1, 300):
        lines += told(outage, clock, Seen(connected, connections, 7, 5, cause), 1)
    text = "the server at http://host:8770 has stored nothing for 30 s: the database takes no frames (disk full). "
    assert lines == [(31.0, f"{text}{KEPT} stores it")]
    over = "the server at http://host:8770 is storing again after 5 min; nothing is left in the queue"
    assert [line for _, line in told(outage, clock, Seen(True, 300, 12, 0, None), 5)] == [over]


def test_idle_server_is_not_logged(outage: Outage, clock: Clock) -> None:
    assert told(outage, clock, Seen(True, 1, 7, 0, None), 3600) == []


def logged_lines(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [message for message in caplog.messages if message.startswith("the server at ")]


@pytest.mark.db
def test_run_logs_outage_and_recovery(postgres_dsn: str, start_run: StartRun, caplog: pytest.LogCaptureFixture) -> None:
    backend = Backend(postgres_dsn)
    run = start_run(backend.url, timeouts=TOLD_SOON)
    run.log({"loss": 1.0})
    until(lambda: len(logged_lines(caplog)) == 1)
    (line,) = logged_lines(caplog)
    assert line.startswith(f"the server at {backend.url} cannot be reached: Connection refused. What is logged is ")
    assert f"queued in {run.spool_directory} until the server is back" in line
    backend.start()
    try:
        until(lambda: len(logged_lines(caplog)) == 2)
        run.finish()
    finally:
        backend.stop()
    assert re.fullmatch(f"the server at {backend.url} is back after .*", logged_lines(caplog)[1])
    assert (run.account.stored, len(logged_lines(caplog))) == (1, 2)


def test_one_process_per_host_logs_the_outage(clock: Clock) -> None:
    """The other processes report only problems that may affect them alone."""
    outage = Outage("http://host:8770", "/spool", 3.0, 30.0, clock, tells_away=False)
    assert told(outage, clock, AWAY, 3600) == []
    lines = told(outage, clock, Seen(True, 1, 0, 5, AWAY.error), 60)
    assert [at for at, _ in lines] == [3630.0]
    assert "has stored nothing for 30 s" in lines[0][1]
    assert [line for _, line in told(outage, clock, Seen(True, 1, 5, 0, None), 5)] == [
        "the server at http://host:8770 is storing again after 1 min; nothing is left in the queue"
    ]


@pytest.mark.parametrize(("rank", "tells"), [("0", True), ("1", False), ("7", False)])
def test_first_process_of_a_launch_logs(start_run: StartRun, rank: str, tells: bool) -> None:
    assert start_run(mode="offline", local_rank=rank)._session.sender._outage()._tells_away is tells


@pytest.mark.db
def test_run_logs_that_nothing_is_stored(
    backend: Backend, start_run: StartRun, caplog: pytest.LogCaptureFixture
) -> None:
    run = start_run(backend.url, timeouts=dataclasses.replace(TOLD_SOON, away_s=PATIENCE_S))
    run.log({"loss": 1.0})
    assert run.flush(PATIENCE_S)
    backend.query("ALTER TABLE stepwell.ledger RENAME TO ledger_away")
    run.log({"loss": 2.0})
    until(lambda: bool(logged_lines(caplog)))
    backend.query("ALTER TABLE stepwell.ledger_away RENAME TO ledger")
    assert run.flush(PATIENCE_S)
    until(lambda: len(logged_lines(caplog)) == 2)
    first, second = logged_lines(caplog)
    assert re.match(f"the server at {backend.url} has stored nothing for .*ledger", first)
    assert re.match(f"the server at {backend.url} is storing again after .*; nothing is left in the queue", second)


@contextmanager
def answering(reply: bytes) -> Iterator[str]:
    """A server that gives every request this answer."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def handle(self) -> None:
            self.request.recv(65536)
            self.request.sendall(reply)

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def cause(start_run: StartRun, caplog: pytest.LogCaptureFixture, url: str) -> str:
    """The messages of a run about a server at `url`."""
    run = start_run(url, timeouts=dataclasses.replace(TOLD_SOON, finish_idle_s=0.1))
    until(lambda: bool(logged_lines(caplog)))
    run.finish()
    (line,) = logged_lines(caplog)
    return line.partition(f"{run.settings.url} ")[2].partition(". What is logged")[0]


@pytest.mark.parametrize(
    ("reply", "why"),
    [
        (
            b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n",
            "the answer does not come from a Stepwell server (status 404)",
        ),
        (
            b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi",
            "the answer does not come from a Stepwell server (status 200)",
        ),
        (b"HTTP/1.1 502 Bad\r\nContent-Length: 0\r\n\r\n", "it, or a proxy in front of it, answers with status 502"),
        (b"SSH-2.0-OpenSSH_9.6\r\n", "the answer does not come from a Stepwell server (status 400)"),
    ],
)
def test_other_answers_are_described(
    start_run: StartRun, caplog: pytest.LogCaptureFixture, reply: bytes, why: str
) -> None:
    with answering(reply) as url:
        assert cause(start_run, caplog, url) == f"cannot be reached: {why}"


@pytest.mark.parametrize(
    ("key", "why"),
    [
        (None, "it requires an API key (status 401): run `stepwell login`, or set STEPWELL_API_KEY"),
        ("stw_wrong", "it refuses the API key (status 401), which is wrong, revoked or expired: "),
    ],
)
def test_refused_key_is_told_at_once(
    start_run: StartRun, caplog: pytest.LogCaptureFixture, key: str | None, why: str
) -> None:
    patient = dataclasses.replace(TOLD_SOON, away_s=3600.0, stalled_s=3600.0, finish_idle_s=0.1)
    with answering(b"HTTP/1.1 401 No\r\nContent-Length: 0\r\n\r\n") as url:
        run = start_run(url, timeouts=patient, **({"api_key": key} if key else {}))
        until(lambda: bool(logged_lines(caplog)))
        run.finish()
    (line,) = logged_lines(caplog)
    assert f"{run.settings.url} accepts nothing: {why}" in line
    assert "queued in" in line


def test_connection_refused_is_described(start_run: StartRun, caplog: pytest.LogCaptureFixture) -> None:
    assert cause(start_run, caplog, NOWHERE) == "cannot be reached: Connection refused"


def test_unknown_host_is_described(
    start_run: StartRun, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unknown(*_: object, **__: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    assert (
        cause(start_run, caplog, "http://stepwel.example:8770")
        == "cannot be reached: the name of the host cannot be resolved"
    )


def test_tls_mismatch_is_described(start_run: StartRun, caplog: pytest.LogCaptureFixture) -> None:
    with answering(b"HTTP/1.1 400 Bad\r\n\r\n") as url:
        why = cause(start_run, caplog, url.replace("http:", "https:"))
    assert why == "cannot be reached: it does not speak TLS; should its URL begin with http://?"
