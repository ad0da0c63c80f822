"""Pictures under a key that also has numbers, and in calls for steps that have passed."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import stepwell
from fixtures.server import Backend, StartRun

pytestmark = pytest.mark.db


def test_picture_and_number_under_one_key(file_server: Backend, start_run: StartRun) -> None:
    picture = stepwell.Image(np.zeros((2, 2), np.uint8))
    with start_run(file_server.url) as run:
        run.log({"number last": picture, "picture last": 1.0}, commit=False)
        run.log({"number last": 2.0, "picture last": picture})
        assert run.flush()
        here = run.summary.as_dict()
    there = dict(file_server.query("SELECT key, value FROM stepwell.summary"))
    assert here["number last"] == there["number last"] == 2
    assert here["picture last"]["_type"] == there["picture last"]["_type"] == "image-file"


def test_quarantine_keeps_pictures(file_server: Backend, start_run: StartRun) -> None:
    with start_run(file_server.url, step_back="quarantine") as run:
        run.log({"a": 1}, step=10)
        run.log({"a": 2, "picture": stepwell.Image(np.zeros((2, 2), np.uint8))}, step=3)
        directory = Path(str(run.spool_directory))
    lines = [json.loads(line) for line in (directory / "quarantine.jsonl").read_text().splitlines()]
    assert [(line["step"], *line["values"]) for line in lines] == [(3, "a"), (3, "picture")]
    value = json.loads(lines[1]["values"]["picture"])
    [(name, sha256)] = file_server.query("SELECT name, sha256 FROM stepwell.files")
    assert (name, sha256) == (f"quarantine/{value['path']}", value["sha256"])
