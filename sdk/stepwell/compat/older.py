"""Attributes and methods of a run that exist only for scripts written for W&B's client. `Run` inherits from it."""

from __future__ import annotations

import sys
from typing import Protocol

from stepwell.compat.absent import AbsentOfRun
from stepwell.terminal.notebook import run_link


class _Shown(Protocol):
    @property
    def url(self) -> str | None: ...
    @property
    def project_url(self) -> str | None: ...
    @property
    def name(self) -> str | None: ...
    @property
    def id(self) -> str: ...
    @property
    def entity(self) -> str: ...
    @property
    def project(self) -> str: ...
    def to_html(self, height: int = 420, hidden: bool = False) -> str: ...
    def finish(self, exit_code: int | None = None, quiet: bool | None = None) -> None: ...


class OlderNames(AbsentOfRun):
    """Names of W&B's client. There are no sweeps, so attributes about them are None."""

    sweep_id: None = None
    sweep_url: None = None

    def get_sweep_url(self) -> None:
        """Returns None: there are no sweeps."""

    def get_project_url(self: _Shown) -> str | None:
        """The same as `project_url`."""
        return self.project_url

    def join(self: _Shown, exit_code: int | None = None) -> None:
        """The same as `finish`."""
        self.finish(exit_code)

    def to_html(self: _Shown, height: int = 420, hidden: bool = False) -> str:
        """HTML with a link to the run's page; a line of text when the run is not online.

        Args:
            height, hidden: accepted for older scripts. W&B shows its page in a frame; Stepwell's pages cannot be
                framed, so that no other site can lay itself over them.
        """
        if self.url is None:
            return "<p>This run is not online, so it has no page.</p>"
        return run_link(self.url, self.name or self.id, f"{self.entity}/{self.project}")

    def _repr_html_(self: _Shown) -> str | None:
        """The HTML that a notebook shows for a run; None when the run is not online: the notebook then shows `repr`."""
        return None if self.url is None else self.to_html()

    def display(self: _Shown, height: int = 420, hidden: bool = False) -> bool:
        """Shows a link to the run's page in a notebook.

        Returns:
            Whether this is a notebook.
        """
        ipython = sys.modules.get("IPython")
        shell = None if ipython is None else ipython.get_ipython()
        if ipython is None or getattr(shell, "kernel", None) is None:  # IPython in a terminal has no kernel
            return False
        ipython.display.display(ipython.display.HTML(self.to_html(height, hidden)))
        return True

    def _label(self, *_: object, **__: object) -> None:
        """Accepted, and ignored: with it, integrations tell W&B which library uses its client."""
