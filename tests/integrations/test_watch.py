"""`run.watch`: a real torch module, whose gradients and parameters are logged as histograms at the right steps."""

from __future__ import annotations

import math
import subprocess
import sys
import threading
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch

import stepwell
from stepwell import testing
from stepwell.observe.tensor_histogram import BINS, histogram_of
from stepwell.runs.run import Run


@pytest.fixture
def logged() -> Iterator[testing.Capture]:
    with testing.capture() as logged:
        yield logged


@pytest.fixture
def run(logged: testing.Capture) -> Run:
    return stepwell.init()


def network() -> Any:
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.ReLU(), torch.nn.Linear(8, 1))


NAMES = {"0.weight", "0.bias", "2.weight", "2.bias"}


def train(model: Any, run: Run, steps: int) -> None:
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    for _ in range(steps):
        optimizer.zero_grad()
        loss = model(torch.ones(16, 4)).square().mean()
        loss.backward()
        optimizer.step()
        run.log({"loss": loss.item()})


def keys(row: dict[str, Any]) -> set[str]:
    return set(row) - {"_step", "loss"}


@pytest.mark.parametrize(
    ("what", "expected"),
    [
        ("gradients", {f"gradients/{name}" for name in NAMES}),
        ("parameters", {f"parameters/{name}" for name in NAMES}),
        ("all", {f"{kind}/{name}" for kind in ("gradients", "parameters") for name in NAMES}),
        (None, set()),
    ],
)
def test_every_nth_step_has_histograms(logged: testing.Capture, run: Run, what: str | None, expected: set[str]) -> None:
    model = network()
    run.watch(model, log=what, log_freq=3)
    train(model, run, 7)
    assert [row["_step"] for row in logged.history] == list(range(7))
    assert [keys(row) for row in logged.history] == [expected if step in (2, 5) else set() for step in range(7)]


def test_histograms_match_the_values(logged: testing.Capture, run: Run) -> None:
    model = network()
    run.watch(model, log="all", log_freq=1)
    before = model[0].weight.detach().clone()
    train(model, run, 1)
    (row,) = logged.history
    found = row["parameters/0.weight"]
    counts, edges = np.histogram(before.numpy().astype(np.float64), bins=BINS)
    assert found["_type"] == "histogram"
    assert np.allclose(found["bins"], edges)
    assert sum(found["values"]) == before.numel()
    assert np.abs(np.cumsum(found["values"]) - np.cumsum(counts)).max() <= 1  # a value on a bin edge in float32
    gradient = model[0].weight.grad
    assert row["gradients/0.weight"]["bins"][0] == pytest.approx(gradient.min().item())
    assert row["gradients/0.weight"]["bins"][-1] == pytest.approx(gradient.max().item())


def test_watching_does_not_change_training(run: Run) -> None:
    plain, watched = network(), network()
    run.watch(watched, log="all", log_freq=1)
    with stepwell.init(mode="disabled", reinit="create_new") as other:
        train(plain, other, 5)
    train(watched, run, 5)
    assert all(torch.equal(a, b) for a, b in zip(plain.parameters(), watched.parameters(), strict=True))


def test_frozen_parameters_have_no_gradients(logged: testing.Capture, run: Run) -> None:
    model = network()
    model[0].requires_grad_(False)
    run.watch(model, log="gradients", log_freq=1)
    train(model, run, 1)
    assert keys(logged.history[0]) == {"gradients/2.weight", "gradients/2.bias"}


def test_several_models_are_numbered(logged: testing.Capture, run: Run) -> None:
    first, second, third = network(), network(), network()
    run.watch([first, second], log="parameters", log_freq=1)
    run.watch(third, log="parameters", log_freq=1, idx=7)
    for model in (first, second, third):
        model(torch.ones(1, 4))
    run.log({"loss": 1.0})
    prefixes = {key.removesuffix("0.weight") for key in keys(logged.history[0]) if key.endswith("0.weight")}
    assert prefixes == {"parameters/", "parameters/graph_1.", "parameters/graph_7."}


def test_unwatch_and_finish_remove_hooks(logged: testing.Capture, run: Run) -> None:
    first, second = network(), network()
    run.watch([first, second], log="all", log_freq=1)
    run.unwatch(first)
    train(first, run, 1)
    assert keys(logged.history[0]) == set()
    run.finish()
    second(torch.ones(1, 4)).sum().backward()
    assert not second._forward_hooks
    assert not any(parameter._backward_hooks for model in (first, second) for parameter in model.parameters())


def test_second_watch_replaces_the_first(logged: testing.Capture, run: Run) -> None:
    model = network()
    run.watch(model, log="all", log_freq=1)
    run.watch(model, log="gradients", log_freq=2)
    train(model, run, 2)
    assert [len(keys(row)) for row in logged.history] == [0, 4]


def test_failure_stops_watching_but_not_training(
    logged: testing.Capture, run: Run, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(tensor: Any) -> Any:
        raise RuntimeError("out of memory")

    monkeypatch.setattr("stepwell.observe.model_watch.histogram_of", fails)
    model = network()
    run.watch(model, log="all", log_freq=1)
    train(model, run, 2)
    assert [record.getMessage() for record in caplog.records] == [
        "the model is no longer watched: RuntimeError: out of memory"
    ]
    assert [keys(row) for row in logged.history] == [set(), set()]


def test_backward_may_run_in_another_thread(logged: testing.Capture, run: Run) -> None:
    model = network()
    run.watch(model, log_freq=1)
    thread = threading.Thread(target=lambda: model(torch.ones(1, 4)).sum().backward())
    thread.start()
    thread.join()
    run.log({"loss": 1.0})
    assert len(keys(logged.history[0])) == 4


@pytest.mark.parametrize(
    ("values", "counted", "nans", "infs"),
    [
        ([1.0, 2.0, math.nan, math.inf, -math.inf, 3.0], 3, 1, 2),
        ([math.nan, math.inf], 0, 1, 1),
        ([5.0] * 10, 10, 0, 0),
        ([0.0], 1, 0, 0),
        ([-3e38, 3e38, 0.0], 3, 0, 0),
        ([1e-42, 2e-42], 2, 0, 0),
        ([1e30, 1e30], 2, 0, 0),
    ],
)
@pytest.mark.parametrize("dtype", ["float32", "float64", "bfloat16"])
def test_no_value_is_lost(values: list[float], counted: int, nans: int, infs: int, dtype: str) -> None:
    found = histogram_of(torch.tensor(values, dtype=getattr(torch, dtype)))
    assert found is not None
    assert (sum(found.counts), found.nans, found.infs) == (counted, nans, infs)
    assert len(found.counts) == BINS
    assert all(low < high for low, high in zip(found.edges, found.edges[1:], strict=False))
    assert set(found.__stepwell_json__()) == {"_type", "values", "bins", *(["nans", "infs"] if nans + infs else [])}


@pytest.mark.parametrize(
    ("tensor", "count"),
    [
        (lambda: torch.arange(10), 10),
        (lambda: torch.tensor([True, False]), 2),
        (lambda: torch.ones(3, 4, dtype=torch.float16).t(), 12),
        (lambda: torch.eye(4).to_sparse(), 4),
        (lambda: torch.eye(4).to_sparse_csr(), 16),
        (lambda: torch.complex(torch.ones(3), torch.zeros(3)), 6),
        (lambda: torch.tensor(2.0), 1),
    ],
)
@pytest.mark.filterwarnings("ignore:Sparse CSR tensor support is in beta")
def test_all_tensor_types_are_counted(tensor: Any, count: int) -> None:
    found = histogram_of(tensor())
    assert found is not None
    assert sum(found.counts) == count


def test_large_tensors_are_counted_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stepwell.observe.tensor_histogram._PIECE", 100)
    values = torch.randn(1001)
    values[500] = math.nan
    found = histogram_of(values)
    assert found is not None
    assert (sum(found.counts), found.nans) == (1000, 1)


def test_empty_tensors_have_no_histogram() -> None:
    assert histogram_of(torch.zeros(0, 3)) is None
    assert histogram_of(torch.zeros(3, device="meta")) is None


@pytest.mark.parametrize(
    ("arguments", "kind", "text"),
    [
        ({"models": 5}, TypeError, "watch() takes torch modules, not int"),
        ({"models": [None]}, TypeError, "watch() takes torch modules, not NoneType"),
        ({"log": "weights"}, ValueError, "log must be one of gradients, parameters, all, None, not 'weights'"),
        ({"log_freq": 0}, ValueError, "log_freq must be a positive integer"),
    ],
)
def test_invalid_arguments_are_refused(run: Run, arguments: dict[str, Any], kind: type[Exception], text: str) -> None:
    with pytest.raises(kind) as raised:
        run.watch(**{"models": network(), **arguments})
    assert str(raised.value).startswith(text)


def test_disabled_or_finished_run_does_not_watch(run: Run) -> None:
    model = network()
    run.finish()
    with pytest.raises(stepwell.UsageError, match=r"is finished, so watch\(\) cannot"):
        run.watch(model)
    with stepwell.init(mode="disabled") as other:
        other.watch(model, log="all")
        stepwell.unwatch()
    assert not model._forward_hooks


def test_log_graph_gives_a_warning(run: Run, caplog: pytest.LogCaptureFixture) -> None:
    stepwell.watch(network(), log_graph=True)
    assert "log_graph=True) has no effect" in caplog.text


def test_torch_is_not_imported_needlessly() -> None:
    code = """
import sys, stepwell
run = stepwell.init(mode="disabled")
try:
    run.watch(object())
except TypeError as error:
    print("torch" in sys.modules, error)
"""
    done = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path[:0] = {sys.path!r}; {code}"],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert done.stdout.startswith("False watch() takes torch modules, not object")
