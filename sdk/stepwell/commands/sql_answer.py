"""Reads the JSON of `POST /v1/sql` while it arrives: its columns, then batches of rows, then its end.

The answer may be far larger than what should be held in memory, so rows are decoded one by one from the text that has
arrived so far. Promises that an answer which is cut off is an error, however it was cut, and that integers keep all
digits, also inside JSON.
"""

from __future__ import annotations

import codecs
import http.client
import json
from collections.abc import Iterator
from typing import Any

from stepwell.errors import CommError, UnavailableError, from_dict
from stepwell.terminal.rows import Column

_PIECE_BYTES = 1 << 18
_BATCH_ROWS = 2000
_DECODER = json.JSONDecoder()


class SqlAnswer:
    """One answer.

    Args:
        hint: the hint for an answer that does not come from a Stepwell server.

    Attributes:
        columns: known before the first batch.
        truncated: the server had more rows than it sends; known at the end, like `hints`.
        hints: for a query that found nothing, the names in it that do not exist, each with similar names.
    """

    def __init__(self, hint: str) -> None:
        self.columns: list[Column] = []
        self.truncated = False
        self.hints: list[str] = []
        self._hint = hint
        self._text = ""
        self._at = 0
        self._decode = codecs.getincrementaldecoder("utf-8")().decode

    def read(self, reply: http.client.HTTPResponse) -> Iterator[list[list[Any]]]:
        """Yields batches of rows.

        Raises:
            UsageError: the query failed after its first rows.
            UnavailableError: the answer was cut off.
            CommError: the answer does not come from a Stepwell server.
        """
        self._expect(reply, '{"columns":')
        try:
            self.columns = [Column(str(item["name"]), str(item["type"])) for item in self._value(reply)]
        except (TypeError, KeyError) as error:
            raise self._foreign() from error
        self._expect(reply, ',"rows":[')
        rows: list[list[Any]] = []
        while self._next(reply) != "]":
            if self._text[self._at] == ",":
                self._at += 1
            rows.append(self._value(reply))
            if len(rows) == _BATCH_ROWS:
                yield rows
                rows = []
        if rows:
            yield rows
        while self._more(reply):
            pass
        self._end()

    def _end(self) -> None:
        rest = self._text[self._at + 1 :].strip()  # after the bracket
        try:
            end = json.loads("{" + rest.removeprefix(","))
        except ValueError as error:
            raise self._cut() from error
        if "error" in end:
            raise from_dict(end["error"])
        self.truncated, self.hints = bool(end.get("truncated")), [str(line) for line in end.get("hints", ())]

    def _expect(self, reply: http.client.HTTPResponse, text: str) -> None:
        while len(self._text) - self._at < len(text) and self._more(reply):
            pass
        if not self._text.startswith(text, self._at):
            raise self._foreign()
        self._at += len(text)

    def _next(self, reply: http.client.HTTPResponse) -> str:
        if self._at == len(self._text) and not self._more(reply):
            raise self._cut()
        return self._text[self._at]

    def _value(self, reply: http.client.HTTPResponse) -> Any:
        """Decodes the array that begins here."""
        while True:
            try:
                value, self._at = _DECODER.raw_decode(self._text, self._at)
                return value
            except ValueError:
                if not self._more(reply):
                    raise self._cut() from None

    def _more(self, reply: http.client.HTTPResponse) -> bool:
        """Reads the next piece of the answer; returns False at its end."""
        piece = reply.read1(_PIECE_BYTES)
        self._text, self._at = self._text[self._at :] + self._decode(piece), 0
        return bool(piece)

    def _cut(self) -> UnavailableError:
        return UnavailableError("the server's answer was cut off", hint="ask again")

    def _foreign(self) -> CommError:
        return CommError("the server's answer is not the result of a query", hint=self._hint)
