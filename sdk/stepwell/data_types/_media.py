"""What all media have in common: a copy at first, files and JSON later.

Between `log()` and the sink. The constructor and `prepare()` run in the caller's thread and leave nothing that the
caller could still change; `encode()` runs later, elsewhere, makes the files and returns the JSON for the row. A value
that is logged twice in a run is encoded once.
"""

from __future__ import annotations

import weakref
from collections.abc import Sequence
from typing import Any, ClassVar

from stepwell.data_types._files import FileRef, FileSink
from stepwell.data_types._held import held_bytes
from stepwell.errors import DataError
from stepwell.values.text import storable

#: What `encode` returns: an object, or a list of them for media of several classes.
Encoded = dict[str, Any] | list[Any]


class Media:
    """A value of a metric that is stored as a file.

    Class attributes:
        folder: below `media/` in the run.
    """

    folder: ClassVar[str]
    _encoded: dict[str, Any] | None = None
    _encoded_for: weakref.ref[FileSink] | None = None

    @property
    def held_bytes(self) -> int:
        """The memory that it holds until it is encoded, about; what waits for that is bounded by it."""
        return held_bytes(self)

    def prepare(self) -> Media:
        """What `log()` keeps: this object when nothing can change it any more, else a copy of it. Fast.

        Raises:
            DataError: it cannot be logged.
        """
        return self

    def encode(self, key: str, step: int | str, sink: FileSink) -> Encoded:
        """Encodes; hands the files to `sink`. Not for the caller's thread. Calls come in the order of `prepare()`.

        Args:
            key: the metric's name; of a nested one, the innermost key.
            step: of the row; "summary" for a value that is set there.
            sink: that of the run.

        Returns:
            the JSON for the row, `{"_type": …, "path": …, "sha256": …, "size": …, …}`. The same object again, for the
            same sink, returns the files that it has already.

        Raises:
            DataError: it cannot be encoded.
        """
        if self._encoded is None or self._encoded_for is None or self._encoded_for() is not sink:
            self._encoded = self._encode(key, step, sink)
            self._encoded_for = weakref.ref(sink)
        return dict(self._encoded)

    def config_entries(self, key: str) -> dict[str, Any]:
        """What the run's internal config (`_wandb`) must know of it: names of classes, layouts of charts."""
        return {}

    def row_key(self, key: str) -> str:
        """The key that the row has for it; another one for charts only."""
        return key

    @classmethod
    def batch_json(cls, items: Sequence[Any], encoded: Sequence[dict[str, Any]]) -> dict[str, Any] | None:
        """The one object for a list of this class, without `count` and `files`; None where lists stay lists."""
        return None

    @classmethod
    def batch_limit(cls) -> int | None:
        """How many of a list are kept; None for all."""
        return None

    def files_of(self, encoded: dict[str, Any]) -> list[FileRef]:
        """The files that `encoded`, which `encode` returned, refers to."""
        return [FileRef(encoded["sha256"], encoded["size"], encoded["path"])]

    def _encode(self, key: str, step: int | str, sink: FileSink) -> dict[str, Any]:
        raise NotImplementedError

    def __stepwell_json__(self) -> Any:
        raise DataError(
            f"{type(self).__name__} objects have no place between plain values",
            hint="log a key of its own for each, or a list of nothing but media; a config takes none",
        )


def captions_of(items: Sequence[Any]) -> list[str | None] | None:
    """One caption an item, None where it has none; None for all if the first has none (log-semantics §8)."""
    return [item.caption for item in items] if items and items[0].caption else None


def checked_caption(caption: object) -> str | None:
    """A caption as text. Numbers are taken, too, as scripts give the label of a class."""
    if caption is None or isinstance(caption, str):
        return caption if caption is None else storable(caption)
    if isinstance(caption, list | tuple | dict):
        raise DataError("a caption is a text", detail=type(caption).__name__, hint="one object, one caption")
    return storable(str(caption))
