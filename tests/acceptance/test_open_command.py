"""`stepwell open` gives the URL of a page that exists to the browser, or prints how to reach it."""

from __future__ import annotations

import subprocess
import urllib.request
from collections.abc import Callable
from pathlib import Path

import pytest

import stepwell
from fixtures.commands import Server
from stepwell.cli import main

pytestmark = pytest.mark.db

Open = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def logged(server: Server) -> str:
    """The URL of a server with a run."""
    with stepwell.init(project="öpen me", id="r1", name="fast-fox", url=server.url, settings={"silent": True}) as run:
        run.log({"a": 1})
    return server.url


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A program that writes the URL that it gets to `seen` beside it. Python looks for browsers only once."""
    program = tmp_path_factory.mktemp("browser") / "browser"
    program.write_text('#!/bin/sh\nprintf %s "$1" > "${0%/*}/seen"\n')
    program.chmod(0o755)
    return program


@pytest.fixture
def opened(browser: Path, ask: Open, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file with the URL that the browser got."""
    monkeypatch.setenv("BROWSER", str(browser))
    seen = browser.with_name("seen")
    seen.unlink(missing_ok=True)
    return seen


@pytest.fixture
def ask(logged: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Open:
    monkeypatch.setenv("STEPWELL_URL", logged)
    for name in ("BROWSER", "DISPLAY", "WAYLAND_DISPLAY", "SSH_CONNECTION", "STEPWELL_PROJECT", "STEPWELL_ENTITY"):
        monkeypatch.delenv(name, raising=False)

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        code = main(["open", *arguments])
        return subprocess.CompletedProcess(arguments, code, *capsys.readouterr())

    return run


@pytest.mark.parametrize(
    ("path", "page"),
    [
        ([], "/"),
        (["öpen me"], "/default/%C3%B6pen%20me"),
        (["default/öpen me"], "/default/%C3%B6pen%20me"),
        (["öpen me/r1"], "/default/%C3%B6pen%20me/runs/r1"),
        (["öpen me/fast-fox"], "/default/%C3%B6pen%20me/runs/r1"),
        (["default/öpen me/r1"], "/default/%C3%B6pen%20me/runs/r1"),
    ],
    ids=["all", "project", "entity/project", "project/run", "name of a run", "entity/project/run"],
)
def test_page_is_opened(ask: Open, opened: Path, logged: str, path: list[str], page: str) -> None:
    done = ask(*path)
    assert (done.returncode, done.stdout, done.stderr) == (0, f"{logged}{page}\n", "")
    assert opened.read_text() == f"{logged}{page}"
    with urllib.request.urlopen(f"{logged}{page}") as answer:
        assert answer.status == 200


def test_url_is_only_printed(ask: Open, opened: Path, logged: str) -> None:
    done = ask("--print")
    assert (done.returncode, done.stdout, done.stderr) == (0, f"{logged}/\n", "")
    assert not opened.exists()


def test_way_from_another_machine_is_shown(ask: Open, logged: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSH_CONNECTION", "203.0.113.7 50000 198.51.100.2 22")
    monkeypatch.setattr("sys.platform", "linux")
    port = logged.rpartition(":")[2]
    done = ask()
    assert (done.returncode, done.stdout) == (0, f"{logged}/\n")
    assert f"ssh -N -L {port}:127.0.0.1:{port} " in done.stderr
    assert "@198.51.100.2" in done.stderr


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("mnits", "there is no project mnits"),
        ("öpen me/r2", "runs of default/öpen me include r1"),
        ("öpen you/r1", "there is no run 'r1'"),
        ("a/b/c/d", "a/b/c/d"),
    ],
)
def test_unknown_page_is_an_error(ask: Open, opened: Path, path: str, message: str) -> None:
    done = ask(path)
    assert (done.returncode, done.stdout) == (1, "")
    assert message in done.stderr
    assert not opened.exists()


def test_unreachable_server_is_an_error(ask: Open, opened: Path) -> None:
    done = ask("--url", "http://127.0.0.1:9")
    assert (done.returncode, done.stdout) == (1, "")
    assert "127.0.0.1:9" in done.stderr
    assert not opened.exists()
