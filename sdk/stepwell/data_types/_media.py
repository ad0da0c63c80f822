"""The base class of all media: copied when logged, encoded to files and JSON later.

Sits between `log()` and the sink. The constructor and `prepare()` run in the caller's thread and copy everything that
the caller could still change; `encode()` runs later in another thread, creates the files and returns the JSON for the
row. An object that is logged twice in a run is encoded once.
"""

from __future__ import annotations

import weakref
from collections.abc import Sequence
from typing import Any, ClassVar

from stepwell.data_types._files import FileRef, FileSink
from stepwell.data_types._held import held_bytes
from stepwell.errors import DataError
from stepwell.values.text import storable

#: The result of `encode`: an object, or a list of objects for media of several classes.
Encoded = dict[str, Any] | list[Any]


class Media:
    """A logged value that is stored as a file.

    Class attributes:
        folder: the folder below `media/` in the run.
    """

    folder: ClassVar[str]
    _encoded: dict[str, Any] | None = None
    _encoded_for: weakref.ref[FileSink] | None = None

    @property
    def held_bytes(self) -> int:
        """The approximate memory that the object holds until it is encoded, for the limit of the media queue."""
        return held_bytes(self)

    def prepare(self) -> Media:
        """The object that `log()` keeps: this one when nothing can change it any more, else a copy. Fast.

        Raises:
            DataError: the object cannot be logged.
        """
        return self

    def encode(self, key: str, step: int | str, sink: FileSink) -> Encoded:
        """Encodes the object, and passes the files to `sink`. Called in the order of `prepare()`, in the thread of the
        media queue, or in the caller's thread if no thread can be started.

        Args:
            key: the key under which it was logged; inside dicts, the innermost one.
            step: the step of the row; "summary" for a value of the summary.
            sink: the sink of the run.

        Returns:
            The JSON for the row, `{"_type": …, "path": …, "sha256": …, "size": …, …}`. A second call with the same sink
            returns the same files.

        Raises:
            DataError: the object cannot be encoded.
        """
        if self._encoded is None or self._encoded_for is None or self._encoded_for() is not sink:
            self._encoded = self._encode(key, step, sink)
            self._encoded_for = weakref.ref(sink)
        return dict(self._encoded)

    def config_entries(self, key: str) -> dict[str, Any]:
        """The entries for the run's internal config (`_wandb`): names of classes, layouts of charts."""
        return {}

    def row_key(self, key: str) -> str:
        """The key in the row; only charts have another one."""
        return key

    @classmethod
    def batch_json(cls, items: Sequence[Any], encoded: Sequence[dict[str, Any]]) -> dict[str, Any] | None:
        """The single object for a list of this class, without `count` and `files`; None if such lists stay lists."""
        return None

    @classmethod
    def batch_limit(cls) -> int | None:
        """The most items of a list that are kept; None: all."""
        return None

    def files_of(self, encoded: dict[str, Any]) -> list[FileRef]:
        """The files to which `encoded`, a result of `encode`, refers."""
        return [FileRef(encoded["sha256"], encoded["size"], encoded["path"])]

    def _encode(self, key: str, step: int | str, sink: FileSink) -> dict[str, Any]:
        raise NotImplementedError

    def __stepwell_json__(self) -> Any:
        raise DataError(
            f"{type(self).__name__} objects cannot be mixed with plain values",
            hint="log each under a key of its own, or a list of only media; a config cannot hold media",
        )


def captions_of(items: Sequence[Any]) -> list[str | None] | None:
    """One caption per item, None for an item without one; None for the whole list if the first item has none."""
    return [item.caption for item in items] if items and items[0].caption else None


def checked_caption(caption: object) -> str | None:
    """A caption as text. Numbers are accepted, too, because scripts pass the label of a class.

    Raises:
        DataError: `caption` is a list, tuple or dict.
    """
    if caption is None or isinstance(caption, str):
        return caption if caption is None else storable(caption)
    if isinstance(caption, list | tuple | dict):
        raise DataError(
            "a caption must be a string", detail=type(caption).__name__, hint="give each object a caption of its own"
        )
    return storable(str(caption))
