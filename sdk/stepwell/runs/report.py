"""The last words of a run to the person at the terminal: where everything is that was logged. Pure."""

from __future__ import annotations

from pathlib import Path

from stepwell.delivery.account import Account
from stepwell.errors import Error, RunDeletedError


def report(
    run_id: str,
    account: Account,
    frames_left: int,
    spool: str | None,
    error: Exception | None,
    root: Path,
    online: bool,
) -> str:
    """One line, and what to do about what is left.

    Args:
        frames_left: not acknowledged; when they hold no values, they hold notes.
        spool: where it is left.
        error: why it was not delivered, if anybody knows.
        root: the directory to give to `stepwell sync`.
    """
    text = f"run {run_id}: {account.logged:,} values logged = {account.stored:,} stored"
    if account.rejected:
        text += f" + {account.rejected:,} rejected"
        if isinstance(error, RunDeletedError):
            text += f" ({error.message})"
    if account.dropped:
        text += f" + {account.dropped:,} dropped"
    if account.left or frames_left:
        text += f" + {account.left:,} in {spool}" if account.left else f"; its summary or config are in {spool}"
        if online:
            text += f"\n  not delivered: {_first_line(error)}"
        text += f"\n  deliver them with: stepwell sync {root}"
    return text


def _first_line(error: Exception | None) -> str:
    if error is None:
        return "the server did not answer"
    text = str(error).split("\n")[0] or type(error).__name__
    return text if isinstance(error, Error) else f"{type(error).__name__}: {text}"
