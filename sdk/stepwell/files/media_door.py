"""Separates media from plain values in the arguments of `log()`, and passes them to the queue that encodes them.

Sits between the stage and the media queue. Receives the caller's dict; returns the same dict without its media, for the
stage, and later, without the stage's lock, passes the media on. Imports the data types only for a value that may be
media.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from stepwell.files.media_queue import MediaQueue
from stepwell.values.convert import POINT_TYPES
from stepwell.values.text import dump

if TYPE_CHECKING:
    from stepwell.data_types._extraction import Found

_PLAIN = POINT_TYPES | {str, bool, type(None)}


class Taken(NamedTuple):
    """The media of one accepted call, with its step and its time (Unix seconds).

    `deliver` is set for media of the summary; see `MediaQueue.put`.
    """

    found: list[Found]
    step: int
    time: float
    deliver: Callable[[str, bytes], None] | None = None


class MediaDoor:
    """The door for the media of one stage.

    Args:
        queue: the queue for media; None: media are dropped (disabled mode).
        note: adds a note about the run: kind and JSON.
        tables: by key, the JSON of the last increment of each INCREMENTAL table of the run. Further increments
            continue from there, and are recorded here.
    """

    def __init__(
        self,
        queue: MediaQueue | None,
        note: Callable[[str, bytes], None],
        tables: dict[str, dict[str, Any]] | None = None,
    ) -> None:
        self._queue = queue
        self._note = note
        self._tables = {} if tables is None else tables

    def split(self, data: Mapping[Any, Any]) -> tuple[Mapping[Any, Any], list[Found]]:
        """Splits `data` into plain values and media; without media, returns `data` itself.

        Raises:
            DataError: see `take_media`.
        """
        if _PLAIN.issuperset(map(type, data.values())):
            return data, []
        from stepwell.data_types._extraction import take_media

        return take_media(data)

    def put(self, taken: Taken) -> None:
        """Passes prepared media on. Waits while the queue is full, so the caller must not hold the stage's lock.

        Raises:
            SpoolFullError: see `MediaQueue.put`.
        """
        if self._queue is None:
            return
        for item in taken.found:
            if config := item.config:
                self._note("layout", dump(config))
            if item.path in self._tables and (continue_in := getattr(item.media, "continue_in", None)):
                continue_in(self._tables, item.path)
            deliver = None if taken.deliver is None else functools.partial(taken.deliver, item.path)
            self._queue.put(item.path, taken.step, round(taken.time * 1e6), item.media, item.name, deliver)
