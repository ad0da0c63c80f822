"""A user's program. It is never run, but checked with `mypy --strict` (`make check`)."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any, assert_type

import numpy as np

import stepwell
from stepwell import Account, AlertLevel, Config, DataError, Error, Metric, RejectionError, Run, Summary, UsageError


def on_rejection(seq: int, error: RejectionError) -> None:
    print(seq, error.code, error.detail, error.hint)  # noqa: T201


def train(values: Mapping[str, float]) -> None:
    with stepwell.init(project="mnist", config={"lr": 3e-4, "layers": [1, 2]}) as run:
        assert_type(run, Run)
        run.log({"loss": 0.5, "accuracy": np.float32(0.9), "note": "warm-up", "nested": {"a": 1}})
        run.log(values)
        run.log(OrderedDict(a=1), step=3, commit=True, sync=False)
        assert_type(run.step, int)
        assert_type(run.config, Config)
        assert_type(run.config["lr"], Any)
        run.config.update({"batch": 32}, allow_val_change=True)
        assert_type(run.define_metric("loss", summary="min"), Metric)
        assert_type(run.summary, Summary)
        assert_type(run.summary["loss"], Any)
        run.summary["best"] = 1
        run.tags += ("baseline",)
        assert_type(run.tags, tuple[str, ...])
        run.name, run.notes = "first", None
        run.alert("title", level=AlertLevel.WARN)
        if not run.flush(timeout_s=5.0):
            print("not all is stored yet")  # noqa: T201
    assert_type(run.account, Account)
    assert_type(run.account.left, int)


def module_level() -> None:
    stepwell.init(
        "mnist",
        entity="team",
        id="run-1",
        name="first try",
        notes="…",
        tags=["a", "b"],
        group="g",
        job_type="train",
        mode="offline",
        dir="/tmp/spools",
        url="http://127.0.0.1:8770",
        writer=3,
        on_rejection=on_rejection,
    )
    try:
        stepwell.log({"loss": 0.5})
        stepwell.log({"loss": 0.5}, step=1, commit=False)
    except DataError as error:
        print(error.message)  # noqa: T201
    except (UsageError, Error):
        raise
    stepwell.flush()
    stepwell.finish(exit_code=0)


def read_back() -> None:
    api = stepwell.Api({"entity": "team"}, timeout=30)
    run = api.run("mnist/my-run")
    assert_type(run.tags, list[str])
    for other in api.runs("mnist", {"state": "finished"})[:3]:
        print(other.summary.get("loss"))  # noqa: T201
    print(run.series("loss").values.mean())  # noqa: T201


async def inside_a_loop() -> None:
    async with stepwell.init(project="mnist") as run:
        run.log({"loss": 0.5})
        assert_type(await run.flush(), bool)


if __name__ == "__main__":
    train({"loss": 0.5})
    module_level()
    asyncio.run(inside_a_loop())


def media() -> None:
    pixels = np.zeros((4, 4, 3), np.uint8)
    stepwell.log({"pictures": [stepwell.Image(pixels, caption="one")], "weights": stepwell.Histogram([1.0, 2.0])})
    assert_type(stepwell.Html("<p>").html, str)
    assert_type(stepwell.data_types.Html("<p>").html, str)
    assert_type(stepwell.data_types.Media.batch_json([], []), dict[str, Any] | None)
    table = stepwell.Table(columns=["a", "b"], data=[[1, 2]])
    assert_type(table, stepwell.data_types.Table)
    assert_type(stepwell.plot.line(table, "a", "b"), stepwell.plot.CustomChart)
    stepwell.log({"video": stepwell.Video(np.zeros((2, 3, 4, 4), np.uint8)), "sound": stepwell.Audio([0.5], 8000)})
