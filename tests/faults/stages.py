"""The kill points: named stages of the SDK, `stepwell sync`, the ingest worker, the sealer and Postgres.

The product has no hooks for this. A point of SDK, sync, worker or sealer names a function of the product; `arm` wraps
it in the child process, which sends itself SIGKILL at the n-th call. A point of Postgres names a message of the
protocol (`faults.postgres_wire`) and the process to kill there.
"""

from __future__ import annotations

import functools
import importlib
import inspect
import os
import signal
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import Enum
from typing import Any


class How(Enum):
    """The time of the kill relative to the call."""

    BEFORE = "before"
    AFTER = "after"
    HALF_WRITTEN = "half written"  # for write_all(fd, data): after half of the data
    FIRST_PIECE = "first piece"  # for a generator: when the second piece is requested


@dataclass(frozen=True, slots=True)
class Point:
    """A kill point.

    Attributes:
        name: the name in tables; its first word is the side: sdk, sync, worker, sealer.
        target: module:function or module:Class.method.
        only: a predicate of the arguments that selects the calls that count.
        hits: the maximum number of calls before the kill.
        drained: whether the worker reaches this point only when it is asked to stop.
        result: whether only calls with a result count.
    """

    name: str
    target: str
    how: How
    only: Callable[..., bool] | None = None
    hits: int = 1
    drained: bool = False
    result: bool = False

    @property
    def side(self) -> str:
        return self.name.split(" ")[0].rstrip(":")


def _is_frame(_: int, data: bytes) -> bool:
    return data[:4] == b"SWFR"


def _is_head(_: int, data: bytes) -> bool:
    return data[:8] == b"SWSPOOL1"


def _is_ack(_: object, message: dict[str, Any]) -> bool:
    return message.get("type") == "ack"


def _is_control(_: object, text: str, *__: object) -> bool:
    return '"finish"' in text


_FRAMES = "stepwell.transport.websocket:Socket.send_bytes"
_TEXTS = "stepwell.transport.websocket:Socket.send_text"

SDK_POINTS = (
    Point("sdk: before the attach", "stepwell.delivery.stream:Stream._start", How.BEFORE, hits=2),
    Point("sdk: after the attach", "stepwell.delivery.stream:Stream._start", How.AFTER, hits=2),
    Point("sdk: after the stage is cut", "stepwell.stage.stage:Stage.cut", How.AFTER, hits=30, result=True),
    Point("sdk: before the spool write", "stepwell.spool:Spool.append", How.BEFORE, hits=30),
    Point("sdk: mid spool write", "stepwell.spool.writer:write_all", How.HALF_WRITTEN, _is_frame, hits=30),
    Point("sdk: after the spool write", "stepwell.spool:Spool.append", How.AFTER, hits=30),
    Point("sdk: mid head of a segment", "stepwell.spool.writer:write_all", How.HALF_WRITTEN, _is_head, hits=3),
    Point("sdk: after a segment is begun", "stepwell.spool.writer:SegmentWriter.create", How.AFTER, hits=3),
    Point("sdk: before the send", _FRAMES, How.BEFORE, hits=30),
    Point("sdk: after the send", _FRAMES, How.AFTER, hits=30),
    Point("sdk: on ack, before the spool hears it", "stepwell.delivery.outbox:Outbox.acknowledge", How.BEFORE, hits=30),
    Point("sdk: on ack, after the spool heard it", "stepwell.delivery.outbox:Outbox.acknowledge", How.AFTER, hits=30),
    Point("sdk: before a segment is unlinked", "stepwell.spool.chain:SegmentChain._remove", How.BEFORE, hits=3),
    Point("sdk: after a segment is unlinked", "stepwell.spool.chain:SegmentChain._remove", How.AFTER, hits=3),
    Point("sdk: before fsync", "stepwell.spool:Spool.sync", How.BEFORE),
    Point("sdk: after fsync", "stepwell.spool:Spool.sync", How.AFTER),
    Point("sdk: finish, before the last cut", "stepwell.delivery.sender:Sender._finish", How.BEFORE),
    Point("sdk: finish, before it is told", _TEXTS, How.BEFORE, _is_control),
    Point("sdk: finish, after it is told", _TEXTS, How.AFTER, _is_control),
    Point("sdk: finish, before the spool is closed", "stepwell.delivery.outbox:Outbox.close", How.BEFORE),
    Point("sdk: finish, mid removal of the spool", "stepwell.spool.directory:remove_directory", How.BEFORE),
)

SYNC_POINTS = (
    Point("sync: before the send", _FRAMES, How.BEFORE),
    Point("sync: on ack, before the spool hears it", "stepwell.spool:Spool.acknowledge", How.BEFORE, hits=2),
    Point("sync: on ack, after the spool heard it", "stepwell.spool:Spool.acknowledge", How.AFTER, hits=2),
    Point("sync: before a segment is unlinked", "stepwell.spool.chain:SegmentChain._remove", How.BEFORE),
    Point("sync: after a segment is unlinked", "stepwell.spool.chain:SegmentChain._remove", How.AFTER),
)

_STREAM, _COPIER = "stepwell_ingest.api.stream:StreamHandler", "stepwell_ingest.write.copier:Copier"
WORKER_POINTS = (
    Point("worker: after an attach is stored", "stepwell_ingest.write.catalog:Catalog.attach", How.AFTER, hits=2),
    Point("worker: after the read", f"{_STREAM}._take_frames", How.BEFORE, hits=30),
    Point("worker: after the validation", "stepwell_ingest.write.intake:Intake.take", How.AFTER, hits=30),
    Point("worker: before the ledger moves", f"{_COPIER}._move_ledger", How.BEFORE, hits=30),
    Point("worker: after the ledger moved", f"{_COPIER}._move_ledger", How.AFTER, hits=30),
    Point("worker: mid COPY", "stepwell_ingest.write.pgcopy:block_pieces", How.FIRST_PIECE, hits=30),
    Point("worker: after COPY, before COMMIT", f"{_COPIER}._record_rejections", How.AFTER, hits=30),
    Point("worker: after COMMIT", "stepwell_ingest.write.ledger:LedgerCursor.commit", How.BEFORE, hits=30),
    Point("worker: before the reply", f"{_STREAM}._send", How.BEFORE, _is_ack, hits=30),
    Point("worker: after the reply", f"{_STREAM}._send", How.AFTER, _is_ack, hits=30),
    Point("worker: finish, before it is stored", "stepwell_ingest.write.catalog:Catalog.finish", How.BEFORE),
    Point("worker: finish, after it is stored", "stepwell_ingest.write.catalog:Catalog.finish", How.AFTER),
    Point("worker: as the drain begins", "stepwell_ingest.write.batcher:Batcher.close", How.AFTER, drained=True),
    Point("worker: after the drain", "stepwell_ingest.server.worker:Worker.stop", How.BEFORE, drained=True),
)


_SEALER = "stepwell_ingest.seal.sealer"
_SEAL, _MERGE = f"{_SEALER}:Sealer", "stepwell_ingest.seal.merger:Merger"


def _asks(name: str) -> Callable[..., bool]:
    return lambda _, asked, *__: asked == name


def _chunks(_: object, table: str, *__: object) -> bool:
    return table == "chunk"


SEALER_POINTS = (
    Point("sealer: after the claim", f"{_SEAL}._read", How.BEFORE, hits=10),
    Point("sealer: after reading", f"{_SEAL}._read", How.AFTER, hits=10),
    Point("sealer: between tracks and chunks", f"{_SEALER}:_copy_in", How.BEFORE, _chunks, hits=10),
    Point("sealer: mid COPY of chunks", f"{_SEALER}:_chunk_rows", How.FIRST_PIECE, hits=10),
    Point("sealer: after COPY", f"{_SEALER}:_copy_in", How.AFTER, _chunks, hits=10),
    Point("sealer: before the hand-over", f"{_SEAL}._hand_over", How.BEFORE, hits=10),
    Point("sealer: after the hand-over, before COMMIT", f"{_SEAL}._hand_over", How.AFTER, hits=10),
    Point("sealer: after COMMIT", f"{_SEAL}.seal", How.AFTER, hits=10, result=True),
    Point("sealer: merge, before it deletes", f"{_MERGE}._read", How.AFTER, hits=2),
    Point("sealer: merge, between delete and insert", "stepwell_ingest.seal.merger:write", How.BEFORE, hits=2),
    Point("sealer: merge, before COMMIT", "stepwell_ingest.seal.merger:write", How.AFTER, hits=2),
    Point("sealer: merge, after COMMIT", f"{_MERGE}.merge", How.AFTER, hits=2),
    *(
        Point(f"sealer: ring, {how.value} {name}", "stepwell_ingest.seal.ring:Ring._ask", how, _asks(query), hits=10)
        for name, query in (("it turns", "rotate"), ("a mark", "mark_sealed"), ("a slot is emptied", "empty_slot"))
        for how in (How.BEFORE, How.AFTER)
    ),
)


class Victim(Enum):
    """The process of Postgres to kill, and the signal."""

    BACKEND = "a backend is killed"
    POSTMASTER = "the postmaster is killed"
    IMMEDIATE = "immediate stop"


@dataclass(frozen=True, slots=True)
class PostgresPoint:
    """A message between worker and Postgres, seen by the proxy before it forwards it.

    Attributes:
        trigger: an event of `faults.postgres_wire`; None: at any moment.
    """

    trigger: str | None
    victim: Victim

    @property
    def name(self) -> str:
        places = {
            None: "at any moment",
            "> CopyData": "during COPY",
            "> CopyDone": "as COPY ends",
            "> COMMIT": "before COMMIT",
            "< COMMIT": "after COMMIT, before its answer",
        }
        return f"postgres: {places[self.trigger]}, {self.victim.value}"


POSTGRES_POINTS = tuple(
    PostgresPoint(trigger, victim)
    for trigger in (None, "> CopyData", "> CopyDone", "> COMMIT", "< COMMIT")
    for victim in Victim
)

POINTS = {point.name: point for point in (*SDK_POINTS, *SYNC_POINTS, *WORKER_POINTS, *SEALER_POINTS)}


def arm(point: Point, hit: int, fired: Callable[[], None]) -> None:
    """Wraps the target of `point` in this process, which is killed at the `hit`-th counting call, after `fired`.

    Raises:
        AttributeError: the product no longer has this function.
    """
    holder, name, raw = resolve(point.target)
    function = raw.__func__ if isinstance(raw, classmethod) else raw
    calls = 0

    def counted(arguments: tuple[Any, ...]) -> bool:
        nonlocal calls
        counts = point.only is None or point.only(*arguments)
        calls += counts
        return counts and calls == hit

    def die() -> None:
        fired()
        os.kill(os.getpid(), signal.SIGKILL)

    @functools.wraps(function)
    def plain(*arguments: Any, **named: Any) -> Any:
        if point.how is How.AFTER:
            result = function(*arguments, **named)
            if not (result is None and point.result) and counted(arguments):
                die()
            return result
        now = counted(arguments)
        if now and point.how is How.FIRST_PIECE:
            return _first_of(function(*arguments, **named), die)
        if now and point.how is How.HALF_WRITTEN:
            fd, data = arguments
            os.write(fd, data[: len(data) // 2])
        if now:
            die()
        return function(*arguments, **named)

    @functools.wraps(function)
    async def asynchronous(*arguments: Any, **named: Any) -> Any:
        if point.how is How.BEFORE and counted(arguments):
            die()
        result = await function(*arguments, **named)
        if point.how is How.AFTER and not (result is None and point.result) and counted(arguments):
            die()
        return result

    wrapper: Any = asynchronous if inspect.iscoroutinefunction(function) else plain
    setattr(holder, name, classmethod(wrapper) if isinstance(raw, classmethod) else wrapper)


def resolve(target: str) -> tuple[Any, str, Any]:
    """The owner of the function with that name, its attribute name, and the function.

    Raises:
        AttributeError: the product no longer has this function.
    """
    module, _, path = target.partition(":")
    holder: Any = importlib.import_module(module)
    *parents, name = path.split(".")
    for parent in parents:
        holder = getattr(holder, parent)
    return holder, name, inspect.getattr_static(holder, name)


def _first_of(pieces: Iterator[Any], die: Callable[[], None]) -> Iterator[Any]:
    yield next(pieces)
    die()
