"""Captures the program's output: records stdout and stderr as notes of kind "console".

Off the data path. Receives text that is written to `sys.stdout` and `sys.stderr`; emits notes with lines, at most every
`interval_s`. Promises:

- The streams stay the same objects; only their `write` is wrapped, and its effect, result and exceptions stay the same.
  A write costs the caller an append to a queue: no lock, no I/O, so it is safe in signal handlers and threads.
- The amount of kept text is bounded, per line and per second; the rest is counted, and a line says so.
- At the end of the run the streams are restored. A forked child has a console of its own, or none.

Output that bypasses these two objects (from a C library or a child process, or through `sys.stdout.buffer`) is not
captured.
"""

from __future__ import annotations

import logging
import sys
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any

from stepwell.errors import Error
from stepwell.observe.console_lines import Lines
from stepwell.values.text import dump

log = logging.getLogger("stepwell")

INTERVAL_S = 2.0
#: The most characters that may wait for the next note, in both streams together.
MAX_WAITING = 1 << 20
#: The most characters kept per second, on average.
MAX_RATE_S = 64 * 1024
#: The most characters kept at once, after a pause.
MAX_BURST = 512 * 1024

_STREAMS = ("stdout", "stderr")
_TAP = "_stepwell_tap"


class Console:
    """The console of one writer session.

    Args:
        note: receives the kind and the JSON of a note; may wait, and may raise a Stepwell error.
        interval_s: how often notes are sent.
    """

    def __init__(self, note: Callable[[str, bytes], None], interval_s: float = INTERVAL_S) -> None:
        self._note = note
        self._interval_s = interval_s
        self._taps: list[tuple[_Tap, Callable[[str], None]]] = []
        self._written: deque[tuple[str, float, str]] = deque()  # used without a lock
        self._waiting = 0  # the approximate number of waiting characters: threads may lose an addition
        self._missed = 0  # characters for which there was no room
        self._lines = {name: Lines() for name in _STREAMS}
        self._budget = float(MAX_BURST)
        self._budget_at = time.monotonic()
        self._number = 0
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None
        self.dropped_lines = 0

    def start(self) -> None:
        """Starts to watch the streams."""
        for name in _STREAMS:
            stream = getattr(sys, name, None)
            if stream is None:  # a program without a console (pythonw)
                continue
            try:
                tap, sink = _Tap.on(stream), self._sink(name)
                tap.add(sink)
                self._taps.append((tap, sink))
            except (AttributeError, TypeError):  # an object without assignable attributes
                log.debug("output to %s is not recorded: %r cannot be watched", name, type(stream).__name__)
        if self._taps:
            self._thread = threading.Thread(target=self._run, name="stepwell-console", daemon=True)
            self._thread.start()

    def stop(self) -> None:
        """Restores the streams, and sends the remaining lines. A second call does nothing."""
        self.detach()
        thread, self._thread = self._thread, None
        if thread is None:
            return
        self._ended.set()
        thread.join()
        self._collect(last=True)

    def detach(self) -> None:
        """Only restores the streams, for a forked child, where the thread does not run."""
        for tap, sink in self._taps:
            tap.remove(sink)
        self._taps = []

    def _sink(self, name: str) -> Callable[[str], None]:
        def sink(text: str) -> None:
            if self._waiting > MAX_WAITING:
                self._missed += len(text)
                return
            self._waiting += len(text)
            self._written.append((name, time.time(), text))

        return sink

    def _run(self) -> None:
        while not self._ended.wait(self._interval_s):
            self._collect()

    def _collect(self, last: bool = False) -> None:
        lines: list[tuple[str, float, str]] = []
        taken = 0
        for _ in range(len(self._written)):  # text that arrives meanwhile waits for the next time
            name, at, text = self._written.popleft()
            taken += len(text)
            lines += [(name, at, line) for line in self._lines[name].feed(text)]
        self._waiting = max(0, self._waiting - taken) if self._written else 0
        missed, self._missed = self._missed, 0
        if last or missed:
            now = time.time()
            lines += [(name, now, line) for name, stream in self._lines.items() for line in stream.rest()]
        kept, dropped = self._within_budget(lines)
        if missed or dropped:
            self.dropped_lines += len(dropped)
            characters = missed + sum(len(line) for _, _, line in dropped)
            said = f"[stepwell: {characters:,} characters were written too fast, and are not kept here]"
            kept.append(("stderr", time.time(), said))
        self._hand_on(kept)

    def _within_budget(
        self, lines: list[tuple[str, float, str]]
    ) -> tuple[list[tuple[str, float, str]], list[tuple[str, float, str]]]:
        now = time.monotonic()
        self._budget = min(MAX_BURST, self._budget + (now - self._budget_at) * MAX_RATE_S)
        self._budget_at = now
        for index, (_, _, line) in enumerate(lines):
            self._budget -= len(line) + 1
            if self._budget < 0:
                self._budget = 0.0
                return lines[:index], lines[index:]
        return lines, []

    def _hand_on(self, lines: list[tuple[str, float, str]]) -> None:
        """Sends one note for each group of consecutive lines of the same stream."""
        start = 0
        for end in range(1, len(lines) + 1):
            if end < len(lines) and lines[end][0] == lines[start][0]:
                continue
            group = lines[start:end]
            note = {
                "stream": group[0][0],
                "number": self._number,
                "times": [round(at, 3) for _, at, _ in group],
                "lines": [line for _, _, line in group],
            }
            start = end
            self._number += len(group)
            try:
                self._note("console", dump(note))
            except Error as error:  # the spool is full and `spool_full` is "raise": only `log()` raises for that
                self.dropped_lines += len(group)
                log.debug("%d console lines are not kept: %s", len(group), error)


class _Tap:
    """Our wrapper of a stream's `write`: it passes the text to all consoles that currently watch the stream.

    Runs may overlap, and end in any order: if each wrapped the `write` of the one before it, the chain would grow with
    every run that ends before a later one does.
    """

    def __init__(self, stream: Any) -> None:
        self._stream = stream
        self._had: Any = stream.__dict__.get("write")  # set by a program that also watches the stream
        self._sinks: tuple[Callable[[str], None], ...] = ()
        original = stream.write

        def write(*arguments: Any, **named: Any) -> Any:
            written = original(*arguments, **named)
            if arguments and isinstance(arguments[0], str):
                for sink in self._sinks:
                    sink(arguments[0])
            return written

        self._write = write
        stream.write = write
        setattr(stream, _TAP, self)

    @classmethod
    def on(cls, stream: Any) -> _Tap:
        """The wrapper of a stream, created if there is none, or if the program has removed it.

        Raises:
            AttributeError, TypeError: the stream has no assignable attributes.
        """
        tap = stream.__dict__.get(_TAP)
        return tap if isinstance(tap, _Tap) and tap._hears() else cls(stream)

    def add(self, sink: Callable[[str], None]) -> None:
        """Starts to pass text to `sink`."""
        self._sinks = (*self._sinks, sink)

    def remove(self, sink: Callable[[str], None]) -> None:
        """Stops passing text to `sink`. Without any sink the stream is restored, unless a program has wrapped our
        `write`."""
        self._sinks = tuple(other for other in self._sinks if other is not sink)
        if self._sinks or self._stream.__dict__.get("write") is not self._write:
            return
        delattr(self._stream, _TAP)
        if self._had is None:
            del self._stream.write
        else:
            self._stream.write = self._had

    def _hears(self) -> bool:
        """Whether written text arrives here, directly or through a `write` with which a program has wrapped ours."""
        if self._stream.__dict__.get("write") is self._write:
            return True
        heard: list[str] = []
        self._sinks = (*self._sinks, heard.append)
        try:
            self._stream.write("")
        except Exception:  # noqa: BLE001 - the stream may be of any kind, or closed
            return False
        finally:
            self._sinks = tuple(sink for sink in self._sinks if sink != heard.append)
        return bool(heard)
