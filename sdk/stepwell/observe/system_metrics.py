"""System metrics: the load of the host, of its GPUs and of this process during the run, as a separate series.

Off the data path. Measures in a thread of its own, every `interval_s`, and emits notes of kind "system". They belong to
no step and do not affect the steps, summary and counts of the run. SQL shows them in the view `system`. The thread ends
with the run and keeps no process alive. A probe that fails is not used again; the others continue.
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

#: The time before the first measurement: short, so that short runs have one.
FIRST_S = 2.0
#: How long `finish` waits for a measurement in progress: a driver may hang.
_PATIENCE_S = 1.0


class SystemMetrics:
    """The measurements of one writer session.

    Args:
        note: receives the kind and the JSON of a note.
        probes: factories of probes, by name; called in the thread.
        interval_s: the time between measurements.
        first_s: the time before the first measurement.
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
        """Starts to measure.

        Raises:
            RuntimeError: no thread can be started.
        """
        self._thread.start()

    def stop(self) -> None:
        """Stops; a measurement in progress is left out if it takes long."""
        self._ended.set()
        if self._thread.is_alive():
            self._thread.join(_PATIENCE_S)

    def _run(self) -> None:
        for name, maker in self._makers.items():
            try:
                self._probes[name] = maker()
            except Exception as error:  # noqa: BLE001 - missing libraries and drivers raise all kinds of exceptions
                log.debug("%s: not measured (%s: %s)", name, type(error).__name__, error)
        wait_s = self._first_s
        while not self._ended.wait(wait_s):
            wait_s = self._interval_s
            numbers = self._measure()
            if not numbers or self._ended.is_set():
                continue
            try:
                self._note("system", dump({"time": time.time(), "metrics": numbers}))
            except Exception as error:  # noqa: BLE001 - a full spool raises in `log()`, if it should
                log.debug("a measurement of the system is not kept: %s", error)

    def _measure(self) -> Numbers:
        out: Numbers = {}
        for name, probe in list(self._probes.items()):
            try:
                out |= {key: float(value) for key, value in probe().items() if math.isfinite(value)}
            except Exception as error:  # noqa: BLE001 - exceptions of drivers and systems have no common class
                log.debug("%s: no longer measured (%s: %s)", name, type(error).__name__, error)
                del self._probes[name]
        return out
