"""A run with files, from the media object to the row that confirms their storage: online, offline, crashed, full."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson
import pytest

from fixtures.programs import command, environment
from fixtures.server import Backend, StartRun, free_port
from stepwell.data_types._files import FileSink as Sink
from stepwell.errors import SpoolFullError
from stepwell.files.blobs import Blobs
from stepwell.runs.run import Run
from stepwell.runs.session import Session
from stepwell.settings import Limits

pytestmark = pytest.mark.db

#: The beginning of separate programs that do the same.
MEDIA = """
    from stepwell.runs.session import Session

    class Picture:
        def __init__(self, data):
            self.data = data
        def encode(self, key, step, sink):
            file = sink.add(f"media/{key}_{step}.png", self.data)
            return {"_type": "image-file", **file.as_json()}

    Session._media_encoded = lambda self, *note: None
"""


class Picture:
    def __init__(self, data: bytes) -> None:
        self.data = data
        self.held_bytes = len(data)

    def encode(self, key: str, step: int, sink: Sink) -> dict[str, Any]:
        return {"_type": "image-file", **sink.add(f"media/{key}_{step}.png", self.data).as_json()}


@pytest.fixture(autouse=True)
def notes(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """The JSON of media objects, as it is in frames."""
    found: list[bytes] = []
    monkeypatch.setattr(Session, "_media_encoded", lambda self, key, step, time_us, value: found.append(value))
    return found


def blobs_of(run: Run) -> Blobs:
    assert run._session is not None
    return run._session.blobs


def log_pictures(run: Run, count: int, size: int = 1000) -> None:
    for step in range(count):
        run.log({"loss": step})
        blobs_of(run).media.put("pic", step, 0, Picture(step.to_bytes(4) + os.urandom(size - 4)))


def stored(backend: Backend) -> int:
    return int(backend.query("SELECT count(*) FROM stepwell.blob")[0][0])


def shown(backend: Backend, notes: list[bytes]) -> list[bool]:
    """Whether the objects would be shown."""
    return [backend.query("SELECT stepwell.blobs_there_v1($1::jsonb)", note.decode())[0][0] for note in notes]


def test_files_are_stored_at_finish(
    file_server: Backend, start_run: StartRun, notes: list[bytes], capsys: pytest.CaptureFixture[str]
) -> None:
    run = start_run(file_server.url)
    log_pictures(run, 30)
    run.finish()
    assert (stored(file_server), len(notes), shown(file_server, notes)) == (30, 30, [True] * 30)
    assert len(file_server.points("run-1")) == 30
    balance = "stepwell: run run-1: 30 values logged = 30 stored\n  30 files logged = 30 stored\n"
    assert capsys.readouterr().err == balance
    assert list(Path(run.settings.dir).iterdir()) == []


def test_flush_waits_for_encoding_frames_and_files(
    file_server: Backend, start_run: StartRun, notes: list[bytes]
) -> None:
    run = start_run(file_server.url)
    log_pictures(run, 10)
    assert run.flush(timeout_s=30)
    assert (stored(file_server), len(notes), shown(file_server, notes)) == (10, 10, [True] * 10)


def test_run_without_files_makes_no_thread_or_directory(file_server: Backend, start_run: StartRun) -> None:
    import threading

    run = start_run(file_server.url)
    run.log({"loss": 1})
    run.flush()
    assert {thread.name for thread in threading.enumerate()} & {"stepwell-media", "stepwell-files-0"} == set()
    assert not (Path(str(run.spool_directory)) / "blobs").exists()


def test_sync_delivers_offline_files(
    file_server: Backend,
    start_run: StartRun,
    notes: list[bytes],
    capsys: pytest.CaptureFixture[str],
    stepwell_command: Callable[..., subprocess.CompletedProcess[str]],
) -> None:
    run = start_run(mode="offline")
    log_pictures(run, 5)
    run.finish()
    said = capsys.readouterr().err
    assert "\n  5 files logged = 0 stored + 5 left\n" in said
    assert "5 files (5,000 bytes) are in" in said
    status = stepwell_command("status", run.settings.dir, "--url", file_server.url).stdout
    assert [line.split()[1:4] for line in status.splitlines() if "delivers them" in line] == [["5", "5.0", "kB"]]
    done = stepwell_command("sync", run.settings.dir, "--url", file_server.url)
    assert (done.returncode, "5 files in 5.0 kB" in done.stdout, "1 delivered" in done.stdout) == (0, True, True), done
    assert (stored(file_server), shown(file_server, notes)) == (5, [True] * 5)
    assert list(Path(run.settings.dir).iterdir()) == []


def test_unreachable_server_leaves_files_to_sync(start_run: StartRun, capsys: pytest.CaptureFixture[str]) -> None:
    run = start_run(f"http://127.0.0.1:{free_port()}")
    log_pictures(run, 3)
    run.finish()
    said = capsys.readouterr().err
    assert "3 files (3,000 bytes) are in" in said
    assert "because: the server did not accept the file" in said
    assert f"stepwell sync {run.settings.dir}" in said


def test_undelivered_files_stay(
    backend: Backend,
    file_server: Backend,
    start_run: StartRun,
    stepwell_command: Callable[..., subprocess.CompletedProcess[str]],
) -> None:
    """The frames are stored and their spool is removed; sync still finds the files."""
    run = start_run(backend.url)  # which does not accept files
    log_pictures(run, 3)
    run.finish()
    assert run.account.left == 0
    assert len(blobs_of(run).spool.waiting) == 3
    done = stepwell_command("sync", run.settings.dir, "--url", file_server.url)
    assert (done.returncode, "3 files" in done.stdout) == (0, True), done
    assert stored(file_server) == 3
    assert not any(Path(run.settings.dir).rglob("*"))


def test_sync_reports_outages_and_refusals(
    backend: Backend,
    start_run: StartRun,
    stepwell_command: Callable[..., subprocess.CompletedProcess[str]],
) -> None:
    run = start_run(backend.url)
    log_pictures(run, 2)
    run.finish()
    for url in (backend.url, f"http://127.0.0.1:{free_port()}"):
        done = stepwell_command("sync", run.settings.dir, "--url", url, "--timeout", "0.5")
        assert (done.returncode, "left: 2 files" in done.stdout, "0 delivered" in done.stdout) == (1, True, True), done
    assert len(blobs_of(run).spool.waiting) == 2


def test_sync_delivers_frames_and_files_of_a_killed_process(
    file_server: Backend,
    tmp_path: Path,
    stepwell_command: Callable[..., subprocess.CompletedProcess[str]],
) -> None:
    program = (
        MEDIA
        + f"""
    run = stepwell.init(id="killed", dir=sys.argv[1], url="http://127.0.0.1:{free_port()}")
    for step in range(20):
        run.log({{"loss": step}})
        run._session.blobs.media.put("pic", step, 0, Picture(b"%d" % step * 100))
    run._session.blobs.media.wait()
    run.flush(durable=False)
    print("logged", flush=True)
    sys.stdin.read()
    """
    )
    process = subprocess.Popen(
        command(program, tmp_path / "spool"), env=environment(), stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert process.stdout is not None
    assert process.stdout.readline() == b"logged\n"
    done = stepwell_command("sync", tmp_path / "spool", "--url", file_server.url)
    assert (done.returncode, "a running process owns it" in done.stdout) == (1, True), done
    process.send_signal(signal.SIGKILL)
    process.communicate()
    done = stepwell_command("sync", tmp_path / "spool", "--url", file_server.url)
    assert (done.returncode, "20 files" in done.stdout) == (0, True), done
    assert (stored(file_server), len(file_server.points("killed"))) == (20, 20)


def test_process_without_finish_delivers_its_files(file_server: Backend, tmp_path: Path) -> None:
    program = (
        MEDIA
        + f"""
    run = stepwell.init(id="forgot", dir=sys.argv[1], url="{file_server.url}")
    for step in range(20):
        run.log({{"loss": step}})
        run._session.blobs.media.put("pic", step, 0, Picture(b"%d" % step * 10000))
    """
    )
    done = subprocess.run(
        command(program, tmp_path / "spool"), env=environment(), capture_output=True, text=True, timeout=60, check=True
    )
    assert "20 values logged = 20 stored" in done.stderr
    assert (stored(file_server), len(file_server.points("forgot"))) == (20, 20)


@pytest.mark.skipif(sys.platform == "win32", reason="there is no fork")
def test_forked_child_has_its_own_files(file_server: Backend, tmp_path: Path) -> None:
    program = (
        MEDIA
        + f"""
    run = stepwell.init(id="forked", dir=sys.argv[1], url="{file_server.url}")
    run.log({{"loss": 1}})
    run._session.blobs.media.put("pic", 0, 0, Picture(b"parent"))
    if not os.fork():
        run.log({{"loss": 2}})
        run._session.blobs.media.put("pic", 1, 0, Picture(b"child"))
        run.finish()
        os._exit(0)
    os.wait()
    """
    )
    subprocess.run(command(program, tmp_path / "spool"), env=environment(), timeout=60, check=True)
    assert stored(file_server) == 2


def test_full_file_spool_does_not_affect_scalars(
    start_run: StartRun, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    run = start_run(mode="offline", limits=Limits(blob_spool_bytes=2500))
    log_pictures(run, 5)
    run.finish()
    assert (blobs_of(run).media.counts.dropped, len(blobs_of(run).spool.waiting)) == (3, 2)
    assert run.account.left == 5
    assert "pic of step 2 is lost" in caplog.text
    assert "3 media objects and 0 files were lost" in capsys.readouterr().err


def test_blocked_spool_continues_when_the_server_arrives(
    postgres_dsn: str, start_run: StartRun, tmp_path: Path
) -> None:
    backend = Backend(postgres_dsn, str(tmp_path / "served"))
    run = start_run(backend.url, limits=Limits(blob_spool_bytes=2500), blobs_full="block")
    log_pictures(run, 10)
    assert blobs_of(run).media.counts.encoded < 3
    backend.start()
    try:
        run.finish()
        assert stored(backend) == 10
    finally:
        backend.stop()


def test_full_spool_raises(start_run: StartRun) -> None:
    run = start_run(mode="offline", limits=Limits(blob_spool_bytes=2500), blobs_full="raise")
    log_pictures(run, 3)
    assert blobs_of(run).media.wait(30)
    with pytest.raises(SpoolFullError, match="STEPWELL_BLOBS_FULL"):
        log_pictures(run, 1)


def test_repeated_picture_is_stored_once(file_server: Backend, start_run: StartRun, notes: list[bytes]) -> None:
    run = start_run(file_server.url)
    for step in range(20):
        blobs_of(run).media.put("pic", step, 0, Picture(b"the same"))
        if step == 10:
            run.flush()
    run.finish()
    assert (stored(file_server), len(notes), len({orjson.loads(note)["sha256"] for note in notes})) == (1, 20, 1)
    assert blobs_of(run).uploader.counts.sent_bytes == 8
