"""A host that temporarily starts no more threads (a limit on pids): work continues without them."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from fixtures.server import Backend, StartRun, until
from stepwell.data_types import Image
from stepwell.spool import Spool

pytestmark = pytest.mark.db


@pytest.fixture
def limit(monkeypatch: pytest.MonkeyPatch) -> Callable[[bool], None]:
    """limit(True): the SDK can start no threads; limit(False): it can again."""
    start = threading.Thread.start
    reached = False

    def start_if_allowed(self: threading.Thread) -> None:
        if reached and self.name.startswith("stepwell-"):
            raise RuntimeError("can't start new thread")
        start(self)

    def set_to(value: bool) -> None:
        nonlocal reached
        reached = value

    monkeypatch.setattr(threading.Thread, "start", start_if_allowed)
    return set_to


def picture(seed: int) -> Image:
    return Image(np.full((4, 4, 3), seed, np.uint8))


def test_pictures_and_files_are_stored_at_the_limit(
    file_server: Backend, start_run: StartRun, limit: Callable[[bool], None], tmp_path: Path
) -> None:
    run = start_run(file_server.url)
    limit(True)
    (tmp_path / "a.txt").write_text("a")
    run.log({"picture": picture(1), "loss": 1.0})
    run.save(tmp_path / "a.txt", policy="now")
    assert run.flush(30)
    assert file_server.query("SELECT count(*) FROM stepwell.blob") == [(2,)]
    assert [key for _, key, _, _ in file_server.objects("run-1")] == ["picture"]
    run.finish()
    assert run.account.left == 0


def test_uploads_start_when_threads_are_available_again(
    file_server: Backend, start_run: StartRun, limit: Callable[[bool], None]
) -> None:
    run = start_run(file_server.url)
    limit(True)
    run.log({"picture": picture(2)})
    limit(False)
    counts = run._session.blobs.uploader.counts
    until(lambda: counts.stored == 1)


@pytest.mark.parametrize("mode", ["online", "offline"])
def test_spool_is_synced_at_the_limit(
    start_run: StartRun, limit: Callable[[bool], None], monkeypatch: pytest.MonkeyPatch, mode: str
) -> None:
    synced: list[int] = []
    sync = Spool.sync
    monkeypatch.setattr(Spool, "sync", lambda self: (sync(self), synced.append(self.next_seq)))
    run = start_run(mode=mode)
    limit(True)
    for step in range(3):
        before = len(synced)
        run.log({"loss": float(step)})
        assert run.flush(30, durable=False)
        until(lambda before=before: len(synced) >= before + 2)  # the attempt of `flush`, and the automatic one
    assert synced == sorted(synced)
    assert synced[-1] >= 3
