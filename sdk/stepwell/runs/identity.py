"""The identity of a run: ids, names, tags, URLs, its directory. `Run` adds the behaviour.

Off the data path. Reads settings and `About`, and changes names through `About`, which passes notes on.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import IO, Any, Self
from urllib.parse import quote

from stepwell.errors import UsageError
from stepwell.notes.about import About
from stepwell.settings import Settings
from stepwell.terminal.stderr import tell

_READ_ONLY = ("id", "entity", "project", "settings", "start_time", "config")


class RunIdentity:
    """The names of one run. Setting one after the end of the run raises UsageError."""

    id: str
    entity: str
    project: str
    settings: Settings
    resumed: bool
    starting_step: int
    start_time: float
    _about: About

    def __init__(self, settings: Settings, about: About, start_time: float) -> None:
        self.settings = settings
        self.id = settings.run_id
        self.project = settings.project
        self.entity = settings.entity
        self.resumed = False
        self.starting_step = 0
        self.start_time = start_time
        self._about = about
        self._has_dir = False

    def __setattr__(self, name: str, value: Any) -> None:
        """Sets existing attributes only, so that a typo (`run.note = …`) does not go unnoticed.

        Raises:
            AttributeError: the attribute can only be read.
            UsageError: runs have no such attribute.
        """
        if not name.startswith("_") and not hasattr(type(self), name):  # properties raise their own errors
            if name in _READ_ONLY and name in self.__dict__:
                raise AttributeError(f"{name!r} of a run can only be read")
            if name not in _READ_ONLY and name not in RunIdentity.__annotations__:
                raise UsageError(
                    f"a run has no attribute {name!r} that can be set",
                    hint="values belong in run.summary or run.config",
                )
        super().__setattr__(name, value)

    @property
    def path(self) -> str:
        """The run's path, "entity/project/id"."""
        return f"{self.entity}/{self.project}/{self.id}"

    @property
    def url(self) -> str | None:
        """The page of the run; None when it is not online."""
        return f"{self.project_url}/runs/{quote(self.id, safe='')}" if self._online else None

    @property
    def project_url(self) -> str | None:
        """The page of its project; None when the run is not online."""
        if not self._online:
            return None
        names = [quote(name, safe="") for name in (self.entity, self.project)]
        return "/".join([self.settings.url.rstrip("/"), *names])

    @property
    def dir(self) -> str:
        """A directory for files of the run, created on first use. Files in it at the end of the run are kept with the
        run."""
        directory = self.settings.dir / "files" / self.id
        directory.mkdir(0o700, parents=True, exist_ok=True)
        self._has_dir = True
        return str(directory)

    @property
    def offline(self) -> bool:
        return self.settings.mode == "offline"

    @property
    def disabled(self) -> bool:
        return self.settings.mode == "disabled"

    def get_url(self) -> str | None:
        """The same as `url`."""
        return self.url

    def project_name(self) -> str:
        """The same as `project`."""
        return self.project

    @property
    def _online(self) -> bool:
        return self.settings.mode == "online"

    @property
    def name(self) -> str:
        """The name that pages show; the run's id when it has no name."""
        return self._about.name or self.id

    @name.setter
    def name(self, name: str | None) -> None:
        self._about.set_name(name)

    @property
    def notes(self) -> str | None:
        """A longer text about the run."""
        return self._about.notes

    @notes.setter
    def notes(self, notes: str | None) -> None:
        self._about.set_notes(notes)

    @property
    def tags(self) -> tuple[str, ...]:
        """The tags, of 1 to 64 characters each: `run.tags += ("baseline",)`."""
        return self._about.tags

    @tags.setter
    def tags(self, tags: str | Iterable[str] | None) -> None:
        self._about.set_tags(tags)

    @property
    def group(self) -> str:
        return self._about.group

    @property
    def job_type(self) -> str:
        return self._about.job_type

    def restore(
        self,
        name: str,
        run_path: str | None = None,
        replace: bool = False,
        root: str | os.PathLike[str] | None = None,
    ) -> IO[str]:
        """Fetches a file that a run kept, and opens it for reading.

        Args:
            name: the name of the file in the run.
            run_path: "entity/project/id" of another run; None: this one.
            replace: whether to replace an existing local file.
            root: the directory to write the file to; None: `dir`.

        Raises:
            NotFoundError: (a LookupError) there is no such run or file.
            UnavailableError: the server cannot be reached.
        """
        from stepwell.api import Api  # a training process seldom reads

        api = Api({"base_url": self.settings.url, "entity": self.entity, "project": self.project})
        return api.restore(name, run_path or self.path, replace, self.dir if root is None else root)

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return self

    def say(self, text: str) -> None:
        """Prints a message to the terminal, unless the run is silent."""
        if not self.settings.silent:
            tell(text)
