"""Calls for a step that has passed: dropped with a warning, refused, or quarantined.

Part of the stage, which holds its lock while it uses this module. Receives calls; returns counts, and the quarantined
calls as JSON lines. The memory for quarantined calls is bounded. Pure apart from the warning.
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

_ADVICE = "To plot against another number, log that number as a metric, and make it the x-axis with define_metric."


class LateCalls:
    """Handles late calls, and counts them.

    Args:
        how: see `Settings.step_back`.
        max_bytes: the most bytes that may wait to be written to the quarantine; beyond it, calls are dropped.

    Attributes:
        dropped, quarantined: the number of calls that were dropped or quarantined.
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
        """Whether calls are quarantined, so that their media must be encoded."""
        return self._how == "quarantine"

    def take(self, call: Call, open_step: int) -> bool:
        """Handles one call; returns whether it was quarantined.

        Raises:
            StepOrderError: late calls are refused.
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
        """Keeps values of a late call for the quarantine: its plain values, or media that have been encoded since."""
        plain = {key: value.decode() if isinstance(value, bytes) else value for key, value in values.items()}
        line = {"step": call.step, "time": call.time, "open_step": open_step, "values": plain}
        self._waiting.append(json.dumps(line).encode())
        self._waiting_bytes += len(self._waiting[-1])

    def take_quarantined(self) -> list[bytes]:
        """Takes the calls quarantined since the last time, as JSON: step, time, open_step, values."""
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
