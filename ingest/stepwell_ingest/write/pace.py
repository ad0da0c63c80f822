"""How long senders should gather rows before they cut a frame: advice that follows from how busy this worker is.

Beside the stream, which sends it with each answer (`pace_ms`). A frame costs the server about the same whether it holds
one step or a hundred, so a busy worker asks for fewer, larger frames, and a sender whose frame is not acknowledged yet
gathers for that long. An idle worker asks for nothing: frames come 50 ms apart, as the SDK cuts them by itself.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

LEAST_MS = 50
MOST_MS = 10_000

_EVERY_S = 1.0
#: Above this share of a core, or when the loop or a batch is this late, frames should become fewer.
_BUSY, _LATE_S, _SLOW_BATCH_S = 0.6, 0.1, 0.5
#: Below this share they may become more frequent again. The gap between the two keeps the advice from swinging.
_IDLE = 0.35
_SLOWER, _QUICKER = 1.5, 1 / 1.2


class Pace:
    """The advice of one worker.

    Args:
        batch_s: how long the copiers' batches take now, in seconds.

    Attributes:
        advised_ms: for how long a sender should gather while a frame of its own is under way; 50 to 10,000.
    """

    def __init__(self, batch_s: Callable[[], float]) -> None:
        self._batch_s = batch_s
        self.advised_ms = LEAST_MS

    async def run(self) -> None:
        """Looks every second, until cancelled."""
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
            late_s: how much later than planned the loop came to this.
        """
        batch_s = self._batch_s()
        if busy > _BUSY or late_s > _LATE_S or batch_s > _SLOW_BATCH_S:
            self.advised_ms = min(MOST_MS, round(self.advised_ms * _SLOWER))
        elif busy < _IDLE and late_s < _LATE_S / 2 and batch_s < _SLOW_BATCH_S / 2:
            self.advised_ms = max(LEAST_MS, round(self.advised_ms * _QUICKER))
