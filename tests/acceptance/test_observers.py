"""Observers of a run in programs that use a plain `init`, and their records in SQL."""

from __future__ import annotations

import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

from fixtures.programs import environment, script
from fixtures.server import Backend, StartRun

pytestmark = pytest.mark.db


def test_console_is_in_sql(backend: Backend, tmp_path: Path) -> None:
    done = script(
        """
        run = stepwell.init(id="run-1", url=sys.argv[1], dir=sys.argv[2], settings={"console": "wrap"})
        print("epoch 1")
        for percent in range(0, 101, 10):
            sys.stderr.write(f"\\r{percent}%")
        sys.stderr.write("\\n")
        run.log({"loss": 1.0})
        print("no end", end="")
        raise RuntimeError("what went wrong")
        """,
        *(backend.url, tmp_path),
        check=False,
    )
    rows = backend.query(
        "SELECT writer, stream, number, line FROM stepwell.console WHERE run = 'run-1' ORDER BY epoch, number"
    )
    assert done.stdout == "epoch 1\nno end"
    assert "100%" in done.stderr
    assert rows[:2] == [("0", "stdout", 0, "epoch 1"), ("0", "stderr", 1, "100%")]
    assert rows[2][3] == "Traceback (most recent call last):"
    assert ("stderr", "RuntimeError: what went wrong") in [(row[1], row[3]) for row in rows]
    assert rows[-1][1:] == ("stdout", len(rows) - 1, "no end")
    assert backend.query("SELECT last_step, state FROM stepwell.runs") == [(0, "failed")]
    assert backend.query("SELECT count(*) FROM stepwell.console WHERE abs(extract(epoch FROM now() - time)) > 600") == [
        (0,)
    ]


def test_forked_child_has_its_own_console(backend: Backend, tmp_path: Path) -> None:
    script(
        """
        run = stepwell.init(id="run-1", url=sys.argv[1], dir=sys.argv[2], settings={"console": "wrap"})
        print("parent", flush=True)
        child = os.fork()
        if child == 0:
            print("not kept", flush=True)
            run.log({"a": 1.0})
            print("child", flush=True)
            run.finish()
            os._exit(0)
        assert os.waitpid(child, 0)[1] == 0
        run.finish()
        print("after the end")
        """,
        *(backend.url, tmp_path),
    )
    rows = backend.query("SELECT strpos(writer, '-') > 0, line FROM stepwell.console ORDER BY 1, number")
    assert rows == [(False, "parent"), (True, "child")]


def test_system_metrics_are_a_separate_stream(backend: Backend, tmp_path: Path) -> None:
    done = script(
        """
        import time
        run = stepwell.init(id="run-1", url=sys.argv[1], dir=sys.argv[2], settings={"system_metrics_s": 0.05})
        run.log({"loss": 1.0})
        time.sleep(0.5)
        run.log({"loss": 2.0})
        run.finish()
        print(run.step, run.account.logged, run.summary["loss"], run.summary["_step"])
        """,
        *(backend.url, tmp_path),
    )
    assert done.stdout == "2 2 2.0 1\n"
    rows = backend.query("SELECT writer, metric, count(*), min(value) FROM stepwell.system GROUP BY 1, 2")
    assert {(writer, count > 1, value >= 0) for writer, metric, count, value in rows} == {("0", True, True)}
    metrics = {row[1] for row in rows}
    assert {"system/disk", "system/process/cpu"} <= metrics
    assert all(metric.startswith("system/") for metric in metrics)
    assert backend.points("run-1") == [("0", "loss", 0, 1.0), ("0", "loss", 1, 2.0)]
    assert backend.query("SELECT key FROM stepwell.summary WHERE left(key, 1) <> '_'") == [("loss",)]
    assert backend.query("SELECT value FROM stepwell.summary WHERE key = '_step'") == [(1,)]
    assert backend.query("SELECT last_step, points, writers, state FROM stepwell.runs") == [(1, 2, 1, "finished")]


def test_metadata_is_in_sql(backend: Backend, tmp_path: Path) -> None:
    script(
        """
        import time
        started = time.monotonic()
        run = stepwell.init(id="run-1", url=sys.argv[1], dir=sys.argv[2], settings={"metadata": True})
        run.log({"loss": 1.0})
        """,
        *(backend.url, tmp_path, "--rate", "3"),
    )
    ((writer, found),) = backend.query("SELECT writer, metadata FROM stepwell.metadata WHERE run = 'run-1'")
    assert writer == "0"
    assert found["arguments"][-2:] == ["--rate", "3"]
    assert {"executable", "python", "os", "host", "cpu_count", "packages"} <= set(found)
    assert any(package.startswith("orjson==") for package in found["packages"])
    assert backend.query("SELECT config FROM stepwell.runs") == [({},)]


def test_saved_files_and_code_round_trip(file_server: Backend, tmp_path: Path) -> None:
    program = tmp_path / "train.py"
    program.write_text(
        "import sys, stepwell\n"
        "run = stepwell.init(id='run-1', url=sys.argv[1], dir=sys.argv[2], save_code=True)\n"
        "open('model.pt', 'wb').write(b'first')\n"
        "print(run.save('*.pt'), run.save('late*', policy='end'))\n"
        "assert run.flush(30)\n"
        "open('model.pt', 'wb').write(b'second!')\n"
        "open('late.txt', 'wb').write(b'late')\n"
    )
    command = [sys.executable, str(program), file_server.url, str(tmp_path / "spool")]
    done = subprocess.run(
        command, cwd=tmp_path, env=environment(), capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.split() == [f"['{tmp_path / 'model.pt'}']", "[]"]
    rows = file_server.query("SELECT name, sha256, size FROM stepwell.files WHERE run = 'run-1' ORDER BY name")
    contents = {"code/train.py": program.read_bytes(), "late.txt": b"late", "model.pt": b"second!"}
    assert [(name, size) for name, _, size in rows] == [(name, len(data)) for name, data in contents.items()]
    for name, sha256, _ in rows:
        with urllib.request.urlopen(f"{file_server.url}/v1/blobs/{sha256}", timeout=30) as reply:
            assert reply.read() == contents[name]


def test_sync_delivers_saved_files(file_server: Backend, tmp_path: Path) -> None:
    from stepwell.cli import main

    (tmp_path / "model.pt").write_bytes(b"weights")
    script(
        """
        run = stepwell.init(id="run-1", mode="offline", dir=sys.argv[1])
        run.save(sys.argv[2])
        """,
        *(tmp_path / "spool", tmp_path / "model.pt"),
    )
    assert main(["sync", str(tmp_path / "spool"), "--url", file_server.url]) == 0
    assert file_server.query("SELECT name, size FROM stepwell.files") == [("model.pt", 7)]


def test_alerts_are_in_sql(backend: Backend, start_run: StartRun) -> None:
    with start_run(backend.url) as run:
        run.log({"loss": 1.0})
        run.alert("low", "very low", level="WARN", wait_duration=5)
    rows = backend.query("SELECT run, writer, step, level, title, text, wait_duration_s FROM stepwell.alerts")
    assert rows == [("run-1", "0", 1, "WARN", "low", "very low", 5.0)]


def test_arbitrary_notes_break_no_view(backend: Backend, tmp_path: Path) -> None:
    odd = ["5", "null", '"x"', "[]", '{"lines":5}', '{"lines":["a"],"number":1e300,"times":["x"],"stream":{}}']
    odd += ['{"metrics":5}', '{"metrics":{"a":"x","b":null,"c":1e300,"d":2},"time":"x"}']
    odd += ['{"name":"x","sha256":"zz"}', '{"name":5,"sha256":{"a":1}}', '{"title":[1],"wait_duration_s":"x"}']
    odd.append('{"lines":["b"],"number":-5,"times":[1e200]}')
    script(
        """
        run = stepwell.init(id="run-1", url=sys.argv[1], dir=sys.argv[2])
        for kind in ("console", "system", "metadata", "file", "alert"):
            for body in sys.argv[3:]:
                run._stage.note(kind, body.encode())
        run.finish()
        """,
        *(backend.url, tmp_path, *odd),
    )
    assert backend.query("SELECT message FROM stepwell.rejections") == []
    assert [row[0] for row in backend.query("SELECT line FROM stepwell.console ORDER BY 1")] == ["a", "b"]
    assert backend.query("SELECT metric, value FROM stepwell.system WHERE metric <> 'c'") == [("d", 2.0)]
    assert backend.query("SELECT name FROM stepwell.files") == []
    titles = [row[0] for row in backend.query("SELECT title FROM stepwell.alerts WHERE title IS NOT NULL")]
    assert titles == ["[1]"]
    assert backend.query("SELECT metadata->'name' FROM stepwell.metadata") == [(5,)]
