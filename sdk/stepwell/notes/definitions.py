"""`define_metric`: the x-axis of a metric, and how the summary aggregates it.

Off the data path: a definition is sent as a note, and the server computes summaries from it (views/050_summary.sql).
In this process, definitions decide which metrics the stage follows for `run.summary`, and which rows get the last value
of their step metric before they are closed. The rules are those of W&B's client. Pure.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from stepwell.errors import UsageError
from stepwell.wire import MAX_ROW_KEYS

#: The possible summaries, in the order in which a definition keeps them.
SUMMARIES = ("min", "max", "mean", "best", "last", "first", "copy", "none")
#: With one of these, the summary of a metric is a dict.
AGGREGATES = frozenset(SUMMARIES) - {"copy", "none"}
_GOALS = ("minimize", "maximize")


@dataclass(frozen=True, slots=True)
class Metric:
    """The definition of one metric or, if the name ends with `*`, of all metrics with that prefix.

    Attributes:
        name: the given name.
        step_metric: the metric for the x-axis; None: the step.
        step_sync: whether rows without the step metric get its last value.
        hidden: whether charts leave the metric out.
        summary: members of `SUMMARIES`; empty: the last value.
        goal: "minimize" or "maximize", for the summary "best"; None: minimize.
    """

    name: str
    step_metric: str | None = None
    step_sync: bool = False
    hidden: bool = False
    summary: tuple[str, ...] = ()
    goal: str | None = None

    @property
    def is_glob(self) -> bool:
        return self.name.endswith("*")

    @property
    def aggregates(self) -> bool:
        """Whether the summary is a dict of aggregates."""
        return "none" not in self.summary and not AGGREGATES.isdisjoint(self.summary)

    def as_note(self, overwrite: bool) -> dict[str, Any]:
        """The content of the note that sends this definition, without fields that have their default."""
        note: dict[str, Any] = {"glob" if self.is_glob else "name": self.name}
        fields = {
            "step_metric": self.step_metric,
            "step_sync": self.step_sync,
            "hidden": self.hidden,
            "summary": list(self.summary),
            "goal": self.goal,
            "overwrite": overwrite,
        }
        return note | {name: value for name, value in fields.items() if value}


def checked_metric(
    name: Any, step_metric: Any, step_sync: Any, hidden: Any, summary: Any, goal: Any, overwrite: Any
) -> Metric:
    """The definition from the arguments of `define_metric`.

    Raises:
        UsageError: (an Error) an argument is invalid; the message names it.
    """
    if isinstance(step_metric, Metric):
        step_metric = step_metric.name
    for what, value, kind in (
        ("name", name, str),
        ("step_metric", step_metric, str),
        ("step_sync", step_sync, bool),
        ("hidden", hidden, bool),
        ("summary", summary, str),
        ("goal", goal, str),
        ("overwrite", overwrite, bool),
    ):
        if not isinstance(value, kind) and (value is not None or what == "name"):
            raise UsageError(f"define_metric: {what} must be a {kind.__name__}, not {type(value).__name__}")
    if not name:
        raise UsageError("define_metric: the name is empty")
    if "*" in name[:-1]:
        raise UsageError(
            f"define_metric: '*' may only be the last character of a name: {name[:80]!r}",
            hint='"train/*", "loss*" or "*"',
        )
    if step_metric is not None and (not step_metric or step_metric.endswith("*")):
        raise UsageError(f"define_metric: step_metric must be the name of one metric, not {step_metric[:80]!r}")
    words = tuple(summary.lower().split(",")) if summary else ()
    if unknown := [word for word in words if word not in SUMMARIES]:
        raise UsageError(
            f"define_metric: unknown summary {unknown[0]!r}",
            hint=f"use one or more of {','.join(SUMMARIES)}, separated by commas without spaces",
        )
    if goal is not None and goal.lower() not in _GOALS:
        raise UsageError(f"define_metric: goal must be {' or '.join(_GOALS)}, not {goal[:80]!r}")
    return Metric(
        _plain(name),
        None if step_metric is None else _plain(step_metric),
        step_sync if step_sync is not None else step_metric is not None,
        bool(hidden),
        tuple(word for word in SUMMARIES if word in words),
        goal.lower() if goal else None,
    )


def _plain(name: str) -> str:
    """A dot of a name and a dot of nesting are the same to us: r"a\\.b" is "a.b"."""
    return name.replace("\\.", ".")


class Definitions:
    """All definitions of a run that this process has made."""

    def __init__(self) -> None:
        self._named: dict[str, Metric] = {}
        self._globs: dict[str, Metric] = {}  # by prefix
        self._found: dict[str, Metric | None] = {}
        self._last_steps: dict[str, float | bytes] = {}  # the last values of the step metrics, to complete rows
        self.generation = 0

    @property
    def completes(self) -> bool:
        """Whether rows must be completed before they are closed."""
        return bool(self._last_steps)

    @property
    def aggregates(self) -> bool:
        """Whether the stage must follow any metric."""
        return any(metric.aggregates for metric in (*self._named.values(), *self._globs.values()))

    def add(self, metric: Metric, overwrite: bool, last: Mapping[str, float | bytes]) -> Metric:
        """Adds a definition, merged with an earlier one of the same name; returns the result. Options that were
        switched on stay on.

        Args:
            metric: the definition.
            overwrite: whether to replace the earlier one instead.
            last: the last values of metrics, for rows that lack their step metric.
        """
        where, key = (self._globs, metric.name[:-1]) if metric.is_glob else (self._named, metric.name)
        old = where.get(key)
        if old is not None and not overwrite:
            metric = dataclasses.replace(
                metric,
                step_metric=metric.step_metric or old.step_metric,
                step_sync=metric.step_sync or old.step_sync,
                hidden=metric.hidden or old.hidden,
                summary=tuple(word for word in SUMMARIES if word in (*metric.summary, *old.summary)),
                goal=metric.goal or old.goal,
            )
        # Other threads may log meanwhile, so everything that a definition needs is set before it, and the cache is
        # emptied after it.
        if metric.step_sync and metric.step_metric:
            self._last_steps.setdefault(metric.step_metric, last.get(metric.step_metric, 0.0))
        where[key] = metric
        self._found = {}
        self.generation += 1
        return metric

    def of(self, key: str) -> Metric | None:
        """The definition of a metric: by its name, else by the longest glob; globs exclude `_private` ones."""
        found = self._found
        try:
            return found[key]
        except KeyError:
            pass
        metric = self._named.get(key)
        if metric is None and not key.startswith("_"):
            prefixes = [prefix for prefix in list(self._globs) if key.startswith(prefix)]
            metric = self._globs[max(prefixes, key=len)] if prefixes else None
        if len(found) >= MAX_ROW_KEYS:
            found.clear()
        found[key] = metric
        return metric

    def follows(self, key: str) -> bool:
        """Whether the summary of this metric needs more than its last value."""
        metric = self.of(key)
        return metric is not None and metric.aggregates

    def complete(self, row: dict[str, float | bytes]) -> None:
        """Adds to a row the last values of the step metrics that it lacks (0 for one that was never logged)."""
        for key in list(row):
            metric = self.of(key)
            if (
                metric is not None
                and metric.step_sync
                and metric.step_metric
                and metric.step_metric not in row
                and len(row) < MAX_ROW_KEYS
            ):
                row[metric.step_metric] = self._last_steps[metric.step_metric]
        for name in list(self._last_steps):
            if name in row:
                self._last_steps[name] = row[name]

    def needs(self, keys: Sequence[str]) -> list[int] | None:
        """The indexes of the step metrics in rows of these keys; None when such rows lack one."""
        there = set(keys)
        for key in keys:
            metric = self.of(key)
            if metric is not None and metric.step_sync and metric.step_metric and metric.step_metric not in there:
                return None
        return [index for index, key in enumerate(keys) if key in self._last_steps]

    def saw(self, keys: Sequence[str], values: Sequence[Any], needed: Sequence[int]) -> None:
        """Records a complete row that was closed; `needed` is the result of `needs` for its keys."""
        for index in needed:
            self._last_steps[keys[index]] = float(values[index])
