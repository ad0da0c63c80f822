"""Postgres' errors as ours: one table, from SQLSTATE to what the caller should do.

The only place that knows which errors of the database pass by themselves (retryable) and which come from the data.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import asyncpg

from stepwell.errors import Error, UnavailableError

#: Classes of SQLSTATE that the rows of a COPY can cause (data exceptions, integrity, limits such as stack depth).
#: Anything else is the state of the server and passes.
_CAUSED_BY_ROWS = ("22", "23", "54")


def caused_by_rows(error: BaseException) -> bool:
    """Whether the rows themselves made Postgres refuse, so that trying again cannot help."""
    return isinstance(error, asyncpg.PostgresError) and (error.sqlstate or "").startswith(_CAUSED_BY_ROWS)


def is_missing_partition(error: BaseException) -> bool:
    """Whether a row has no partition to go to: a check violation that names no constraint. Passes when one is made."""
    return isinstance(error, asyncpg.CheckViolationError) and not error.constraint_name


def no_partition(error: BaseException) -> UnavailableError:
    """What a missing partition means for whoever waits."""
    return UnavailableError(
        "there is no partition for this run",
        detail=str(error)[:500],
        hint="was a month of history dropped? SELECT stepwell.ensure_partitions_v1(month, 1) makes it again",
    )


@contextmanager
def postgres_errors(doing: str) -> Iterator[None]:
    """Turns what asyncpg raises into `UnavailableError`; our own errors and those of the rows go through.

    Args:
        doing: what was tried, for the message.
    """
    try:
        yield
    except Error:
        raise
    except (
        *(asyncpg.PostgresError, asyncpg.InterfaceError, OSError, TimeoutError),
        asyncpg.InternalClientError,  # what asyncpg may raise when the server ends a connection between two messages
    ) as error:
        if caused_by_rows(error):
            raise
        text = str(error)[:500]  # some servers send many kilobytes
        raise UnavailableError(
            f"Postgres could not {doing}",
            detail=f"{type(error).__name__}: {text}" if text else type(error).__name__,
            hint="this passes when Postgres is back; the spool keeps the frames until then",
        ) from error
