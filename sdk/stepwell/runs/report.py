"""The report that a run prints to the terminal when it ends: where all logged data is."""

from __future__ import annotations

from pathlib import Path

from stepwell.delivery.account import Account
from stepwell.errors import RunDeletedError
from stepwell.runs.session import Session
from stepwell.settings import Settings
from stepwell.transport.reasons import in_plain_words


def report_of(session: Session, settings: Settings) -> str | None:
    """The report on a session that has ended; None: there is nothing to report, or another writer reports on the
    run."""
    sender, account = session.sender, session.sender.account
    files = session.blobs.report()
    if not (sender.frames_left or account.rejected or account.dropped or files or session.writer == "0"):
        return None
    error = sender.stream.last_error if sender.stream else None
    place = str(session.spool.directory) if session.spool else None
    text = report(settings.run_id, account, sender.frames_left, place, error, session.root, settings.mode == "online")
    return "\n  ".join(line for line in (text, session.blobs.balance(), files) if line)


def report(
    run_id: str,
    account: Account,
    frames_left: int,
    spool: str | None,
    error: Exception | None,
    root: Path,
    online: bool,
) -> str:
    """The report as one line, with further lines about undelivered frames.

    Args:
        run_id: the id of the run.
        account: the account of its values.
        frames_left: the number of unacknowledged frames; without values, they hold notes.
        spool: the directory of these frames.
        error: the reason why they were not delivered, if known.
        root: the directory to give to `stepwell sync`.
        online: whether the run has tried to deliver them.
    """
    text = f"run {run_id}: {account.logged:,} values logged = {account.stored:,} stored"
    if account.rejected:
        text += f" + {account.rejected:,} rejected"
        if isinstance(error, RunDeletedError):
            text += f" ({error.message})"
    if account.dropped:
        text += f" + {account.dropped:,} dropped"
    if account.left or frames_left:
        text += f" + {account.left:,} in {spool}" if account.left else f"; notes, such as its config, are in {spool}"
        if online:
            text += f"\n  not delivered: {in_plain_words(error)}"
        text += f"\n  deliver them with: stepwell sync {root}"
    return text
