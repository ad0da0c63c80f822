"""The steps of `finish`, resumable: the next call or the exit handler completes what an exception interrupted.

Ctrl-C, an alarm or a signal handler that raises may interrupt `finish` anywhere. The exception reaches the program, and
the next call repeats the interrupted step but not the completed ones. Each step may be repeated.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable


class Ending:
    """The remaining steps of `finish`.

    Args:
        steps: all steps, in order.
    """

    def __init__(self, steps: Iterable[Callable[[], object]]) -> None:
        self._steps = deque(steps)
        self._lock = threading.RLock()
        self._running = False

    @property
    def left(self) -> bool:
        """Whether steps remain."""
        return bool(self._steps)

    @property
    def in_use(self) -> bool:
        """Whether the current thread is in `complete`: a signal handler that has interrupted it must not wait."""
        return self._lock._is_owned()  # type: ignore[attr-defined, no-any-return]  # what Condition itself uses

    def complete(self) -> None:
        """Runs the remaining steps. Other threads wait here until they are done; a call from inside a step returns at
        once."""
        with self._lock:
            if self._running:
                return
            self._running = True
            try:
                while self._steps:
                    self._steps[0]()
                    self._steps.popleft()
            finally:
                self._running = False
