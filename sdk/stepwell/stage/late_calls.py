"""Calls for a step that has passed: dropped with a warning, refused, or put aside.

Beside the stage, which calls these with its lock held. Receives calls; returns counts, and as JSON lines what was put
aside. What is kept is bounded. Pure but for the warning.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Mapping
from typing import Any

import orjson

from stepwell.errors import StepOrderError
from stepwell.settings import StepBack
from stepwell.stage.call import Call

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

    @property
    def keeps(self) -> bool:
        """Whether calls are put aside, so that their media must be encoded."""
        return self._how == "quarantine"

    def take(self, call: Call, open_step: int) -> bool:
        """One call; returns whether it was put aside.

        Raises:
            StepOrderError: it is to be refused.
        """
        step = call.step
        if self._how == "raise":
            raise StepOrderError(
                f"log(step={step}) came too late: the run is at step {open_step} already, and steps must increase",
                hint=_ADVICE,
            )
        if self.keeps and self._waiting_bytes < self._max_bytes:
            self.put_aside(call, open_step, call.row.values)
            self.quarantined += 1
            return True
        self.dropped += 1
        if self.dropped <= 10 or self.dropped % 1000 == 0:
            log.warning(
                "log(step=%d) was dropped: the run is at step %d already, and steps must increase. %s%s",
                *(step, open_step, _ADVICE, f" ({self.dropped} calls dropped so far)" if self.dropped > 1 else ""),
            )
        return False

    def put_aside(self, call: Call, open_step: int, values: Mapping[str, float | bytes]) -> None:
        """Keeps values of a late call: those that it came with, or media that are encoded by now."""
        plain = {key: value.decode() if isinstance(value, bytes) else value for key, value in values.items()}
        line = {"step": call.step, "time": call.time, "open_step": open_step, "values": plain}
        self._waiting.append(json.dumps(line).encode())
        self._waiting_bytes += len(self._waiting[-1])

    def take_quarantined(self) -> list[bytes]:
        """Calls that were put aside since the last time, as JSON: step, time, open_step, values."""
        taken, self._waiting, self._waiting_bytes = self._waiting, [], 0
        return taken


def files_in(value: bytes) -> Iterator[dict[str, Any]]:
    """The files that the JSON of a media object names: path, sha256 and size of each."""
    parts: list[Any] = [orjson.loads(value)]
    while parts:
        part = parts.pop()
        if isinstance(part, dict):
            if {"path", "sha256", "size"} <= part.keys():
                yield part
            parts += part.values()
        elif isinstance(part, list):
            parts += part
