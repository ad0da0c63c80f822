"""Interactive Bokeh figures."""

from __future__ import annotations

import json
import os
from typing import Any

from stepwell.data_types._files import FileSink, store
from stepwell.data_types._libraries import library
from stepwell.data_types._media import Media
from stepwell.data_types._sources import Source
from stepwell.errors import DataError


class Bokeh(Media):
    """A Bokeh figure.

    Args:
        data_or_path: a Bokeh model, or the path of a document that Bokeh wrote as JSON.

    Raises:
        DataError: `data_or_path` is neither a model nor the path of such a document.
    """

    folder = "bokeh"

    def __init__(self, data_or_path: Any) -> None:
        if isinstance(data_or_path, str | os.PathLike):
            self._source = Source.of_path(data_or_path)
            try:
                json.loads(self._source.read())
            except ValueError as error:
                raise DataError("the file is not a Bokeh document", detail=str(error)[:200]) from error
            return
        model = library("bokeh.model", "a Bokeh figure", "bokeh").Model
        if not isinstance(data_or_path, model):
            raise DataError("the value is neither a Bokeh model nor a path", detail=type(data_or_path).__name__)
        self._source = Source(_document(data_or_path).encode(), ".json")

    def _encode(self, key: str, step: int | str, sink: FileSink) -> dict[str, Any]:
        ref = store(sink, self.folder, key, step, ".bokeh.json", self._source.data)
        return {"_type": "bokeh-file", **ref.as_json()}


def _document(model: Any) -> str:
    """The JSON of the model's document, or of a temporary one if the model has none."""
    encoder = library("bokeh.core.json_encoder", "a Bokeh figure", "bokeh")
    alone = model.document is None
    document = library("bokeh.document", "a Bokeh figure", "bokeh").Document() if alone else model.document
    try:
        if alone:
            document.add_root(model)
        text: str = encoder.serialize_json(document.to_json(deferred=False))  # with arrays inside the text
        return text
    finally:
        if alone:
            document.clear()
