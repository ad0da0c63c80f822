"""How long senders should gather rows before they cut a frame: advice that follows from how busy this worker is.

The stream sends it with each answer (`pace_ms`). A frame costs the server about the same whether it holds one step or a
hundred, so a busy worker asks for fewer, larger frames, and a sender whose frame is not acknowledged yet gathers rows
for that long. An idle worker asks for nothing, and frames arrive 50 ms apart, the SDK's default.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

LEAST_MS = 50
MOST_MS = 10_000

_EVERY_S = 1.0
#: Above this share of a core, or when the event loop is this late or a batch takes this long, senders should send fewer
#: frames.
_BUSY, _LATE_S, _SLOW_BATCH_S = 0.6, 0.1, 0.5
#: Below this share of a core, senders may send more frames again. The gap to `_BUSY` keeps the advice from oscillating.
_IDLE = 0.35
_SLOWER, _QUICKER = 1.5, 1 / 1.2


class Pace:
    """The advice of one worker.

    Args:
        batch_s: returns the current duration of the copiers' batches, in seconds.

    Attributes:
        advised_ms: how long a sender should gather rows while a frame of its own is in flight; 50 to 10,000.
    """

    def __init__(self, batch_s: Callable[[], float]) -> None:
        self._batch_s = batch_s
        self.advised_ms = LEAST_MS

    async def run(self) -> None:
        """Adapts the advice every second, until cancelled."""
        cpu_s, at = time.process_time(), time.monotonic()
        while True:
            await asyncio.sleep(_EVERY_S)
            now_cpu_s, now = time.process_time(), time.monotonic()
            self.look((now_cpu_s - cpu_s) / (now - at), now - at - _EVERY_S)
            cpu_s, at = now_cpu_s, now

    def look(self, busy: float, late_s: float) -> None:
        """Adapts the advice.

        Args:
            busy: the share of a core that this process used.
            late_s: the delay of the event loop, in seconds.
        """
        batch_s = self._batch_s()
        if busy > _BUSY or late_s > _LATE_S or batch_s > _SLOW_BATCH_S:
            self.advised_ms = min(MOST_MS, round(self.advised_ms * _SLOWER))
        elif busy < _IDLE and late_s < _LATE_S / 2 and batch_s < _SLOW_BATCH_S / 2:
            self.advised_ms = max(LEAST_MS, round(self.advised_ms * _QUICKER))
