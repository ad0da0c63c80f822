"""The server's settings: frozen values, units in their names, one place where they are read.

A leaf: imports nothing of the server. `stepwell up` fills these from its options and the environment.
"""

from __future__ import annotations

import datetime
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
        streams: open connections; one more is told to come back later.
        batch_bytes: frames that one transaction stores, at most (one larger frame is stored alone).
        batch_frames: likewise.
        copiers: transactions under way at a time. A writer is in one of them at most.
        metrics_per_run: names of metrics that one run may have.
        points_per_run, bytes_per_run: what one run may have, in points and in bytes of frames as they came; None: no
            limit. Looked at every few seconds (`write/quota.py`).
        object_bytes: the largest JSON value.
    """

    memory_bytes: int = 256 * MIB
    connection_bytes: int = 32 * MIB
    message_bytes: int = wire.MAX_FRAME_BYTES
    attach_bytes: int = 4 * MIB
    post_frames: int = 8192
    post_sessions: int = 256
    streams: int = 16_384
    batch_bytes: int = 8 * MIB
    batch_frames: int = 8192
    copiers: int = 2
    metrics_per_run: int = 100_000
    points_per_run: int | None = None
    bytes_per_run: int | None = None
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
class SealSettings:
    """When hot history becomes chunks, and how much at a time.

    Attributes:
        every_s: how often to look for work.
        steps: rows of a living epoch from which a pass is worth it.
        points: likewise points; a wide run reaches them in fewer steps.
        idle_s: an epoch that has not moved for this long is sealed whole.
        age_s: no point stays hot for longer than about this.
        pass_bytes: values that one pass reads, about; a pass takes five times as much memory.
        at_once: epochs of one look.
        merge_passes: passes whose short chunks are merged into one.
        slot_bytes, slot_age_s: from when on the hot ring turns to its next slot.
        lock_ms: how long turning or emptying a slot may make others wait.
    """

    every_s: float = 2.0
    steps: int = 1024
    points: int = 1 << 20
    idle_s: float = 60.0
    age_s: float = 600.0
    pass_bytes: int = 32 * MIB
    at_once: int = 64
    merge_passes: int = 8
    slot_bytes: int = 512 * MIB
    slot_age_s: float = 300.0
    lock_ms: int = 200

    @property
    def idle(self) -> datetime.timedelta:
        """`idle_s` as Postgres takes it."""
        return datetime.timedelta(seconds=self.idle_s)

    @property
    def age(self) -> datetime.timedelta:
        """`age_s` likewise."""
        return datetime.timedelta(seconds=self.age_s)


@dataclass(frozen=True, slots=True)
class Config:
    """All that one worker needs to serve.

    Attributes:
        dsn: where Postgres is.
        host, port: where to listen; port 0 takes a free one.
        reuse_port: several workers share the port.
        limits, timeouts, seal: see there.
    """

    dsn: str = field(repr=False)  # may hold a password
    host: str = "127.0.0.1"
    port: int = 8770
    reuse_port: bool = False
    limits: Limits = Limits()
    timeouts: Timeouts = Timeouts()
    seal: SealSettings = SealSettings()
