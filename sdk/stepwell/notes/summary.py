"""`run.summary`: one value for each key, as the server will compute it, and values that the user set.

Off the data path: reading asks the stage for the last rows; a value that is set is sent as a note. As in W&B's client,
the value of a key is the last one, or the aggregates that `define_metric` asked for; a value that is set stays until
the key is logged again, and from then on the summary has the last value, whatever the definition. Keys are dot paths:
`summary["a"]["b"]` is `summary["a.b"]`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from time import time
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import orjson

from stepwell.errors import DataError
from stepwell.files.media_door import Taken
from stepwell.notes.definitions import Definitions
from stepwell.notes.summary_before import summary_before
from stepwell.settings import Settings
from stepwell.stage.latest import Extremes, Seen
from stepwell.stage.stage import Stage
from stepwell.values.convert import MAX_LIST_SIZE, described, jsonable, key_text, number_of, value_size
from stepwell.values.text import dump
from stepwell.wire import MAX_DEPTH

if TYPE_CHECKING:
    from stepwell.data_types._extraction import Found

_GONE = object()


class _Said(NamedTuple):
    """A value that the user set, and the step that was open then; `_GONE`: the user deleted the key."""

    value: Any
    step: int


class SummaryState:
    """The summary of one run, which its `Summary` objects read and write.

    Args:
        stage: returns the current stage with the rows.
        definitions: the definitions of the run.
        say: sends a note {"set": …, "unset": …}; raises when the run is finished.
        started_at: the start in Unix seconds.
        before: the earlier summary, by dot path.
    """

    def __init__(
        self,
        stage: Callable[[], Stage],
        definitions: Definitions,
        say: Callable[[dict[str, Any]], None],
        started_at: float,
        before: Mapping[str, Any] | None = None,
    ) -> None:
        self._stage = stage
        self._definitions = definitions
        self._say = say
        self._started_at = started_at
        self._said: dict[str, _Said] = {}
        self._before: dict[str, Any] = dict(before or {})
        self._resumed: Settings | None = None

    def continue_from(self, settings: Settings) -> None:
        """Handles a resumed or forked run: the first read of the summary asks the server for the earlier one."""
        self._resumed = settings

    def read(self) -> dict[str, Any]:
        """All values by dot path."""
        settings, self._resumed = self._resumed, None
        if settings is not None:
            self._before = summary_before(settings)
        stage = self._stage()
        latest = stage.latest()
        extremes = stage.extremes() if self._definitions.aggregates else {}
        out = dict(self._before)
        for key, seen in latest.items():
            said = self._said.get(key)
            if said is None:
                value = self._defined(key, seen, extremes.get(key))
            elif seen.step >= said.step:
                value = _plain(seen.value)
            else:
                value = said.value
            out[key] = value
        for key, said in list(self._said.items()):
            if key not in latest:
                out[key] = said.value
        out = {key: value for key, value in out.items() if value is not _GONE}
        if latest:
            last = max(latest.values(), key=lambda seen: seen.step)
            started_at = self._before.get("_timestamp", self._started_at) - self._before.get("_runtime", 0.0)
            out |= {"_step": last.step, "_timestamp": last.time, "_runtime": last.time - started_at}
        return out

    def split(self, values: Mapping[str, Any]) -> tuple[Mapping[str, Any], list[Found]]:
        """Splits `values` into plain values and media; see `take_media`."""
        door = self._stage().media
        return (values, []) if door is None else door.split(values)

    def write(self, values: Mapping[str, Any], unset: list[str], media: list[Found]) -> None:
        """Sets leaves by dot path, after removing everything at or below `unset`. Media are set once they are encoded;
        until then their keys are missing, unless something else is set meanwhile."""
        media = [item.prepared() for item in media]
        unset = [*unset, *(item.path for item in media)]
        if not values and not unset:
            return
        note = {"unset": unset} if unset else {}
        self._say({**note, "set": dict(values)} if values else note)
        step = self._stage().step
        for key in self.read() if unset else ():
            if any(key == path or key.startswith(f"{path}.") for path in unset):
                self._said[key] = _Said(_GONE, step)
        for key, value in values.items():
            self._said[key] = _Said(number_of(value), step)
        stage = self._stage()
        if media and stage.media is not None:
            waiting = {item.path: _Said(_GONE, step) for item in media}
            self._said |= waiting

            def encoded(path: str, value: bytes) -> None:
                if self._said.get(path) is waiting[path]:
                    stage.note("summary", b'{"set":{%s:%s}}' % (dump(path), value))
                    self._said[path] = _Said(_plain(value), step)

            stage.media.put(Taken(media, step, time(), encoded))

    def _defined(self, key: str, seen: Seen, extremes: Extremes | None) -> Any:
        metric = self._definitions.of(key)
        if metric is None or not metric.summary:
            return _plain(seen.value)
        if "none" in metric.summary:
            return _GONE
        if not metric.aggregates:
            return _plain(seen.value)
        found: dict[str, Any] = {"last": _plain(seen.value)}
        if extremes is not None:
            if extremes.count:
                best = extremes.high if metric.goal == "maximize" else extremes.low
                mean = extremes.total / extremes.count
                found |= {"min": extremes.low, "max": extremes.high, "mean": mean, "best": best}
            if extremes.first is not None:
                found["first"] = _plain(extremes.first)
        before = self._before.get(key)
        if isinstance(before, dict):
            found = _with_before(found, before, metric.goal == "maximize")
        return {word: found[word] for word in metric.summary if word in found} or _GONE


class Summary:
    """A dict whose keys are attributes, too. It shows the values up to the last closed row; values that are set are
    sent to the server at once.

    Args:
        state: the state of the run's summary.
        prefix: the path of the parent, with its dot; "" at the top.
    """

    _state: SummaryState
    _prefix: str

    def __init__(self, state: SummaryState, prefix: str = "") -> None:
        object.__setattr__(self, "_state", state)
        object.__setattr__(self, "_prefix", prefix)

    def __reduce__(self) -> tuple[Callable[..., Summary], tuple[dict[str, Any]]]:
        """A copied or pickled summary has the same values and belongs to no run: its changes are not sent."""
        return _copied, (self.as_dict(),)

    def as_dict(self) -> dict[str, Any]:
        """All values by dot path."""
        return {key[len(self._prefix) :]: value for key, value in self._all().items()}

    _as_dict = as_dict

    def get(self, key: str, default: Any = None) -> Any:
        try:
            return self[key]
        except KeyError:
            return default

    def keys(self) -> list[str]:
        return list(self.as_dict())

    def values(self) -> list[Any]:
        return list(self.as_dict().values())

    def items(self) -> list[tuple[str, Any]]:
        return list(self.as_dict().items())

    def update(self, values: Mapping[str, Any]) -> None:
        """Sets several keys; nested dicts are merged with existing values.

        Raises:
            DataError: a value that cannot be stored.
            UsageError: the run is finished.
        """
        if not isinstance(values, Mapping):
            raise DataError(f"summary.update takes a dict, not {type(values).__name__}", detail=described(values))
        leaves: dict[str, Any] = {}
        plain, media = self._state.split({self._prefix + _checked_key(key): value for key, value in values.items()})
        for path, value in plain.items():
            _leaves(path, value, leaves)
        self._state.write(leaves, [], media)

    def __getitem__(self, key: str) -> Any:
        everything = self._all()
        path = self._prefix + key
        if path in everything:
            return everything[path]
        if any(known.startswith(f"{path}.") for known in everything):
            return Summary(self._state, f"{path}.")
        raise KeyError(key)

    def __setitem__(self, key: str, value: Any) -> None:
        path = self._prefix + _checked_key(key)
        leaves: dict[str, Any] = {}
        plain, media = self._state.split({path: value})
        _leaves(path, plain.get(path), leaves)
        replaced = [path] if any(known.startswith(f"{path}.") for known in self._all()) else []
        self._state.write(leaves, replaced, media)

    def __delitem__(self, key: str) -> None:
        if key not in self:
            raise KeyError(key)
        self._state.write({}, [self._prefix + key], [])

    def __getattr__(self, name: str) -> Any:
        try:
            return self[name]
        except KeyError:
            raise AttributeError(f"the summary has no {name!r}") from None

    def __setattr__(self, name: str, value: Any) -> None:
        self[name] = value

    def __delattr__(self, name: str) -> None:
        try:
            del self[name]
        except KeyError:
            raise AttributeError(f"the summary has no {name!r}") from None

    def __contains__(self, key: object) -> bool:
        return isinstance(key, str) and self.get(key, _GONE) is not _GONE

    def __iter__(self) -> Iterator[str]:
        return iter(self.as_dict())

    def __len__(self) -> int:
        return len(self._all())

    def __repr__(self) -> str:
        return repr(self.as_dict())

    def _all(self) -> dict[str, Any]:
        return {key: value for key, value in self._state.read().items() if key.startswith(self._prefix)}


def _copied(values: dict[str, Any]) -> Summary:
    stage = Stage(0, lambda: True)
    return Summary(SummaryState(lambda: stage, Definitions(), lambda note: None, 0.0, values))


def _with_before(found: dict[str, Any], before: Mapping[str, Any], maximize: bool) -> dict[str, Any]:
    """Combines the aggregates of this process with the earlier ones of the run, except the mean, whose count is
    unknown."""
    joined = dict(found)
    for word, choose in (("min", min), ("max", max), ("best", max if maximize else min)):
        if isinstance(old := before.get(word), int | float):
            joined[word] = choose(old, found.get(word, old))
    return joined | {word: value for word, value in before.items() if word == "first"}


def _checked_key(key: object) -> str:
    text = key_text(key)
    if not text:
        raise DataError("a key of the summary is empty")
    return text


def _leaves(path: str, value: Any, into: dict[str, Any], depth: int = 0) -> None:
    """`value` as JSON by dot path. None counts as no value."""
    if depth > MAX_DEPTH:
        raise DataError(
            f"summary {path[:60]!r} is nested too deeply (more than {MAX_DEPTH} levels)", hint="is it circular?"
        )
    if isinstance(value, Mapping) and value:
        for key, item in value.items():
            _leaves(f"{path}.{_checked_key(str(key))}", item, into, depth + 1)
    elif value is not None:
        try:
            into[path] = _statistics(value) or jsonable(value)
        except DataError as error:
            raise DataError(f"summary {path!r}: {error.message}", detail=error.detail, hint=error.hint) from error


def _statistics(value: Any) -> dict[str, Any] | None:
    """The stored form of a large array that the user sets; None for everything else."""
    if not (hasattr(value, "__array__") and hasattr(value, "shape")) or value_size(value) <= MAX_LIST_SIZE:
        return None
    if hasattr(value, "detach"):
        value = value.detach().cpu().float()
    numbers = np.asarray(value)
    if numbers.dtype.kind not in "biuf":
        return None
    low, *quantiles, high = np.percentile(numbers, [0, 10, 25, 75, 90, 100]).tolist()
    found = {"min": low, "max": high, "mean": float(numbers.mean()), "var": float(numbers.var())}
    found |= dict(zip(("10%", "25%", "75%", "90%"), quantiles, strict=True))
    kind = "torch.Tensor" if type(value).__module__.partition(".")[0] == "torch" else "numpy.ndarray"
    return {"_type": kind, **{name: jsonable(number) for name, number in found.items()}, "size": numbers.size}


def _plain(value: float | bytes) -> Any:
    return number_of(orjson.loads(value)) if isinstance(value, bytes) else value
