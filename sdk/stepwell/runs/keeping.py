"""The part of a run that keeps files: `save`. `Run` builds on it."""

from __future__ import annotations

import os
from abc import abstractmethod
from typing import Any, NoReturn

from stepwell.errors import UsageError
from stepwell.files.saved_files import checked_policy
from stepwell.runs.described import Described
from stepwell.runs.session import Session


class Keeping(Described):
    """A run's files."""

    @abstractmethod
    def _session_for(self, cannot: str) -> Session | None:
        """The session to hand something to; None in disabled mode.

        Raises:
            UsageError: the run is finished, so `cannot`.
        """

    def save(
        self,
        glob_str: str | os.PathLike[str],
        base_path: str | os.PathLike[str] | None = None,
        policy: str = "live",
    ) -> list[str] | bool:
        """Keeps files with the run. They are copied in the background: leave them where they are until `flush`.

        Args:
            glob_str: a path, or a pattern with `*`, `?`, `[…]` and `**`. Directories themselves are passed over.
            base_path: files are named by their path below it; None: below the working directory or, for an absolute
                pattern, below its directory.
            policy: "now": once, as they are; "live": now, and again when they have changed, which is looked at every
                15 s and at the end; "end": when the run ends, all that match then.

        Returns:
            The paths of the files that match now; in disabled mode False.

        Raises:
            SettingError: (a ValueError) an unknown policy.
            UsageError: a file is not below `base_path`, or the run is finished.
        """
        policy = checked_policy(policy)
        session = self._session_for("save() cannot be called on it")
        if session is None:
            return False
        return session.saved.save(os.fspath(glob_str), None if base_path is None else os.fspath(base_path), policy)

    def log_code(self, *_: Any, **__: Any) -> NoReturn:
        """Not supported.

        Raises:
            UsageError: always; it says what to use.
        """
        raise UsageError(
            "log_code() is not there: Stepwell keeps no artifacts",
            hint="init(save_code=True) keeps the program's main file, run.save('**/*.py', policy='now') more of them",
        )
