"""Maps Postgres' errors to Stepwell's, with one table from SQLSTATE to a hint.

The only place that knows which errors of the database are temporary, which ones come from the data, and which ones
require an administrator. Used by everything in the server that sends statements.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import asyncpg

from stepwell.errors import Error, UnavailableError

#: Classes of SQLSTATE that the rows of a COPY can cause (data exceptions, integrity, limits such as stack depth).
#: Anything else is due to the state of the server.
_CAUSED_BY_ROWS = ("22", "23", "54")

#: Undefined names, wrong types, syntax errors, features that this version of Postgres lacks, bugs in Postgres.
_MISTAKES = ("42", "0A", "21", "26", "34", "3F", "P0", "XX")
_MISTAKE = (
    "trying again does not help: this is a bug in Stepwell, or somebody changed its schema. Restart the server, which "
    "puts its functions and views in place again; if the error stays, please report it"
)

#: Hints by the beginning of the SQLSTATE; the first match counts.
_HINTS = {
    "42501": "grant the server's role what is missing; it should own the schema stepwell and everything in it",
    "25006": "Postgres accepts no writes: it is a standby, or default_transaction_read_only is on",
    "53100": "the disk of Postgres is full: free some space",
    "53": "Postgres is short of memory or connections: give it more, or reduce its load",
    **dict.fromkeys(_MISTAKES, _MISTAKE),
}
_PASSES = "tries succeed again as soon as Postgres is reachable"


def caused_by_rows(error: BaseException) -> bool:
    """Returns whether the rows themselves caused the error, so that a retry cannot help."""
    return isinstance(error, asyncpg.PostgresError) and (error.sqlstate or "").startswith(_CAUSED_BY_ROWS)


def is_missing_partition(error: BaseException) -> bool:
    """Returns whether the error says that a row has no partition: it is a check violation that names no constraint."""
    return isinstance(error, asyncpg.CheckViolationError) and not error.constraint_name


def no_partition(error: BaseException) -> UnavailableError:
    """The error for a row without a partition."""
    return UnavailableError(
        "there is no partition for this run",
        detail=str(error)[:500],
        hint="was a month of history dropped? SELECT stepwell.ensure_partitions_v1(month, 1) creates it again",
    )


def hint_for(error: BaseException) -> str:
    """The hint for an error of Postgres or of the connection to it.

    The hint says that the error will pass only if waiting can help, and not for bugs such as a missing function.
    """
    state = (error.sqlstate or "") if isinstance(error, asyncpg.PostgresError) else ""
    return next((hint for prefix, hint in _HINTS.items() if state.startswith(prefix)), _PASSES)


@contextmanager
def postgres_errors(doing: str) -> Iterator[None]:
    """Turns asyncpg's exceptions into `UnavailableError`; Stepwell's errors and errors caused by rows pass through.

    Args:
        doing: the action, for the message "Postgres could not {doing}".
    """
    try:
        yield
    except Error:
        raise
    except (
        *(asyncpg.PostgresError, asyncpg.InterfaceError, OSError, TimeoutError),
        asyncpg.InternalClientError,  # may be raised when the server ends a connection between two messages
    ) as error:
        if caused_by_rows(error):
            raise
        text = str(error)[:500]  # some servers send many kilobytes
        raise UnavailableError(
            f"Postgres could not {doing}",
            detail=f"{type(error).__name__}: {text}" if text else type(error).__name__,
            hint=f"{hint_for(error)}. Meanwhile, frames stay in their spools",
        ) from error
