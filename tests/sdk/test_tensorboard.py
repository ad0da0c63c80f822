"""`init(sync_tensorboard=True)`: the output of TensorBoard's writers is also logged to the run."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import stepwell
from stepwell import testing

tensorboardX = __import__("tensorboardX")


def test_tensorboard_values_become_rows(tmp_path: Path) -> None:
    with testing.capture() as logged:
        run = stepwell.init(sync_tensorboard=True)
        writer = tensorboardX.SummaryWriter(str(tmp_path))
        for step in (0, 10):
            writer.add_scalar("loss", 0.5 + step, step)
            writer.add_scalars("acc", {"train": 1.0, "val": 2.0}, step)
        writer.add_histogram("weights", np.arange(100.0), 20)
        writer.add_text("note", "hello", 20)
        writer.add_image("picture", np.zeros((3, 4, 4), np.uint8), 20)
        writer.close()
        run.finish()
        writer.add_scalar("loss", 9.0, 30)  # the method of the library is restored
    first, second, third = logged.history
    assert (first["loss"], first["global_step"]) == (0.5, 0.0)
    assert (second["loss"], second["global_step"]) == (10.5, 10.0)
    assert [(row["acc/train/acc"], row["acc/val/acc"]) for row in (first, second)] == [(1.0, 2.0)] * 2
    assert third["global_step"] == 20.0
    assert third["note"] == "hello"
    assert third["weights"]["_type"] == "histogram"
    assert sum(third["weights"]["values"]) == 100
    assert [item.key for item in logged.media] == ["picture"]


@pytest.mark.parametrize(
    ("places", "keys"),
    [
        (["exp/train", "exp/val"], ["train/loss", "val/loss"]),
        (["exp/a", "exp/b"], ["loss", "b/loss"]),
        (["exp", "exp/deep/eval"], ["loss", "deep/eval/loss"]),
        (["exp", "exp"], ["loss"]),
    ],
)
def test_equal_tags_of_two_directories_are_two_metrics(tmp_path: Path, places: list[str], keys: list[str]) -> None:
    with testing.capture() as logged:
        run = stepwell.init(sync_tensorboard=True)
        writers = [tensorboardX.SummaryWriter(str(tmp_path / place)) for place in places]
        for number, writer in enumerate(writers):
            writer.add_scalar("loss", number, 5)
            writer.close()
        run.finish()
    (row,) = logged.history
    assert [key for key in row if key.endswith("loss")] == keys


def test_later_import_is_patched() -> None:
    program = """
        import sys, tempfile, stepwell
        from stepwell import testing
        with testing.capture() as logged:
            run = stepwell.init(sync_tensorboard=True)
            assert "tensorboardX" not in sys.modules
            from tensorboardX import SummaryWriter
            SummaryWriter(tempfile.mkdtemp()).add_scalar("a", 1.5, 3)
            run.finish()
        assert [(row["a"], row["global_step"]) for row in logged.history] == [(1.5, 3.0)], logged.history
    """
    import textwrap

    done = subprocess.run([sys.executable, "-c", textwrap.dedent(program)], capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()
