"""The step at which a run continues, with the four kinds of resume and without. SQL shows every point exactly once."""

from __future__ import annotations

from pathlib import Path

import pytest

import stepwell
from fixtures.server import QUICK, Backend, StartRun, free_port, log, shown
from stepwell.errors import SettingError, UnavailableError, UsageError
from stepwell.runs.run import Run
from stepwell.settings import Timeouts

pytestmark = pytest.mark.db


def superseded(backend: Backend, run: str = "run-1") -> list[tuple[int, int, float]]:
    """The superseded points as (epoch, step, value)."""
    sql = "SELECT epoch, step, value FROM stepwell.history_superseded WHERE run = $1 ORDER BY 1, 2"
    return [(epoch, step, value) for epoch, step, value in backend.query(sql, run)]


def assert_nothing_lost(backend: Backend, run: str, logged: int) -> None:
    """Checks that each logged point is either shown or superseded, and none is both."""
    assert backend.query("SELECT points FROM stepwell.runs WHERE run = $1", run) == [(logged,)]
    assert len(backend.points(run)) + len(superseded(backend, run)) == logged


def left_behind(root: Path) -> list[str]:
    return sorted(path.name for path in root.rglob("*")) if root.exists() else []


@pytest.mark.parametrize("word", ["allow", "never", "auto"])
def test_new_run_starts_at_zero(backend: Backend, start_run: StartRun, word: str) -> None:
    with start_run(backend.url, resume=word) as run:
        assert (run.step, run.resumed) == (0, False)
        log(run, range(3), 1)
    assert shown(backend) == dict.fromkeys(range(3), 1)


@pytest.mark.parametrize("word", ["allow", "must"])
def test_existing_run_continues_after_its_last_step(backend: Backend, start_run: StartRun, word: str) -> None:
    with start_run(backend.url) as first:
        log(first, range(10), 1)
        first.log({"a": 1}, step=20)
    with start_run(backend.url, resume=word) as second:
        assert (second.step, second.starting_step, second.resumed) == (21, 21, True)
        second.log({"a": 2})
        second.log({"a": 2}, step=5)  # dropped, with a warning
    assert shown(backend) == {**dict.fromkeys(range(10), 1), 20: 1, 21: 2}
    assert superseded(backend) == []
    assert backend.query("SELECT state, last_step, writers FROM stepwell.runs") == [("finished", 21, 1)]


def test_resume_must_without_a_run_leaves_nothing(
    backend: Backend, start_run: StartRun, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(UsageError) as caught:
        start_run(backend.url, resume="must", project="mnist")
    assert str(caught.value).startswith("run default/mnist/run-1 does not exist, so it cannot be resumed")
    assert caught.value.hint == 'resume="allow" creates it'
    assert backend.query("SELECT count(*) FROM stepwell.runs") == [(0,)]
    assert left_behind(tmp_path / "spool") == []
    assert caplog.messages == []
    with start_run(backend.url) as run:  # the process can continue
        log(run, [0], 1)


def test_resume_never_keeps_the_existing_run(backend: Backend, start_run: StartRun, tmp_path: Path) -> None:
    with start_run(backend.url, config={"lr": 1}) as run:
        log(run, range(3), 1)
    with pytest.raises(UsageError, match="run default/uncategorized/run-1 exists already") as caught:
        start_run(backend.url, resume="never", config={"lr": 2})
    assert caught.value.hint == "choose another id, or resume the run"
    assert backend.query("SELECT state, config->>'lr' FROM stepwell.runs") == [("finished", "1")]
    assert backend.query("SELECT count(*) FROM stepwell.ledger") == [(1,)]
    assert left_behind(tmp_path / "spool") == []


def test_resume_never_admits_all_ranks_of_a_launch(backend: Backend, start_run: StartRun) -> None:
    for rank in range(3):
        run = start_run(backend.url, resume="never", writer=str(rank))
        assert (run.step, run.resumed) == (0, False)
        log(run, [0], rank)
    assert [backend.query("SELECT writers FROM stepwell.runs")[0][0], len(backend.points("run-1"))] == [3, 0]


def test_later_rank_of_a_launch_resumes_nothing(backend: Backend, start_run: StartRun) -> None:
    ranks = [start_run(backend.url, resume="allow", writer=str(rank)) for rank in range(3)]
    assert [(run.step, run.resumed) for run in ranks] == [(0, False)] * 3


def test_resume_auto_continues_an_unclean_run(backend: Backend, start_run: StartRun) -> None:
    def start() -> Run:
        return start_run(backend.url, resume="auto", run_id=None)

    crashed = start()
    log(crashed, range(5), 1)
    crashed.finish(1)
    again = start()
    assert (again.id, again.step, again.resumed) == (crashed.id, 5, True)
    log(again, range(5, 8), 2)
    again.finish()
    fresh = start()
    assert fresh.id != crashed.id
    assert (fresh.step, fresh.resumed) == (0, False)
    assert shown(backend, crashed.id) == {**dict.fromkeys(range(5), 1), **dict.fromkeys(range(5, 8), 2)}


def test_resume_auto_forgets_only_its_own_run(backend: Backend, start_run: StartRun) -> None:
    first = start_run(backend.url, resume="auto", run_id=None)
    second = start_run(backend.url, resume="auto", run_id="other")
    first.finish()  # by now the directory names the second run
    third = start_run(backend.url, resume="auto", run_id=None)
    assert third.id == "other"
    assert (second.id, third.resumed) == ("other", True)


def test_restart_supersedes_from_its_first_step(backend: Backend, start_run: StartRun) -> None:
    with start_run(backend.url) as first:
        for step in range(10):
            first.log({"a": 1, "note": "old"}, step=step)
    with start_run(backend.url) as second:
        assert (second.step, second.resumed) == (0, False)
        assert shown(backend) == dict.fromkeys(range(10), 1)  # nothing has arrived yet
        second.log({"a": 2, "note": "new"}, step=6)  # from a checkpoint of its own
        second.log({"a": 2}, step=7)
    assert shown(backend) == {**dict.fromkeys(range(6), 1), 6: 2, 7: 2}
    assert superseded(backend) == [(1, step, 1) for step in range(6, 10)]
    assert [(step, value) for _, _, step, value in backend.objects("run-1")] == [
        *((step, "old") for step in range(6)),
        (6, "new"),
    ]
    assert backend.query("SELECT last_step FROM stepwell.runs") == [(7,)]
    assert_nothing_lost(backend, "run-1", 12)


def test_many_restarts_show_the_newest_steps_once(backend: Backend, start_run: StartRun) -> None:
    expected: dict[int, float] = {}
    logged = 0
    for epoch, (first, last) in enumerate([(0, 50), (40, 60), (10, 30), (25, 26), (26, 90), (0, 5)], 1):
        with start_run(backend.url) as run:
            log(run, range(first, last), epoch)
        expected = {step: value for step, value in expected.items() if step < first}
        expected |= dict.fromkeys(range(first, last), epoch)
        logged += last - first
        assert shown(backend) == expected
    assert_nothing_lost(backend, "run-1", logged)


def test_spool_of_a_killed_process_becomes_a_separate_writer(
    backend: Backend, start_run: StartRun, tmp_path: Path
) -> None:
    first = start_run(backend.url)
    log(first, range(5), 1)
    assert first.flush()
    backend.stop()
    log(first, range(5, 8), 1)
    first.finish()
    backend.start()
    with start_run(backend.url, resume="allow") as second:
        assert second.step == 4  # step 4 was open at the flush, so the server does not have it yet
        log(second, range(4, 6), 2)
    assert shown(backend) == {**dict.fromkeys(range(4), 1), 4: 2, 5: 2}
    assert first.account.left == 4
    assert len(stepwell.spool.Spool.discover(tmp_path / "spool")) == 1


def test_config_is_merged_and_new_values_win(backend: Backend, start_run: StartRun) -> None:
    with start_run(backend.url, config={"lr": 0.1, "depth": 3}) as first:
        log(first, [0], 1)
    with start_run(backend.url, resume="allow", config={"lr": 0.2, "seed": 7}) as second:
        assert second.config.as_dict() == {"lr": 0.2, "seed": 7, "depth": 3}
        second.config.width = 5
    with start_run(backend.url, resume="must") as third:
        assert third.config.as_dict() == {"lr": 0.2, "seed": 7, "depth": 3, "width": 5}
    assert backend.query("SELECT config FROM stepwell.runs") == [({"lr": 0.2, "seed": 7, "depth": 3, "width": 5},)]


def test_offline_run_reports_start_at_zero(start_run: StartRun, caplog: pytest.LogCaptureFixture) -> None:
    with start_run(mode="offline", resume="allow") as run:
        assert (run.step, run.resumed) == (0, False)
        log(run, [0], 1)
    assert caplog.messages == ["an offline run starts at step 0: there is no server to ask for its last step"]


@pytest.mark.parametrize("how", [{"resume": "allow"}, {"resume_from": "run-1?_step=3"}, {"fork_from": "other?_step=3"}])
def test_unreachable_server_is_named_and_nothing_is_left(
    start_run: StartRun, tmp_path: Path, how: dict[str, str]
) -> None:
    url = f"http://127.0.0.1:{free_port()}"
    timeouts = Timeouts(resume_s=0.2, retry_min_s=0.01, retry_max_s=0.05, finish_idle_s=0.2)
    with pytest.raises(UnavailableError) as caught:
        start_run(url, timeouts=timeouts, **how)
    assert str(caught.value).startswith(f"the server did not say within 0.2 s where run run-1 continues ({url})")
    assert caught.value.hint == "a run can only be resumed, rewound or forked while the server answers"
    assert left_behind(tmp_path / "spool") == []


@pytest.mark.parametrize(
    ("how", "text"),
    [
        ({"resume": "sometimes"}, "resume must be one of allow, must, never, auto"),
        ({"resume": "allow", "fork_from": "x?_step=1"}, "resume and fork_from are mutually exclusive"),
        ({"resume_from": "x?_step=1", "fork_from": "x?_step=1"}, "resume_from and fork_from are mutually exclusive"),
        ({"resume_from": "run-1"}, "resume_from must look like '<run id>?_step=<number>'"),
        ({"resume_from": "run-1?_step=-1"}, "resume_from must look like"),
        ({"fork_from": "?_step=1"}, "fork_from must look like"),
        ({"resume_from": "other?_step=1"}, "resume_from and id name different runs"),
        ({"fork_from": "run-1?_step=1"}, "a fork needs an id of its own"),
    ],
)
def test_invalid_arguments_are_refused_first(
    start_run: StartRun, tmp_path: Path, how: dict[str, str], text: str
) -> None:
    with pytest.raises(SettingError) as caught:
        start_run(timeouts=QUICK, **how)
    assert text in str(caught.value)
    assert left_behind(tmp_path / "spool") == []
