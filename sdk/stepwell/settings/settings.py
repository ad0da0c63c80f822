"""The settings of a run as frozen values with units in their names. `resolve.py` creates them."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from stepwell.settings.start import Start
from stepwell.transport.endpoint import Endpoint

Mode = Literal["online", "offline", "disabled"]
BlobsFull = Literal["drop", "block", "raise"]
ConsoleCapture = Literal["wrap", "off"]
StepBack = Literal["warn", "raise", "quarantine"]
WhenFull = Literal["keep", "drop_oldest", "block", "raise"]

DEFAULT_URL = "http://127.0.0.1:8770"
_MIB = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Limits:
    """Limits on the memory and disk space of the SDK. Each limit has a defined behaviour when it is reached: see
    docs/configuration.md.

    Attributes:
        stage_bytes: rows in memory that are not yet in the spool.
        frame_bytes: the target size of a frame; a frame of a single step may be larger.
        in_flight_bytes: frames sent and not yet acknowledged.
        message_bytes: the most bytes of frames that are read from the outbox at once (a larger frame is read alone).
        spool_bytes: the spool on disk.
        memory_bytes: frames that wait in memory because the disk is full or fails.
        media_bytes: media objects that wait to be encoded; beyond it `log()` waits.
        blob_bytes: the largest file.
        blob_spool_bytes: files on the disk that the server does not have yet.
        blob_share: the share of the time that uploads may use, so that frames are not delayed.
    """

    stage_bytes: int = 64 * _MIB
    frame_bytes: int = _MIB
    in_flight_bytes: int = 16 * _MIB
    message_bytes: int = _MIB
    spool_bytes: int = 20 * 1024 * _MIB
    memory_bytes: int = 64 * _MIB
    media_bytes: int = 256 * _MIB
    blob_bytes: int = 16 * 1024 * _MIB
    blob_spool_bytes: int = 20 * 1024 * _MIB
    blob_share: float = 0.5


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Time limits and intervals, in seconds.

    Attributes:
        linger_s: how long rows gather before they are cut into a frame.
        fsync_s: how often the spool is synced to the disk, and so how much a crash of the host may lose.
        connect_s: the longest attempt to connect and attach.
        retry_min_s, retry_max_s: pauses between attempts, doubling, with jitter.
        stage_full_s: how long `log()` waits when the stage is full.
        finish_idle_s: how long `finish()` waits without any progress before it leaves the rest to `stepwell sync`.
        encode_idle_s: how long `finish()` waits for one media object to be encoded.
        copy_idle_s: how long `finish()` waits for one file to be copied.
        resume_s: how long `init` waits for the server to answer where a run continues.
        heartbeat_s: how often a silent connection is pinged.
        away_s: how long the server may be unreachable before a line says so.
        stalled_s: likewise for a reachable server that stores nothing.
    """

    linger_s: float = 0.05
    fsync_s: float = 1.0
    connect_s: float = 10.0
    retry_min_s: float = 0.1
    retry_max_s: float = 30.0
    stage_full_s: float = 5.0
    finish_idle_s: float = 10.0
    encode_idle_s: float = 60.0
    copy_idle_s: float = 600.0
    resume_s: float = 30.0
    heartbeat_s: float = 30.0
    away_s: float = 3.0
    stalled_s: float = 30.0


@dataclass(frozen=True, slots=True)
class Settings:
    """One run's settings.

    Attributes:
        url: the server, without credentials.
        dir: the absolute path of the directory for spools.
        mode: online, offline (spool only) or disabled (nothing).
        entity, project, run_id: the names of the run. run_id is generated when not given.
        name: the display name; None: the run id. A generated run id comes with a generated name.
        notes, tags, group, job_type: kept with the run.
        writer: the name of this process in the run; from RANK and the like, else "0".
        local_rank: the number of this process on this host; only process 0 reports an unreachable server.
        start: where the run starts; see `Start`.
        step_back: how to handle `log(step=…)` for a step that has passed: "warn" drops it with a warning, "raise"
            raises StepOrderError, "quarantine" writes it to `quarantine.jsonl` in the directory of the spool.
        spool_full: what to do when the spool is full: "keep" training, "drop_oldest", "block" or "raise"; see
            `delivery/outbox.py`.
        blobs_full: what to do when there is no room for a file: "drop" it and log an error, "block" until there is,
            or "raise" SpoolFullError at the next call; see `files/media_queue.py`.
        silent: whether to print nothing.
        console: "wrap": stdout and stderr are kept with the run; "off": they are not.
        system_metrics_s: how often CPU, memory and so on are measured, in seconds; 0: never.
        metadata: whether command line, packages, git commit and so on are kept with the run.
        save_code: whether the program's main file is kept with the run.
        authorization: the Authorization header of each request to the server; None: none.
        ca_file: PEM file of the certificate authorities to trust; None: those of the system.
    """

    url: str = DEFAULT_URL
    dir: Path = Path(".stepwell")
    mode: Mode = "online"
    entity: str = "default"
    project: str = "uncategorized"
    run_id: str = ""
    name: str | None = None
    notes: str | None = None
    tags: tuple[str, ...] = ()
    group: str | None = None
    job_type: str | None = None
    writer: str = "0"
    local_rank: str = "0"
    start: Start = field(default_factory=Start)
    step_back: StepBack = "warn"
    spool_full: WhenFull = "keep"
    blobs_full: BlobsFull = "drop"
    silent: bool = False
    console: ConsoleCapture = "wrap"
    system_metrics_s: float = 15.0
    metadata: bool = True
    save_code: bool = False
    authorization: str | None = field(default=None, repr=False)
    ca_file: Path | None = None
    limits: Limits = field(default_factory=Limits)
    timeouts: Timeouts = field(default_factory=Timeouts)

    @property
    def endpoint(self) -> Endpoint:
        """The endpoint of the server; created at each call, with the present proxies of the environment.

        Raises:
            SettingError: the URL, the proxy or the CA file cannot be used.
        """
        return Endpoint.of(self.url, authorization=self.authorization, ca_file=self.ca_file)
