"""Recognition of media: our types and those of other libraries, alone and in lists."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import numpy as np
import PIL.Image
import pytest

from fixtures.media import Stored
from fixtures.spools import SDK
from fixtures.stages import logged
from stepwell.data_types import Histogram, Image, as_media, is_media
from stepwell.errors import DataError

RGB = np.zeros((2, 3, 3), np.uint8)


class OwnImage(Image):
    """A user's subclass."""


def circular_list() -> list[Any]:
    items: list[Any] = []
    items.append(items)
    return items


@pytest.mark.parametrize(
    "value",
    [
        1,
        1.5,
        circular_list(),
        "text",
        None,
        True,
        b"x",
        [],
        [1, 2],
        (1,),
        {"a": 1},
        np.zeros(100),
        Histogram([1]),
        [Histogram([1])],
        {1},
    ],
    ids=lambda value: type(value).__name__,
)
def test_plain_values_are_not_media(value: Any) -> None:
    assert not is_media(value)
    assert as_media(value) is None


@pytest.mark.parametrize(
    "value",
    [Image(RGB), OwnImage(RGB), [Image(RGB)], (Image(RGB), Image(RGB)), PIL.Image.fromarray(RGB)],
    ids=["Image", "subclass", "list", "tuple", "Pillow"],
)
def test_media_are_recognised(value: Any) -> None:
    assert is_media(value)
    assert as_media(value) is not None


def test_list_of_mixed_media_is_a_list_of_objects(stored: Stored) -> None:
    """Covers the row "list of different media classes"."""
    encoded = stored.log([Image(RGB), OwnImage(RGB)])
    assert [item["_type"] for item in encoded] == ["image-file", "image-file"]


@pytest.mark.parametrize("kind", [TypeError, ValueError])
def test_list_of_media_and_plain_values_is_refused(kind: type[Exception]) -> None:
    """Covers the row "list mixing media with plain values", in either order."""
    with pytest.raises(kind, match="Image comes first, and item 1 is of type int"):
        as_media([Image(RGB), 1])
    with pytest.raises(kind, match="'v': Image objects cannot be mixed with plain values"):
        logged([1, Image(RGB)])


@pytest.mark.parametrize("value", [Image(RGB), [[1], [Image(RGB)]], {"a": [1, Image(RGB)]}, [{"a": Image(RGB)}]])
def test_media_are_refused_where_values_are_required(value: Any) -> None:
    with pytest.raises(DataError, match="cannot be mixed with plain values"):
        logged(value)


def test_recognition_imports_no_library() -> None:
    code = f"import sys; sys.path.insert(0, {SDK!r})\n" + (
        "from stepwell.data_types import is_media\n"
        "assert not any(map(is_media, [object(), [object()], {}, sys]))\n"
        "print([name for name in ('PIL', 'matplotlib', 'pandas', 'plotly', 'bokeh', 'torch') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.strip() == "[]"
