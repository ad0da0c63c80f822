"""Texts that JSON or Postgres cannot store, wherever a run has a text: no data is stuck or refused."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import numpy as np
import pytest

import stepwell
from fixtures.server import Backend, StartRun

pytestmark = pytest.mark.db

#: NUL, bytes of an undecodable file name, and a lone surrogate.
BAD = "a\0b\udcffc\ud800d"
GOOD = "a\ufffdb\ufffdc\ufffdd"


def test_run_with_unusual_texts_is_stored(
    file_server: Backend,
    start_run: StartRun,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sys, "argv", ["train.py", BAD])
    backend, picture = file_server, np.zeros((4, 4), np.uint8)
    file = tmp_path / os.fsdecode(b"f\xff.txt")
    file.write_text("content")
    run = start_run(
        backend.url,
        name=BAD,
        notes=BAD,
        tags=[BAD],
        group=BAD,
        job_type=BAD,
        config={BAD: BAD, "deep": [{BAD: [BAD]}], "seed": 2**200},
    )
    run._life.observers.start(run._session)
    with run:
        for number in range(100):
            run.log({"loss": number, BAD: number})
        table = stepwell.Table(columns=["text", BAD], data=[[BAD, {BAD: BAD}]])
        boxes = {BAD: {"box_data": [{"position": {"minX": 0, "maxX": 1, "minY": 0, "maxY": 1}, "class_id": 1,
                                     "box_caption": BAD}], "class_labels": {1: BAD}}}  # fmt: skip
        run.log({"text": BAD, "nested": {BAD: [BAD]}, "table": table, "page": stepwell.Html(GOOD)})
        run.log({f"picture{BAD}": stepwell.Image(picture, caption=BAD, boxes=boxes), "good": stepwell.Image(picture)})
        run.summary["note"] = BAD
        run.summary[BAD] = {BAD: BAD}
        run.alert(BAD, BAD)
        run.config.update({"later": BAD, f"later{BAD}": 1})
        run.name, run.notes, run.tags = "second " + BAD, "second " + BAD, ("second", BAD)
        run.define_metric(f"x{BAD}", step_metric=BAD)
        run.save(str(file), base_path=str(tmp_path), policy="now")
        sys.stdout.write(f"console {BAD[:3]}\n")
        assert (run.name, run.notes, run.tags) == (f"second {GOOD}", f"second {GOOD}", ("second", GOOD))

    assert backend.query("SELECT count(*) FROM stepwell.rejections") == [(0,)]
    assert run.account.logged == run.account.stored == 202
    about = backend.query("SELECT display_name, notes, tags, run_group, job_type, config FROM stepwell.runs")
    config = {GOOD: GOOD, "deep": [{GOOD: [GOOD]}], "later": GOOD, f"later{GOOD}": 1}
    config["seed"] = {"_type": "integer", "value": str(2**200)}
    assert about == [(f"second {GOOD}", f"second {GOOD}", ["second", GOOD], GOOD, GOOD, config)]
    summary = dict(backend.query("SELECT key, value FROM stepwell.summary"))
    assert (summary["note"], summary[f"{GOOD}.{GOOD}"], summary["text"]) == (GOOD, GOOD, GOOD)
    assert summary[f"nested.{GOOD}"] == [GOOD]
    assert summary[f"picture{GOOD}"]["caption"] == GOOD
    assert {"table", "page", "good"} <= summary.keys()
    assert backend.query("SELECT title, text FROM stepwell.alerts") == [(GOOD, GOOD)]
    lines = [line for (line,) in backend.query("SELECT line FROM stepwell.console")]
    assert f"console {GOOD[:3]}" in lines
    assert backend.query("SELECT name FROM stepwell.files") == [("f\ufffd.txt",)]
    assert backend.query("SELECT metadata->'arguments' FROM stepwell.metadata") == [([GOOD],)]


def test_large_config_integers_are_exact(backend: Backend, start_run: StartRun) -> None:
    seeds = {"seed": 2**127 + 1, "deep": {"seeds": [-(2**64), 2**64 - 1]}, "huge": 3**4000}
    with start_run(backend.url, config=seeds) as run:
        run.log({"a": 1})
        assert {key: run.config[key] for key in run.config} == seeds
        run.config.update(seeds)  # no change
    with start_run(backend.url, resume="must") as again:
        assert {key: again.config[key] for key in again.config} == seeds
        assert type(again.config.seed) is int
    found = stepwell.Api(overrides={"base_url": backend.url}).run("default/uncategorized/run-1").config
    assert found == seeds
    assert backend.query("SELECT config->'seed'->>'value' FROM stepwell.runs") == [(str(2**127 + 1),)]


def test_config_nesting_is_limited(backend: Backend, start_run: StartRun) -> None:
    def nested(levels: int) -> object:
        return {"a": nested(levels - 1)} if levels else 1

    with pytest.raises(stepwell.errors.DataError, match="nested too deeply"):
        start_run(backend.url, config={"deep": nested(300)})
    with start_run(backend.url, config={"deep": nested(95)}) as run:
        run.log({"a": 1})
        run.config.update({"later": nested(95)})
        run.summary["s"] = [nested(90)]
    runs = stepwell.Api(overrides={"base_url": backend.url}).runs("default/uncategorized")
    assert [found.config["later"] for found in runs] == [nested(95)]
