"""Copies of a run: pickled for another process (a spawned child, a checkpoint), or made by `copy` in this one.

Sits beside `process.py`. Within one process a run is never duplicated: each copy is the run itself. In another process,
a copy behaves as in a forked child: it logs to the same run, as a writer of its own.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from stepwell.runs.process import PROCESS
from stepwell.runs.run import Run
from stepwell.settings import Settings


def restored(
    settings: Settings,
    config: dict[str, Any],
    names: dict[str, Any],
    session: bytes | None,
    step: int,
    code: int | None,
) -> Run:
    """Restores a pickled run: the run itself if it lives in this process, else a copy that continues it."""
    for run in PROCESS.runs:
        if session is not None and run._session is not None and run._session.id == session:
            return run
    run = Run(settings, config)
    run._about.restore(names)
    run._life.hand_over(step, code)
    PROCESS.adopt(run, current=False)
    return run


def reduced(run: Run) -> tuple[Callable[..., Run], tuple[Any, ...]]:
    """The state of a run that `pickle` stores."""
    info = run._about.as_info()
    names = {**info, "name": info.get("display_name")}
    session = run._session.id if run._session is not None else None
    return restored, (run.settings, run.config.as_dict(), names, session, run.step, run._life.state.exit_code)
