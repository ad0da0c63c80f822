"""What the program prints, kept with its run: stdout and stderr as notes of kind "console".

Beside the data's way. In comes what is written to `sys.stdout` and `sys.stderr`; out go notes with lines, at most every
`interval_s`. Promises:

- The streams stay the objects that they are; only their `write` is watched, and what it does, returns and raises is as
  before. A write costs the caller an append to a queue: no lock, no I/O, so it is safe in signal handlers and threads.
- What is kept is bounded, per line and per second; what is not kept is counted, and a line says so.
- At the end of the run the streams are as they were. A forked child has a console of its own, or none.

What does not go through these two objects (a C library, a child process, `sys.stdout.buffer`) is not seen.
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
#: Characters that may wait for the next note, over all streams.
MAX_WAITING = 1 << 20
#: Characters of lines that are kept: so many a second, and so many at once after a pause.
MAX_RATE_S = 64 * 1024
MAX_BURST = 512 * 1024

_STREAMS = ("stdout", "stderr")
_TAP = "_stepwell_tap"


class Console:
    """The console of one writer session.

    Args:
        note: takes the kind and the JSON of a note; may wait, and may raise one of our errors.
        interval_s: how often notes are made.
    """

    def __init__(self, note: Callable[[str, bytes], None], interval_s: float = INTERVAL_S) -> None:
        self._note = note
        self._interval_s = interval_s
        self._taps: list[tuple[_Tap, Callable[[str], None]]] = []
        self._written: deque[tuple[str, float, str]] = deque()  # appended to and taken from without a lock
        self._waiting = 0  # characters of these, about: threads may lose an addition
        self._missed = 0  # characters that had no room there
        self._lines = {name: Lines() for name in _STREAMS}
        self._budget = float(MAX_BURST)
        self._budget_at = time.monotonic()
        self._number = 0
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None
        self.dropped_lines = 0

    def start(self) -> None:
        """Watches the streams from now on."""
        for name in _STREAMS:
            stream = getattr(sys, name, None)
            if stream is None:  # a program without a console (pythonw)
                continue
            try:
                tap, sink = _Tap.on(stream), self._sink(name)
                tap.add(sink)
                self._taps.append((tap, sink))
            except (AttributeError, TypeError):  # an object that takes no attributes
                log.debug("what is written to %s is not kept: %r cannot be watched", name, type(stream).__name__)
        if self._taps:
            self._thread = threading.Thread(target=self._run, name="stepwell-console", daemon=True)
            self._thread.start()

    def stop(self) -> None:
        """Gives the streams back, and notes what is left. A second call does nothing."""
        self.detach()
        thread, self._thread = self._thread, None
        if thread is None:
            return
        self._ended.set()
        thread.join()
        self._collect(last=True)

    def detach(self) -> None:
        """Gives the streams back and nothing else: for a forked child, where the thread does not live."""
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
        for _ in range(len(self._written)):  # what comes meanwhile waits for the next time
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
        """One note for lines of one stream that follow each other."""
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
            except Error as error:  # the spool is full and must raise, which is for `log()` to do
                self.dropped_lines += len(group)
                log.debug("%d lines of the console are not kept: %s", len(group), error)


class _Tap:
    """The one `write` of ours on a stream: it tells what was written to all consoles that watch the stream now.

    Runs may overlap, and end in any order: were each to wrap the `write` of the one before it, the chain would grow
    with every run that ends before a later one does.
    """

    def __init__(self, stream: Any) -> None:
        self._stream = stream
        self._had: Any = stream.__dict__.get("write")  # of a program that watches the stream, too
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
        """That of a stream, made if there is none, or if the program has taken it away.

        Raises:
            AttributeError, TypeError: the stream takes no attributes.
        """
        tap = stream.__dict__.get(_TAP)
        return tap if isinstance(tap, _Tap) and tap._hears() else cls(stream)

    def add(self, sink: Callable[[str], None]) -> None:
        """Tells `sink`, too, from now on."""
        self._sinks = (*self._sinks, sink)

    def remove(self, sink: Callable[[str], None]) -> None:
        """No longer. Without any sink the stream is as it was, unless a program watches it on top of us."""
        self._sinks = tuple(other for other in self._sinks if other is not sink)
        if self._sinks or self._stream.__dict__.get("write") is not self._write:
            return
        delattr(self._stream, _TAP)
        if self._had is None:
            del self._stream.write
        else:
            self._stream.write = self._had

    def _hears(self) -> bool:
        """Whether what is written comes here: at once, or through a `write` that a program has put on top."""
        if self._stream.__dict__.get("write") is self._write:
            return True
        heard: list[str] = []
        self._sinks = (*self._sinks, heard.append)
        try:
            self._stream.write("")
        except Exception:  # noqa: BLE001 - a stream of any kind, closed perhaps
            return False
        finally:
            self._sinks = tuple(sink for sink in self._sinks if sink != heard.append)
        return bool(heard)
