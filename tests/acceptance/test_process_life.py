"""Modes, forks, exits without finish, and kills: logged values are always accounted for."""

from __future__ import annotations

import operator
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import orjson
import pytest

import stepwell
from fixtures.programs import command, environment, script
from fixtures.server import Backend, StartRun, free_port
from stepwell import wire
from stepwell.errors import Error, UsageError
from stepwell.spool import Spool


@pytest.fixture(autouse=True)
def no_run_is_left() -> Iterator[None]:
    yield
    stepwell.finish()


def spooled_steps(root: Path) -> list[int]:
    """The steps in all spools below `root`, in frame order."""
    steps: list[int] = []
    for directory in Spool.discover(root):
        spool = Spool.open(directory)
        for raw in spool.read(spool.first_seq, 1 << 40, 1 << 40):
            steps += sorted(step for block in wire.decode(raw).blocks for step in block.steps.tolist())
        spool.close()
    return steps


def test_offline_logs_only_to_disk(start_run: StartRun, capsys: pytest.CaptureFixture[str]) -> None:
    with start_run(mode="offline") as run:
        for step in range(100):
            run.log({"a": step})
        run.log({"a": 1}, step=200)
        assert run.flush()
        assert len(spooled_steps_of(run)) == 100
        assert (run.url, run.summary["a"]) == (None, 99)
    assert len(spooled_steps(run.settings.dir)) == 101
    assert run.account == stepwell.Account(logged=101, stored=0, rejected=0, dropped=0, left=101)
    assert capsys.readouterr().err.splitlines() == [
        f"stepwell: run run-1: 101 values logged = 0 stored + 101 in {run.spool_directory}",
        f"  deliver them with: stepwell sync {run.settings.dir}",
    ]


def spooled_steps_of(run: stepwell.Run) -> list[int]:
    """The data that another process reads from the files of a run in use."""
    files = b"".join(path.read_bytes() for path in sorted(Path(str(run.spool_directory)).glob("*.seg")))
    steps, at = [], files.find(wire.MAGIC)
    while at >= 0:
        header = wire.peek(files, at)
        frame = wire.decode(files[at : at + header.length])
        steps += [step for block in frame.blocks for step in block.steps.tolist()]
        at = files.find(wire.MAGIC, at + header.length)
    return steps


def test_disabled_mode_still_validates(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with stepwell.init(mode="disabled", dir=tmp_path / "spool", config={"lr": 0.1}) as run:
        run.log({"a": 1})
        run.log({"a": 2}, step=5)
        run.config.lr = 0.1
        assert (run.step, run.flush().wait(), run.spool_directory) == (5, True, None)
        assert (run.name, run.save("*")) == (f"dummy-{run.id}", False)
        with pytest.raises(stepwell.ConfigError):
            run.config.lr = 0.2
        with pytest.raises(stepwell.DataError):
            run.log({"a": object()})
        run.summary["b"] = 3
        run.define_metric("a", summary="max")
        run.tags = ("x",)
        run.alert("nobody hears it")
        assert (run.summary["a"], run.summary["b"], run.tags) == ({"max": 1}, 3, ("x",))
    run.log({"a": 3})
    run.summary["c"] = 4
    assert (list(tmp_path.iterdir()), capsys.readouterr().err) == ([], "")


def test_mode_from_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("STEPWELL_MODE", "disabled")
    with stepwell.init(dir=tmp_path / "spool") as run:
        run.log({"a": 1})
    assert (run.settings.mode, list(tmp_path.iterdir())) == ("disabled", [])
    with stepwell.init(dir=tmp_path / "spool", mode="offline") as run:
        run.log({"a": 1})
    assert spooled_steps(tmp_path / "spool") == [0]


@pytest.mark.parametrize(
    ("call", "name"),
    [
        (lambda: stepwell.log({"a": 1}), "wandb.log()"),
        (lambda: stepwell.flush(), "wandb.flush()"),
        (lambda: stepwell.define_metric("a"), "wandb.define_metric()"),
        (lambda: stepwell.alert("a"), "wandb.alert()"),
        (lambda: stepwell.config.lr, "wandb.config.lr"),
        (lambda: stepwell.config["lr"], "wandb.config['lr']"),
        (lambda: setattr(stepwell.config, "lr", 1), "wandb.config.lr"),
        (lambda: stepwell.config.update({"lr": 1}), "wandb.config.update"),
        (lambda: operator.setitem(stepwell.summary, "acc", 1), "wandb.summary['acc']"),
        (lambda: stepwell.summary.acc, "wandb.summary.acc"),
    ],
)
def test_log_before_init_gives_advice(call: object, name: str) -> None:
    with pytest.raises(Error) as raised:
        call()  # type: ignore[operator]  # parametrised with functions of several signatures
    assert str(raised.value) == f"You must call wandb.init() before {name}"
    assert type(raised.value) is Error
    stepwell.finish()
    assert stepwell.run is None


def test_log_after_finish_is_refused(start_run: StartRun) -> None:
    run = start_run(mode="offline", config={"lr": 0.1})
    run.log({"a": 1})
    run.finish()
    run.finish()
    for call, text in (
        (lambda: run.log({"a": 1}), "run run-1 is finished, so log() cannot be called on it\n  Hint: call stepwell."),
        (lambda: run.flush(), "run run-1 is finished, so flush() cannot be called on it"),
        (lambda: run.config.update({"b": 1}), "run run-1 is finished, so its config cannot be changed"),
        (lambda: run.summary.update({"b": 1}), "run run-1 is finished, so its summary cannot be changed"),
        (lambda: run.define_metric("b"), "run run-1 is finished, so define_metric() cannot be called on it"),
        (lambda: run.save("b"), "run run-1 is finished, so save() cannot be called on it"),
        (lambda: run.mark_preempting(), "run run-1 is finished, so mark_preempting() cannot be called on it"),
        (lambda: run.alert("b"), "run run-1 is finished, so alert() cannot be called on it"),
        (lambda: setattr(run, "name", "b"), "run run-1 is finished, so its name, notes and tags cannot be changed"),
        (lambda: setattr(run, "notes", "b"), "run run-1 is finished, so its name, notes and tags cannot be changed"),
        (lambda: setattr(run, "tags", ("b",)), "run run-1 is finished, so its name, notes and tags cannot be changed"),
    ):
        with pytest.raises(UsageError) as raised:
            call()
        assert str(raised.value).startswith(text)
    assert (run.step, run.id, dict(run.config), run.account.left) == (1, "run-1", {"lr": 0.1}, 1)
    assert (run.summary["a"], run.name, run.notes, run.tags) == (1, "run-1", None, ())
    with pytest.raises(Error, match="You must call wandb"):
        stepwell.log({"a": 1})


def test_second_init_returns_the_active_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first = stepwell.init("mnist", id="one", mode="offline", dir=tmp_path)
    assert stepwell.init("other", id="two", mode="offline", dir=tmp_path) is first
    assert capsys.readouterr().err.splitlines()[1:] == [
        "stepwell: run one is still active, so init() returned it; call finish() first for a new one"
    ]
    first.finish()
    second = stepwell.init("other", id="two", mode="offline", dir=tmp_path)
    assert (second.id, stepwell.run) == ("two", second)


def test_silent_run_prints_nothing(start_run: StartRun, capsys: pytest.CaptureFixture[str]) -> None:
    with start_run(mode="offline", silent=True) as run:
        run.log({"a": 1})
    assert capsys.readouterr().err == ""


def test_forked_child_is_a_separate_writer(backend: Backend, tmp_path: Path) -> None:
    """The parent's threads log at full speed, so locks are held when it forks."""
    done = script(
        """
        import threading
        run = stepwell.init("mnist", id="forked", url=sys.argv[1], dir=sys.argv[2])
        stop = threading.Event()
        def work(name):
            count = 0
            while not stop.is_set():
                run.log({name: count, "text": "x"})
                count += 1
            return count
        threads = [threading.Thread(target=work, args=(f"t{n}",)) for n in range(2)]
        for thread in threads:
            thread.start()
        children = []
        for _ in range(3):
            run.log({"parent": 1})
            pid = os.fork()
            if not pid:
                for number in range(50):
                    run.log({"child": number})
                run.finish()
                os._exit(0 if run.account.left == 0 else 3)
            children.append(pid)
        statuses = [os.waitpid(pid, 0)[1] for pid in children]
        stop.set()
        for thread in threads:
            thread.join()
        run.log({"parent": 2})
        run.finish()
        print(statuses, *sorted(f"0-{pid}" for pid in children), run.account.logged, run.account.stored)
        """,
        backend.url,
        tmp_path,
    )
    statuses, writers, (logged, stored) = done.stdout[:9], done.stdout[9:].split()[:3], done.stdout.split()[-2:]
    assert (statuses, logged) == ("[0, 0, 0]", stored)
    points = backend.points("forked")
    objects = backend.objects("forked")
    assert sorted({writer for writer, *_ in points}) == ["0", *writers]
    for child in writers:
        assert [value for writer, metric, _, value in points if (writer, metric) == (child, "child")] == list(range(50))
    parents = [metric for writer, metric, *_ in points if writer == "0"]
    assert (parents.count("parent"), len(parents) + len(objects)) == (4, int(stored))
    assert list(tmp_path.iterdir()) == []


def test_idle_forked_child_leaves_no_trace(backend: Backend, tmp_path: Path) -> None:
    script(
        """
        run = stepwell.init("mnist", id="forked", url=sys.argv[1], dir=sys.argv[2])
        run.log({"a": 1})
        if not os.fork():
            run.finish()
            sys.exit(0)
        os.wait()
        run.log({"a": 2})
        """,
        backend.url,
        tmp_path,
    )
    assert backend.points("forked") == [("0", "a", 0, 1.0), ("0", "a", 1, 2.0)]
    assert backend.query("SELECT writers, state FROM stepwell.runs") == [(1, "finished")]


def test_multiprocessing_children_without_finish_deliver(backend: Backend, tmp_path: Path) -> None:
    script(
        """
        import multiprocessing
        run = stepwell.init("mnist", id="forked", url=sys.argv[1], dir=sys.argv[2])
        def work(number):
            run.log({"child": number})
        children = [multiprocessing.get_context("fork").Process(target=work, args=(n,)) for n in range(3)]
        for child in children:
            child.start()
        for child in children:
            child.join()
        """,
        backend.url,
        tmp_path,
    )
    assert sorted(value for _, _, _, value in backend.points("forked")) == [0, 1, 2]
    assert backend.query("SELECT state FROM stepwell.runs") == [("finished",)]


@pytest.mark.parametrize(
    ("end", "returncode", "state"),
    [
        pytest.param("", 0, ("finished", 0), id="the end of the program"),
        pytest.param("sys.exit(0)", 0, ("finished", 0), id="sys.exit"),
        pytest.param("raise ValueError('training blew up')", 1, ("failed", 1), id="an uncaught exception"),
        pytest.param("import signal; signal.raise_signal(signal.SIGINT)", -signal.SIGINT, ("failed", 255), id="Ctrl-C"),
        pytest.param("sys.exit(3)", 3, ("failed", 3), id="sys.exit with a code"),
        pytest.param("sys.exit('no data')", 1, ("failed", 1), id="sys.exit with a text"),
        pytest.param(
            "run.__enter__(); run.__exit__(SystemExit, SystemExit(4), None)", 0, ("failed", 4), id="with, exit"
        ),
        pytest.param(
            "run.__exit__(KeyboardInterrupt, KeyboardInterrupt(), None)", 0, ("failed", 255), id="with, Ctrl-C"
        ),
    ],
)
def test_exit_without_finish_delivers(
    backend: Backend, tmp_path: Path, end: str, returncode: int, state: tuple[str, int]
) -> None:
    done = script(
        f"""
        run = stepwell.init("mnist", id="run-1", url=sys.argv[1], dir=sys.argv[2])
        for step in range(1000):
            run.log({{"a": step}}, step=step)
        {end}
        """,
        backend.url,
        tmp_path,
        check=False,
    )
    assert done.returncode == returncode
    assert len(backend.points("run-1")) == 1000
    assert backend.query("SELECT state, exit_code FROM stepwell.runs") == [state]


def test_killed_process_leaves_flushed_rows_in_its_spool(tmp_path: Path) -> None:
    process = subprocess.Popen(
        command(
            """
            run = stepwell.init("mnist", id="run-1", mode="offline", dir=sys.argv[1])
            while True:
                for _ in range(100):
                    run.log({"a": run.step, "b": "x"})
                logged = run.step
                if logged % 1000 == 0:
                    assert run.flush()
                    print(logged, flush=True)
            """,
            tmp_path,
        ),
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    with process:
        assert process.stdout is not None
        flushed = 0
        while flushed < 20_000:
            flushed = int(process.stdout.readline())
        process.kill()
        rest = process.stdout.read().split()
    assert process.returncode == -signal.SIGKILL
    flushed = int(rest[-1]) if rest and rest[-1].endswith("000") else flushed
    steps = spooled_steps(tmp_path)
    assert len(steps) >= flushed
    assert steps == list(range(len(steps)))


def test_killed_process_loses_only_the_open_step(tmp_path: Path) -> None:
    script(
        """
        run = stepwell.init("mnist", id="run-1", mode="offline", dir=sys.argv[1])
        run.log({"a": 1})
        run.log({"a": 2}, commit=False)
        run.flush()
        os._exit(0)
        """,
        tmp_path,
    )
    assert spooled_steps(tmp_path) == [0]


def test_spool_of_a_killed_process_describes_it(tmp_path: Path) -> None:
    script(
        """
        run = stepwell.init("mnist", entity="team", id="run-1", mode="offline", dir=sys.argv[1], config={"lr": 0.1})
        run.config.batch = 32
        run.log({"a": 1})
        run.flush()
        os._exit(9)
        """,
        tmp_path,
        check=False,
    )
    (directory,) = Spool.discover(tmp_path)
    spool = Spool.open(directory)
    identity = spool.identity
    assert (identity.entity, identity.project, identity.run, identity.writer) == ("team", "mnist", "run-1", "0")
    state = orjson.loads((directory / "state.json").read_bytes())
    assert (state["info"]["config"], state["exit_code"]) == ({"lr": 0.1}, None)
    notes = [wire.decode(frame) for frame in spool.read(0, 1 << 20, 100)][-1]
    assert [(item.key, orjson.loads(item.body)) for item in notes.objects] == [("config", {"set": {"batch": 32}})]
    spool.close()


def test_exit_without_a_server_leaves_the_spool(tmp_path: Path) -> None:
    done = script(
        """
        import dataclasses, stepwell.runs.run as module
        from stepwell.settings import Timeouts
        made = module.Run.__init__
        def quick(self, settings, *rest):
            made(self, dataclasses.replace(settings, timeouts=Timeouts(finish_idle_s=0.2)), *rest)
        module.Run.__init__ = quick
        stepwell.init("mnist", id="run-1", url=sys.argv[1], dir=sys.argv[2]).log({"a": 1})
        """,
        f"http://127.0.0.1:{free_port()}",
        tmp_path,
    )
    assert f"deliver them with: stepwell sync {tmp_path}" in done.stderr
    assert spooled_steps(tmp_path) == [0]


def test_second_init_reports_ignored_arguments(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    first = stepwell.init("mnist", id="one", mode="offline", dir=tmp_path, config={"lr": 0.1, "depth": 3})
    assert stepwell.init("mnist", mode="offline", dir=tmp_path, config={"lr": 0.1}) is first
    assert caplog.messages == []
    again = stepwell.init("other", id="two", mode="offline", resume="allow", config={"lr": 0.2, "depth": 3, "seed": 7})
    assert again is first
    assert caplog.messages == [
        "init() returned the active run one, so these arguments have no effect: project='other', resume='allow', "
        "id='two', config 'lr', config 'seed'. A new run begins after finish(), or with reinit=\"finish_previous\" or "
        '"create_new"'
    ]
