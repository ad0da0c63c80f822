"""The attributes of a run from the read API: names, config, summary and files, and the changes that a reader may make.

`Run` adds the history. Receives one JSON object from the server; sends back only changed fields.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Sequence
from datetime import datetime
from typing import Any
from urllib.parse import quote

import orjson

from stepwell.api._files import File, Files, named_file
from stepwell.api._http import Client
from stepwell.api._summary import Summary
from stepwell.compat import names
from stepwell.compat.absent import absent_name
from stepwell.terminal.notebook import run_link
from stepwell.values.convert import jsonable, number_of

_POLL_S = 2.0
#: Changeable attributes, by their name on the server.
_TEXTS = {"name": "display_name", "notes": "notes", "group": "group", "job_type": "job_type"}
#: Attributes as older scripts spell them.
_OLDER = {
    "createdAt": "created_at",
    "heartbeatAt": "heartbeat_at",
    "updatedAt": "heartbeat_at",
    "displayName": "name",
    "jobType": "job_type",
    "jsonConfig": "json_config",
    "summaryMetrics": "summary_metrics",
    "historyKeys": "history_keys",
    "description": "notes",
    "user": "username",
    "storage_id": "id",
    "display_name": "name",
}


class RunAttributes:
    """A run of a server, as of the creation of this object; `load()` reads it again.

    `config`, `tags`, `name`, `notes`, `group` and `job_type` may be changed here; `update()` stores the changes.

    Attributes:
        entity, project, id: the path of the run.
        config: its config, without keys that begin with `_`.
        tags: a list of strings.
        name: the display name, shown on pages.
        notes, group, job_type: strings, or None.
    """

    config: dict[str, Any]
    tags: list[str]
    name: str
    notes: str | None
    group: str | None
    job_type: str | None

    def __init__(
        self, client: Client, entity: str, project: str, id: str, attributes: dict[str, Any] | None = None
    ) -> None:
        self._client = client
        self.entity, self.project, self.id = entity, project, id
        self._summary: Summary | None = None
        if attributes is None:
            self.load()
        else:
            self._take(attributes)

    @property
    def _path(self) -> tuple[str, ...]:
        return ("v1", "runs", self.entity, self.project, self.id)

    def __repr__(self) -> str:
        return f"<Run {'/'.join(self.path)} ({self.state})>"

    def __getattr__(self, name: str) -> Any:
        if name in _OLDER:
            return getattr(self, _OLDER[name])
        raise absent_name("a run", name, names.API, self)

    def load(self, force: bool = True) -> dict[str, Any]:
        """Reads the run's attributes again, and returns them. Unstored changes are lost.

        Raises:
            NotFoundError: (a CommError) the run does not exist.
        """
        self._take(self._client.get_json(self._path))
        return self._attributes

    def _take(self, attributes: dict[str, Any]) -> None:
        self._attributes = attributes
        self.id = str(attributes["id"])  # the path may have held its display name
        self._summary = None
        self.config = self._own_config()
        self.tags = list(attributes["tags"])
        self.name = attributes["display_name"] or self.id
        self.notes, self.group, self.job_type = (self._optional(name) for name in ("notes", "group", "job_type"))

    def update(self) -> None:
        """Stores changes of config, tags, name, notes, group, job type and summary.

        Live processes of the run overwrite these values when they set them later.

        Raises:
            NotFoundError: (a CommError) the run was deleted.
            DataError: a value cannot be stored.
            UnavailableError: the server cannot be reached.
        """
        before = self._own_config()
        config = {key: value for key, value in self.config.items() if key not in before or before[key] != value}
        changes: dict[str, Any] = {"config": jsonable(config)} if config else {}
        if self.tags != self._attributes["tags"]:
            changes["tags"] = list(self.tags)
        for name, theirs in _TEXTS.items():
            if getattr(self, name) != (self._attributes[theirs] or (self.id if name == "name" else None)):
                changes[name] = getattr(self, name)
        if self._summary is not None:
            self._summary.update()
        if changes:
            self._send(changes)

    save = update

    def delete(self, delete_artifacts: bool = False) -> None:
        """Deletes the run for good.

        Args:
            delete_artifacts: accepted for scripts written for W&B.

        Raises:
            UsageError: a fork shows points of this run.
            NotFoundError: (a CommError) the run does not exist.
        """
        self._client.send_json("DELETE", self._path)

    def wait_until_finished(self) -> None:
        """Waits until the run is no longer running; asks the server every two seconds.

        Raises:
            NotFoundError: (a CommError) the run was deleted.
        """
        while self.state == "running":
            time.sleep(_POLL_S)
            self.load()

    def files(self, names: Sequence[str] | None = None, per_page: int = 50, **_: Any) -> Files:
        """The files of the run, by name.

        Args:
            names: names of files; None: all.
            per_page: accepted for scripts written for W&B.
        """
        return Files(self._client, self._path, names)

    def file(self, name: str) -> File:
        """The file of that name.

        Raises:
            NotFoundError: (a CommError) the run has no such file; the hint lists its files.
        """
        return named_file(self._client, self._path, name)

    @property
    def path(self) -> list[str]:
        """entity, project and id."""
        return [self.entity, self.project, self.id]

    @property
    def url(self) -> str:
        """The URL of the run's page."""
        entity, project, run = (quote(name, safe="") for name in self.path)
        return f"{self._client.url}/{entity}/{project}/runs/{run}"

    def to_html(self, height: int = 420, hidden: bool = False) -> str:
        """HTML with a link to the run's page, which notebooks show for a run.

        Args:
            height, hidden: accepted for scripts written for W&B, which shows its page in a frame.
        """
        return run_link(self.url, self.name, f"{self.entity}/{self.project}")

    def _repr_html_(self) -> str:
        return self.to_html()

    @property
    def state(self) -> str:
        """The state: running, finished, failed or crashed."""
        return str(self._attributes["state"])

    @property
    def rawconfig(self) -> dict[str, Any]:
        """The whole config."""
        return dict(number_of(self._attributes["config"]))

    @property
    def json_config(self) -> str:
        """The whole config as JSON: {"lr": {"value": 0.1, "desc": null}, …}."""
        shown = {key: {"value": value, "desc": None} for key, value in self._attributes["config"].items()}
        return orjson.dumps(shown).decode()

    @property
    def username(self) -> str | None:
        return self._optional("username")

    @property
    def metadata(self) -> dict[str, Any]:
        """The metadata of its first writer: host, Python and the like."""
        return dict(self._attributes["metadata"])

    @property
    def created_at(self) -> str:
        """The time of its creation in ISO 8601, UTC."""
        return str(self._attributes["created_at"])

    @property
    def heartbeat_at(self) -> str | None:
        """The time of its last heartbeat."""
        return self._optional("heartbeat_at")

    @property
    def exit_code(self) -> int | None:
        code = self._attributes["exit_code"]
        return None if code is None else int(code)

    @property
    def lastHistoryStep(self) -> int:
        """The highest step; −1 when there is none."""
        step = self._attributes["last_step"]
        return -1 if step is None else int(step)

    @property
    def summary(self) -> Summary:
        """The last value of each key. `summary.update({…})` changes it on the server."""
        if self._summary is None:
            values = self._client.get_json((*self._path, "summary"))
            self._summary = Summary(values, lambda changed: self._send({"summary": jsonable(changed)}))
        return self._summary

    @property
    def summary_metrics(self) -> dict[str, Any]:
        """`summary` as a dict."""
        return dict(self.summary)

    @property
    def history_keys(self) -> list[str]:
        """All logged keys: metrics, then keys of objects."""
        metrics = self._client.get_json((*self._path, "metrics"))["metrics"]
        objects = [item["key"] for item in self._client.get_json((*self._path, "objects"))["keys"]]
        return list(dict.fromkeys(metrics + objects))

    @property
    def _started_us(self) -> int:
        """The start of the run's first process, in µs since 1970, by its own clock, like the times of points."""
        started_at = self._attributes.get("started_at")  # missing from an older server
        if started_at is None:
            started_at = datetime.fromisoformat(self.created_at).timestamp()
        return round(started_at * 1e6)

    def _own_config(self) -> dict[str, Any]:
        """A copy of the config without the internal keys of charts; users may change it in place."""
        return {key: value for key, value in copy.deepcopy(self.rawconfig).items() if not key.startswith("_")}

    def _optional(self, name: str) -> str | None:
        value = self._attributes[name]
        return None if value is None else str(value)

    def _send(self, changes: dict[str, Any]) -> None:
        summary = self._summary
        self._take(self._client.send_json("PATCH", self._path, changes))
        self._summary = summary
