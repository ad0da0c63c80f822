"""Interrupted and nested calls: rows stay whole, and no completed call is lost."""

from __future__ import annotations

import contextlib
import gc
import itertools
import logging
import signal
import threading
import time
import weakref
from collections.abc import Callable
from typing import Any

import pytest

from fixtures.interrupts import interrupted_at
from fixtures.stages import Frames, Json, new_stage, rows
from stepwell.errors import DataError, UsageError
from stepwell.notes.definitions import Definitions
from stepwell.stage.stage import Stage

FLAT = {"a": 3.0, "b": 4}
MIXED = {"a": 3.0, "t": "x"}
STORED = {"a": 3.0, "b": 4.0}
STORED_MIXED = {"a": 3.0, "t": Json("x")}

CALLS = pytest.mark.parametrize(
    "how", [{}, {"commit": True}, {"commit": False}, {"step": 5}, {"step": 6, "commit": True}]
)
DATA = pytest.mark.parametrize(
    ("data", "stored"), [(FLAT, STORED), (MIXED, STORED_MIXED)], ids=["short way", "long way"]
)


def ctrl_c() -> None:
    raise KeyboardInterrupt


def at_every_point(prepare: Callable[[], Stage], call: Callable[[Stage], Any], happens: Callable[[Stage], None]) -> Any:
    """Interrupts `call` of a new stage at each point in turn; yields the stages, the last one without an interrupt."""
    for point in itertools.count(1):
        stage = prepare()
        came = interrupted_at(
            point, lambda stage=stage: call(stage), lambda stage=stage: happens(stage), "/stepwell/stage/"
        )
        yield stage
        if not came:
            assert point > 10
            return


@CALLS
@DATA
@pytest.mark.parametrize(
    "before", [(FLAT, STORED), (MIXED, STORED_MIXED), None], ids=["open short", "open long", "none"]
)
def test_ctrl_c_leaves_whole_rows(
    how: dict[str, Any], data: dict[str, Any], stored: dict[str, Any], before: tuple[dict[str, Any], ...] | None
) -> None:
    def prepare() -> Stage:
        stage = new_stage()
        stage.log(FLAT)
        stage.log(MIXED)
        if before is not None:
            stage.log(before[0], step=4)
        return stage

    step = how.get("step", 4 if before else 2)
    last = {}
    for stage in at_every_point(prepare, lambda stage: stage.log(data, **how), lambda _: ctrl_c()):
        stage.log({"z": 1.0}, step=20)
        stage.log({"z": 2.0, "y": "y"})
        got = last = rows(stage)
        assert (got.pop(0), got.pop(1), got.pop(20)) == (STORED, STORED_MIXED, {"z": 2.0, "y": Json("y")})
        merged = {**(before[1] if before and step == 4 else {}), **stored}
        if before is not None:
            assert got.pop(4) in ([before[1], merged] if step == 4 else [before[1]])
        assert got in ({}, {step: merged})
    assert last == ({} if before and step == 4 else {step: stored})


@CALLS
@DATA
def test_nested_call_is_deferred(how: dict[str, Any], data: dict[str, Any], stored: dict[str, Any]) -> None:
    """Logs like a signal handler, a finalizer or a logging handler may do."""

    def prepare() -> Stage:
        stage = new_stage()
        stage.log(FLAT)
        stage.log({"i": 0.0})
        return stage

    for stage in at_every_point(prepare, lambda stage: stage.log(data, **how), lambda stage: stage.log({"i": 1.0})):
        stage.log({"z": 1.0}, step=20, commit=True)
        got = rows(stage)
        assert (got.pop(0), got.pop(1), got.pop(20)) == (STORED, {"i": 0.0}, {"z": 1.0})
        together: dict[str, Any] = {}
        for row in got.values():
            assert row in (stored, {"i": 1.0}, {**stored, "i": 1.0})
            assert not together.keys() & row.keys()
            together |= row
        assert together in ({**stored, "i": 1.0}, stored)
        assert ("i" in together) or not got.keys() - {how.get("step", 2)}


def test_nested_call_raises_to_its_caller() -> None:
    stage = new_stage()

    class Nasty:
        def __str__(self) -> str:
            with pytest.raises(DataError):
                stage.log({"x": object()})
            stage.log({"inner": 1})
            return "text"

    class Path(Nasty):
        def __fspath__(self) -> str:
            return "path"

    stage.log({"outer": Path()})
    assert rows(stage) == {0: {"inner": 1.0}, 1: {"outer": Json("text")}}


def test_finalizers_may_log() -> None:
    """The garbage collector runs finalizers at any allocation, so inside log(), too."""
    stage = new_stage()
    frames = Frames(stage)
    died = itertools.count()

    class Node:
        def __init__(self) -> None:
            self.me = self  # makes garbage for the collector

        def __del__(self) -> None:
            stage.log({"died": next(died), "kind": "node"})

    def gone() -> None:
        stage.log({"gone": 1.0})

    before = gc.get_threshold()
    gc.set_threshold(7)
    try:
        for number in range(2000):
            weakref.finalize(Node(), gone)
            stage.log({"a": number, "b": 0.5})
            stage.log({"a": number, "text": "x"}, step=stage.step)
            stage.log({"c": number}, commit=True)
            if number % 50 == 0:
                frames.collect()
    finally:
        gc.set_threshold(*before)
    gc.collect()
    got = [row for _, row in sorted(frames.collect().items())]
    assert [row.points["a"] for row in got if "b" in row.points] == list(map(float, range(2000)))
    assert [row.points["c"] for row in got if "c" in row.points] == list(map(float, range(2000)))
    deaths = sorted(row.points["died"] for row in got if "died" in row.points)
    assert deaths == list(map(float, range(next(died))))
    assert sum("gone" in row.points for row in got) == 2000


def test_logging_handlers_may_log_metrics() -> None:
    stage = new_stage()

    class Counting(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            stage.log({"warnings": 1.0})

    handler = Counting()
    logging.getLogger("stepwell").addHandler(handler)
    try:
        stage.log({"a": 1.0}, step=5)
        stage.log({"a": 2.0}, step=3)  # warns with the stage's lock held
        stage.log({"a": 3.0}, step=7, commit=True)
    finally:
        logging.getLogger("stepwell").removeHandler(handler)
    assert rows(stage) == {5: {"a": 1.0, "warnings": 1.0}, 7: {"a": 3.0}}


def test_random_signals_keep_rows_intact() -> None:
    """Real signals: every other one raises, the others log."""
    stage = new_stage()
    frames = Frames(stage)
    rounds = itertools.count()
    handled = 0

    def handler(number: int, frame: object) -> None:
        nonlocal handled
        if next(rounds) % 2:
            raise KeyboardInterrupt
        stage.log({"h": handled, "s": "handler"})
        handled += 1

    returned: list[float] = []
    before = signal.signal(signal.SIGALRM, handler)
    gc.disable()  # callbacks of test tools must not raise
    try:
        number, until = 0, time.monotonic() + 2
        while time.monotonic() < until:
            number += 1
            # On a busy machine the signal may come before the first call, or while the timer is being stopped.
            with contextlib.suppress(KeyboardInterrupt):
                try:
                    signal.setitimer(signal.ITIMER_REAL, 0.00005 + number % 37 * 0.000003)
                    for _ in range(20):
                        number += 1
                        stage.log({"a": number, "b": 0.5})
                        returned.append(number)
                        stage.log({"a": number + 0.5, "t": "x"})
                        returned.append(number + 0.5)
                    time.sleep(0.0003)
                finally:
                    signal.setitimer(signal.ITIMER_REAL, 0)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
        gc.enable()
    got = [row for _, row in sorted(frames.collect().items())]
    calls = [row for row in got if "a" in row.points]
    assert [row for row in calls if ("b" in row.points) == ("t" in row.objects)] == []
    kept = [row.points["a"] for row in calls]
    assert kept == sorted(set(kept))
    assert set(returned) <= set(kept)
    assert [row.points["h"] for row in got if "h" in row.points] == list(map(float, range(handled)))
    assert all("s" in row.objects for row in got if "h" in row.points)


def test_slow_value_does_not_block_other_threads() -> None:
    stage = new_stage()
    entered, proceed = threading.Event(), threading.Event()

    class Slow:
        def __fspath__(self) -> str:
            return ""

        def __str__(self) -> str:
            entered.set()
            assert proceed.wait(30)
            return "slow"

    thread = threading.Thread(target=stage.log, args=({"slow": Slow()},))
    thread.start()
    assert entered.wait(30)
    stage.log({"a": 1.0})
    assert stage.cut() is not None
    proceed.set()
    thread.join()
    assert rows(stage) == {1: {"slow": Json("slow")}}


@pytest.mark.parametrize("completes", [False, True], ids=["plain", "completed"])
@pytest.mark.parametrize("step", [None, 0, 7], ids=["next step", "late", "step"])
@pytest.mark.parametrize("data", [{"a": 1.0}, {"a": 1.0, "b": "text"}, {}], ids=["same", "text", "empty"])
def test_closed_stage_refuses_every_call(data: dict[str, Any], step: int | None, completes: bool) -> None:
    stage = new_stage()
    if completes:
        stage.complete_rows(Definitions())
    log = stage.log_completed if completes else stage.log
    log({"a": 0.0})
    log({"a": 0.5})
    stage.close()
    with pytest.raises(UsageError, match="the run is finished"):
        log(data, step)
    assert rows(stage) == {0: {"a": 0.0}, 1: {"a": 0.5}}
    assert stage.latest()["a"].value == 0.5


def test_call_raises_if_the_stage_closes_during_it() -> None:
    stage = new_stage()
    raised: list[BaseException] = []
    reading, closed = threading.Event(), threading.Event()

    class Slow:
        def __fspath__(self) -> str:
            return ""

        def __str__(self) -> str:
            reading.set()
            assert closed.wait(10)
            return "slow"

    def log() -> None:
        try:
            stage.log({"slow": Slow()})
        except UsageError as error:
            raised.append(error)

    thread = threading.Thread(target=log)
    thread.start()
    assert reading.wait(10)
    stage.close()
    closed.set()
    thread.join()
    assert len(raised) == 1
    assert rows(stage) == {}
