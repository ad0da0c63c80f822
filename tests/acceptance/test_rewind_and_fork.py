"""`resume_from` and `fork_from`: the points that a run with several writers shows afterwards. Nothing is lost."""

from __future__ import annotations

from collections.abc import Iterable

import pytest

from fixtures.server import Backend, StartRun, log, shown
from stepwell.errors import UsageError

pytestmark = pytest.mark.db


def values(*parts: tuple[Iterable[int], float]) -> dict[int, float]:
    return {step: value for steps, value in parts for step in steps}


def assert_nothing_lost(backend: Backend, run: str, logged: int) -> None:
    """Checks that each point is either shown or superseded."""
    count = backend.query("SELECT count(*) FROM stepwell.history_superseded WHERE run = $1", run)[0][0]
    assert len(backend.points(run)) + count == logged


def test_rewind_hides_later_points_and_continues(backend: Backend, start_run: StartRun) -> None:
    with start_run(backend.url, config={"lr": 1}) as first:
        for step in range(10):
            first.log({"a": 1, "note": "x"}, step=step)
    with start_run(backend.url, resume_from="run-1?_step=5") as second:
        assert (second.step, second.resumed, second.config.as_dict()) == (6, True, {"lr": 1})
        assert shown(backend) == values((range(6), 1))
        assert backend.query("SELECT last_step FROM stepwell.runs") == [(5,)]
        log(second, range(6, 8), 2)
    assert shown(backend) == values((range(6), 1), (range(6, 8), 2))
    assert [step for _, _, step, _ in backend.objects("run-1")] == list(range(6))
    sql = "SELECT writer, epoch, metric, step, value FROM stepwell.history_superseded WHERE run = 'run-1' ORDER BY step"
    assert backend.query(sql) == [("0", 1, "a", step, 1.0) for step in range(6, 10)]
    assert_nothing_lost(backend, "run-1", 12)


def test_rewind_takes_the_id_from_resume_from(backend: Backend, start_run: StartRun) -> None:
    with start_run(backend.url, run_id="abc") as first:
        log(first, range(4), 1)
    with start_run(backend.url, run_id=None, resume_from="abc?_step=1") as second:
        assert (second.id, second.step) == ("abc", 2)


@pytest.mark.parametrize(("first", "second"), [(5, 2), (2, 5), (3, 3)])
def test_run_rewound_twice(backend: Backend, start_run: StartRun, first: int, second: int) -> None:
    with start_run(backend.url) as run:
        log(run, range(10), 1)
    with start_run(backend.url, resume_from=f"run-1?_step={first}") as run:
        log(run, range(first + 1, 9), 2)
    with start_run(backend.url, resume_from=f"run-1?_step={second}") as run:
        log(run, range(second + 1, 12), 3)
    low = min(first, second)
    assert shown(backend) == values((range(low + 1), 1), (range(first + 1, second + 1), 2), (range(second + 1, 12), 3))
    assert_nothing_lost(backend, "run-1", 10 + (8 - first) + (11 - second))


def test_rewind_to_step_zero_keeps_that_step(backend: Backend, start_run: StartRun) -> None:
    with start_run(backend.url) as run:
        log(run, range(4), 1)
    with start_run(backend.url, resume_from="run-1?_step=0") as run:
        assert run.step == 1
    assert shown(backend) == {0: 1}


def test_resume_after_a_rewind_continues_after_shown_steps(backend: Backend, start_run: StartRun) -> None:
    with start_run(backend.url) as run:
        log(run, range(100), 1)
    with start_run(backend.url, resume_from="run-1?_step=50"):
        pass
    with start_run(backend.url, resume="must") as run:
        assert run.step == 51


def test_ranks_that_rewind_together_continue_together(backend: Backend, start_run: StartRun) -> None:
    for rank in "012":
        with start_run(backend.url, writer=rank) as run:
            log(run, range(10), 1)
    ranks = [start_run(backend.url, writer=rank, resume_from="run-1?_step=4") for rank in "012"]
    assert [run.step for run in ranks] == [5, 5, 5]
    for run in ranks:
        log(run, range(5, 7), 2)
    for run in ranks:
        run.finish()
    for rank in "012":
        assert shown(backend, writer=rank) == values((range(5), 1), (range(5, 7), 2))
    assert_nothing_lost(backend, "run-1", 36)


def test_late_rank_keeps_new_points_of_others(backend: Backend, start_run: StartRun) -> None:
    """Rank 1 rewinds, logs and ends before rank 0 attaches."""
    for rank in "01":
        with start_run(backend.url, writer=rank) as run:
            log(run, range(10), 1)
    for rank in "10":
        with start_run(backend.url, writer=rank, resume_from="run-1?_step=4") as run:
            log(run, range(5, 7), 2)
    for rank in "01":
        assert shown(backend, writer=rank) == values((range(5), 1), (range(5, 7), 2))
    for rank in "01":  # and again with all ranks
        with start_run(backend.url, writer=rank, resume_from="run-1?_step=4") as run:
            log(run, range(5, 6), 3)
    for rank in "01":
        assert shown(backend, writer=rank) == values((range(5), 1), (range(5, 6), 3))


def test_rewind_by_fewer_ranks_cuts_absent_ranks(backend: Backend, start_run: StartRun) -> None:
    for rank in "012":
        with start_run(backend.url, writer=rank) as run:
            log(run, range(10), 1)
    with start_run(backend.url, writer="0", resume_from="run-1?_step=4") as run:
        log(run, range(5, 7), 2)
    assert shown(backend, writer="0") == values((range(5), 1), (range(5, 7), 2))
    for rank in "12":
        assert shown(backend, writer=rank) == values((range(5), 1))


def test_cut_process_continues(backend: Backend, start_run: StartRun) -> None:
    evaluator = start_run(backend.url, writer="1")
    log(evaluator, range(10), 1)
    assert evaluator.flush()
    with start_run(backend.url, writer="0") as run:
        log(run, range(10), 1)
    with start_run(backend.url, writer="0", resume_from="run-1?_step=4") as run:
        assert run.step == 5
        log(run, range(5, 7), 2)
    assert shown(backend, writer="1") == values((range(5), 1))
    log(evaluator, range(10, 12), 2)
    evaluator.finish()
    # Step 9 was still open at the rewind and arrived after it.
    assert shown(backend, writer="1") == values((range(5), 1), ([9], 1), (range(10, 12), 2))
    assert (evaluator.account.stored, evaluator.account.left) == (12, 0)
    assert backend.query("SELECT state FROM stepwell.runs") == [("finished",)]
    assert_nothing_lost(backend, "run-1", 24)


def test_rewind_beyond_the_end_continues_at_the_end(backend: Backend, start_run: StartRun) -> None:
    with start_run(backend.url) as run:
        log(run, range(5), 1)
    with start_run(backend.url, resume_from="run-1?_step=1000") as run:
        assert run.step == 5
        assert backend.query("SELECT last_step FROM stepwell.runs") == [(4,)]
        log(run, [5], 2)
    assert shown(backend) == values((range(5), 1), ([5], 2))


def test_missing_run_cannot_be_rewound(backend: Backend, start_run: StartRun) -> None:
    with pytest.raises(UsageError, match="run default/uncategorized/run-9 does not exist, so it cannot be rewound"):
        start_run(backend.url, run_id=None, resume_from="run-9?_step=4")
    assert backend.query("SELECT count(*) FROM stepwell.runs") == [(0,)]


def test_fork_shows_its_parent_then_itself(backend: Backend, start_run: StartRun) -> None:
    with start_run(backend.url, run_id="parent") as parent:
        for step in range(10):
            parent.log({"a": 1, "note": "x"}, step=step)
    with start_run(backend.url, run_id="fork", fork_from="parent?_step=5") as fork:
        assert (fork.id, fork.step, fork.resumed) == ("fork", 6, False)
        assert (fork.summary["a"], fork.summary["_step"]) == (1, 5)
        assert shown(backend, "fork") == values((range(6), 1))
        log(fork, range(6, 9), 2)
    assert shown(backend, "fork") == values((range(6), 1), (range(6, 9), 2))
    assert [step for _, _, step, _ in backend.objects("fork")] == list(range(6))
    assert shown(backend, "parent") == values((range(10), 1))
    runs = backend.query("SELECT run, parent, fork_step, points, last_step FROM stepwell.runs ORDER BY run")
    assert runs == [("fork", "parent", 5, 3, 8), ("parent", None, None, 10, 9)]
    assert backend.query("SELECT count(*) FROM stepwell.history") == [(10 + 6 + 3,)]


def test_parent_changes_do_not_affect_the_fork(backend: Backend, start_run: StartRun) -> None:
    parent = start_run(backend.url, run_id="parent")
    log(parent, range(10), 1)
    parent.log({"a": 1}, step=10)
    assert parent.flush()
    with start_run(backend.url, run_id="fork", fork_from="parent?_step=5") as fork:
        log(fork, range(6, 8), 2)
    log(parent, range(11, 20), 1)
    parent.finish()
    assert shown(backend, "fork") == values((range(6), 1), (range(6, 8), 2))
    assert shown(backend, "parent") == values((range(20), 1))


def test_fork_of_a_fork_shows_all_ancestors(backend: Backend, start_run: StartRun) -> None:
    with start_run(backend.url, run_id="one") as run:
        log(run, range(10), 1)
    with start_run(backend.url, run_id="two", fork_from="one?_step=5") as run:
        log(run, range(6, 12), 2)
    with start_run(backend.url, run_id="three", fork_from="two?_step=8") as run:
        log(run, range(9, 11), 3)
    with start_run(backend.url, run_id="early", fork_from="two?_step=3") as run:
        log(run, range(4, 6), 4)
    assert shown(backend, "three") == values((range(6), 1), (range(6, 9), 2), (range(9, 11), 3))
    assert shown(backend, "early") == values((range(4), 1), (range(4, 6), 4))


def test_fork_can_be_rewound_and_restarted(backend: Backend, start_run: StartRun) -> None:
    with start_run(backend.url, run_id="parent") as run:
        log(run, range(10), 1)
    for value in (2, 3):  # the second time is a restart with the same arguments, which supersedes
        with start_run(backend.url, run_id="fork", fork_from="parent?_step=5") as run:
            assert run.step == 6
            log(run, range(6, 10), value)
    assert shown(backend, "fork") == values((range(6), 1), (range(6, 10), 3))
    with start_run(backend.url, run_id=None, resume_from="fork?_step=7") as run:
        log(run, [8], 4)
    assert shown(backend, "fork") == values((range(6), 1), (range(6, 8), 3), ([8], 4))
    with start_run(backend.url, run_id="fork", resume="must") as run:
        assert run.step == 9


def test_ranks_share_a_fork(backend: Backend, start_run: StartRun) -> None:
    for rank in "01":
        with start_run(backend.url, run_id="parent", writer=rank) as run:
            log(run, range(10), 1)
    ranks = [start_run(backend.url, run_id="fork", writer=rank, fork_from="parent?_step=5") for rank in "01"]
    for run in ranks:
        assert run.step == 6
        log(run, range(6, 8), 2)
    for run in ranks:
        run.finish()
    for rank in "01":
        assert shown(backend, "fork", rank) == values((range(6), 1), (range(6, 8), 2))


def test_fork_needs_a_parent_and_a_new_name(backend: Backend, start_run: StartRun) -> None:
    with pytest.raises(UsageError, match="the run to fork does not exist") as caught:
        start_run(backend.url, run_id="fork", fork_from="nobody?_step=5")
    assert "run nobody of default/uncategorized does not exist" in str(caught.value)
    assert backend.query("SELECT count(*) FROM stepwell.runs") == [(0,)]
    for name in ("parent", "taken"):
        with start_run(backend.url, run_id=name) as run:
            log(run, range(10), 1)
    with pytest.raises(UsageError, match="run default/uncategorized/taken exists already, and is not this fork"):
        start_run(backend.url, run_id="taken", fork_from="parent?_step=5")
    assert shown(backend, "taken") == values((range(10), 1))
    with start_run(backend.url, run_id="fork", fork_from="parent?_step=5"):
        pass
    with pytest.raises(UsageError, match="is not this fork"):
        start_run(backend.url, run_id="fork", fork_from="parent?_step=6")


def test_fork_keeps_points_that_its_parent_rewinds(backend: Backend, start_run: StartRun) -> None:
    with start_run(backend.url, run_id="parent") as run:
        for step in range(10):
            run.log({"a": 1, "note": "x"}, step=step)
    with start_run(backend.url, run_id="fork", fork_from="parent?_step=5") as fork:
        log(fork, range(6, 8), 2)
    before = (backend.points("fork"), backend.objects("fork"))
    with start_run(backend.url, run_id=None, resume_from="parent?_step=2") as run:
        assert (backend.points("fork"), backend.objects("fork")) == before
        log(run, range(3, 9), 3)
    assert shown(backend, "parent") == values((range(3), 1), (range(3, 9), 3))
    assert (backend.points("fork"), backend.objects("fork")) == before
    with start_run(backend.url, run_id="parent") as run:  # and again
        log(run, range(20), 4)
    assert shown(backend, "parent") == values((range(20), 4))
    assert (backend.points("fork"), backend.objects("fork")) == before
    assert backend.query("SELECT count(*) FROM stepwell.history_superseded WHERE run = 'fork'") == [(0,)]


def test_fork_after_a_rewind_shows_visible_points(backend: Backend, start_run: StartRun) -> None:
    with start_run(backend.url, run_id="one") as run:
        log(run, range(10), 1)
    with start_run(backend.url, run_id=None, resume_from="one?_step=3") as run:
        log(run, range(4, 9), 2)
    with start_run(backend.url, run_id="two", fork_from="one?_step=6") as run:
        log(run, range(7, 9), 3)
    with start_run(backend.url, run_id="three", fork_from="two?_step=7") as run:
        log(run, [8], 4)
    for name, step in (("two", 0), ("one", 1)):
        with start_run(backend.url, run_id=None, resume_from=f"{name}?_step={step}") as run:
            log(run, range(step + 1, 10), 5)
    assert shown(backend, "three") == values((range(4), 1), (range(4, 7), 2), ([7], 3), ([8], 4))
    assert shown(backend, "two") == values(([0], 1), (range(1, 10), 5))
    superseded = "SELECT epoch, step, value FROM stepwell.history_superseded WHERE run = 'three' ORDER BY 1, 2"
    assert backend.query(superseded) == [(1, step, 1.0) for step in (4, 5, 6)]  # as they were when the fork was made


def test_pending_parent_points_reach_the_fork(backend: Backend, start_run: StartRun) -> None:
    parent = start_run(backend.url, run_id="parent")
    log(parent, range(4), 1)
    assert parent.flush()
    with start_run(backend.url, run_id="fork", fork_from="parent?_step=5") as fork:
        log(parent, range(4, 10), 1)
        parent.finish()
        assert shown(backend, "fork") == values((range(6), 1))
        log(fork, [6], 2)
    assert shown(backend, "fork") == values((range(6), 1), ([6], 2))


def test_fork_restart_supersedes_inherited_points(backend: Backend, start_run: StartRun) -> None:
    for rank in "01":
        with start_run(backend.url, run_id="parent", writer=rank) as run:
            for step in range(10):
                run.log({"a": 1, "note": "x"}, step=step)
    with start_run(backend.url, run_id="fork", fork_from="parent?_step=5") as run:
        log(run, range(6, 8), 2)
    with start_run(backend.url, run_id="fork") as run:  # without arguments, it logs steps that its parent has logged
        log(run, range(3, 5), 3)
    assert shown(backend, "fork") == values((range(3), 1), (range(3, 5), 3))
    assert shown(backend, "fork", "1") == values((range(6), 1))
    assert [step for writer, _, step, _ in backend.objects("fork") if writer == "0"] == [0, 1, 2]
    superseded = "SELECT step, value FROM stepwell.history_superseded WHERE run = 'fork' ORDER BY 1"
    assert backend.query(superseded) == [(3, 1.0), (4, 1.0), (5, 1.0), (6, 2.0), (7, 2.0)]
    with start_run(backend.url, run_id="fork", writer="1") as run:  # its first process in this run
        log(run, range(2), 4)
    assert shown(backend, "fork", "1") == values((range(2), 4))
    assert shown(backend, "parent") == shown(backend, "parent", "1") == values((range(10), 1))


def test_rank_that_resumes_a_fork_continues_after_inherited_points(backend: Backend, start_run: StartRun) -> None:
    for rank in "01":
        with start_run(backend.url, run_id="parent", writer=rank) as run:
            log(run, range(10), 1)
    with start_run(backend.url, run_id="fork", fork_from="parent?_step=5") as run:
        log(run, [6], 2)
    with start_run(backend.url, run_id="fork", writer="1", resume="allow") as run:
        assert run.step == 6
        log(run, [6], 3)
    assert shown(backend, "fork", "1") == values((range(6), 1), ([6], 3))


def test_fork_rewound_below_its_fork_step_is_cut(backend: Backend, start_run: StartRun) -> None:
    for rank in "01":
        with start_run(backend.url, run_id="parent", writer=rank) as run:
            log(run, range(10), 1)
    with start_run(backend.url, run_id="fork", fork_from="parent?_step=5") as run:
        log(run, range(6, 8), 2)
    with start_run(backend.url, run_id=None, resume_from="fork?_step=2") as run:
        assert run.step == 3
        for rank in "01":  # rank 1 has no process here
            assert shown(backend, "fork", rank) == values((range(3), 1))
        log(run, [3], 3)
    assert shown(backend, "fork") == values((range(3), 1), ([3], 3))
    assert shown(backend, "parent") == shown(backend, "parent", "1") == values((range(10), 1))
