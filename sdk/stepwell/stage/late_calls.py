"""Calls for a step that has passed: dropped with a warning, refused, or put aside.

Beside the stage, which calls these with its lock held. In comes what such a call wanted to log; out go counts, and as
JSON what was put aside. What is kept is bounded. Pure but for the warning.
"""

from __future__ import annotations

import json
import logging

from stepwell.errors import StepOrderError
from stepwell.settings import StepBack
from stepwell.stage.row import flatten
from stepwell.values.convert import Converted

log = logging.getLogger("stepwell")

_ADVICE = "To plot against another number, log it as a metric and name it with define_metric."


class LateCalls:
    """What became of such calls.

    Args:
        how: see `Settings.step_back`.
        max_bytes: what may wait to be written to the quarantine; beyond it, calls are dropped.
    """

    def __init__(self, how: StepBack, max_bytes: int) -> None:
        self.dropped = 0
        self.quarantined = 0
        self._how = how
        self._max_bytes = max_bytes
        self._waiting: list[bytes] = []
        self._waiting_bytes = 0

    def take(self, step: int, open_step: int, row: dict[str, Converted], at: float) -> None:
        """One call.

        Raises:
            StepOrderError: it is to be refused.
        """
        if self._how == "raise":
            raise StepOrderError(
                f"log(step={step}) came too late: the run is at step {open_step} already, and steps must increase",
                hint=_ADVICE,
            )
        if self._how == "quarantine" and self._waiting_bytes < self._max_bytes:
            flat: dict[str, float | bytes] = {}
            flatten(row, "", flat)
            values = {key: value.decode() if isinstance(value, bytes) else value for key, value in flat.items()}
            text = json.dumps({"step": step, "time": at, "open_step": open_step, "values": values}).encode()
            self._waiting.append(text)
            self._waiting_bytes += len(text)
            self.quarantined += 1
            return
        self.dropped += 1
        if self.dropped <= 10 or self.dropped % 1000 == 0:
            log.warning(
                "log(step=%d) was dropped: the run is at step %d already, and steps must increase. %s%s",
                *(step, open_step, _ADVICE, f" ({self.dropped} calls dropped so far)" if self.dropped > 1 else ""),
            )

    def take_quarantined(self) -> list[bytes]:
        """Calls that were put aside since the last time, as JSON: step, time, open_step, values."""
        taken, self._waiting, self._waiting_bytes = self._waiting, [], 0
        return taken
