"""A run with a picture on a server with keys, from `init` to a reader of its project; likewise by `stepwell sync`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import stepwell
from fixtures.commands import Run, Server
from stepwell.errors import ForbiddenError

pytestmark = pytest.mark.db


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("STEPWELL_API_KEY", "STEPWELL_MODE"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


@pytest.fixture
def guarded_server(start_server: Callable[..., Server], data_place: Path) -> Server:
    return start_server(data_place / "data", "--require-keys")


def log_picture(place: Path, server: Server, **more: str) -> None:
    with stepwell.init(
        project="mnist", entity="team", id="r", dir=str(place), url=server.url, settings={"silent": True}, **more
    ) as run:
        run.log({"loss": 0.5, "picture": stepwell.Image(np.zeros((4, 4), np.uint8))})


def check_readers(server: Server, make: Callable[..., str]) -> None:
    """The reader of the project sees the picture, and that of another one nothing."""
    overrides = {"base_url": server.url}
    run = stepwell.Api(overrides, api_key=make("team/mnist", "reader")).run("team/mnist/r")
    assert run.summary["loss"] == 0.5
    assert run.summary["picture"]["width"] == 4
    with pytest.raises(ForbiddenError):
        stepwell.Api(overrides, api_key=make("team/other", "reader")).run("team/mnist/r")


@pytest.fixture
def make(guarded_server: Server, stepwell_command: Run) -> Callable[..., str]:
    def run(scope: str, role: str) -> str:
        done = stepwell_command("keys", "create", scope, "--role", role, "--data", guarded_server.data)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    return run


def test_run_with_a_picture(
    guarded_server: Server, make: Callable[..., str], place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STEPWELL_API_KEY", make("team", "writer"))
    log_picture(place, guarded_server)
    check_readers(guarded_server, make)


def test_spool_waits_for_a_key(
    guarded_server: Server, make: Callable[..., str], place: Path, stepwell_command: Run
) -> None:
    """A run that was logged with a wrong key is delivered once there is a right one."""
    log_picture(place, guarded_server, mode="offline")
    sync = ("sync", place, "--url", guarded_server.url)
    for key, said in (("", "it requires an API key"), (make("team", "writer")[:-1] + "_", "it refuses the API key")):
        done = stepwell_command(*sync, environment={"STEPWELL_API_KEY": key})
        assert done.returncode == 1
        assert said in done.stdout + done.stderr
    done = stepwell_command(*sync, environment={"STEPWELL_API_KEY": make("team", "writer")})
    assert done.returncode == 0, done.stdout + done.stderr
    check_readers(guarded_server, make)
