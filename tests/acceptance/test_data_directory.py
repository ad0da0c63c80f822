"""The directory of a user's database, and the move from the directory of an older version."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from stepwell.errors import SettingError
from stepwell.settings.server_file import data_directory, default_data
from stepwell_ingest.commands.data import InUseError, held
from stepwell_ingest.commands.move import move_data


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The home of an ordinary user."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    for name in ("STEPWELL_DATA", "XDG_DATA_HOME"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


def database(place: Path) -> None:
    (place / "postgres").mkdir(parents=True)
    (place / "postgres" / "PG_VERSION").write_text("18\n")
    (place / "postgres.log").write_text("ready\n")
    (place / "blobs").mkdir()
    (place / "server.json").write_text("{}")


def test_data_is_separate_from_home_spools(home: Path) -> None:
    assert data_directory() == home / ".local" / "share" / "stepwell"
    (home / ".stepwell" / "default" / "p").mkdir(parents=True)  # spools of a run that was started here
    assert data_directory() == home / ".local" / "share" / "stepwell"


def test_environment_sets_the_data_directory(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(home / "data"))
    assert data_directory() == home / "data" / "stepwell"
    monkeypatch.setenv("XDG_DATA_HOME", "relative")  # a relative path, which the specification says to ignore
    assert data_directory() == home / ".local" / "share" / "stepwell"
    monkeypatch.setenv("STEPWELL_DATA", "~/mine")
    assert data_directory() == home / "mine"


def test_old_data_directory_is_used_until_moved(home: Path) -> None:
    database(home / ".stepwell")
    assert data_directory() == home / ".stepwell"
    database(default_data())
    assert data_directory() == default_data()


def test_data_moves_and_spools_stay(home: Path) -> None:
    before, said = home / ".stepwell", []
    database(before)
    (before / "default" / "p").mkdir(parents=True)
    move_data(before, default_data(), said.append)
    assert sorted(path.name for path in before.iterdir()) == ["default"]
    assert sorted(path.name for path in default_data().iterdir()) == ["blobs", "postgres", "postgres.log"]
    assert data_directory() == default_data()
    assert said == [f"moved the database from {before} to {default_data()}"]


def test_data_in_use_is_not_moved(home: Path) -> None:
    before = home / ".stepwell"
    database(before)
    with held(before), pytest.raises(InUseError, match="another `stepwell up` uses the data directory"):
        move_data(before, default_data(), lambda _: None)
    assert (before / "postgres" / "PG_VERSION").exists()


def test_partial_moves_are_refused(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before, rename = home / ".stepwell", os.rename
    database(before)

    def refuse(source: Path, target: Path) -> None:
        if Path(source) == before / "blobs":
            raise OSError(18, "Invalid cross-device link")
        rename(source, target)

    monkeypatch.setattr(os, "rename", refuse)
    with pytest.raises(SettingError, match=r"cannot be moved(.|\n)*keep them there: STEPWELL_DATA="):
        move_data(before, default_data(), lambda _: None)
    assert sorted(path.name for path in before.iterdir()) == [
        *("blobs", "postgres", "postgres.log", "server.json", "server.lock")
    ]
