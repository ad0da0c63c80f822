"""Extracts media from the dict given to `log()`, nested dicts included.

Sits between `log()` and the media queue. Receives the caller's dict; returns the same dict without its media, for the
stage, and the media with their keys.
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
    """A media object in a row.

    Attributes:
        key: the key under which it was logged; inside dicts, the dot path.
        path: the key in the row: the same, except for a chart, which has the key of its table.
        name: the stem for the names of its files, the innermost key of `path`: for `encode(name, step, sink)`.
        media: the result of `as_media`.
    """

    key: str
    path: str
    name: str
    media: Media

    def prepared(self) -> Found:
        """The same with prepared media; called once the rest of the call is accepted."""
        return Found(self.key, self.path, self.name, self.media.prepare())

    @property
    def config(self) -> dict[str, Any]:
        """Entries for the run's internal config, to be merged key by key; complete once it is prepared."""
        return self.media.config_entries(self.key)


def as_media(value: Any) -> Media | None:
    """The media object for `value`, not prepared yet; None for a plain value.

    Raises:
        DataError: a list mixes media and plain values; or a value looks like media but cannot be converted.
    """
    return recognised(value, _table_of)


def take_media(data: Mapping[Any, Any]) -> tuple[Mapping[Any, Any], list[Found]]:
    """Splits `data` into plain values and media. Without media, returns `data` itself; the caller's dicts are never
    changed.

    Raises:
        DataError: a list mixes media and plain values, a key cannot be stored, or a value cannot be converted.
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
