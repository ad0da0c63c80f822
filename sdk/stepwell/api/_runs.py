"""The runs of a project that match a filter: a sequence that loads its runs as they are accessed."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal, overload

import orjson

from stepwell.api._http import Client
from stepwell.api._run import Run
from stepwell.api._table import STEP, require
from stepwell.errors import UsageError

log = logging.getLogger("stepwell")


class Runs(Sequence[Run]):
    """Runs in order. The length is that of the whole list; runs are loaded in pages of `per_page`.

    A run that starts during the iteration may be missing; none occurs twice.
    """

    def __init__(
        self, client: Client, entity: str, project: str, filters: Mapping[str, Any], order: str, per_page: int
    ) -> None:
        if per_page < 1:
            raise UsageError("per_page must be 1 or more", detail=repr(per_page))
        self._client = client
        self.entity, self.project = entity, project
        try:
            self._query = {
                "path": f"{entity}/{project}",
                "filters": orjson.dumps(filters).decode() if filters else None,
                "order": order,
                "limit": min(per_page, 1000),
            }
        except TypeError as error:
            raise UsageError("filters must be serializable as JSON", detail=str(error)) from error
        self._runs: list[Run] = []
        self._next: str | None = None
        self._total: int | None = None

    def __repr__(self) -> str:
        return f"<Runs {self.entity}/{self.project}>"

    def __len__(self) -> int:
        if self._total is None:
            self._load()
        return max(self._total or 0, len(self._runs))

    @overload
    def __getitem__(self, index: int) -> Run: ...
    @overload
    def __getitem__(self, index: slice) -> list[Run]: ...
    def __getitem__(self, index: int | slice) -> Run | list[Run]:
        if isinstance(index, int) and index >= 0:
            while len(self._runs) <= index and self._load():
                pass
        else:
            while self._load():
                pass
        return self._runs[index]

    def __iter__(self) -> Iterator[Run]:
        index = 0
        while index < len(self._runs) or self._load():
            yield from self._runs[index : index + 1]
            index += 1

    def histories(
        self,
        samples: int = 500,
        keys: Sequence[str] | None = None,
        x_axis: str = STEP,
        format: Literal["default", "pandas", "polars"] = "default",
        stream: Literal["default", "system", "events"] = "default",
    ) -> Any:
        """`Run.history` of all runs, one after the other, each row with its run's id under "run_id".

        Args:
            samples, keys, x_axis, stream: see `Run.history`.
            format: "default": a list of dicts; "pandas" or "polars": a DataFrame.

        Raises:
            UsageError: the format is unknown, or its library is not installed.
        """
        if format not in ("default", "pandas", "polars"):
            raise UsageError(f"the format must be default, pandas or polars, not {format!r}")
        rows = [
            {"run_id": run.id, **row}
            for run in self
            for row in run.history(samples=samples, keys=keys, x_axis=x_axis, pandas=False, stream=stream)
        ]
        if format == "pandas":
            return require("pandas", "pandas").DataFrame(rows)
        return require("polars", "polars").from_dicts(rows, infer_schema_length=None) if format == "polars" else rows

    def _load(self) -> bool:
        """Loads one more page; returns False when there was none."""
        if self._total is not None and self._next is None:
            return False
        answer = self._client.get_json(("v1", "runs"), {**self._query, "cursor": self._next})
        self._runs += [Run(self._client, item["entity"], item["project"], item["id"], item) for item in answer["runs"]]
        self._total, self._next = answer["total"], answer["next"]
        for field, near in (answer.get("unknown") or {}).items():
            alike = f"; similar names: {', '.join(near)}" if near else ""
            log.warning("no run of %s/%s has %s%s", self.entity, self.project, field, alike)
        return bool(answer["runs"])
