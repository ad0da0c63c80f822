"""Logs the output of TensorBoard writers to a run: `init(sync_tensorboard=True)`.

Runs before `log()`. The writers of torch and of tensorboardX pass each summary to `FileWriter.add_summary` of their
library; that method is patched while a run wants it. Receives protocol buffers and reads only their attributes, so none
of these libraries is imported here. A library that the program imports later is patched at that time.
"""

from __future__ import annotations

import importlib.abc
import importlib.machinery
import io
import logging
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from types import ModuleType
from typing import Any

from stepwell.observe.tensor_histogram import TensorHistogram

log = logging.getLogger("stepwell")

#: The modules whose `FileWriter.add_summary` is patched.
MODULES = ("torch.utils.tensorboard.writer", "tensorboardX.writer")
STEP = "global_step"
_PATCHED = "_stepwell_original"

#: Logs values to the open step, and closes the previous one first if requested.
Log = Callable[[dict[str, Any], bool], None]


class TensorBoard(importlib.abc.MetaPathFinder):
    """The link from TensorBoard's writers to one run.

    Args:
        log: receives the values of one summary by tag, with `global_step`, and whether they begin a new row.
        picture: converts an encoded picture (a file object) to the object to log.
    """

    def __init__(self, log: Log, picture: Callable[[Any], Any]) -> None:
        self._log = log
        self._picture = picture
        self._step: int | None = None
        self._namespaces: dict[str, str] = {}
        self._patched: list[Any] = []

    def start(self) -> None:
        """Patches the imported libraries now, and others when they are imported."""
        for name in MODULES:
            if name in sys.modules:
                self._patch(sys.modules[name])
        sys.meta_path.insert(0, self)

    def stop(self) -> None:
        """Restores the methods of the libraries."""
        if self in sys.meta_path:
            sys.meta_path.remove(self)
        for writer in self._patched:
            writer.add_summary = getattr(writer, _PATCHED)
            delattr(writer, _PATCHED)
        self._patched = []

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        """Part of the protocol of module finders: lets the other finders find a library, and patches it after its
        import."""
        if fullname not in MODULES:
            return None
        for finder in sys.meta_path:
            if finder is self or (spec := finder.find_spec(fullname, path, target)) is None:
                continue
            if spec.loader is not None:  # wraps the method for this import
                spec.loader.exec_module = partial(self._execute, spec.loader.exec_module)  # type: ignore[method-assign]
            return spec
        return None

    def _execute(self, execute: Callable[[ModuleType], None], module: ModuleType) -> None:
        execute(module)
        if self in sys.meta_path:
            self._patch(module)

    def _patch(self, module: ModuleType) -> None:
        writer = getattr(module, "FileWriter", None)
        original = getattr(writer, "add_summary", None)
        if writer is None or original is None or hasattr(writer, _PATCHED):
            return
        link = self

        def add_summary(self: Any, summary: Any, global_step: Any = None, *more: Any, **named: Any) -> Any:
            done = original(self, summary, global_step, *more, **named)
            link._take(self, summary, global_step)
            return done

        setattr(writer, _PATCHED, original)
        writer.add_summary = add_summary
        self._patched.append(writer)

    def _take(self, writer: Any, summary: Any, global_step: Any) -> None:
        try:
            namespace = self._namespace(writer)
            values = {namespace + tag: value for tag, value in self._values(summary)}
            if not values:
                return
            step = None if global_step is None else int(global_step)
            begins = step is not None and self._step is not None and step != self._step
            if step is not None:
                self._step = values[STEP] = step
            self._log(values, begins)
        except Exception as error:  # noqa: BLE001 - a writer that raises would end the training
            log.error("a TensorBoard summary is not logged: %s: %s", type(error).__name__, error)

    def _namespace(self, writer: Any) -> str:
        """The prefix for the tags of a writer: TensorBoard tells values of one tag apart by the directories of their
        writers.

        As with W&B, the tags of the first writer have no prefix, unless its directory is called "train" or
        "validation". `add_scalars("acc", {"val": …})` uses a writer with a directory below that: `acc_val/acc`.
        """
        place = os.path.abspath(os.fspath(writer.get_logdir()))
        if place not in self._namespaces:
            known = list(self._namespaces)
            if not known:
                name = os.path.basename(place)
                found = name if name in ("train", "validation") else ""
            else:
                root = next((path for path in known if place.startswith(path + os.sep)), "")
                found = os.path.relpath(place, root or os.path.commonpath([*known, place])).replace(os.sep, "/")
            self._namespaces[place] = "" if found in ("", ".") else f"{found}/"
        return self._namespaces[place]

    def _values(self, summary: Any) -> Iterator[tuple[str, Any]]:
        for value in summary.value:
            if value.HasField("simple_value"):
                yield value.tag, value.simple_value
            elif value.HasField("histo"):
                if (histogram := _histogram(value.histo)) is not None:
                    yield value.tag, histogram
            elif value.HasField("image"):
                yield value.tag, self._picture(io.BytesIO(value.image.encoded_image_string))
            elif value.HasField("tensor") and value.tensor.string_val:
                yield value.tag.removesuffix("/text_summary"), value.tensor.string_val[0].decode("utf-8", "replace")
            elif value.HasField("tensor") and value.metadata.plugin_data.plugin_name == "scalars":
                yield from ((value.tag, number) for number in [*value.tensor.float_val, *value.tensor.double_val][:1])


def _histogram(histo: Any) -> TensorHistogram | None:
    """Converts a histogram of TensorBoard, without empty buckets at its ends. A bucket ends at its limit."""
    counts, limits = list(histo.bucket), list(histo.bucket_limit)
    filled = [number for number, count in enumerate(counts) if count]
    if not filled:
        return None
    first, last = filled[0], filled[-1]
    low = limits[first - 1] if first else min(histo.min, limits[0])
    return TensorHistogram([int(count) for count in counts[first : last + 1]], [low, *limits[first : last + 1]], 0, 0)
