"""Notes of a run arrive once and in order, whatever the network or the server does."""

from __future__ import annotations

import pytest

from fixtures.server import Backend, StartRun

pytestmark = pytest.mark.db

SAID = "SELECT kind, step, value FROM stepwell.note ORDER BY seq, ord"


def test_notes_survive_a_server_crash(backend: Backend, start_run: StartRun) -> None:
    with start_run(backend.url) as run:
        for number in range(60):
            run.log({"a": number})
            run._stage.note("test", b"%d" % number)
            if number == 20:
                assert run.flush()
                backend.kill()
            if number == 40:
                backend.start()
    assert backend.query(SAID) == [("test", number + 1, number) for number in range(60)]
    assert (run.account.logged, run.account.stored) == (60, 60)
    assert run.stats is not None
    assert (run.stats.notes, run.stats.values_logged) == (60, 60)


def test_sync_delivers_notes(backend: Backend, start_run: StartRun) -> None:
    from stepwell.cli import main

    with start_run(mode="offline") as run:
        run._stage.note("test", b'"offline"')
    directory = str(run.settings.dir)
    assert main(["sync", directory, "--url", backend.url]) == 0
    assert backend.query(SAID) == [("test", 0, "offline")]


def test_undelivered_notes_are_reported(start_run: StartRun, capsys: pytest.CaptureFixture[str]) -> None:
    run = start_run(mode="offline")
    run.summary["a"] = 1
    run.finish()
    assert capsys.readouterr().err.splitlines() == [
        f"stepwell: run run-1: 0 values logged = 0 stored; notes, such as its config, are in {run.spool_directory}",
        f"  deliver them with: stepwell sync {run.settings.dir}",
    ]
