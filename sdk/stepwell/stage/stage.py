"""Where `log()` calls become rows: the open step, and the blocks that gather rows until the I/O thread cuts them.

In come dicts from any thread of the training process; out goes a `Cut` (blocks and objects) whenever the I/O thread
asks. Promises: a call that raises changes nothing; the rules of steps and commits are those of W&B's client
(log-semantics §1); what is kept here is bounded. No I/O.

The common call — a flat dict of numbers with the keys and types of an earlier call — takes the short way through `log`:
compare keys, compare types, append to arrays. Everything else is checked and converted value by value, and prepares the
short way for the next call of its kind.
"""

from __future__ import annotations

import dataclasses
import logging
import threading
from array import array
from collections.abc import Callable, Mapping
from time import time
from typing import Any

from stepwell.errors import DataError, SpoolFullError
from stepwell.files.media_door import MediaDoor, Taken
from stepwell.settings import StepBack
from stepwell.stage.clock import SteadyClock
from stepwell.stage.late_calls import LateCalls
from stepwell.stage.latest import Extremes, Latest, Seen
from stepwell.stage.plan import Completion, Cut, OpenRow, Plan
from stepwell.stage.row import (
    MAX_STEP,
    bytes_of,
    check_size,
    checked_commit,
    checked_step,
    converted_row,
    flatten,
    merge,
)
from stepwell.values.convert import INT_TYPES, POINT_TYPES, Converted, described
from stepwell.wire import MAX_ROW_BYTES, Object

log = logging.getLogger("stepwell")

#: Key sets whose short way is remembered; a run that invents more than this pays the long way now and then.
_MAX_PLANS = 4096


class Stage:
    """The open step and the closed rows of one writer.

    Args:
        max_bytes: what may wait here for the I/O thread.
        make_room: called when that is reached, without the lock; returns whether there is room again, or raises
            SpoolFullError.
        first_step: where the writer starts.
        step_back: what becomes of a call for a step that has passed; see `Settings.step_back`.
    """

    def __init__(
        self, max_bytes: int, make_room: Callable[[], bool], first_step: int = 0, step_back: StepBack = "warn"
    ) -> None:
        self._lock = threading.RLock()  # re-entrant: a signal handler may log while the thread it interrupted does
        self._max_values = max_bytes // 8
        self._max_object_bytes = max_bytes
        self._make_room = make_room
        self._step = first_step
        # The open step has one of two forms: as it came the short way, or as a dict once something merged into it.
        self._open: OpenRow | None = None
        self._row: dict[str, Converted] | None = None
        self._row_time = 0.0
        self._plans: dict[tuple[str, ...], Plan] = {}
        self._latest = Latest()
        self._completion: Completion | None = None
        self._plan = Plan(())
        self._objects: list[Object] = []
        self._object_bytes = 0  # of objects and notes
        self._notes: list[Object] = []
        self._note_time = 0
        self._note_clock = SteadyClock()
        self._known_keys: dict[str, str] = {}  # as the user gives them → as they are stored
        self.media: MediaDoor | None = None
        self.rows = 0
        self._late = LateCalls(step_back, max_bytes)
        self.dropped_full = 0  # calls for which there was no room
        self.dropped_notes = 0  # likewise

    @property
    def step(self) -> int:
        """The step that the next call without `step` belongs to."""
        return self._step

    def log(self, data: Mapping[str, Any], step: int | None = None, commit: bool | None = None) -> None:
        """One `run.log` call.

        Raises:
            DataError: `data`, `step` or `commit` cannot be taken; nothing has changed.
        """
        with self._lock:
            if type(data) is dict:
                plan = self._plan
                keys = list(data)
                if keys != plan.keys:
                    plan = self._plans.get(tuple(keys), plan)
                values = list(data.values())
                # Types before keys: a plan without known types never matches, so it needs no check of its own.
                if plan.types == list(map(type, values)) and keys == plan.keys and plan.takes(values):
                    if step is None and (commit is None or commit is True) and self._open is None and self._row is None:
                        number = self._step
                        try:
                            plan.values.fromlist(values)
                            plan.times.append(time())
                            self._step = number + 1
                            plan.steps.append(number)
                        except BaseException:  # Ctrl-C in the midst of a row
                            plan.repair()
                            raise
                        self._plan = plan
                        if len(plan.values) >= self._max_values:
                            self._overflow(plan, number)
                        return
                    if commit is None and type(step) is int and self._step < step < MAX_STEP:
                        closed = self._close_pending()
                        self._step = step
                        self._open = OpenRow(plan, array("d", values), time())
                        self._plan = plan
                        if closed is not None and (
                            len(closed[0].values) >= self._max_values or self._object_bytes >= self._max_object_bytes
                        ):
                            self._overflow(*closed)
                        return
            taken = self._log_any(data, step, commit)
        self._hand_on(taken)

    def log_completed(self, data: Mapping[str, Any], step: int | None = None, commit: bool | None = None) -> None:
        """As `log`, for runs whose rows are completed (`complete_rows`). Rows that lack nothing go a short way."""
        with self._lock:
            if type(data) is dict and step is None and (commit is None or commit is True) and self._completion:
                keys, values = list(data), list(data.values())
                plan = self._plans.get(tuple(keys), self._plan)
                if (
                    plan.types == list(map(type, values))
                    and keys == plan.keys
                    and plan.takes(values)
                    and self._open is None
                    and self._row is None
                ):
                    if plan.generation != self._completion.generation:
                        plan.needed, plan.generation = self._completion.needs(keys), self._completion.generation
                    if plan.needed is not None:
                        number = self._step
                        plan.add(number, time(), values)
                        self._step = number + 1
                        self._completion.saw(keys, values, plan.needed)
                        if len(plan.values) >= self._max_values:
                            self._overflow(plan, number)
                        return
            taken = self._log_any(data, step, commit)
        self._hand_on(taken)

    def open_to_media(self, door: MediaDoor) -> None:
        """From now on, media go through `door`. Without one they are refused as values of unknown types."""
        self.media = door

    def complete_rows(self, completion: Completion) -> None:
        """From now on, each row is given to `completion` before it is closed; call `log_completed` from now on."""
        with self._lock:
            self._completion = completion

    def follow(self, follows: Callable[[str], bool]) -> None:
        """From now on, `extremes` has the metrics that `follows` names."""
        with self._lock:
            self._latest.follow(follows, self._plans.values())

    def inherit(self, older: Stage) -> None:
        """Begins with the latest values of another stage, which is used no more. Does not take the lock of that one:
        after a fork, a thread that is not there may hold it."""
        with self._lock:
            self._latest = older._latest
            self._latest.keep(older._plans.values())

    def encoded(self, item: Object) -> None:
        """A media object of a closed row is JSON now."""
        with self._lock:
            self._latest.saw([item])

    def latest(self) -> dict[str, Seen]:
        """The last value of each metric in the rows that are closed."""
        with self._lock:
            return self._latest.read(self._plans.values())

    def extremes(self) -> dict[str, Extremes]:
        """Copies of what is known of the metrics that are followed."""
        with self._lock:
            known = self._latest.extremes(self._plans.values())
            return {key: dataclasses.replace(value) for key, value in known.items()}

    def note(self, kind: str, body: bytes) -> None:
        """Something about the run that is no value of a step: it travels with the number of the open step.

        Args:
            kind: a word of at most `wire.MAX_NOTE_KIND_BYTES`.
            body: JSON.

        Raises:
            DataError: it is too large for a frame.
            SpoolFullError: there is no room, and the spool must raise then.
        """
        if len(body) > MAX_ROW_BYTES:
            raise DataError(
                "this is too large to be kept with the run", detail=f"{len(body)} bytes; the limit is {MAX_ROW_BYTES}"
            )
        with self._lock:
            if self._object_bytes >= self._max_object_bytes and not self._wait_for_room():
                self.dropped_notes += 1
                return
            self._note_time = max(self._note_time, round(self._note_clock.now() * 1e6))
            self._notes.append(Object(self._step, self._note_time, kind, body))
            self._object_bytes += len(kind) + len(body)

    def close_row(self) -> None:
        """Closes the open step, if it has anything (the end of the run)."""
        with self._lock:
            closed = self._close_pending()
            if closed is not None:
                self._overflow_if_full(*closed)

    def cut(self) -> Cut | None:
        """All closed rows, which are the caller's from now on; None when there are none."""
        with self._lock:
            waiting = [plan for plan in self._plans.values() if plan.steps]
            for plan in waiting:
                self._latest.count(plan)
            blocks = [plan.take() for plan in waiting]
            objects, self._objects, self._object_bytes = self._objects, [], 0
            notes, self._notes = self._notes, []
            if len(self._plans) > _MAX_PLANS:
                kept = [] if self._open is None else [self._open.plan]  # its row is yet to be appended
                self._latest.keep(self._plans.values())
                self._plans = {tuple(plan.keys): plan for plan in kept}
                self._plan = Plan(())
        self.rows += sum(len(block.steps) for block in blocks)
        return Cut(blocks, objects, notes) if blocks or notes else None

    @property
    def waiting_bytes(self) -> int:
        """About how much the rows, objects and notes that wait to be cut take in a frame."""
        with self._lock:
            return 8 * sum(len(plan.values) for plan in self._plans.values()) + self._object_bytes

    @property
    def in_use(self) -> bool:
        """Whether this very thread is inside of a call: a signal handler that has interrupted it must not wait."""
        return self._lock._is_owned()  # type: ignore[attr-defined, no-any-return]  # what Condition uses, too

    def take_quarantined(self) -> list[bytes]:
        """Calls that were put aside since the last time; see `LateCalls.take_quarantined`."""
        with self._lock:
            return self._late.take_quarantined()

    @property
    def dropped_steps(self) -> int:
        """Calls that came for a step that had passed."""
        return self._late.dropped

    @property
    def quarantined_steps(self) -> int:
        """Such calls that were put aside."""
        return self._late.quarantined

    def start_at(self, step: int) -> None:
        """Sets the first step, before anything is logged: a run that is resumed goes on where it was."""
        with self._lock:
            self._step = max(self._step, step)

    def _hand_on(self, taken: Taken | None) -> None:
        """Without the lock: the media queue may be full, and what empties it needs the lock."""
        if taken is not None and self.media is not None:
            self.media.put(taken)

    def _log_any(self, data: Mapping[str, Any], step: int | None, commit: bool | None) -> Taken | None:
        """Any call, by the six rules of log-semantics §1. Returns its media, for `_hand_on`."""
        if not isinstance(data, Mapping):
            raise DataError(
                f"log() takes a dict, not {type(data).__name__}", detail=described(data), hint='log({"loss": 0.5})'
            )
        number = None if step is None else checked_step(step)
        flush = number is None if commit is None else checked_commit(commit)
        data, found = (data, []) if self.media is None else self.media.split(data)
        row, at = converted_row(data, self._known_keys)
        if number is not None and number < self._step:
            self._late.take(number, self._step, row, at)
            return None
        found = [item.prepared() for item in found]
        closed = None
        if number is not None and number > self._step:
            closed = self._close_pending()
            self._step = number
        elif self._open is not None:
            self._row = dict(zip(self._open.plan.keys, self._open.values, strict=True))
            self._row_time = self._open.time
            self._open = None
        fresh = self._row is None
        if self._row is None:
            self._row = row
        else:
            check_size(merged := merge(dict(self._row), row))
            self._row = merged
        self._row_time = at
        taken = Taken(found, self._step, at) if found else None
        if fresh and POINT_TYPES.issuperset(map(type, data.values())):
            self._remember_types(data, row)
        if flush:
            closed = self._flush(self._row)
        if closed is not None:
            self._overflow_if_full(*closed)
        return taken

    def _plan_of(self, keys: tuple[str, ...]) -> Plan:
        plan = self._plans.get(keys)
        if plan is None:
            plan = self._plans[keys] = Plan(keys)
        return plan

    def _remember_types(self, data: Mapping[str, Any], row: Mapping[str, Converted]) -> None:
        """Prepares the short way for the next call like this one."""
        if list(data) != list(row):  # keys that are dropped, or stored under another name
            return
        plan = self._plan_of(tuple(row))
        plan.types = list(map(type, data.values()))
        ints = [kind in INT_TYPES for kind in plan.types]
        plan.ints = ints if any(ints) else None

    def _close_pending(self) -> tuple[Plan, int] | None:
        """Closes the open step if it has any key; returns its plan and number. Never waits."""
        if self._open is not None:
            plan, values, at = self._open
            self._open = None
            if not values:
                return None
            if self._completion is not None:
                self._row_time = at
                return self._flush(dict(zip(plan.keys, values, strict=True)))
            step, self._step = self._step, self._step + 1
            plan.add(step, at, values)
            return plan, step
        row, self._row = self._row, None
        return self._flush(row) if row else None

    def _flush(self, row: Mapping[str, Converted]) -> tuple[Plan, int]:
        """Writes `row` as the open step: its numbers go to their block, the rest to the objects. Never waits."""
        self._row = None
        step, self._step = self._step, self._step + 1
        flat: dict[str, float | bytes] = {}
        flatten(row, "", flat)
        if self._completion is not None:
            self._completion.complete(flat)
        numbers = {key: value for key, value in flat.items() if type(value) is float}
        objects = [
            Object(step, round(self._row_time * 1e6), key, value) for key, value in flat.items() if type(value) is bytes
        ]
        plan = self._plan = self._plan_of(tuple(numbers))
        plan.add(step, self._row_time, numbers.values())
        self._latest.saw(objects)
        self._objects += objects
        self._object_bytes += bytes_of(objects)
        return plan, step

    def _overflow_if_full(self, plan: Plan, step: int) -> None:
        if (
            self._object_bytes >= self._max_object_bytes
            or sum(len(other.values) for other in self._plans.values()) >= self._max_values
        ):
            self._overflow(plan, step)

    def _overflow(self, plan: Plan, step: int) -> None:
        """A row has filled the stage: room is made now, or the row goes and is counted.

        Comes last in a call: while it waits, other threads may log.
        """
        try:
            room = self._wait_for_room()
        except SpoolFullError:
            self._remove(plan, step)
            raise
        if not room:
            self._remove(plan, step)

    def _remove(self, plan: Plan, step: int) -> None:
        if step in plan.steps:
            at = plan.steps.index(step)
            del plan.steps[at], plan.times[at]
            del plan.values[at * len(plan.keys) : (at + 1) * len(plan.keys)]
            self._objects = [item for item in self._objects if item.step != step]
            self._object_bytes = bytes_of(self._objects) + bytes_of(self._notes)

    def _wait_for_room(self) -> bool:
        self._lock.release()  # the I/O thread needs it to cut
        try:
            room = self._make_room()
        finally:
            self._lock.acquire()
        if not room:
            self.dropped_full += 1
            if self.dropped_full in (1, 10, 100, 1000) or self.dropped_full % 10_000 == 0:
                log.warning(
                    "%d log() calls were dropped: what was logged before could not be written to disk in time",
                    self.dropped_full,
                )
        return room
