"""Examples of media from W&B's documentation of `log`: each kind runs with `import stepwell as wandb`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest
from matplotlib import pyplot as plt

import stepwell as wandb
from fixtures.media import Stored
from stepwell.data_types import take_media

RNG = np.random.default_rng(0)


def logged(stored: Stored, data: dict[str, Any]) -> dict[str, Any]:
    """The values in the row as {metric: _type}."""
    rest, found = take_media(data)
    assert not rest
    row = {}
    for one in [one.prepared() for one in found]:
        encoded = one.media.encode(one.name, 0, stored.sink)
        assert isinstance(encoded, dict)
        row[one.path] = encoded["_type"]
    return row


def test_array_images_with_captions(stored: Stored) -> None:
    examples = []
    for number in range(3):
        pixels = RNG.integers(0, 256, (100, 100, 3))
        examples.append(wandb.Image(pixels, caption=f"random field {number}"))
    assert logged(stored, {"examples": examples}) == {"examples": "images/separated"}


def test_pillow_images(stored: Stored) -> None:
    pixels = RNG.integers(0, 256, (100, 100, 3), np.uint8)
    examples = [wandb.Image(PIL.Image.fromarray(pixels).convert("RGB"), caption="random field") for _ in range(3)]
    assert logged(stored, {"examples": examples}) == {"examples": "images/separated"}


def test_video_without_format(stored: Stored) -> None:
    """The array has the axes time, channels, height and width; the file is a gif."""
    frames = RNG.integers(0, 256, (10, 3, 100, 100), np.uint8)
    assert logged(stored, {"video": wandb.Video(frames)}) == {"video": "video-file"}
    assert [path for path in stored.sink.paths if path.endswith(".gif")]


def test_matplotlib_figure(stored: Stored) -> None:
    figure, axes = plt.subplots()
    x = np.linspace(0, 10)
    axes.plot(x, x * x)
    assert logged(stored, {"chart": figure}) == {"chart": "plotly-file"}
    plt.close(figure)


def test_pr_curve(stored: Stored) -> None:
    truth = RNG.integers(0, 2, 30)
    chart = wandb.plot.pr_curve(truth, RNG.random((30, 2)), ["no", "yes"])
    assert logged(stored, {"pr": chart}) == {"pr_table": "table-file"}


def test_object3d_from_open_files(stored: Stored, tmp_path: Path) -> None:
    for kind in ("obj", "gltf", "glb"):
        (tmp_path / f"sample.{kind}").write_bytes(b"\xff\xfe")
    samples = []
    for kind in ("obj", "gltf", "glb"):
        with (tmp_path / f"sample.{kind}").open() as file:
            samples.append(wandb.Object3D(file))
    assert logged(stored, {"generated_samples": samples}) == {"generated_samples": "object3D"}


@pytest.mark.parametrize(
    "name", ["Audio", "Html", "Histogram", "Molecule", "Table", "Plotly", "Bokeh", "Image", "Video"]
)
def test_media_classes_are_exported(name: str) -> None:
    assert getattr(wandb, name) is getattr(wandb.data_types, name)
