"""The server's settings: frozen values with units in their names.

A leaf: imports nothing from the server. `stepwell up` fills them from its options and the environment, and child
processes receive all of them (`config_json`).
"""

from __future__ import annotations

import datetime
from dataclasses import dataclass, field

from stepwell import wire

MIB = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Limits:
    """What one worker process takes in at a time. A full server says so: see `write/admission.py`.

    Attributes:
        memory_bytes: frames held between the socket and COMMIT, over all connections.
        connection_bytes: the same for one connection; beyond it the worker stops reading from that socket.
        message_bytes: the largest POST body.
        attach_bytes: the largest body of POST /v1/attach (a config).
        post_frames, post_sessions: how many one POST body may hold.
        request_line_bytes: the longest path and query (keys are in it), and the longest header (a live view's cursor).
        streams: open connections; further ones are told to come back later.
        batch_bytes: frames that one transaction stores, at most (one larger frame is stored alone).
        batch_frames: likewise.
        copiers: transactions under way at a time. A writer is in one of them at most.
        metrics_per_run: names of metrics that one run may have.
        points_per_run, bytes_per_run: what one run may have, in points and in bytes of frames as they came; None: no
            limit. Looked at every few seconds (`write/quota.py`).
        object_bytes: the largest JSON value.
        blob_bytes: the largest file.
        blob_part_bytes: larger files are taken in parts of this size; each upload holds one in memory.
        blob_memory_bytes: parts of files held at a time, over all uploads.
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
    points_per_run: int | None = None
    bytes_per_run: int | None = None
    object_bytes: int = wire.MAX_ROW_BYTES
    blob_bytes: int = 16 * 1024 * MIB
    blob_part_bytes: int = 8 * MIB
    blob_memory_bytes: int = 64 * MIB


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Seconds.

    Attributes:
        statement_s: the longest that one statement of a batch may take.
        connect_s: the longest wait for a connection to Postgres.
        lock_s: the longest that a statement of a batch may wait for a lock, of a table that is. Writers and runs whose
            rows are locked are left out, and tried again.
        attach_lock_s: the longest that an attach holds a connection while its run is locked, before it is tried again.
        locked_s: how long a frame or an attach is tried again whose writer or run is locked; then its sender is told.
        failing_s: how long batches may fail, whatever the cause, before the worker is not ready and says why.
        head_s: the longest that a connection may be open, or idle after an answer, without a whole head of a request.
            Longer than the 60 s for which proxies keep idle connections: else a request may meet a closing one.
        attach_s: the longest that a new stream may take to attach.
        body_s: the longest that the body of a POST, or a frame in pieces, may take to arrive; it holds room all that
            time.
        hung_s: a worker or sealer process whose event loop has shown no life for this long is killed and replaced.
        drain_s: how long a stopping server waits until the frames that it holds are committed.
        heartbeat_s: a connection that is silent for this long is pinged, and dropped when it stays silent.
        retry_after_s: what an overloaded server asks its clients to wait.
        beat_s: how often a worker says which writers it hears.
        silent_s: a writer that no worker has heard from for this long has crashed.
        blob_part_s: how long parts of an unfinished upload are kept.
        blob_grace_s: how long a file stays that no run names, from when it was stored or a client was last told that it
            is there: the frame that names it may wait in a spool.
    """

    statement_s: float = 60.0
    connect_s: float = 10.0
    lock_s: float = 5.0
    attach_lock_s: float = 0.1
    locked_s: float = 10.0
    failing_s: float = 10.0
    head_s: float = 75.0
    attach_s: float = 30.0
    body_s: float = 60.0
    hung_s: float = 30.0
    drain_s: float = 20.0
    heartbeat_s: float = 30.0
    retry_after_s: float = 1.0
    beat_s: float = 15.0
    silent_s: float = 120.0
    blob_part_s: float = 7 * 86400.0
    blob_grace_s: float = 14 * 86400.0


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
        calm_bytes: hot history that may wait to be sealed before sealing hurries and ingest holds back.
        lock_ms: how long turning or emptying a slot may make others wait.
        summary_rest_s: the summary of a run that has not moved for this long is stored.
        summary_rest_per_name_s: and for each of its metric names, while it runs: a wide summary is dear to store.
        summary_retry_s: when to look again at a summary that could not be stored, because files were missing.
        summary_names: metric names of the runs whose summaries one transaction stores, about.
        summary_share: the part of its time that the sealing process spends on storing summaries, at most; and
        summary_look_share: on looking which are to be stored, which reads the ledgers of all runs.
    """

    every_s: float = 2.0
    steps: int = 1024
    points: int = 1 << 20
    idle_s: float = 60.0
    age_s: float = 600.0
    pass_bytes: int = 32 * MIB
    at_once: int = 64
    merge_passes: int = 8
    slot_bytes: int = 256 * MIB
    calm_bytes: int = 512 * MIB
    slot_age_s: float = 300.0
    lock_ms: int = 200
    summary_rest_s: float = 5.0
    summary_rest_per_name_s: float = 0.006
    summary_retry_s: float = 600.0
    summary_names: int = 4000
    summary_share: float = 0.25
    summary_look_share: float = 0.02

    @property
    def idle(self) -> datetime.timedelta:
        """`idle_s` as Postgres takes it."""
        return datetime.timedelta(seconds=self.idle_s)

    @property
    def age(self) -> datetime.timedelta:
        """`age_s` as Postgres takes it."""
        return datetime.timedelta(seconds=self.age_s)


@dataclass(frozen=True, slots=True)
class Reads:
    """What one worker process spends on reads, so that they cannot starve writes.

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
        listeners: live views; further ones are told to come back later.
        live_poll_s: how often a worker looks for new points, for all its listeners together.
        live_points: what one event holds, at most; a listener that is further behind starts over.
        live_waiting: how many ranges of objects that wait for their files a cursor of a live view remembers.
        live_keep_alive_s: how often a live view without news receives a sign of life.
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
    live_waiting: int = 2000
    live_keep_alive_s: float = 15.0


@dataclass(frozen=True, slots=True)
class Sql:
    """What one worker process spends on `POST /v1/sql`.

    Attributes:
        dsn: a login that is a member of stepwell_reader; None: log in as stepwell_reader at the server's own DSN.
        connections: to Postgres, for these queries alone; more queries at a time wait.
        wait_s: the longest wait for one of them; then 503.
        statement_s: the longest that Postgres may work on one query.
        answer_s: the longest that one answer may take, sending included.
        query_bytes: the largest request body.
        rows, answer_bytes: rows and bytes of one answer; beyond them, it is cut and says so.
        batch_bytes: rows that are read, held and sent at a time, about; one larger row is held alone.
        look_s: how often a worker checks whether the client of a query is still there.
    """

    dsn: str | None = field(default=None, repr=False)  # may hold a password
    connections: int = 2
    wait_s: float = 10.0
    statement_s: float = 60.0
    answer_s: float = 300.0
    query_bytes: int = 1 * MIB
    rows: int = 1_000_000
    answer_bytes: int = 128 * MIB
    batch_bytes: int = 1 * MIB
    look_s: float = 0.25


@dataclass(frozen=True, slots=True)
class Config:
    """All settings of one server.

    Attributes:
        dsn: where Postgres is.
        host, port: where to listen; port 0 takes a free one.
        public_hosts: further names by which clients reach it, separated by commas. Others are refused
            (`api/origin.py`).
        reuse_port: several workers share the port.
        limits, timeouts, seal, reads, sql: see there.
        blobs: where files go: a folder, or s3://bucket/prefix; None: this server takes none.
    """

    dsn: str = field(repr=False)  # may hold a password
    host: str = "127.0.0.1"
    port: int = 8770
    public_hosts: str = ""
    reuse_port: bool = False
    blobs: str | None = None
    limits: Limits = Limits()
    timeouts: Timeouts = Timeouts()
    seal: SealSettings = SealSettings()
    reads: Reads = Reads()
    sql: Sql = Sql()
