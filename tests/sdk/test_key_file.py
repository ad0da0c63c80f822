"""The file with keys: who may read it, which server gets which key, and what takes precedence."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from stepwell.errors import SettingError
from stepwell.settings import resolve
from stepwell.settings.key_file import key_file, store_key, stored_key

URL = "http://logs.internal:8770"


@pytest.fixture
def home(tmp_path: Path) -> dict[str, str]:
    return {"HOME": str(tmp_path)}


def sent(environment: dict[str, str], url: str = URL) -> str | None:
    """The Authorization header of requests to `url`."""
    return resolve(environment, url=url).endpoint.headers.get("Authorization")


def test_stored_key_is_sent_to_its_server_only(home: dict[str, str]) -> None:
    assert sent(home) is None
    path = store_key(URL, "stw_one", home)
    store_key("https://logs.internal/base/", "stw_two", home)
    assert path == Path(home["HOME"]) / ".config" / "stepwell" / "keys.json"
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700
    assert sent(home) == "Bearer stw_one"
    assert sent(home, "http://LOGS.internal:8770/") == "Bearer stw_one"
    assert sent(home, "https://logs.internal/base") == "Bearer stw_two"
    others = ("http://logs.internal", "https://logs.internal:8770", "http://logs.internal:8770/x", "http://evil:8770")
    assert [sent(home, url) for url in others] == [None] * 4


def test_variable_and_url_take_precedence(home: dict[str, str]) -> None:
    store_key(URL, "stw_stored", home)
    assert sent({**home, "STEPWELL_API_KEY": "stw_given"}) == "Bearer stw_given"
    assert (sent(home, "http://name:word@logs.internal:8770") or "").startswith("Basic ")
    assert sent({}) is None


def test_key_is_replaced_and_removed(home: dict[str, str]) -> None:
    for key in ("stw_one", "stw_two"):
        store_key(URL, key, home)
    store_key("http://other", "stw_other", home)
    assert stored_key(URL, home) == "stw_two"
    store_key(URL, None, home)
    assert stored_key(URL, home) is None
    assert stored_key("http://other", home) == "stw_other"


def test_xdg_directory_is_used(home: dict[str, str], tmp_path: Path) -> None:
    assert key_file({**home, "XDG_CONFIG_HOME": str(tmp_path / "x")}) == tmp_path / "x" / "stepwell" / "keys.json"
    assert key_file({**home, "XDG_CONFIG_HOME": "relative"}) == key_file(home)


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o602])
def test_file_that_others_can_read_is_refused(home: dict[str, str], mode: int) -> None:
    store_key(URL, "stw_one", home).chmod(mode)
    with pytest.raises(SettingError, match="others could read or change the keys") as caught:
        sent(home)
    assert "chmod 600" in str(caught.value.hint)


def test_link_is_neither_read_nor_written_through(home: dict[str, str], tmp_path: Path) -> None:
    target = tmp_path / "target"
    target.write_text(json.dumps({URL: "stw_planted"}))
    target.chmod(0o600)
    path = key_file(home)
    assert path is not None
    path.parent.mkdir(parents=True)
    path.symlink_to(target)
    for use in (lambda: sent(home), lambda: store_key(URL, "stw_mine", home)):
        with pytest.raises(SettingError, match="cannot be read"):
            use()
    assert json.loads(target.read_text()) == {URL: "stw_planted"}


@pytest.mark.parametrize("text", ["", "{", "[]", '{"http://x": 5}'])
def test_damaged_file_is_explained(home: dict[str, str], text: str) -> None:
    path = store_key(URL, "stw_one", home)
    path.write_text(text)
    with pytest.raises(SettingError, match=r"keys.json is (not JSON|damaged)"):
        sent(home)


def test_disabled_runs_read_no_keys(home: dict[str, str]) -> None:
    store_key(URL, "stw_one", home).chmod(0o644)
    assert resolve(home, url=URL, mode="disabled").authorization is None


def test_left_file_of_a_killed_login_does_no_harm(home: dict[str, str]) -> None:
    path = store_key(URL, "stw_one", home)
    (path.parent / f"keys.json.{os.getpid()}.tmp").write_text("rest")
    store_key(URL, "stw_two", home)
    assert stored_key(URL, home) == "stw_two"
