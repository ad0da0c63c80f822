"""Real torch tensors through `log()`: the stored form of each kind."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

import stepwell
from fixtures.server import Backend, StartRun
from stepwell.errors import DataError

pytestmark = pytest.mark.db

WEIGHTS = torch.nn.Parameter(torch.tensor([1.5, -2.0]))


@pytest.mark.parametrize(
    ("tensor", "expected"),
    [
        (torch.tensor(0.5), 0.5),
        (torch.tensor(0.1), float(np.float32(0.1))),
        (torch.tensor(0.1, dtype=torch.float64), 0.1),
        (torch.tensor(7), 7.0),
        (torch.tensor([[2.5]]), 2.5),
        (torch.tensor(2.5, requires_grad=True), 2.5),
        ((WEIGHTS * 2).sum(), -1.0),
        (torch.tensor(1.5, dtype=torch.bfloat16), 1.5),
        (torch.tensor(1.5, dtype=torch.float16), 1.5),
        (torch.tensor(float("nan")), float("nan")),
        (torch.tensor(float("-inf"), dtype=torch.bfloat16), float("-inf")),
        (torch.tensor(3, dtype=torch.uint8), 3.0),
    ],
    ids=str,
)
def test_one_element_tensor_is_a_point(
    backend: Backend, start_run: StartRun, tensor: torch.Tensor, expected: float
) -> None:
    with start_run(backend.url) as run:
        run.log({"value": tensor, "nested": {"value": tensor}})
    points = [value for _, _, _, value in backend.points("run-1")]
    assert len(points) == 2
    assert np.array_equal(points, [expected] * 2, equal_nan=True)


@pytest.mark.parametrize(
    ("tensor", "expected"),
    [
        (torch.tensor(True), True),
        (torch.tensor([1, 2, 3]), [1, 2, 3]),
        (torch.tensor([[1.5, 2.5], [3.5, 4.5]], requires_grad=True), [[1.5, 2.5], [3.5, 4.5]]),
        (WEIGHTS, [1.5, -2.0]),
        (torch.tensor([1.5, 2.5], dtype=torch.bfloat16), [1.5, 2.5]),
        (torch.tensor([[0.0, 2.0], [0.0, 0.0]]).to_sparse(), [[0, 2], [0, 0]]),
        (torch.arange(6).reshape(2, 3).T, [[0, 3], [1, 4], [2, 5]]),
        (torch.tensor([2**60 + 1, 1]), [2**60 + 1, 1]),
        (torch.tensor([1.0 + 2.0j, 3.0 - 1.0j]), ["(1+2j)", "(3-1j)"]),
        (torch.tensor([1.0 + 2.0j, 3.0 - 1.0j]).conj(), ["(1-2j)", "(3+1j)"]),
        (torch.tensor([]), []),
    ],
    ids=str,
)
def test_small_tensor_is_a_list(backend: Backend, start_run: StartRun, tensor: torch.Tensor, expected: Any) -> None:
    with start_run(backend.url) as run:
        run.log({"value": tensor})
    assert backend.objects("run-1") == [("0", "value", 0, expected)]


@pytest.mark.filterwarnings("ignore:Sparse CSR tensor support is in beta")
def test_every_layout_is_a_list(backend: Backend, start_run: StartRun) -> None:
    dense = torch.tensor([[0.0, 2.0], [0.0, 0.0]])
    with start_run(backend.url) as run:
        for tensor in (dense.to_sparse(), dense.to_sparse_csr(), dense.to_sparse_csc(), dense.to_sparse_bsr((1, 1))):
            run.log({"value": tensor})
    assert [value for _, _, _, value in backend.objects("run-1")] == [[[0, 2], [0, 0]]] * 4


@pytest.mark.parametrize(
    "tensor",
    [
        torch.randn(10, 10, requires_grad=True),
        torch.randn(100, dtype=torch.bfloat16),
        torch.randn(20, 20).relu().to_sparse(),
        torch.arange(33),
    ],
    ids=["requires_grad", "bfloat16", "sparse", "int64"],
)
def test_large_tensor_is_a_histogram(backend: Backend, start_run: StartRun, tensor: torch.Tensor) -> None:
    with start_run(backend.url) as run:
        run.log({"value": tensor, "given": stepwell.Histogram(tensor, num_bins=16)})
    numbers = tensor.detach().to_dense().double().numpy().reshape(-1)
    for (_, key, _, value), bins in zip(backend.objects("run-1"), (16, 32), strict=True):
        counts, edges = np.histogram(numbers, bins=bins)
        assert value == {"_type": "histogram", "values": counts.tolist(), "bins": edges.tolist()}, key


def test_meta_tensors_are_refused(backend: Backend, start_run: StartRun) -> None:
    with start_run(backend.url) as run:
        for tensor in (torch.empty(3, device="meta"), torch.full((40,), float("nan"))):
            with pytest.raises(DataError, match="value"):
                run.log({"value": tensor})
        assert run.step == 0


def test_tensor_may_be_changed_after_log(backend: Backend, start_run: StartRun) -> None:
    tensor = torch.tensor([1.0, 2.0])
    with start_run(backend.url) as run:
        run.log({"value": tensor})
        tensor.zero_()
        run.log({"value": tensor})
    assert [value for _, _, _, value in backend.objects("run-1")] == [[1, 2], [0, 0]]
