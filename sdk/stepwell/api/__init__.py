"""Reads runs back in scripts and notebooks: `stepwell.Api()`. Independent of logging.

    api = stepwell.Api()
    run = api.run("team/mnist/my-run")
    run.history(keys=["train/loss"])             # a sample: about 500 rows, and it says what it left out
    for row in run.scan_history(["train/loss"]): # every row
        ...
    steps, values = run.series("train/loss")[:2] # every point as arrays, bit for bit
    api.runs("team/mnist", {"config.lr": {"$lt": 0.01}}, order="-summary_metrics.accuracy")
    api.sql("SELECT run, number FROM summary WHERE project = 'mnist' AND key = 'train/loss'")

The data path: Postgres → `stepwell_ingest.read` → batches of columns (`stepwell.wire.columns`) over HTTP → here.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

from stepwell.api._files import File, Files
from stepwell.api._history import HistoryScan, Series
from stepwell.api._http import MAX_ANSWER_BYTES, Client
from stepwell.api._projects import Project, Projects, User
from stepwell.api._run import Run
from stepwell.api._runs import Runs
from stepwell.api._sql import ask
from stepwell.api._summary import Summary
from stepwell.compat import names
from stepwell.compat.absent import absent_name
from stepwell.errors import SettingError, UsageError
from stepwell.settings import resolve
from stepwell.settings.key_file import PLACES

__all__ = ["Api", "File", "Files", "HistoryScan", "Project", "Projects", "Run", "Runs", "Series", "Summary", "User"]

_VARIABLES = ("STEPWELL_URL", "STEPWELL_ENTITY", "STEPWELL_PROJECT", "STEPWELL_API_KEY", "STEPWELL_CA_FILE", *PLACES)
_OVERRIDES = {"base_url": "url", "url": "url", "entity": "entity", "project": "project"}


class Api:
    """Reads the runs of one server.

    Args:
        overrides: "entity" and "project" for paths that leave them out, "base_url" (or "url") of the server; else
            STEPWELL_ENTITY, STEPWELL_PROJECT and STEPWELL_URL.
        timeout: the longest wait for a reply, in seconds; default 19.
        api_key: the key to send with each request; default STEPWELL_API_KEY, else that of `stepwell login`.

    Raises:
        SettingError: an override is unknown or invalid.
    """

    def __init__(
        self, overrides: Mapping[str, Any] | None = None, timeout: float | None = None, api_key: str | None = None
    ) -> None:
        given = dict(overrides or {})
        if unknown := sorted(set(given) - set(_OVERRIDES)):
            raise SettingError(f"unknown override {unknown[0]!r}", hint=f"the overrides are {', '.join(_OVERRIDES)}")
        environment = {name: os.environ[name] for name in _VARIABLES if name in os.environ}
        settings = resolve(environment, api_key=api_key, **{_OVERRIDES[name]: value for name, value in given.items()})
        self.entity, self.project = settings.entity, settings.project
        self.settings = {"entity": self.entity, "project": self.project, "base_url": settings.url}
        self._client = Client(settings.endpoint, timeout or 19.0, MAX_ANSWER_BYTES)

    def __repr__(self) -> str:
        return f"<Api {self._client.url}>"

    def __getattr__(self, name: str) -> Any:
        raise absent_name("wandb.Api", name, names.API, self)

    @property
    def default_entity(self) -> str:
        """The entity for paths that name none."""
        return self.entity

    @property
    def viewer(self) -> User:
        """The user of this process: there are no accounts yet."""
        return User(self.entity)

    def flush(self) -> None:
        """Does nothing: an `Api` caches no answers."""

    def projects(self, entity: str | None = None, per_page: int = 200) -> Projects:
        """The projects of an entity, the one with the newest run first.

        Args:
            entity: the entity; default that of this object.
            per_page: accepted for scripts written for W&B.
        """
        return Projects(self._client, entity or self.entity)

    def run(self, path: str) -> Run:
        """The run at "entity/project/id", "project/id" or "id"; a unique display name works, too.

        Raises:
            NotFoundError: (a CommError) there is no such run; the hint lists similar names.
            UsageError: the path is invalid.
            UnavailableError: the server cannot be reached.
        """
        parts = _parts(path, 3)
        if not parts:
            raise UsageError(f"{path!r} is not the path of a run", hint='"entity/project/id"')
        entity, project = self._place(parts[:-1])
        return Run(self._client, entity, project, parts[-1])

    def restore(self, name: str, run_path: str, replace: bool = False, root: str | os.PathLike[str] = ".") -> IO[str]:
        """A file of a run, downloaded to `root`/`name` unless it exists, and opened for reading.

        Args:
            name: the name of the file in the run.
            run_path: the path of the run; see `run`.
            replace: whether to replace an existing local file.
            root: the directory to write the file to.

        Raises:
            NotFoundError: (a CommError) there is no such run or file.
        """
        if not replace and (place := Path(root) / name).exists():
            return place.open()
        return self.run(run_path).file(name).download(root, replace=True)

    def runs(
        self,
        path: str | None = None,
        filters: Mapping[str, Any] | None = None,
        order: str = "+created_at",
        per_page: int = 50,
        include_sweeps: bool = False,
        lazy: bool = True,
    ) -> Runs:
        """The runs of a project, loaded as they are accessed.

        Args:
            path: "entity/project" or "project"; default the entity and project of this object.
            filters: MongoDB operators: {"state": "finished", "config.lr": {"$gt": 1e-3}}; docs/reading.md lists them.
            order: "+" or "-" and created_at, heartbeat_at, config.<key> or summary_metrics.<key>.
            per_page: runs per request.
            include_sweeps, lazy: accepted for scripts written for W&B.

        Raises:
            UsageError: the path or `per_page` is invalid, or `filters` is not JSON. (Other invalid filters, and invalid
                orders, raise when the first run is accessed.)
        """
        parts = _parts(path or "", 2)
        entity, project = self._place(parts)
        return Runs(self._client, entity, project, dict(filters or {}), order or "+created_at", per_page)

    def sql(self, query: str, timeout_s: float | None = None) -> list[dict[str, Any]]:
        """The rows of a query, which the server runs read-only; docs/sql.md has the views.

        Args:
            query: one statement.
            timeout_s: the longest that it may take, in seconds; the server's own limit holds in any case.

        Returns:
            A dict of column name to value for each row. Integers and floats are those of Python, NaN included; times
            are text in ISO 8601, and JSON is parsed. `pandas.DataFrame(api.sql(…))` makes a table of it.

        Raises:
            UsageError: Postgres refuses the query, the query has more rows than the server sends, or two columns share
                a name.
            UnavailableError: the server cannot be reached.
        """
        return ask(self._client, query, timeout_s)

    def _place(self, parts: list[str]) -> tuple[str, str]:
        match parts:
            case [entity, project]:
                return entity, project
            case [project]:
                return self.entity, project
        return self.entity, self.project


def _parts(path: str, most: int) -> list[str]:
    if not isinstance(path, str):
        raise UsageError("a path must be a string", detail=repr(path)[:80], hint='"entity/project/id"')
    parts = [part for part in path.strip("/").split("/") if part]
    if len(parts) == most + 1 and parts[-2] == "runs":  # as in the URL of a page
        del parts[-2]
    if len(parts) > most:
        raise UsageError(
            f"{path!r} has too many parts", hint='"entity/project/id"' if most == 3 else '"entity/project"'
        )
    return parts
