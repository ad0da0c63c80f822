"""The projects of an entity, and the user of this process."""

from __future__ import annotations

import getpass
import os
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple
from urllib.parse import quote

from stepwell.api._http import Client


class Project(NamedTuple):
    """A project, which exists as long as it has runs.

    Attributes:
        entity, name: its names.
        url: the URL of its page.
        runs: the number of its runs.
        running: the number of running ones.
        newest_run_at: the start of the newest run; ISO 8601, UTC.
    """

    entity: str
    name: str
    url: str
    runs: int
    running: int
    newest_run_at: str

    @property
    def path(self) -> list[str]:
        """entity and name."""
        return [self.entity, self.name]


class Projects(Sequence[Project]):
    """Projects, the one with the newest run first; loaded when they are accessed."""

    def __init__(self, client: Client, entity: str) -> None:
        self._client = client
        self._entity = entity
        self._found: list[Project] | None = None

    def __len__(self) -> int:
        return len(self._load())

    def __getitem__(self, index: Any) -> Any:
        return self._load()[index]

    def __iter__(self) -> Iterator[Project]:
        return iter(self._load())

    def __repr__(self) -> str:
        return f"<Projects {self._entity}>"

    def _load(self) -> list[Project]:
        if self._found is None:
            answer = self._client.get_json(("v1", "projects"))
            self._found = [
                Project(
                    *(item["entity"], item["project"], self._url(item["entity"], item["project"])),
                    *(item["runs"], item["running"], str(item["newest_run_at"])),
                )
                for item in answer["projects"]
                if item["entity"] == self._entity
            ]
        return self._found

    def _url(self, entity: str, project: str) -> str:
        return f"{self._client.url}/{quote(entity, safe='')}/{quote(project, safe='')}"


class User:
    """The user of this process, in place of W&B's account.

    Attributes:
        entity, teams: the default entity.
        username, name: the user's name in the operating system.
        email: None.
    """

    email: None = None

    def __init__(self, entity: str) -> None:
        self.entity = entity
        self.teams = [entity]
        try:
            self.username = getpass.getuser()
        except (KeyError, OSError):  # a container's user may have no name
            self.username = str(os.getuid()) if hasattr(os, "getuid") else "unknown"
        self.name = self.username

    def __repr__(self) -> str:
        return f"<User {self.username}>"
