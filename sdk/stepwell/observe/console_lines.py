"""Text that is written to a stream, as the lines that a terminal shows in the end.

Between the console's capture and its notes. In come pieces of text as they are written; out go whole lines. A carriage
return begins the line anew, so a progress bar is its last state; what is kept of one line is bounded. Pure.
"""

from __future__ import annotations

from stepwell.values.text import storable

#: Characters of one line.
MAX_LINE = 10_000


class Lines:
    """The lines of one stream."""

    def __init__(self) -> None:
        self._open = ""  # what came since the last line end
        self._cut = 0  # characters of it that are not in `_open`
        self._returned = False  # what comes next begins the line anew

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
        """The line that has not ended, if there is any of it; for the end of a run."""
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
