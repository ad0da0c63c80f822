"""The stage turns `log()` calls into rows: it holds the open step, and the rows that wait until the I/O thread cuts
them.

Receives dicts from any thread of the training process; returns a `Cut` (blocks, objects and notes) to the I/O
thread. Promises: a call with invalid data changes nothing; the rules of steps and commits are those of W&B's client;
memory is bounded. No I/O.

The common call — a flat dict of numbers with the keys and types of an earlier call — takes the fast path in `log`:
compare keys, compare types, append to arrays. Everything else is first converted to a `Call`, without holding the lock.
If that call was a flat dict of numbers, it prepares the fast path for the next one with its keys and types.

Code that logs may run inside a call of the same thread: a signal handler, `__del__`, a weakref callback, a logging
handler. Its calls wait in `_queued` until the outer one has ended. `_busy` is true while rows change. If a call that is
not inside another one finds `_busy` set, an exception such as Ctrl-C has ended an earlier call, and the rows are healed
first.
"""

from __future__ import annotations

import dataclasses
import logging
import threading
from array import array
from collections import deque
from collections.abc import Callable, Mapping
from functools import partial
from time import time
from typing import Any

from stepwell.errors import DataError, Error, SpoolFullError, UsageError
from stepwell.files.media_door import MediaDoor, Taken
from stepwell.settings import StepBack
from stepwell.stage.call import Call, checked_commit, checked_step, converted_row
from stepwell.stage.clock import SteadyClock
from stepwell.stage.late_calls import LateCalls, files_in
from stepwell.stage.latest import Extremes, Seen
from stepwell.stage.plan import Completion, Cut, ShortRow
from stepwell.stage.room import Room
from stepwell.stage.rows import FAR, Rows, behind
from stepwell.values.convert import described
from stepwell.values.text import dump
from stepwell.wire import MAX_ROW_BYTES, Object

log = logging.getLogger("stepwell")


class Stage(Rows):
    """The open step and the closed rows of one writer.

    Args:
        max_bytes: the most bytes of numbers that may wait for the I/O thread; objects and notes together may take as
            many again.
        make_room: called when either limit is reached; see `Room`.
        first_step: the first step of the writer.
        step_back: how to handle a call for a step that has passed; see `Settings.step_back`.

    Attributes:
        room: waits when the stage is full, and counts what was dropped.
        late_calls: handles and counts calls for steps that have passed.
        media: the door through which media leave; None: media are refused.
        rows: the number of rows that have been cut.
    """

    def __init__(
        self, max_bytes: int, make_room: Callable[[], bool], first_step: int = 0, step_back: StepBack = "warn"
    ) -> None:
        super().__init__(first_step)
        self._lock = threading.RLock()
        self._busy = self._closed = False
        self._queued: deque[Call] = deque()
        self._max_values = max_bytes // 8
        self._max_object_bytes = max_bytes
        self.room = Room(make_room)
        self._note_time = 0
        self._note_clock = SteadyClock()
        self.media: MediaDoor | None = None
        self.rows = 0
        self.late_calls = LateCalls(step_back, max_bytes)

    @property
    def step(self) -> int:
        """The step that the next call without `step` belongs to."""
        return self._step

    def log(self, data: Mapping[str, Any], step: int | None = None, commit: bool | None = None) -> None:
        """Takes one `run.log` call.

        Raises:
            DataError: `data`, `step` or `commit` is invalid; nothing has changed.
            StepOrderError: the step has passed, and `step_back` is "raise".
            UsageError: the stage is closed.
            SpoolFullError: there is no room, and `spool_full` is "raise"; the row is removed, unless it was cut
                meanwhile.
        """
        if type(data) is dict and not (self._busy and self.in_use):
            with self._lock:
                if self._busy:
                    self._heal()
                self._busy = True
                plan = self._plan
                keys = list(data)
                if keys != plan.keys:
                    plan = self._plans.find(tuple(keys), plan)
                values = list(data.values())
                taken, closed = False, None
                # A plan whose types are not known yet has None, which equals no list. Keys are compared again because
                # `find` returns the plan of the last call if no plan has these keys.
                if (
                    plan.types == list(map(type, values))
                    and keys == plan.keys
                    and (plan.ints is None or plan.takes(values))
                ):
                    if step is None and (commit is None or commit is True) and self._open is None:
                        closed = self._step
                        plan.values.fromlist(values)
                        plan.times.append(time())
                        plan.steps.append(closed)
                        self._values += len(values)
                        self._step = closed + 1
                        self._plan = plan
                        self._busy = False
                        if self._values < self._max_values and not self._queued:
                            return
                        taken = True
                    elif commit is None and type(step) is int and self._step < step < FAR:
                        last = self._open
                        if type(last) is ShortRow and last.values and self._completion is None:
                            closed, rows = self._step, last.plan  # `_close`, inlined: function calls cost time
                            self._values += len(last.values)
                            rows.values.extend(last.values)
                            rows.times.append(last.time)
                            rows.steps.append(closed)
                        else:
                            closed = self._close()
                        opened = ShortRow(plan, array("d", values), time())
                        self._step, self._open, self._plan = step, opened, plan
                        self._busy = False
                        if (
                            self._values < self._max_values
                            and self._object_bytes < self._max_object_bytes
                            and not self._queued
                        ):
                            return
                        taken = True
                self._busy = False
            if taken:
                self._end(closed)
                return
        self._log_any(data, step, commit)

    def log_completed(self, data: Mapping[str, Any], step: int | None = None, commit: bool | None = None) -> None:
        """Does the same as `log`, for runs that add the latest values of step metrics to each row (`complete_rows`).
        Rows that have these values already take a fast path."""
        if type(data) is dict and step is None and (commit is None or commit is True) and not self.in_use:
            added: int | None = None
            with self._lock:
                self._begin(False)
                keys, values = list(data), list(data.values())
                plan, completion = self._plans.find(tuple(keys), self._plan), self._completion
                if (
                    completion is not None
                    and plan.types == list(map(type, values))
                    and keys == plan.keys
                    and plan.takes(values)
                    and self._open is None
                ):
                    if plan.generation != completion.generation:
                        plan.needed, plan.generation = completion.needs(keys), completion.generation
                    if plan.needed is not None:
                        added = self._step
                        plan.add(added, time(), values)
                        self._values += len(values)
                        completion.saw(keys, values, plan.needed)
                        self._step = added + 1
                self._busy = False
            if added is not None:
                self._end(added)
                return
        self._log_any(data, step, commit)

    def open_to_media(self, door: MediaDoor) -> None:
        """From now on, passes media to `door`. Without a door, media are refused as values of unknown types."""
        self.media = door

    def complete_rows(self, completion: Completion) -> None:
        """From now on, passes each row to `completion` before it is closed. The caller must then use `log_completed`
        instead of `log`."""
        self._completion = completion

    def follow(self, follows: Callable[[str], bool]) -> None:
        """From now on, keeps the extremes of the metrics for which `follows` returns True."""
        inside = self.in_use
        with self._lock:
            self._begin(inside)
            self._see_objects()
            self._latest.follow(follows, self._plans)
            self._busy = inside
        self._end()

    def inherit(self, older: Stage) -> None:
        """Adopts the latest values of another stage, which is no longer used. Does not take the lock of that stage:
        after `os.fork`, a thread that does not exist in this process may hold it."""
        with self._lock:
            older._see_objects()
            self._latest = older._latest
            self._latest.keep(older._plans)

    def encoded(self, item: Object) -> None:
        """Records the JSON of a media object of a closed row as the last value of its key."""
        with self._lock:
            self._latest.saw([item])

    def latest(self) -> dict[str, Seen]:
        """The last value of each key in the closed rows."""
        inside = self.in_use
        with self._lock:
            self._begin(inside)
            self._see_objects()
            found = self._latest.read(self._plans)
            self._busy = inside
        self._end()
        return found

    def extremes(self) -> dict[str, Extremes]:
        """Copies of the extremes of the followed metrics."""
        inside = self.in_use
        with self._lock:
            self._begin(inside)
            self._see_objects()
            known = self._latest.extremes(self._plans)
            found = {key: dataclasses.replace(value) for key, value in known.items()}
            self._busy = inside
        self._end()
        return found

    def note(self, kind: str, body: bytes) -> None:
        """Adds a note about the run, with the number of the open step.

        Args:
            kind: a word of at most `wire.MAX_NOTE_KIND_BYTES`.
            body: JSON.

        Raises:
            DataError: the note is too large for a frame.
            SpoolFullError: there is no room, and `spool_full` is "raise".
        """
        if len(body) > MAX_ROW_BYTES:
            raise DataError("the value is too large", detail=f"{len(body)} bytes; the limit is {MAX_ROW_BYTES}")
        # A note from inside a log() call must not wait: the I/O thread, which makes room, waits for that call.
        if self._object_bytes >= self._max_object_bytes and not self.in_use and not self.room.wait_for_note():
            return
        with self._lock:
            self._note_time = max(self._note_time, round(self._note_clock.now() * 1e6))
            self._notes.append(Object(self._step, self._note_time, kind, body))
            self._object_bytes += len(kind) + len(body)

    def close(self) -> None:
        """Closes the open step, if it has values, and the stage: later calls of `log` raise. Notes are still taken."""
        if self.in_use:  # the enclosing call continues
            return
        with self._lock:
            self._begin(False)
            closed = self._close()
            if closed is not None:
                self._step, self._open = behind(closed)
            for plan in self._plans:
                plan.types = None  # so that no call takes the fast path
            self._closed, self._busy = True, False
        self._end(closed)

    def cut(self) -> Cut | None:
        """Takes all closed rows and all notes, which then belong to the caller. Returns None if nothing waits, or if
        this thread is inside a call."""
        if self.in_use:  # inside a call of the same thread, whose row is not complete
            return None
        with self._lock:
            self._begin(False)
            taken, objects, notes = self._take_all()
            self._busy = False
        self._end()
        self.rows += sum(len(rows.steps) for rows in taken)
        return Cut([rows.as_block() for rows in taken], objects, notes) if taken or notes else None

    @property
    def waiting_bytes(self) -> int:
        """The approximate size in a frame of the waiting rows, objects and notes."""
        with self._lock:
            return 8 * self._values + self._object_bytes

    @property
    def in_use(self) -> bool:
        """Whether the current thread is inside a call: a signal handler that has interrupted that call must
        not wait."""
        return self._lock._is_owned()  # type: ignore[attr-defined, no-any-return]  # what Condition uses, too

    def take_quarantined(self) -> list[bytes]:
        """Takes the calls quarantined since the last time; see `LateCalls.take_quarantined`."""
        with self._lock:
            return self.late_calls.take_quarantined()

    def start_at(self, step: int) -> None:
        """Sets the first step, before anything is logged: a resumed run continues where it was."""
        with self._lock:
            if step > self._step:
                self._step, self._open = behind(step - 1)

    def _log_any(self, data: Mapping[str, Any], step: int | None, commit: bool | None) -> None:
        """Takes any call, by the slow path. The user's values are examined without holding the lock."""
        if not isinstance(data, Mapping):
            raise DataError(
                f"log() takes a dict, not {type(data).__name__}", detail=described(data), hint='log({"loss": 0.5})'
            )
        number = None if step is None else checked_step(step)
        commits = number is None if commit is None else checked_commit(commit)
        plain, found = (data, []) if self.media is None else self.media.split(data)
        row, at, types = converted_row(plain, self._known_keys)
        if number is None or number >= self._step or self.late_calls.keeps:  # otherwise it is refused or dropped
            found = [item.prepared() for item in found]
        call = Call(number, commits, row, at, found, types)
        if self.in_use:
            self._queued.append(call)
        else:
            self._end(self._take(call))

    def _take(self, call: Call) -> int | None:
        """Takes a call; returns the step that it has closed, if any.

        Raises:
            DataError: the row would become too large, or there is no further step.
            StepOrderError: the step has passed, and late calls are refused.
            UsageError: the stage is closed.
        """
        closed = deliver = None
        with self._lock:
            if self._closed:  # perhaps by another thread, or a signal handler, during this call
                raise UsageError(
                    "the run is finished, so log() cannot be called on it", hint="call stepwell.init() for a new run"
                )
            if self._busy:
                self._heal()
            open_step = self._step
            if call.step is not None and call.step < open_step:
                call.done = True
                if not self.late_calls.take(call, open_step):
                    return None
                deliver = partial(self._late_encoded, call, open_step)
            else:
                self._busy = True
                closed = self._add_call(call)
                self._busy = False
        if call.found and self.media is not None:  # without the lock, which is needed to empty a full queue
            self.media.put(Taken(call.found, call.taken_at, call.time, deliver))
        return closed

    def _late_encoded(self, call: Call, open_step: int, path: str, value: bytes) -> None:
        """Quarantines the JSON of a media object of a late call, and records its files with the run."""
        with self._lock:
            self.late_calls.put_aside(call, open_step, {path: value})
        for file in files_in(value):
            self.note("file", dump({**file, "name": f"quarantine/{file['path']}"}))

    def _begin(self, inside: bool) -> None:
        """Begins an operation that must see whole rows; requires the lock.

        Args:
            inside: whether this thread had the lock already, so that the enclosing call continues later.
        """
        if not inside:
            if self._busy:
                self._heal()
            self._busy = True

    def _end(self, added: int | None = None) -> None:
        """Ends a call, without holding the lock: takes the calls made from inside it, and makes room.

        Args:
            added: the step of the row that the call has closed, which may have filled the stage.
        """
        while self._queued and not self.in_use:
            call = self._queued[0]
            try:
                if not call.done:
                    self._make_way_for(self._take(call))
            except SpoolFullError:
                raise
            except Error as error:
                log.error("a log() call inside another one failed, and is lost. %s", error)
            with self._lock:
                if self._queued and self._queued[0] is call:
                    self._queued.popleft()
        self._make_way_for(added)

    def _make_way_for(self, step: int | None) -> None:
        """Waits for room if the row of `step` has filled the stage; see `Room.wait_with_row`."""
        has_room = self._values < self._max_values and self._object_bytes < self._max_object_bytes
        if step is not None and not has_room and not self.in_use:
            self.room.wait_with_row(partial(self._give_up, step))

    def _give_up(self, step: int) -> None:
        with self._lock:
            self._begin(False)
            self._remove(step)
            self._busy = False
