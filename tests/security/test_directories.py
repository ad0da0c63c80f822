"""Directories of other users, links and open modes: neither the SDK nor the server trusts them."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from stepwell.errors import SettingError
from stepwell.spool.place import usable_directory
from stepwell_ingest.commands.data import held
from stepwell_ingest.db.cluster import Cluster

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files to others")
STRANGER = 4242


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    return tmp_path / "state" / "stepwell"


def strangers(path: Path) -> Path:
    path.mkdir()
    os.chown(path, STRANGER, STRANGER)
    return path


def test_spool_directory_of_another_user_is_not_used(
    tmp_path: Path, home: Path, caplog: pytest.LogCaptureFixture
) -> None:
    theirs = strangers(tmp_path / ".stepwell")
    assert usable_directory(theirs) == home
    assert list(theirs.iterdir()) == []
    assert caplog.messages == [
        f"{theirs} belongs to another user (uid {STRANGER}), so this run is kept in {home} until the server has it; "
        "dir= or STEPWELL_DIR names another place"
    ]


def test_path_that_is_no_directory_is_replaced(tmp_path: Path, home: Path) -> None:
    (tmp_path / "file").touch()
    assert usable_directory(tmp_path / "file" / ".stepwell") == home
    assert usable_directory(tmp_path / ".stepwell") == tmp_path / ".stepwell"


def test_data_directory_of_another_user_is_refused(tmp_path: Path) -> None:
    theirs = strangers(tmp_path / "data")
    with pytest.raises(SettingError, match=rf"belongs to another user \(uid {STRANGER}\)"), held(theirs):
        pass
    assert list(theirs.iterdir()) == []


@pytest.mark.parametrize("planted", ["link", "dangling", "theirs"])
def test_planted_lock_is_not_followed(tmp_path: Path, planted: str) -> None:
    data, victim = tmp_path / "data", tmp_path / "victim"
    data.mkdir()
    victim.write_text("untouched")
    if planted == "theirs":
        (data / "server.lock").write_text("untouched")
        os.chown(data / "server.lock", STRANGER, STRANGER)
    else:
        (data / "server.lock").symlink_to(victim if planted == "link" else tmp_path / "not-there")
    with pytest.raises(SettingError, match=r"server\.lock|cannot be used"), held(data):
        pass
    assert victim.read_text() == "untouched"
    assert not (tmp_path / "not-there").exists()
    if planted == "theirs":
        assert (data / "server.lock").read_text() == "untouched"


def test_postgres_lock_and_log_are_private(tmp_path: Path) -> None:
    with held(tmp_path / "data"):
        assert stat.S_IMODE((tmp_path / "data" / "server.lock").stat().st_mode) == 0o600
    log = tmp_path / "postgres.log"
    log.touch(0o644)
    with Cluster(tmp_path / "pg", Path("/nowhere"))._open_log():
        assert stat.S_IMODE(log.stat().st_mode) == 0o600
    log.unlink()
    log.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OSError, match="symbolic links"):
        Cluster(tmp_path / "pg", Path("/nowhere"))._open_log()
    assert not (tmp_path / "elsewhere").exists()
