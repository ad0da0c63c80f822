"""Lists of media: one object for a whole list of one class, or a list of objects.

Sits between `as_media` and the sink, like a single media object.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

from stepwell.data_types._files import FileSink
from stepwell.data_types._media import Encoded, Media
from stepwell.errors import DataError

log = logging.getLogger("stepwell")


class MediaList(Media):
    """Converts a list of media for logging.

    Args:
        items: at least one item; a DataError is raised unless all are media.

    Media of one class with a form for lists (pictures, sound, …) become one object, which has, besides W&B's fields,
    `files`: path, sha256 and size of each file. Others become a list of single objects.
    """

    def __init__(self, items: Sequence[Any]) -> None:
        for number, item in enumerate(items):
            if not isinstance(item, Media):
                raise DataError(
                    "a list cannot hold both media and plain values",
                    detail=f"{type(items[0]).__name__} comes first, and item {number} is of type {type(item).__name__}",
                    hint="log a list of only media, and the plain values under a key of their own",
                )
        limit = items[0].batch_limit()
        if limit is not None and len(items) > limit and _are_alike(items):
            log.warning("only the first %d of %d %ss in a list are logged", limit, len(items), type(items[0]).__name__)
            items = items[:limit]
        self._items = list(items)

    def prepare(self) -> Media:
        self._items = [item.prepare() for item in self._items]
        return self

    def encode(self, key: str, step: int | str, sink: FileSink) -> Encoded:
        encoded = [item.encode(key, step, sink) for item in self._items]
        if not _are_alike(self._items):
            return encoded
        batch = type(self._items[0]).batch_json(self._items, encoded)
        if batch is None:
            return encoded
        files = {ref.path: ref for item, one in zip(self._items, encoded, strict=True) for ref in item.files_of(one)}
        return {**batch, "count": len(encoded), "files": [ref.as_json() for ref in files.values()]}

    def config_entries(self, key: str) -> dict[str, Any]:
        entries: dict[str, Any] = {}
        for item in self._items:
            for name, entry in item.config_entries(key).items():
                entries.setdefault(name, {}).update(entry)
        return entries


def _are_alike(items: Sequence[Any]) -> bool:
    return len({type(item) for item in items}) == 1
