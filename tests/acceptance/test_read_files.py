"""Reading the files of a run: `Api` and `restore`, and files that a program puts into `run.dir`."""

from __future__ import annotations

from pathlib import Path
from typing import IO

import pytest

import stepwell
from fixtures.commands import Server
from fixtures.programs import script
from stepwell.errors import Error, NotFoundError, UsageError

pytestmark = pytest.mark.db


def text_of(file: IO[str]) -> str:
    with file:
        return file.read()


def test_files_round_trip(server: Server, tmp_path: Path) -> None:
    run = stepwell.init(project="files", id="kept", url=server.url, dir=tmp_path / "spool")
    (tmp_path / "in" / "deep").mkdir(parents=True)
    (tmp_path / "in" / "deep" / "model.txt").write_text("weights")
    (tmp_path / "in" / "notes.md").write_text("# ü")
    run.save(tmp_path / "in" / "**", base_path=tmp_path / "in", policy="now")
    run.finish()
    seen = stepwell.Api({"base_url": server.url}).run("files/kept")
    assert [(file.name, file.size) for file in seen.files()] == [("deep/model.txt", 7), ("notes.md", 4)]
    assert [file.name for file in seen.files(names=["notes.md"])] == ["notes.md"]
    assert len(seen.files()) == 2
    out = tmp_path / "out"
    with seen.file("deep/model.txt").download(out) as file:
        assert file.read() == "weights"
    assert (out / "deep" / "model.txt").read_text() == "weights"
    assert list((out / "deep").iterdir()) == [out / "deep" / "model.txt"]
    with pytest.raises(UsageError, match=r"exists already(.|\n)*replace=True"):
        seen.file("deep/model.txt").download(out)
    (out / "deep" / "model.txt").write_text("mine")
    assert text_of(seen.file("deep/model.txt").download(out, exist_ok=True)) == "mine"
    assert text_of(seen.file("deep/model.txt").download(out, replace=True)) == "weights"
    with pytest.raises(NotFoundError, match=r"no file 'model\.txt'(.|\n)*it has deep/model.txt, notes.md"):
        seen.file("model.txt")


def test_files_in_run_dir_are_saved(server: Server, tmp_path: Path) -> None:
    script(
        """
        run = stepwell.init(project="files", id="dir", url=sys.argv[1], dir=sys.argv[2])
        os.makedirs(os.path.join(run.dir, "plots"))
        for name in ("report.html", "plots/loss.svg"):
            with open(os.path.join(run.dir, name), "w") as file:
                file.write(name)
        assert run.save() is True  # as older scripts call it
        run.finish()
        """,
        server.url,
        tmp_path / "spool",
    )
    files = stepwell.Api({"base_url": server.url}).run("files/dir").files()
    assert [file.name for file in files] == ["plots/loss.svg", "report.html"]
    assert text_of(files[1].download(tmp_path / "out")) == "report.html"


def test_unused_run_dir_is_not_created(server: Server, tmp_path: Path) -> None:
    stepwell.init(project="files", id="none", url=server.url, dir=tmp_path / "spool").finish()
    assert not (tmp_path / "spool" / "files").exists()
    assert len(stepwell.Api({"base_url": server.url}).run("files/none").files()) == 0


def test_restore_into_run_dir_or_root(server: Server, tmp_path: Path) -> None:
    with stepwell.init(project="files", id="first", url=server.url, dir=tmp_path / "spool") as run:
        (Path(run.dir) / "state.txt").write_text("step 7")
    with stepwell.init(project="files", id="second", url=server.url, dir=tmp_path / "spool") as run:
        with run.restore("state.txt", run_path="files/first") as file:
            assert file.read() == "step 7"
        assert (Path(run.dir) / "state.txt").read_text() == "step 7"
        (tmp_path / "state.txt").write_text("mine")
        assert text_of(stepwell.restore("state.txt", "files/first", root=tmp_path)) == "mine"
        assert text_of(stepwell.restore("state.txt", "files/first", replace=True, root=tmp_path)) == "step 7"
        with pytest.raises(NotFoundError, match="the run has no file"):
            run.restore("other.txt", "files/first")


def test_restore_without_a_run_needs_a_path(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STEPWELL_URL", server.url)
    with pytest.raises(Error, match=r"You must call wandb\.init\(\) before wandb\.restore\(\)"):
        stepwell.restore("state.txt")
    with stepwell.init(project="files", id="third", dir=tmp_path / "spool") as run:
        (Path(run.dir) / "state.txt").write_text("step 8")
    assert text_of(stepwell.restore("state.txt", "files/third", root=tmp_path)) == "step 8"
