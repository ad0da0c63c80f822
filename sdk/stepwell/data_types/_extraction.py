"""Media out of what `log()` was given, nested dicts included.

Between `log()` and the media's way. In comes the caller's dict; out come the same without its media, for the way of
plain values, and the media with the names that they go by.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from stepwell.data_types._media import Media
from stepwell.data_types._recognition import recognised
from stepwell.values.convert import key_text, nested_name
from stepwell.wire import MAX_DEPTH


@dataclass(frozen=True, slots=True)
class Found:
    """A medium in a row.

    Attributes:
        key: what it was logged as; below dicts, the dot path.
        path: the metric that the row has for it: the same, but for a chart, which has the key of its table.
        name: what its files are named after, the innermost key of `path`: for `encode(name, step, sink)`.
        media: as `as_media` made it.
    """

    key: str
    path: str
    name: str
    media: Media

    def prepared(self) -> Found:
        """The same with what `log()` keeps; for when all else of the call is accepted."""
        return Found(self.key, self.path, self.name, self.media.prepare())

    @property
    def config(self) -> dict[str, Any]:
        """What the run's internal config gets for it, to be merged key by key; complete once it is prepared."""
        return self.media.config_entries(self.key)


def as_media(value: Any) -> Media | None:
    """The media that is logged for `value`, not prepared yet; None when it is a plain value.

    Raises:
        DataError: a list of media and plain values; or something that looks like media and makes none.
    """
    return recognised(value, _table_of)


def take_media(data: Mapping[Any, Any]) -> tuple[Mapping[Any, Any], list[Found]]:
    """`data` without its media, and these. Without any it is `data` itself; the caller's dicts are never changed.

    Raises:
        DataError: a list of media and plain values, a key that cannot be stored, or something that makes no media.
    """
    found: list[Found] = []
    return _without(data, "", found, 0), found


def _without(data: Mapping[Any, Any], prefix: str, found: list[Found], depth: int) -> Mapping[Any, Any]:
    plain: dict[Any, Any] | None = None
    for key, value in data.items():
        if isinstance(value, Mapping) and depth < MAX_DEPTH:
            rest: Any = _without(value, f"{prefix}{key_text(nested_name(key))}.", found, depth + 1)
            if rest is value:
                continue
        elif (media := as_media(value)) is not None:
            name = key_text(nested_name(key) if prefix else key)
            if prefix or name:  # an empty key at the top is dropped, as for plain values
                found.append(Found(prefix + name, media.row_key(prefix + name), media.row_key(name), media))
            rest = None
        else:
            continue
        plain = dict(data) if plain is None else plain
        if rest is None or not rest:
            del plain[key]
        else:
            plain[key] = rest
    return data if plain is None else plain


def _table_of(frame: Any) -> Media:
    from stepwell.data_types._table import Table

    return Table.of_frame(frame)
