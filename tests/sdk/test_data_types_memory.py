"""The memory of waiting media is counted by size, so that a flood of them is bounded, with a warning."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import PIL.Image
import pytest

from fixtures.server import StartRun
from stepwell.data_types import Audio, Html, Image, Molecule, Object3D, Table, Video, as_media
from stepwell.settings import Limits

KIB = 1024
RNG = np.random.default_rng(5)
PIXELS = RNG.integers(0, 256, (256, 256, 3), np.uint8)


def table(cells: list[Any], **options: Any) -> Table:
    return Table(columns=["a"], data=[[cell] for cell in cells], **options)


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        pytest.param(lambda: Image(PIXELS), 256 * KIB, id="picture, as Pillow has it"),
        pytest.param(lambda: Image(PIXELS[:, :, 0]), 64 * KIB, id="grey picture"),
        pytest.param(
            lambda: Image(PIXELS, masks={"m": {"mask_data": PIXELS[:, :, 0]}}), 320 * KIB, id="picture with a mask"
        ),
        pytest.param(lambda: [Image(PIXELS)] * 10, 2560 * KIB, id="list of pictures"),
        pytest.param(lambda: [PIL.Image.fromarray(PIXELS)] * 3, 768 * KIB, id="list of pictures of Pillow"),
        pytest.param(lambda: Video(np.zeros((8, 3, 64, 64), np.uint8)), 96 * KIB, id="video"),
        pytest.param(lambda: Audio(np.zeros(50_000, np.float32), sample_rate=8000), 200_000, id="sound"),
        pytest.param(lambda: Html("é" * 50_000), 50_000, id="page"),
        pytest.param(lambda: Object3D(np.zeros((5000, 3))), 120_000, id="points"),
        pytest.param(lambda: Molecule._of_text("x" * 50_000, None), 50_000, id="molecule"),
        pytest.param(lambda: table(["x" * 1000] * 500), 500_000, id="table of texts"),
        pytest.param(lambda: table([Image(PIXELS) for _ in range(4)]), 1024 * KIB, id="table of pictures"),
        pytest.param(lambda: table([PIXELS] * 4), 768 * KIB, id="table of arrays"),
        pytest.param(
            lambda: table(["x" * 1000] * 500, log_mode="INCREMENTAL"), 500_000, id="new rows of a table that grows"
        ),
    ],
)
def test_waiting_media_are_counted_by_size(make: Callable[[], Any], expected: int) -> None:
    media = as_media(make())
    assert media is not None
    assert expected <= media.prepare().held_bytes < expected * 1.5 + 4 * KIB


def test_long_table_size_is_sampled() -> None:
    held = table(["x" * (number % 200) for number in range(50_000)]).prepare().held_bytes
    assert 0.8 < held / (50_000 * (99.5 + 2 * 64)) < 1.2


def test_flood_of_pictures_makes_log_wait(start_run: StartRun, caplog: pytest.LogCaptureFixture) -> None:
    run = start_run(mode="offline", limits=Limits(media_bytes=800 * KIB))
    assert run._session is not None
    queue, most = run._session.blobs.media, 0
    for step in range(40):
        run.log({"loss": step, "sample": Image(PIXELS + np.uint8(step))})
        most = max(most, queue.waiting)
    run.finish()
    assert (queue.counts.logged, queue.counts.encoded, queue.counts.dropped, queue.counts.failed) == (40, 40, 0, 0)
    assert most <= 3
    assert queue.counts.waits > 0
    assert len(run._session.blobs.spool.waiting) == 40
    said = [record.getMessage() for record in caplog.records if "log() waits" in record.getMessage()]
    assert len(said) == 1
    assert "Nothing is lost" in said[0]
    assert "Limits.media_bytes" in said[0]
