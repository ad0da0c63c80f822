"""The data of the stage: the open step, the closed rows and the latest values, and the changes that calls make to them.

Sits below the stage (`stage.py`), which serialises access. Receives checked and converted calls; returns a `Cut`. Any
change may be interrupted between two instructions, usually by Ctrl-C, and rows stay whole: a row is appended first and
counts only once `_step` is greater than its step. One assignment stores the new step and the new open row, which were
computed before, and Python runs no other code between these two stores. `_heal` removes the remains of an interrupted
change. No lock, no I/O.
"""

from __future__ import annotations

from stepwell.errors import DataError
from stepwell.stage.call import Call, KnownKeys
from stepwell.stage.latest import Latest
from stepwell.stage.plan import Completion, LongRow, Plan, ShortRow, TakenRows
from stepwell.stage.plans import Plans
from stepwell.stage.row import Row, bytes_of
from stepwell.wire import MAX_STEP, Object

#: From this step on, an empty row is opened after each closed one, so that calls take the slow path, which checks for
#: the last possible step. So the fast path needs no such check.
FAR = 2**62


class Rows:
    """The open step and the closed rows of one writer.

    Args:
        first_step: the first step of the writer.
    """

    def __init__(self, first_step: int) -> None:
        self._step = first_step
        self._open: ShortRow | LongRow | None = None  # the row of the open step
        self._plans = Plans()
        self._plan = Plan(())  # the plan of the last call
        self._latest = Latest()
        self._completion: Completion | None = None
        self._values = 0  # the number of waiting numbers, over all plans
        self._objects: list[Object] = []
        self._objects_seen = 0  # how many of the objects `_latest` knows
        self._object_bytes = 0  # the size of objects and notes
        self._notes: list[Object] = []
        self._known_keys = KnownKeys()

    def _add_call(self, call: Call) -> int | None:
        """Takes a call whose step has not passed, by the rules of steps and commits; returns the step that it closed.

        Raises:
            DataError: the row would become too large, or there is no further step. The caller must then call `_heal`.
        """
        number = self._step if call.step is None else call.step
        row = call.row
        closed = None
        if number > self._step:
            closed = self._close()
        elif self._open is not None:
            row = _as_row(self._open)
            if call.found:  # the later value of a key wins, even if it is a picture
                row = row.without({item.path for item in call.found})
            row = row.merged(call.row)
        if number > MAX_STEP:
            raise DataError(
                "the largest possible step has already been closed",
                detail=f"step {MAX_STEP} is closed",
                hint="start another run, with smaller step numbers",
            )
        plan = self._plan
        if call.types is not None and len(row.values) == len(call.types):
            plan = self._plans.of(tuple(row.values))
            plan.remember(call.types)
        if call.commit:
            self._add_row(number, row, call.time)
            closed = number
            step, opened = behind(number)
        else:
            step, opened = number, LongRow(row, call.time)
        call.taken_at = number
        self._step, self._open, self._plan, call.done = step, opened, plan, True
        return closed

    def _close(self) -> int | None:
        """Appends the open row, if it has any key; returns its step. The row counts once `_step` moves on."""
        opened = self._open
        if opened is None:
            return None
        if isinstance(opened, ShortRow) and self._completion is None:
            if opened.values:
                self._values += len(opened.values)
                opened.plan.add(self._step, opened.time, opened.values)
                return self._step
        elif (row := _as_row(opened)).values:
            self._add_row(self._step, row, opened.time)
            return self._step
        return None

    def _add_row(self, step: int, row: Row, at: float) -> None:
        """Appends a row: its numbers to their plan, the rest to the objects. The row counts once `_step` moves on."""
        values = row.values
        if self._completion is not None:
            values = dict(values)
            self._completion.complete(values)
        numbers = {key: value for key, value in values.items() if type(value) is float}
        if len(numbers) < len(values):
            time_us = round(at * 1e6)
            objects = [Object(step, time_us, key, value) for key, value in values.items() if type(value) is bytes]
            self._objects += objects
            self._object_bytes += bytes_of(objects)
        self._values += len(numbers)
        self._plans.of(tuple(numbers)).add(step, at, numbers.values())

    def _remove(self, step: int) -> None:
        """Removes a closed row that has not been cut."""
        for plan in self._plans:
            plan.remove(step)
        objects = [item for item in self._objects if item.step != step]
        self._objects, self._objects_seen = objects, min(self._objects_seen, len(objects))
        self._count()

    def _heal(self) -> None:
        """Removes the remains of an interrupted change: rows that do not count."""
        for plan in self._plans:
            plan.drop_from(self._step)
        while self._objects and self._objects[-1].step >= self._step:
            self._objects.pop()
        self._objects_seen = min(self._objects_seen, len(self._objects))
        self._count()

    def _count(self) -> None:
        self._values = sum(len(plan.values) for plan in self._plans)
        self._object_bytes = bytes_of(self._objects) + bytes_of(self._notes)

    def _see_objects(self) -> None:
        """Tells `_latest` about new objects."""
        self._latest.saw(self._objects[self._objects_seen :])
        self._objects_seen = len(self._objects)

    def _take_all(self) -> tuple[list[TakenRows], list[Object], list[Object]]:
        """Takes all closed rows, their objects, and all notes."""
        self._see_objects()
        waiting = self._plans.waiting()
        for plan in waiting:
            self._latest.count(plan)
        taken = [plan.take() for plan in waiting]
        objects, notes = self._objects, self._notes
        self._objects, self._notes = [], []
        self._values = self._objects_seen = self._object_bytes = 0
        kept = self._open.plan if isinstance(self._open, ShortRow) else None  # its row has yet to be appended
        if gone := self._plans.forget(kept):
            self._latest.keep(gone)
            self._plan = Plan(())
        return taken, objects, notes


def behind(step: int) -> tuple[int, LongRow | None]:
    """The step after a closed one, and its open row, if any."""
    return step + 1, (None if step + 1 < FAR else LongRow(Row(), 0.0))


def _as_row(opened: ShortRow | LongRow) -> Row:
    return opened.row if isinstance(opened, LongRow) else Row(dict(zip(opened.plan.keys, opened.values, strict=True)))
