"""`run.save`: the files that match a pattern, their names, and the time at which their content is kept."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import stepwell
from fixtures.server import StartRun
from stepwell import testing
from stepwell.data_types._files import sha256_of
from stepwell.files.media_queue import MediaQueue
from stepwell.files.saved_files import SavedFiles

PATIENCE_S = 30


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory: a.txt, models/b.pt, models/deep/c.pt."""
    place = tmp_path / "work"
    (place / "models" / "deep").mkdir(parents=True)
    for name in ("a.txt", "models/b.pt", "models/deep/c.pt"):
        (place / name).write_text(name)
    monkeypatch.chdir(place)
    return place


@pytest.fixture
def logged() -> Iterator[testing.Capture]:
    with testing.capture() as logged:
        stepwell.init()
        yield logged


@pytest.mark.parametrize(
    ("pattern", "base", "names"),
    [
        ("a.txt", None, ["a.txt"]),
        ("models/*.pt", None, ["models/b.pt"]),
        ("models/**/*.pt", None, ["models/b.pt", "models/deep/c.pt"]),
        ("models/*", "models", ["b.pt"]),
        ("{place}/models/b.pt", None, ["b.pt"]),
        ("{place}/*/b.pt", None, ["models/b.pt"]),
        ("{place}/models/b.pt", "{place}", ["models/b.pt"]),
        ("nothing*", None, []),
    ],
)
def test_files_are_named_relative_to_the_base(
    logged: testing.Capture, place: Path, pattern: str, base: str | None, names: list[str]
) -> None:
    base = base and base.format(place=place)
    paths = stepwell.save(pattern.format(place=place), base, policy="now")
    assert sorted(logged.files) == names
    assert isinstance(paths, list)
    assert all(Path(path).is_absolute() and Path(path).read_bytes() in logged.files.values() for path in paths)


def test_path_object_is_accepted(logged: testing.Capture, place: Path) -> None:
    assert stepwell.save(place / "a.txt", place) == [str(place / "a.txt")]
    assert logged.files == {"a.txt": b"a.txt"}


def test_file_outside_the_base_is_refused(logged: testing.Capture, place: Path) -> None:
    with pytest.raises(stepwell.UsageError, match=r"is not below .*\n.*base_path"):
        stepwell.save("a.txt", "models")
    with pytest.raises(stepwell.UsageError, match="is not below"):
        stepwell.save(f"../{place.name}/../{place.name}/a.txt", "models/deep")
    assert logged.files == {}


def test_unknown_policy_is_a_value_error(logged: testing.Capture) -> None:
    with pytest.raises(ValueError, match="policy must be one of live, now, end, not 'soon'"):
        stepwell.save("a.txt", policy="soon")


@pytest.mark.parametrize("url", ["gs://bucket/x", "s3://bucket/x"])
def test_cloud_url_gives_a_warning(logged: testing.Capture, caplog: pytest.LogCaptureFixture, url: str) -> None:
    assert stepwell.save(url) == []
    assert "only files on this host can be saved" in caplog.text


@pytest.mark.parametrize(("policy", "content"), [("now", b"old"), ("live", b"new!"), ("end", b"new!")])
def test_policy_selects_the_content(policy: str, content: bytes, place: Path) -> None:
    (place / "a.txt").write_bytes(b"old")
    with testing.capture() as logged:
        run = stepwell.init()
        run.save("a.txt", policy=policy)
        assert logged.files == ({} if policy == "end" else {"a.txt": b"old"})
        (place / "a.txt").write_bytes(b"new!")
        run.finish()
    assert logged.files == {"a.txt": content}


def test_matching_files_are_saved_at_the_end(place: Path) -> None:
    with testing.capture() as logged:
        run = stepwell.init()
        assert run.save("models/*.pt", policy="end") == [str(place / "models" / "b.pt")]
        (place / "models" / "later.pt").write_bytes(b"later")
        os.chdir("/")
        run.finish()
    assert logged.files == {"models/b.pt": b"models/b.pt", "models/later.pt": b"later"}


def test_disabled_run_saves_nothing() -> None:
    with stepwell.init(mode="disabled") as run:
        assert run.save("a.txt") is False
        with pytest.raises(ValueError, match="policy"):
            run.save("a.txt", policy="soon")
    assert run.save("a.txt") is False


def test_finished_run_saves_nothing(logged: testing.Capture) -> None:
    run = logged.runs[0].run
    run.finish()
    with pytest.raises(stepwell.UsageError, match=r"is finished, so save\(\) cannot be called"):
        run.save("a.txt")


def test_save_without_a_run_is_an_error() -> None:
    with pytest.raises(stepwell.Error, match=r"wandb\.save\(\)"):
        stepwell.save("a.txt")


class Kept:
    """A queue that tests can wait for."""

    def __init__(self) -> None:
        self.contents: list[bytes] = []
        self._more = threading.Condition()
        self.queue = MediaQueue(1 << 20, self._keep, lambda *note: None)

    def _keep(self, data: Any) -> Any:
        content = Path(data).read_bytes()
        with self._more:
            self.contents.append(content)
            self._more.notify_all()
        return type("Blob", (), dict(zip(("sha256", "size"), sha256_of(content), strict=True)))

    def wait(self, content: bytes) -> None:
        with self._more:
            assert self._more.wait_for(lambda: content in self.contents, PATIENCE_S)


def test_changed_live_file_is_saved_again(place: Path) -> None:
    kept = Kept()
    files = SavedFiles(kept.queue, lambda: 0, look_s=0.01)
    files.save("a.txt", None, "live")
    files.save("models/b.pt", None, "live")
    for content in (b"a.txt", b"second", b"third!!"):
        (place / "a.txt").write_bytes(content)
        kept.wait(content)
    (place / "models" / "b.pt").unlink()
    files.finish()
    assert kept.queue.finish(PATIENCE_S)
    assert kept.contents.count(b"models/b.pt") == 1
    assert kept.queue.counts.failed == 0


def test_file_written_during_copy_is_copied_again(place: Path) -> None:
    kept = Kept()
    original = kept._keep

    def keep(data: Any) -> Any:
        blob = original(data)
        if len(kept.contents) == 1:
            (place / "a.txt").write_bytes(b"written while it was copied")
        return blob

    kept.queue = MediaQueue(1 << 20, keep, lambda *note: None)
    files = SavedFiles(kept.queue, lambda: 0)
    files.save("a.txt", None, "now")
    assert kept.queue.finish(PATIENCE_S)
    assert kept.contents == [b"a.txt", b"written while it was copied"]


def test_missing_file_is_counted_and_reported(
    start_run: StartRun, place: Path, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    run = start_run(mode="offline")
    assert run._session is not None
    (place / "gone").write_bytes(b"x")
    (file,) = (path for path in ["gone"] if Path(path).exists())
    from stepwell.files.saved_files import matching

    (saved,) = matching(str(place / file), str(place))
    (place / "gone").unlink()
    run._session.saved.keep(saved)
    run.finish()
    assert "gone of step 0 could not be encoded, and is lost" in caplog.text
    assert "0 media objects and 1 files were lost" in capsys.readouterr().err


@pytest.mark.parametrize(
    "name", ["log_artifact", "use_artifact", "log_model", "use_model", "link_artifact", "log_code"]
)
def test_artifacts_name_a_replacement(logged: testing.Capture, name: str) -> None:
    with pytest.raises(stepwell.UsageError, match=r"keeps no artifacts\n  Hint: .*run\.save"):
        getattr(logged.runs[0].run, name)("x")
