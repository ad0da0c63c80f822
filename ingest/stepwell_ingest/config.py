"""The server's settings: frozen values, units in their names, one place where they are read.

A leaf: imports nothing of the server. `stepwell up` fills these from its options and the environment.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from stepwell import wire

MIB = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Limits:
    """What one worker process takes in at a time. Full is answered, not suffered: see `write/admission.py`.

    Attributes:
        memory_bytes: frames held between the socket and COMMIT, over all connections.
        connection_bytes: the same for one connection; beyond it the worker stops reading from that socket.
        message_bytes: the largest POST body.
        attach_bytes: the largest body of POST /v1/attach (a config).
        post_frames, post_sessions: how many one POST body may hold.
        request_line_bytes: the longest path and query (keys are in it), and the longest header (a live view's cursor).
        streams: open connections; one more is told to come back later.
        batch_bytes: frames that one transaction stores, at most (one larger frame is stored alone).
        batch_frames: likewise.
        copiers: transactions under way at a time. A writer is in one of them at most.
        metrics_per_run: names of metrics that one run may have.
        object_bytes: the largest JSON value.
    """

    memory_bytes: int = 256 * MIB
    connection_bytes: int = 32 * MIB
    message_bytes: int = wire.MAX_FRAME_BYTES
    attach_bytes: int = 4 * MIB
    post_frames: int = 8192
    post_sessions: int = 256
    request_line_bytes: int = 256 * 1024
    streams: int = 16_384
    batch_bytes: int = 8 * MIB
    batch_frames: int = 8192
    copiers: int = 2
    metrics_per_run: int = 100_000
    object_bytes: int = wire.MAX_ROW_BYTES


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Seconds.

    Attributes:
        statement_s: the longest that one statement of a batch may take.
        connect_s: the longest wait for a connection to Postgres.
        attach_s: the longest that a new stream may take to attach.
        body_s: the longest that the body of a POST, or a frame in pieces, may take to arrive; it holds room all that
            time.
        drain_s: how long a stopping server waits for what it has taken in to be committed.
        heartbeat_s: a connection that is silent for this long is pinged, and dropped when it stays silent.
        retry_after_s: what an overloaded server asks its clients to wait.
        beat_s: how often a worker says which writers it hears.
        silent_s: a writer that nobody has heard for this long has crashed.
    """

    statement_s: float = 60.0
    connect_s: float = 10.0
    attach_s: float = 30.0
    body_s: float = 60.0
    drain_s: float = 20.0
    heartbeat_s: float = 30.0
    retry_after_s: float = 1.0
    beat_s: float = 15.0
    silent_s: float = 120.0


@dataclass(frozen=True, slots=True)
class Reads:
    """What one worker process spends on those who read, so that they cannot starve those who write.

    Attributes:
        connections: to Postgres, for reads alone; more reads at a time wait.
        wait_s: the longest wait for one of them; then 503.
        statement_s: the longest that one statement may take.
        page_points: points that are read, held and sent at a time, about.
        page_bytes: bytes that one page may hold; where a page would hold more, fewer steps are read at a time.
        send_s: a client that takes nothing for this long is given up.
        runs, objects: rows of one answer.
        keys: names that one request may ask for.
        buckets: of one metric in one answer.
        samples: rows that a sampled answer aims at, at most.
        listeners: live views; one more is told to come back later.
        live_poll_s: how often a worker looks for what is new, for all its listeners together.
        live_points: what one event holds, at most; a listener that is further behind starts over.
        live_keep_alive_s: how often a live view hears that it is still connected.
    """

    connections: int = 4
    wait_s: float = 10.0
    statement_s: float = 30.0
    page_points: int = 500_000
    page_bytes: int = 64 * MIB
    send_s: float = 60.0
    runs: int = 1000
    objects: int = 10_000
    keys: int = 1000
    buckets: int = 20_000
    samples: int = 100_000
    listeners: int = 500
    live_poll_s: float = 0.5
    live_points: int = 20_000
    live_keep_alive_s: float = 15.0


@dataclass(frozen=True, slots=True)
class Config:
    """All that one worker needs to serve.

    Attributes:
        dsn: where Postgres is.
        host, port: where to listen; port 0 takes a free one.
        reuse_port: several workers share the port.
    """

    dsn: str = field(repr=False)  # may hold a password
    host: str = "127.0.0.1"
    port: int = 8770
    reuse_port: bool = False
    limits: Limits = Limits()
    timeouts: Timeouts = Timeouts()
    reads: Reads = Reads()
