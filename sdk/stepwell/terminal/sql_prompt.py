"""The prompt of `stepwell sql`: reads statements at a terminal and passes them on, one at a time.

Does not know where a statement is run. Promises that an error or Ctrl-C ends only the statement, never the prompt.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable

from stepwell.errors import Error
from stepwell.terminal.display import describe

_HELP_WORDS = ("help", "\\h", "\\?", "?")
_HELP = r"""A query may take several lines, and ends with a semicolon; Ctrl-C drops what was typed so far.

  SELECT run, display_name, state, points FROM runs ORDER BY created_at DESC LIMIT 10;
  SELECT step, value FROM history WHERE run = 'RUN' AND metric = 'train/loss' ORDER BY step LIMIT 20;
  SELECT key, value FROM summary WHERE run = 'RUN';

\d   lists the views and their columns; docs/sql.md describes them
\q   quits, as Ctrl-D does"""
_VIEWS = """SELECT c.relname AS view, string_agg(a.attname, ', ' ORDER BY a.attnum) AS columns
FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0
WHERE c.relnamespace = 'stepwell'::regnamespace AND c.relkind = 'v' GROUP BY 1 ORDER BY 1;"""


class SqlPrompt:
    """Reads statements until Ctrl-D.

    Args:
        ask: runs a statement and prints its rows. May raise `Error`, and KeyboardInterrupt for Ctrl-C.
    """

    def __init__(self, ask: Callable[[str], None]) -> None:
        self._ask = ask

    def run(self) -> None:
        """Reads, asks and prints until the input ends."""
        with contextlib.suppress(ImportError):
            import readline  # noqa: F401 - gives input() its line editing and history
        print("End each query with a semicolon. \\d lists the views, help says more, \\q or Ctrl-D quits.")
        lines: list[str] = []
        while True:
            try:
                line = input("stepwell> " if not lines else "     ...> ")
            except EOFError:
                print()
                return
            except KeyboardInterrupt:
                print()
                lines = []
                continue
            word = line.strip().rstrip(";").strip().lower() if not lines else ""
            if word in ("\\q", "exit", "quit"):
                return
            if word in _HELP_WORDS:
                print(_HELP)
                continue
            lines.append(_VIEWS if word == "\\d" else line)
            query = "\n".join(lines)
            if not query.strip():
                lines = []
            elif query.rstrip().endswith(";"):
                lines = []
                self._answer(query)

    def _answer(self, query: str) -> None:
        try:
            self._ask(query)
        except Error as error:
            print(describe(error), end="", file=sys.stderr)
        except KeyboardInterrupt:
            print("cancelled", file=sys.stderr)
