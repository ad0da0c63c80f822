"""`server.json` contains a DSN with its password: no other user can read it, even by planting a file."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from stepwell.settings.server_file import NAME, ServerFile

SERVER = ServerFile("http://127.0.0.1:8770", "postgresql://stepwell:secret@/stepwell", 7)


@pytest.mark.parametrize("planted", ["file", "link", "dangling"])
def test_planted_temporary_file_is_not_used(tmp_path: Path, planted: str) -> None:
    data, victim = tmp_path / "data", tmp_path / "victim"
    data.mkdir()
    victim.write_text("untouched")
    temporary = data / f"{NAME}.tmp"
    if planted == "file":
        temporary.touch(0o666)
        temporary.chmod(0o666)
        reader = temporary.open()
    else:
        temporary.symlink_to(victim if planted == "link" else tmp_path / "not-there")
    SERVER.write(data)
    assert ServerFile.read(data) == SERVER
    assert stat.S_IMODE((data / NAME).stat().st_mode) == 0o600
    assert victim.read_text() == "untouched"
    assert not (tmp_path / "not-there").exists()
    if planted == "file":
        assert reader.read() == ""
        reader.close()
