"""The server's settings: frozen values with units in their names.

Imports nothing from the server. `stepwell up` fills them from its options and the environment, and child processes
receive all of them (`config_json`).
"""

from __future__ import annotations

import datetime
from dataclasses import dataclass, field

from stepwell import wire

MIB = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Limits:
    """Limits on what one worker process accepts. A full server tells its clients: see `write/admission.py`.

    Attributes:
        memory_bytes: bytes of frames held between the socket and COMMIT, over all connections.
        connection_bytes: the same for one connection; above it, the worker stops reading from that socket.
        message_bytes: the largest POST body.
        attach_bytes: the largest body of POST /v1/attach (a config).
        attach_burst_bytes, attach_bytes_per_s: the bytes of attach messages that are accepted at once, and then each
            second; a message counts 4 KiB and its own bytes.
        free_bytes: the space that stays free on the disks of the server, but at most a twentieth of a disk. Frames are
            refused while less is free, files while less than twice as much is free.
        head_bytes: the largest head of a request. The part of a body that arrives before its handler begins counts, too
            (under 1 MiB).
        post_frames, post_sessions: how many one POST body may hold.
        request_line_bytes: the longest path and query (keys are in it), and the longest header (a live view's cursor).
        streams: the most open WebSocket connections; further ones are told to come back later.
        batch_bytes: the most bytes of frames that one transaction stores (a larger frame is stored alone).
        batch_frames: the most frames that one transaction stores.
        copiers: the number of concurrent transactions. A writer is in at most one of them.
        metrics_per_run: the most metric names of one run.
        points_per_run, bytes_per_run: the most points, and bytes of frames as received, of one run; None: no limit.
            Checked every few seconds (`write/quota.py`).
        object_bytes: the largest JSON value.
        blob_bytes: the largest file.
        blob_part_bytes: larger files are received in parts of this size; each upload holds one in memory.
        blob_memory_bytes: the most bytes of parts held at the same time, over all uploads.
    """

    memory_bytes: int = 256 * MIB
    connection_bytes: int = 32 * MIB
    message_bytes: int = wire.MAX_FRAME_BYTES
    attach_bytes: int = 4 * MIB
    attach_burst_bytes: int = 64 * MIB
    attach_bytes_per_s: int = 8 * MIB
    free_bytes: int = 1024 * MIB
    head_bytes: int = 2 * MIB
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
    """Time-outs and intervals, in seconds.

    Attributes:
        statement_s: the longest that one statement of a batch may take.
        connect_s: the longest wait for a connection to Postgres.
        lock_s: the longest that a statement of a batch may wait for the lock of a table. It does not wait for locks of
            rows: writers and runs whose rows are locked are left out, and tried again.
        attach_lock_s: the longest that an attach holds a connection while its run is locked, before it is tried again.
        locked_s: how long frames and attaches are tried again while their writer or run is locked; then their sender
            gets an error.
        failing_s: how long batches or attaches may fail, whatever the cause, before the worker is not ready and says
            why.
        head_s: the longest that a connection may be open, or idle after an answer, without a whole head of a request.
            Longer than the 60 s for which proxies keep idle connections: else a request may meet a closing one.
        attach_s: the longest that a new stream may take to attach.
        body_s: the longest that the body of a POST, or a frame in pieces, may take to arrive; it holds room all that
            time.
        hung_s: a worker or sealer process whose event loop has shown no life for this long is killed and replaced.
        drain_s: how long a stopping server waits until the frames that it holds are committed.
        heartbeat_s: a connection that is silent for this long is pinged, and dropped when it stays silent.
        retry_after_s: the pause that an overloaded server asks its clients to make.
        beat_s: how often a worker records which writers it has heard from.
        silent_s: a writer that no worker has heard from for this long counts as crashed.
        blob_part_s: how long parts of an unfinished upload are kept.
        blob_grace_s: how long a file that no run names stays after it was stored, or after a client was last told that
            it is stored: the frame that names it may wait in a spool.
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
    """Settings of sealing: when hot history becomes chunks, and how much of it in one pass.

    Attributes:
        every_s: how often to look for work.
        steps: the number of rows at which a pass over a live epoch is worthwhile.
        points: likewise, the number of points; a wide run reaches it in fewer steps.
        idle_s: an epoch that has not moved for this long is sealed whole.
        age_s: no point stays hot for longer than about this.
        pass_bytes: about how many bytes of values one pass reads; a pass needs five times as much memory.
        at_once: the most small epochs, and the most large ones, that one search returns.
        merge_passes: the number of passes whose short chunks are merged into one.
        slot_bytes, slot_age_s: the size or age at which the hot ring turns to its next slot.
        calm_bytes: the amount of hot history that may wait to be sealed before sealing hurries and ingest slows down.
        lock_ms: the longest time for which turning or emptying a slot may make others wait.
        summary_rest_s: the summary of a run that has not moved for this long is stored.
        summary_rest_per_name_s: additional time for each metric name of a live run; a wide summary is expensive.
        summary_retry_s: when to look again at a summary that could not be stored because files were missing.
        summary_names: about how many metric names the summaries that one transaction stores may have together.
        summary_share: the largest share of its time that the sealing process spends on storing summaries; likewise, on
            folding notes.
        summary_look_share: likewise, on finding the runs to store, which reads the ledger rows of all runs.
        notes_rest_s: the config and names of a run are folded when the newest note about them is this old.
        notes_rest_per_note_s: additional time for each of these notes, since folding reads them all.
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
    notes_rest_s: float = 2.0
    notes_rest_per_note_s: float = 0.01

    @property
    def idle(self) -> datetime.timedelta:
        """`idle_s` as an interval for Postgres."""
        return datetime.timedelta(seconds=self.idle_s)

    @property
    def age(self) -> datetime.timedelta:
        """`age_s` as an interval for Postgres."""
        return datetime.timedelta(seconds=self.age_s)


@dataclass(frozen=True, slots=True)
class Reads:
    """Limits on the resources that one worker process spends on reads, so that they cannot starve writes.

    Attributes:
        connections: connections to Postgres for reads only; further reads wait.
        wait_s: the longest wait for a connection; then 503.
        statement_s: the longest that one statement may take.
        costly, costly_s: how many lists with $regex filters are read at the same time, and the longest that a statement
            for one may take.
        page_points: about how many points a page has; a page is read, held and sent as a whole.
        page_bytes: the most bytes of one page; a page that would hold more gets fewer steps.
        answer_bytes: the most bytes of values (objects, configs, notes) in one page of an answer in JSON. A page that
            would hold more ends earlier and says where to continue; a single larger value is replaced by a text.
        memory_bytes: the most bytes that all answers hold, from reading until they are sent; further reads wait.
        send_s: a client that takes nothing for this long is disconnected.
        runs, objects: the most rows of one answer.
        keys: the most names that one request may ask for.
        buckets: the most buckets of one metric in one answer.
        samples: the most rows that a request for a sample may ask for.
        listeners: the most live views; further ones are told to come back later.
        live_poll_s: how often a worker looks for new points, for all its listeners together.
        live_points: the most points of one event; a listener that is further behind starts over.
        live_waiting: the most ranges of objects waiting for their files that the cursor of a live view records.
        live_keep_alive_s: how often a live view without news receives a keep-alive.
    """

    connections: int = 4
    wait_s: float = 10.0
    statement_s: float = 30.0
    costly: int = 1
    costly_s: float = 5.0
    page_points: int = 500_000
    page_bytes: int = 64 * MIB
    answer_bytes: int = 16 * MIB
    memory_bytes: int = 256 * MIB
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
    """SQL of users: their logins, and limits on the resources that one worker process spends on `POST /v1/sql`.

    Attributes:
        dsn: a login that is a member of stepwell_reader; None: log in as stepwell_reader at the server's own DSN.
        login_verifier: the SCRAM verifier of the role stepwell_sql, with which SQL clients log in to the embedded
            Postgres (`stepwell up --listen-sql`); None: there is no such login.
        connections: connections to Postgres for these queries only; further queries wait.
        wait_s: the longest wait for a connection; then 503.
        statement_s: the longest that Postgres may work on one query.
        answer_s: the longest that one answer may take, including sending.
        query_bytes: the largest request body.
        rows, answer_bytes: the most rows and bytes of one answer; a longer answer is cut off, and its client can tell.
        row_bytes: the largest row; a query with a larger one is refused before the row is read.
        batch_bytes: about how many bytes of rows are read, held and sent together; a larger row is held alone.
        look_s: how often a worker checks whether the client of a query is still there.
    """

    dsn: str | None = field(default=None, repr=False)  # may hold a password
    login_verifier: str | None = field(default=None, repr=False)
    connections: int = 2
    wait_s: float = 10.0
    statement_s: float = 60.0
    answer_s: float = 300.0
    query_bytes: int = 1 * MIB
    rows: int = 1_000_000
    answer_bytes: int = 128 * MIB
    row_bytes: int = 16 * MIB
    batch_bytes: int = 1 * MIB
    look_s: float = 0.25


@dataclass(frozen=True, slots=True)
class Config:
    """All settings of one server.

    Attributes:
        dsn: the DSN of Postgres.
        host, port: the address to listen on; port 0 picks a free one.
        public_hosts: further names by which clients reach the server, separated by commas. Requests under other names
            are refused (`api/origin.py`).
        reuse_port: whether several workers share the port.
        limits, timeouts, seal, reads, sql: see the classes of these settings.
        require_keys: whether requests need an API key; False: every caller is the local user, who may do everything.
        blobs: where files are stored: a folder, or s3://bucket/prefix; None: this server accepts no files.
        data_dir: where Postgres has its data, if that is a disk of this server; None: Postgres runs elsewhere.
    """

    dsn: str = field(repr=False)  # may hold a password
    host: str = "127.0.0.1"
    port: int = 8770
    public_hosts: str = ""
    reuse_port: bool = False
    require_keys: bool = False
    blobs: str | None = None
    data_dir: str | None = None
    limits: Limits = Limits()
    timeouts: Timeouts = Timeouts()
    seal: SealSettings = SealSettings()
    reads: Reads = Reads()
    sql: Sql = Sql()
