"""The programs that the fault tests kill: a logging process, a delivery, an ingest worker and a sealer.

Each is the real program, started in a child of the zygote, with small segments, short pauses and at most one armed kill
point.
"""

from __future__ import annotations

import dataclasses
import json
import os
import random
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any, Literal

import asyncpg

import stepwell
from faults import events, stages
from faults.journal import Journal
from faults.payload import NESTED_KEY, PAGE_KEY, alert, nested, page, payload
from fixtures.programs import ALONE
from stepwell import Error, Run, cli
from stepwell.commands import sync as sync_command
from stepwell.runs import init as _init
from stepwell.runs import session as _session
from stepwell.settings import Limits, Settings, Timeouts
from stepwell.spool import Spool, SpoolIdentity, SpoolLimits
from stepwell.wire import decode
from stepwell_ingest import config, config_json
from stepwell_ingest.config import Config, SealSettings
from stepwell_ingest.seal import keeper
from stepwell_ingest.server import child, sealer_process, worker_process
from stepwell_ingest.write import copier
from stepwell_schema import queries

#: Small, so that segments rotate, leave the cache and are unlinked all the time.
SPOOL = SpoolLimits(segment_bytes=8 * 1024, max_bytes=64 * 1024 * 1024, cache_bytes=4 * 1024)
TIMEOUTS = Timeouts(
    linger_s=0.005, fsync_s=0.1, connect_s=2.0, retry_min_s=0.02, retry_max_s=0.3, finish_idle_s=1.5, heartbeat_s=2.0
)
SEALING = SealSettings(
    every_s=0.05,
    steps=1,
    points=1,
    idle_s=1.0,
    age_s=2.0,
    merge_passes=2,
    slot_bytes=1 << 20,
    slot_age_s=0.3,
    lock_ms=100,
    summary_rest_s=0.1,
    summary_rest_per_name_s=0.0,
    summary_share=0.5,
    summary_look_share=0.5,
)
#: A statement that is not answered is cancelled long before anything that waits for it gives up.
HURRIED = config.Timeouts(statement_s=2.0, connect_s=2.0, drain_s=5.0)
LIMITS = Limits(frame_bytes=4 * 1024, message_bytes=16 * 1024)


@dataclass(frozen=True, slots=True)
class Armed:
    """The kill point of a process: its name, and the number of the call at which it fires."""

    point: str
    hit: int = 1

    def arm(self) -> None:
        stages.arm(stages.POINTS[self.point], self.hit, partial(events.say, "fired", point=self.point))


@dataclass(frozen=True, slots=True)
class Writer:
    """A logging process.

    Attributes:
        url, directory, project, run, name: arguments of the run and its spool.
        first_step, steps: the steps that it logs; with `steps` 0 it executes commands from stdin, one per line.
        journal: the path of its journal.
        seed: the seed of its pauses and of its ways to call log().
        armed: the kill point.
        age_s: the seconds by which its start is predated.
        offline: whether it uses no server and leaves the delivery to `stepwell sync`.
    """

    url: str
    directory: str
    project: str
    run: str
    name: str
    first_step: int
    journal: str
    steps: int = 0
    seed: int = 0
    armed: Armed | None = None
    age_s: float = 0.0
    offline: bool = False

    def main(self) -> int:
        _shrink_spools()
        _session.uptime_s = aged(_session.uptime_s, self.age_s)
        journal = Journal(Path(self.journal))
        _keep_journal(journal)
        if self.armed:
            self.armed.arm()
        os.environ.update(ALONE, STEPWELL_SILENT="1")
        _init.resolve = _impatient(_init.resolve)
        run = stepwell.init(
            self.project,
            id=self.run,
            writer=self.name,
            url=self.url,
            dir=self.directory,
            mode="offline" if self.offline else "online",
            config={"seed": self.seed},
        )
        work = _Logging(run, journal, self)
        events.say("ready")
        if self.steps:
            work.by_itself()
        else:
            work.as_told()
        return 0


@dataclass(frozen=True, slots=True)
class Sync:
    """The command `stepwell sync DIR`."""

    url: str
    directory: str
    timeout_s: float = 5.0
    armed: Armed | None = None

    def main(self) -> int:
        _shrink_spools()
        sync_command._TIMEOUTS = TIMEOUTS
        if self.armed:
            self.armed.arm()
        return cli.main(["sync", self.directory, "--url", self.url, "--timeout", str(self.timeout_s)])


@dataclass(frozen=True, slots=True)
class Worker:
    """One of the workers of a port, as `stepwell up --workers` starts them.

    Attributes:
        blobs: the directory for files.
        durable: False for the negative control: commits are acknowledged before they are on disk.
        fencing: False for the negative control: frames of a fenced epoch are stored.
    """

    dsn: str
    port: int
    armed: Armed | None = None
    blobs: str | None = None
    durable: bool = True
    fencing: bool = True

    def main(self) -> int:
        if self.armed:
            self.armed.arm()
        if not self.durable:
            _commit_carelessly()
        if not self.fencing:
            _move_fenced_epochs()
        # Its stdout, to which it writes its address, is a log file here.
        child.say = lambda reply: events.say("error" if "error" in reply else "ready", **reply)
        return child.run(worker_process.work)

    def settings(self) -> str:
        """The line that it is told on stdin."""
        return config_json.encode(self._config()).decode().strip()

    def _config(self) -> Config:
        return Config(self.dsn, port=self.port, reuse_port=True, timeouts=HURRIED, blobs=self.blobs)


@dataclass(frozen=True, slots=True)
class Sealer:
    """The sealing process of `stepwell up`, with settings for which any number of blocks is worth a pass."""

    dsn: str
    armed: Armed | None = None

    def main(self) -> int:
        if self.armed:
            self.armed.arm()
        keeper._RETRY_S, keeper._MERGE_EVERY_S, keeper._REST_S = 0.1, 0.1, 0.0
        child.say = lambda reply: events.say("error" if "error" in reply else "ready", **reply)
        return child.run(sealer_process.work)

    def settings(self) -> str:
        """The line that it is told on stdin."""
        return config_json.encode(Config(self.dsn, seal=SEALING)).decode().strip()


Program = Writer | Sync | Worker | Sealer
KINDS: dict[str, Any] = {"Writer": Writer, "Sync": Sync, "Worker": Worker, "Sealer": Sealer}


def encode(program: Program) -> dict[str, Any]:
    """The message to the zygote."""
    return {"kind": type(program).__name__, **asdict(program)}


def decode_program(message: dict[str, Any]) -> Program:
    """The inverse of `encode`."""
    fields = dict(message)
    kind = KINDS[fields.pop("kind")]
    if fields.get("armed"):
        fields["armed"] = Armed(**fields["armed"])
    program: Program = kind(**fields)
    return program


class _Logging:
    """The actions of a logging process, recorded in its journal."""

    def __init__(self, run: Run, journal: Journal, options: Writer) -> None:
        self._run = run
        self._journal = journal
        self._options = options
        self._random = random.Random(options.seed)
        self._next = options.first_step
        self._closed = options.first_step - 1
        self._at_alarm: Literal["interrupt", "log"] | None = None

    def by_itself(self) -> None:
        signal.signal(signal.SIGALRM, self._alarm)
        end = self._next + self._options.steps
        while self._next < end:
            self.log(self._random.randint(1, 24))
            time.sleep(self._random.random() * 0.01)
            if self._random.random() < 0.1:
                self.flush(0.3)
        self.flush(0.3)
        self.finish()

    def as_told(self) -> None:
        """Executes lines of stdin: `log N`, `skip N`, `flush SECONDS`, `finish`; answers each with an event."""
        for line in sys.stdin:
            word, *arguments = line.split()
            answer = getattr(self, word)(*map(float, arguments))
            events.say("did", word=word, answer=answer)
            if word == "finish":
                return

    def log(self, count: float) -> None:
        run, name = self._options.run, self._options.name
        for _ in range(int(count)):
            step, self._next = self._next, self._next + 1
            values: dict[str, Any] = {**payload(run, name, step)}
            if (text := page(run, name, step)) is not None:
                values[PAGE_KEY] = stepwell.Html(text, inject=False)
            # The two ways to close a step: at once, and with the next step.
            closes = self._random.random() < 0.5
            self._journal.logging(step)
            try:
                self._set_alarm(closes)
                self._run.log(values, step=step, commit=True if closes else None)
                self._at_alarm = None
            except KeyboardInterrupt:
                self._journal.interrupted(step)
                continue
            self._closed = step if closes else step - 1
            if (title := alert(step)) is not None:
                self._run.alert(title)

    def _set_alarm(self, closes: bool) -> None:
        """Sometimes interrupts the next call: with Ctrl-C, or with a handler that logs."""
        if self._options.steps and self._random.random() < 0.1:
            # A nested call to the same step would come too late if the call itself closes the step.
            self._at_alarm = "interrupt" if closes or self._random.random() < 0.3 else "log"
            signal.setitimer(signal.ITIMER_REAL, self._random.uniform(1e-6, 1e-4))

    def _alarm(self, *_: object) -> None:
        does, self._at_alarm = self._at_alarm, None
        if does == "interrupt":
            raise KeyboardInterrupt
        if does == "log":
            step = self._next - 1
            self._journal.nesting(step)
            self._run.log({NESTED_KEY: nested(self._options.run, self._options.name, step)}, step=step)
            self._journal.nested(step)

    def skip(self, count: float) -> None:
        self._next += int(count)

    def flush(self, timeout_s: float) -> bool:
        closed = self._closed
        try:
            done = bool(self._run.flush(timeout_s))
        except Error as error:
            events.say("refused", code=error.code)
            return False
        if done:
            self._journal.acknowledged(closed)
        return done

    def finish(self) -> None:
        self._run.finish()
        self._journal.finished(self._run.account)


def aged(uptime: Callable[[], float], age_s: float) -> Callable[[], float]:
    """A clock for a new run: its first reading, the start of the run, is `age_s` ago."""
    reads = count()
    return lambda: uptime() - (0.0 if next(reads) else age_s)


def _shrink_spools() -> None:
    def create(cls: type[Spool], root: Path, identity: SpoolIdentity, limits: SpoolLimits = SPOOL) -> Spool:
        return original(cls, root, identity, SPOOL)

    original = Spool.create.__func__  # type: ignore[attr-defined]  # of a classmethod
    Spool.create = classmethod(create)  # type: ignore[method-assign,assignment]  # the kill point


def _keep_journal(journal: Journal) -> None:
    """Records each session and each frame that the spool has accepted; from then on it must be delivered."""

    def append(spool: Spool, frame: bytes) -> None:
        if spool.next_seq == 0:
            journal.opened(spool.identity.session, spool.identity.writer)
        original(spool, frame)
        decoded = decode(frame)
        journal.spooled(decoded.header.seq, max((int(block.steps[-1]) for block in decoded.blocks), default=-1))
        for note in decoded.objects if decoded.header.notes else ():
            body = json.loads(note.body)
            if note.key == "object":
                journal.noted("page", body["step"])
            elif note.key == "alert":
                journal.noted("alert", int(body["title"].removeprefix("step ")))

    original = Spool.append
    Spool.append = append  # type: ignore[method-assign]


def _commit_carelessly() -> None:
    """For the negative control: undoes the worker's setting of `synchronous_commit`."""
    original = asyncpg.create_pool

    def create_pool(*arguments: Any, server_settings: dict[str, str], **named: Any) -> Any:
        return original(*arguments, server_settings={**server_settings, "synchronous_commit": "off"}, **named)

    asyncpg.create_pool = create_pool


def _move_fenced_epochs() -> None:
    """For the negative control: the compare-and-set does not check whether the epoch is fenced."""
    sql = queries("write")
    fence = " AND NOT l.fenced"
    assert sql["move_ledger"].count(fence) == 1
    copier.queries = lambda _: {**sql, "move_ledger": sql["move_ledger"].replace(fence, "")}  # type: ignore[attr-defined]  # it imports the name


def _impatient(resolve: Callable[..., Settings]) -> Callable[..., Settings]:
    def short(*places: Any, **arguments: Any) -> Settings:
        return dataclasses.replace(resolve(*places, **arguments), timeouts=TIMEOUTS, limits=LIMITS)

    return short
