"""`…/system` over HTTP: pages in time order whatever the order of arrival, samples, and invalid requests."""

from __future__ import annotations

from typing import Any

import pytest

from fixtures.ingest import Session
from fixtures.live import note
from fixtures.reads import RUN, ask, store
from stepwell_ingest.server.worker import Worker

pytestmark = pytest.mark.db


def measurement(time: float, **metrics: Any) -> tuple[str, Any]:
    return "system", {"time": time, "metrics": metrics}


async def pages(worker: Worker, limit: int) -> list[list[dict[str, Any]]]:
    found, cursor = [], {}
    while True:
        status, answer = await ask(worker, f"{RUN}/system", limit=limit, **cursor)
        assert (status, answer["sampled"]) == (200, None)
        found.append(answer["rows"])
        if answer["next"] is None:
            return found
        cursor = {"cursor": answer["next"]}


async def test_pages_are_in_time_order_without_duplicates(worker: Worker) -> None:
    """Measurements that include two of the same time in one frame, and one of a late writer."""
    first, second = Session(), Session(writer="1")
    await store(worker, first, note(first, measurement(5.5, a=1), measurement(5.5, a=2), measurement(9, a=3)))
    await store(worker, second, note(second, measurement(7.25, a=4)))
    expected = [("0", 5.5, 1.0), ("0", 5.5, 2.0), ("1", 7.25, 4.0), ("0", 9.0, 3.0)]
    for limit in (1, 2, 3, 4, 100):
        found = await pages(worker, limit)
        assert [len(page) for page in found[:-1]] == [limit] * (len(found) - 1)
        assert [(row["_writer"], row["_timestamp"], row["a"]) for page in found for row in page] == expected


async def test_non_numbers_are_omitted_as_in_the_view(worker: Worker) -> None:
    session = Session()
    odd: list[tuple[str, Any]] = [("system", 5), ("system", {"metrics": [1]}), ("system", {"preempting": True})]
    odd += [measurement(1, a="x"), measurement(2, a="NaN", b={"c": 1}, d=True), measurement(3, _writer=7, e=1)]
    await store(worker, session, note(session, *odd))
    ((nan, plain),) = await pages(worker, 10)
    assert nan == {"a": "NaN", "_writer": "0", "_timestamp": 2.0}
    assert plain == {"e": 1.0, "_writer": "0", "_timestamp": 3.0}


async def test_sample_covers_each_writer_and_its_last_value(worker: Worker) -> None:
    for writer in "01":
        session = Session(writer=writer)
        await store(worker, session, note(session, *(measurement(t, a=t) for t in range(1, 51))))
    status, answer = await ask(worker, f"{RUN}/system", samples=10)
    assert status == 200
    assert answer["sampled"] == {"from_rows": 100, "rows": 12, "by": "order"}
    assert [row["a"] for row in answer["rows"] if row["_writer"] == "1"] == [1, 11, 21, 31, 41, 50]
    assert (await ask(worker, f"{RUN}/system", samples=100))[1]["sampled"] is None


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ({"cursor": "nonsense"}, "invalid cursor"),
        ({"cursor": "WzFd"}, "invalid cursor"),
        ({"cursor": "WzEsMSwxLDEsMV0=", "samples": 5}, "are mutually exclusive"),
        ({"samples": 0}, "samples"),
        ({"limit": 10_001}, "limit"),
    ],
)
async def test_invalid_arguments_are_refused(worker: Worker, query: dict[str, Any], message: str) -> None:
    await store(worker, Session())
    status, answer = await ask(worker, f"{RUN}/system", **query)
    assert (status, answer["error"]["code"]) == (400, "usage")
    assert message in answer["error"]["message"]
