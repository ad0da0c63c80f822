"""Figures of matplotlib, plotly and Bokeh."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import PIL.Image
import plotly.graph_objects as go
import plotly.io
import pytest
from bokeh.document import Document
from bokeh.plotting import figure as bokeh_figure

from fixtures.media import Stored
from stepwell.data_types import Bokeh, Image, Plotly, is_media
from stepwell.errors import DataError

mpl.use("Agg")
from matplotlib import pyplot as plt


@pytest.fixture(autouse=True)
def no_figures() -> Iterator[None]:
    yield
    plt.close("all")


def line_plot() -> Any:
    figure, axes = plt.subplots()
    axes.plot([1, 2, 3], [4.0, 5.5, 6.0], label="loss")
    return figure, axes


def read_plotly(stored: Stored, encoded: Any) -> Any:
    return plotly.io.from_json(stored.read(encoded["path"]).decode())


def test_plotly_figure_round_trip(stored: Stored) -> None:
    """Covers the row "plotly figure": plotly-file."""
    figure = go.Figure(go.Scatter(x=np.arange(3), y=[4, 5, 6], name="a"), layout={"title": "T"})
    encoded = stored.log(figure, "chart", 6)
    assert encoded == {
        "_type": "plotly-file",
        "sha256": encoded["sha256"],
        "size": len(stored.read(encoded["path"])),
        "path": f"media/plotly/chart_6_{encoded['sha256'][:20]}.plotly.json",
    }
    assert read_plotly(stored, encoded) == figure


def test_plotly_figure_may_be_changed_after_log(stored: Stored) -> None:
    x = np.array([1, 2])
    figure = go.Figure(go.Scatter(x=x, y=[1, 2]))
    media = Plotly(figure)
    x[:] = 9
    figure.data[0].y = [7, 7]
    assert read_plotly(stored, stored.log(media)) == go.Figure(go.Scatter(x=np.array([1, 2]), y=[1, 2]))


@pytest.mark.parametrize("what", ["figure", "axes", "pyplot", "Plotly(figure)"])
def test_matplotlib_figure_becomes_plotly(stored: Stored, what: str) -> None:
    """Covers the row "matplotlib figure/axes/pyplot module"."""
    figure, axes = line_plot()
    value = {"figure": figure, "axes": axes, "pyplot": plt, "Plotly(figure)": None}[what]
    encoded = stored.log(Plotly(figure) if value is None else value)
    assert encoded["_type"] == "plotly-file"
    [line] = read_plotly(stored, encoded).data
    assert (list(line.x), list(line.y), line.name) == ([1, 2, 3], [4.0, 5.5, 6.0], "loss")


@pytest.mark.parametrize("what", ["figure", "axes", "pyplot"])
def test_matplotlib_figure_with_image_becomes_an_image(stored: Stored, what: str) -> None:
    figure, axes = plt.subplots(1, 2)
    axes[1].imshow(np.eye(4))
    encoded = stored.log({"figure": figure, "axes": axes[0], "pyplot": plt}[what])
    assert (encoded["_type"], encoded["width"], encoded["height"]) == ("image-file", 640, 480)


def test_inconvertible_figure_becomes_an_image(
    stored: Stored, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(_: Any) -> None:
        raise AttributeError("'Spine' object has no attribute 'is_frame_like'")

    monkeypatch.setattr("plotly.tools.mpl_to_plotly", broken)
    figure, _ = line_plot()
    assert stored.log(figure)["_type"] == "image-file"
    assert "logged as a picture: plotly cannot convert the matplotlib figure (AttributeError: 'Spine'" in caplog.text
    with pytest.raises(DataError, match=r"log stepwell.Image\(figure\)"):
        Plotly(figure)


def test_without_plotly_figure_becomes_an_image(
    stored: Stored, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setitem(sys.modules, "plotly.io", None)
    figure, _ = line_plot()
    assert stored.log(figure)["_type"] == "image-file"
    assert "pip install 'stepwell[media]'" in caplog.text


@pytest.mark.parametrize("what", ["figure", "axes", "pyplot", "part of a figure"])
def test_figure_image_matches_savefig(stored: Stored, tmp_path: Path, what: str) -> None:
    figure = plt.figure()
    part = figure.subfigures(1, 2)[0]
    axes = part.subplots()
    axes.plot([1, 2], [3, 4])
    figure.savefig(tmp_path / "figure.png")
    image = Image({"figure": figure, "axes": axes, "pyplot": plt, "part of a figure": part}[what])
    axes.plot([2, 1], [3, 4])
    drawn = np.asarray(PIL.Image.open(stored.file(stored.log(image)["path"])))
    np.testing.assert_array_equal(drawn, np.asarray(PIL.Image.open(tmp_path / "figure.png")))


def test_figures_in_a_list_are_single_objects(stored: Stored) -> None:
    encoded = stored.log([line_plot()[0], go.Figure()])
    assert [one["_type"] for one in encoded] == ["plotly-file"] * 2


def test_other_library_objects_are_no_media() -> None:
    _, axes = line_plot()
    assert not any(map(is_media, [mpl, axes.lines[0], go.Scatter(), Document(), sys]))


@pytest.mark.parametrize("make", [lambda: Plotly(5), lambda: Plotly({"data": []}), lambda: Bokeh(5)])
def test_invalid_figure_is_an_error(make: Any) -> None:
    with pytest.raises(DataError, match="the value is n"):
        make()


@pytest.mark.parametrize("adopted", [False, True], ids=["on its own", "in a document"])
def test_bokeh_figure_round_trip(stored: Stored, adopted: bool) -> None:
    model = bokeh_figure(title="T")
    model.line([1, 2], [3, 4])
    document = Document()
    if adopted:
        document.add_root(model)
    encoded = stored.log(model, "b", 0)
    assert (encoded["_type"], encoded["size"]) == ("bokeh-file", len(stored.read(encoded["path"])))
    assert encoded["path"] == f"media/bokeh/b_0_{encoded['sha256'][:20]}.bokeh.json"
    [root] = Document.from_json(stored.json(encoded["path"])).roots
    assert (root.title.text, model.document is document) == ("T", adopted)


def test_bokeh_document_from_file(stored: Stored, tmp_path: Path) -> None:
    path = tmp_path / "figure.json"
    path.write_text(json.dumps({"roots": []}))
    assert stored.json(stored.log(Bokeh(path))["path"]) == {"roots": []}
    path.write_text("no JSON")
    with pytest.raises(DataError, match="not a Bokeh document"):
        Bokeh(path)
