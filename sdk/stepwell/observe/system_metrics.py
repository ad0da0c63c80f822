"""System metrics: what the host, this process and its GPUs do while the run goes on, as a stream of their own.

Beside the data's way. Measures in a thread of its own, every `interval_s`; out go notes of kind "system", which belong
to no step: steps, summary and counts of the run do not know them. SQL has them in the view `system`. The thread ends
with the run, keeps no process alive, and whatever fails in it costs the run nothing but that measurement.
"""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Callable, Mapping

from stepwell.observe.system_probes import Numbers, Probe
from stepwell.values.text import dump

log = logging.getLogger("stepwell")

#: The first measurement comes soon, so that short runs have one.
FIRST_S = 2.0
#: A driver that hangs must not hold `finish` up.
_PATIENCE_S = 1.0


class SystemMetrics:
    """The measurements of one writer session.

    Args:
        note: takes the kind and the JSON of a note.
        probes: makers of what is measured, by name; called in the thread.
        interval_s: how often.
        first_s: when the first time.
    """

    def __init__(
        self,
        note: Callable[[str, bytes], None],
        probes: Mapping[str, Callable[[], Probe]],
        interval_s: float,
        first_s: float = FIRST_S,
    ) -> None:
        self._note = note
        self._makers = probes
        self._interval_s = interval_s
        self._first_s = min(first_s, interval_s)
        self._probes: dict[str, Probe] = {}
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="stepwell-system", daemon=True)

    def start(self) -> None:
        """Begins to measure.

        Raises:
            RuntimeError: no thread can be started.
        """
        self._thread.start()

    def stop(self) -> None:
        """Ends it; what is being measured now is left out if it takes long."""
        self._ended.set()
        if self._thread.is_alive():
            self._thread.join(_PATIENCE_S)

    def _run(self) -> None:
        for name, maker in self._makers.items():
            try:
                self._probes[name] = maker()
            except Exception as error:  # noqa: BLE001 - libraries and drivers that are missing, in any way
                log.debug("%s: not measured (%s: %s)", name, type(error).__name__, error)
        wait_s = self._first_s
        while not self._ended.wait(wait_s):
            wait_s = self._interval_s
            numbers = self._measure()
            if not numbers or self._ended.is_set():
                continue
            try:
                self._note("system", dump({"time": time.time(), "metrics": numbers}))
            except Exception as error:  # noqa: BLE001 - a full spool that must raise does so in `log()`
                log.debug("a measurement of the system is not kept: %s", error)

    def _measure(self) -> Numbers:
        out: Numbers = {}
        for name, probe in list(self._probes.items()):
            try:
                out |= {key: float(value) for key, value in probe().items() if math.isfinite(value)}
            except Exception as error:  # noqa: BLE001 - what drivers and systems raise has no common class
                log.debug("%s: not measured any more (%s: %s)", name, type(error).__name__, error)
                del self._probes[name]
        return out
