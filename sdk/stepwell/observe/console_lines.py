"""Turns text written to a stream into the lines that a terminal finally shows.

Sits between the console's capture and its notes. Receives text in arbitrary pieces; returns whole lines. A carriage
return restarts the line, so a progress bar is reduced to its last state; the length kept per line is bounded. Pure.
"""

from __future__ import annotations

from stepwell.values.text import storable

#: The most characters of one line.
MAX_LINE = 10_000


class Lines:
    """The lines of one stream."""

    def __init__(self) -> None:
        self._open = ""  # the text since the last line end
        self._cut = 0  # the number of further characters since then, which are not kept
        self._returned = False  # whether the next text restarts the line

    def feed(self, text: str) -> list[str]:
        """The lines that end in `text`."""
        first, *others = text.split("\n")
        self._add(first)
        done = []
        for other in others:
            done.append(self._take())
            self._add(other)
        return done

    def rest(self) -> list[str]:
        """The unfinished line, if there is one; for the end of a run."""
        line = self._take()
        return [line] if line else []

    def _add(self, text: str) -> None:
        for index, part in enumerate(text.split("\r")):
            if index:
                self._returned = True
            if not part:
                continue
            if self._returned:
                self._open, self._cut, self._returned = "", 0, False
            taken = part[: MAX_LINE - len(self._open)]
            self._open += taken
            self._cut += len(part) - len(taken)

    def _take(self) -> str:
        line, cut = self._open, self._cut
        self._open, self._cut, self._returned = "", 0, False
        if cut:
            line += f" … ({cut:,} characters are not kept)"
        return storable(line)
