"""Media in `run.summary`: logged media are shown, and set media are kept."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

import stepwell
from fixtures.server import Backend, StartRun
from stepwell import Html, Image, Table, testing
from stepwell.runs.run import Run
from stepwell.stage.stage import Stage
from stepwell.wire import Object

RGB = np.arange(48, dtype=np.uint8).reshape(4, 4, 3)


@pytest.fixture
def logged() -> Iterator[testing.Capture]:
    with testing.capture() as logged:
        yield logged


@pytest.fixture
def run(logged: testing.Capture) -> Run:
    return stepwell.init()


def html(value: Any) -> bool:
    return isinstance(value, dict) and value.get("_type") == "html-file"


class Slow(Html):
    """A media object whose encoding waits for an event."""

    may = threading.Event()

    def _encode(self, *arguments: Any) -> dict[str, Any]:
        assert self.may.wait(30)
        return super()._encode(*arguments)


@pytest.fixture
def slow() -> Iterator[Slow]:
    Slow.may.clear()
    yield Slow("<b>slow</b>")
    Slow.may.set()


def test_summary_has_the_last_logged_media(logged: testing.Capture, run: Run) -> None:
    run.log({"page": Html("one"), "nested": {"page": Html("x")}})
    run.log({"page": Html("two")})
    assert logged.summary["page"] == logged.media[-1].value
    assert html(logged.summary["nested.page"])
    run.log({"page": 5})
    assert logged.summary["page"] == 5


def test_late_encoding_does_not_hide_later_values() -> None:
    stage = Stage(1 << 20, lambda: True)
    stage.log({"a": 1})
    stage.log({"a": "later"})
    stage.encoded(Object(0, 0, "a", b'{"_type":"html-file"}'))
    stage.encoded(Object(0, 0, "b", b'{"_type":"html-file"}'))
    latest = stage.latest()
    assert (latest["a"].value, latest["b"].step) == (b'"later"', 0)


def test_set_media_have_summary_in_their_name(logged: testing.Capture, run: Run) -> None:
    run.log({"loss": 1})
    run.summary["page"] = Html("<b>one</b>", inject=False)
    run.summary.update({"table": Table(columns=["a"], data=[[1]]), "best": {"picture": Image(RGB), "loss": 0.5}})
    assert set(logged.summary) - {"_step", "_timestamp", "_runtime"} == {
        *("loss", "page", "table", "best.picture", "best.loss")
    }
    assert logged.summary["page"]["path"].startswith("media/html/page_summary_")
    assert logged.summary["best.picture"]["path"].startswith("media/images/picture_summary_")
    assert (logged.summary["_step"], run.step, logged.history) == (0, 1, [{"_step": 0, "loss": 1}])


def test_value_set_during_encoding_stays(logged: testing.Capture, run: Run, slow: Slow) -> None:
    run.summary["a"] = 1
    run.summary["a"] = slow
    run.summary["b"] = slow
    run.summary["c"] = slow
    assert run.summary.keys() == []
    run.summary["a"] = 2
    run.summary.b = Html("quick")
    slow.may.set()
    assert logged.summary["a"] == 2
    assert logged.summary["b"]["sha256"] != logged.summary["c"]["sha256"]


def test_mixed_list_is_refused_and_changes_nothing(logged: testing.Capture, run: Run) -> None:
    with pytest.raises(stepwell.DataError):
        run.summary["a"] = [Html("x"), 1]
    with pytest.raises(stepwell.DataError):
        run.summary.update({"b": Html("x"), "c": object()})
    assert logged.summary == {}


def test_disabled_or_finished_run_keeps_none(logged: testing.Capture, run: Run) -> None:
    run.finish()
    with pytest.raises(stepwell.UsageError, match="its summary cannot be changed"):
        run.summary["page"] = Html("x")
    assert logged.summary == {}
    with stepwell.init(mode="disabled") as disabled:
        disabled.summary["page"] = Html("x")
        assert disabled.summary.keys() == []


@pytest.mark.db
def test_sql_shows_media_with_their_files(file_server: Backend, start_run: StartRun) -> None:
    with start_run(file_server.url) as run:
        run.log({"page": Html("logged", inject=False), "other": Html("other", inject=False)})
        run.summary["page"] = Html("set", inject=False)
        run.summary["words"] = "before"
        run.summary["words"] = Html("words", inject=False)
    assert run.summary["page"]["path"].startswith("media/html/page_summary_")
    found = dict(file_server.query("SELECT key, value FROM stepwell.summary"))
    assert {key: found[key] for key in ("page", "other", "words")} == {
        key: run.summary[key] for key in ("page", "other", "words")
    }
    assert file_server.query("SELECT count(*) FROM stepwell.blob") == [(4,)]
