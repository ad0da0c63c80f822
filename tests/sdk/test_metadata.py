"""The metadata of a run: process, repository and packages, without secrets."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from stepwell.observe import metadata as _metadata
from stepwell.observe.metadata import Metadata, of_git, of_packages, of_process, without_secrets


def git(directory: Path, *arguments: str) -> None:
    who = ["-c", "user.name=x", "-c", "user.email=x@example.org"]
    subprocess.run(["git", "-C", str(directory), *who, *arguments], check=True, capture_output=True)


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    git(tmp_path, "init", "-b", "trunk")
    (tmp_path / "train.py").write_text("1")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-m", "first")
    git(tmp_path, "remote", "add", "origin", "https://someone:geheim@example.org:8443/team/code.git?token=geheim")
    return tmp_path


def test_repository_is_described_without_secrets(repository: Path) -> None:
    (repository / "below").mkdir()
    found = of_git(repository / "below")
    assert os.path.samefile(found["root"], repository)
    assert (found["branch"], found["dirty"]) == ("trunk", False)
    assert found["remote"] == "https://example.org:8443/team/code.git"
    assert len(found["commit"]) == 40
    assert "geheim" not in json.dumps(found)
    (repository / "new.py").write_text("2")
    assert of_git(repository)["dirty"] is False
    (repository / "train.py").write_text("2")
    assert of_git(repository)["dirty"] is True


def test_repository_without_commits_is_described(tmp_path: Path) -> None:
    git(tmp_path, "init", "-b", "trunk")
    assert set(of_git(tmp_path)) == {"root", "branch", "dirty"}
    (tmp_path / "a").write_text("1")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-m", "first")
    git(tmp_path, "checkout", "--detach")
    assert set(of_git(tmp_path)) == {"root", "commit", "dirty"}


def test_no_repository_gives_no_entry(tmp_path: Path, repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert of_git(Path("/")) == {}
    monkeypatch.setenv("PATH", str(tmp_path / "nowhere"))
    assert of_git(repository) == {}


def test_hanging_git_is_given_up(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (repository / "bin").mkdir()
    slow = repository / "bin" / "git"
    slow.write_text("#!/bin/sh\nexec sleep 60\n")
    slow.chmod(0o755)
    monkeypatch.setenv("PATH", f"{repository / 'bin'}:{os.environ['PATH']}")
    monkeypatch.setattr(_metadata, "GIT_S", 0.05)
    assert of_git(repository) == {}


@pytest.mark.parametrize(
    ("url", "clean"),
    [
        ("https://token@example.org/x.git", "https://example.org/x.git"),
        ("https://a:b@example.org:1/x?y=z#w", "https://example.org:1/x"),
        ("ssh://git:secret@example.org/x", "ssh://example.org/x"),
        ("git@example.org:team/x.git", "git@example.org:team/x.git"),
        ("name:secret@example.org:team/x.git", "example.org:team/x.git"),
        ("token@example.org:team/x.git", "example.org:team/x.git"),
        ("/srv/x.git", "/srv/x.git"),
        ("https://example.org:port/x", ""),
    ],
)
def test_remotes_have_no_credentials(url: str, clean: str) -> None:
    assert without_secrets(url) == clean


def test_process_and_packages_are_described() -> None:
    found = of_process(Path("/x/train.py"))
    assert (found["executable"], found["pid"], found["program"]) == (sys.executable, os.getpid(), "/x/train.py")
    assert found["arguments"] == sys.argv[1:]
    packages = of_packages()["packages"]
    assert packages == sorted(packages, key=str.lower)
    assert any(package.startswith("numpy==") for package in packages)


def gathered(whole: bool) -> dict[str, Any]:
    notes: list[dict[str, Any]] = []
    metadata = Metadata(lambda kind, body: notes.append(json.loads(body)), whole)
    metadata._run()
    return {name: value for note in notes for name, value in note.items()}


def test_other_ranks_omit_shared_metadata() -> None:
    assert "packages" in gathered(whole=True)
    assert not {"packages", "git"} & set(gathered(whole=False))


@pytest.mark.parametrize(
    ("argument", "kept"),
    [
        ("--db=postgresql://ann:se/cr@et@db/runs", "--db=postgresql://db/runs"),
        ("https://token@example.org/x", "https://example.org/x"),
        ("ann:secret@example.org:team/x.git", "example.org:team/x.git"),
        ("git@example.org:team/x.git", "git@example.org:team/x.git"),
        ("host=db password=secret dbname=x", "host=db password=*** dbname=x"),
        ("postgresql:///x?host=db&password=secret&port=1", "postgresql:///x?host=db&password=***&port=1"),
        ("ann@example.org", "ann@example.org"),
        ("--lr=0.1", "--lr=0.1"),
        ("a:b", "a:b"),
    ],
)
def test_arguments_have_no_url_credentials(monkeypatch: pytest.MonkeyPatch, argument: str, kept: str) -> None:
    monkeypatch.setattr(sys, "argv", ["train.py", argument])
    assert of_process(None)["arguments"] == [kept]


def test_arguments_may_contain_any_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["x", "a\udcff\0"])
    assert gathered(whole=False)["arguments"] == ["a\ufffd\ufffd"]


def test_unavailable_metadata_is_omitted(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails() -> Any:
        raise OSError("broken")

    monkeypatch.setattr(_metadata, "of_packages", fails)
    found = gathered(whole=True)
    assert "host" in found
    assert "packages" not in found
