"""Determines where a resumed, rewound or forked run continues, by asking the server and waiting for its answer.

Runs inside `init`, in the caller's thread.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from stepwell.errors import UnavailableError
from stepwell.runs.session import Session
from stepwell.settings import Settings

log = logging.getLogger("stepwell")


def where_to_continue(session: Session, settings: Settings) -> Mapping[str, Any]:
    """Returns the server's answer to the attach message of `session`; empty in offline mode.

    Raises:
        UsageError: the run exists and must not, or does not exist and must.
        UnavailableError: the server does not answer in `Timeouts.resume_s`.
    """
    if settings.mode == "offline":
        log.warning("an offline run starts at step 0: there is no server to ask for its last step")
        return {}
    try:
        return session.sender.wait_attached(settings.timeouts.resume_s)
    except TimeoutError as error:
        raise UnavailableError(
            f"the server did not say within {settings.timeouts.resume_s:g} s where run {settings.run_id} continues",
            detail=settings.url,
            hint="a run can only be resumed, rewound or forked while the server answers",
        ) from error


def how_it_continues(settings: Settings, reply: Mapping[str, Any], step: int) -> str | None:
    """The line for the terminal about a run that does not start at step 0; None: no line.

    Args:
        settings: the settings of the run.
        reply: see `where_to_continue`.
        step: the first step of this process.
    """
    start = settings.start
    if not reply or (start.fork_run is None and not reply.get("resumed") and not step):
        return None
    if start.fork_run is not None:
        return f"a fork of run {start.fork_run} at step {start.fork_step}; it continues at step {step}"
    if start.rewind_to is None:
        return f"it continues at step {step}"
    if step <= start.rewind_to:
        return f"it has no step {start.rewind_to} to rewind to, so it continues at step {step}"
    return f"it was rewound to step {start.rewind_to} and continues at step {step}"
