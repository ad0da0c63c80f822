"""Where media leave the way of plain values: out of what `log()` was given, into the queue that encodes them.

Between the stage and the media queue. In comes the caller's dict; out goes the same without its media, for the stage,
and later, without the stage's lock, the media themselves. Imports the data types only when a value may be of them.
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
    """Media of one call that was accepted: what they are, their step, and when it was (Unix seconds).

    `deliver`: given when they are set on the summary; see `MediaQueue.put`.
    """

    found: list[Found]
    step: int
    time: float
    deliver: Callable[[str, bytes], None] | None = None


class MediaDoor:
    """Of one stage.

    Args:
        queue: where media go; None: nowhere (disabled mode).
        note: says something about the run: kind and JSON.
        tables: by metric, the JSON of the last increment that the run has of its INCREMENTAL tables. Those that are
            logged to it go on from there, and note what came.
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
        """`data` without its media, and these; without any, `data` itself.

        Raises:
            DataError: see `take_media`.
        """
        if _PLAIN.issuperset(map(type, data.values())):
            return data, []
        from stepwell.data_types._extraction import take_media

        return take_media(data)

    def put(self, taken: Taken) -> None:
        """Hands prepared media on. Waits while the queue is full: not for who holds the stage's lock.

        Raises:
            SpoolFullError: see `MediaQueue.put`.
        """
        if self._queue is None:
            return
        for item in taken.found:
            if config := item.config:
                self._note("layout", dump(config))
            if item.path in self._tables and (go_on := getattr(item.media, "go_on_in", None)):
                go_on(self._tables, item.path)
            deliver = None if taken.deliver is None else functools.partial(taken.deliver, item.path)
            self._queue.put(item.path, taken.step, round(taken.time * 1e6), item.media, item.name, deliver)
