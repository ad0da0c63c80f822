"""Groups requests of many connections into one statement: while one is running, the next requests gather.

Used by the catalog for requests that come from every writer: to attach, and to be recorded as finished or disconnected.
When a cluster starts or reconnects, thousands arrive together, and a transaction for each would take Postgres minutes.
A lone request is sent at once.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

Request = TypeVar("Request")
Answer = TypeVar("Answer")


class Grouping(Generic[Request, Answer]):
    """Answers requests in groups, one group at a time.

    Args:
        answer: receives the requests of a group and returns their answers, in the same order. An exception is raised
            for every request of the group.
        most: the most requests of a group.
    """

    def __init__(self, answer: Callable[[Sequence[Request]], Awaitable[Sequence[Answer]]], most: int = 64) -> None:
        self._answer_all = answer
        self._most = most
        self._waiting: list[tuple[Request, asyncio.Future[Answer]]] = []
        self._working: asyncio.Task[None] | None = None

    async def answer(self, request: Request) -> Answer:
        """Waits for the answer to one request."""
        future: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._waiting.append((request, future))
        if self._working is None:
            self._working = asyncio.create_task(self._work())
        return await future

    async def _work(self) -> None:
        try:
            while self._waiting:
                group, self._waiting = self._waiting[: self._most], self._waiting[self._most :]
                await self._settle([(request, future) for request, future in group if not future.done()])
        finally:
            self._working = None

    async def _settle(self, group: list[tuple[Request, asyncio.Future[Answer]]]) -> None:
        try:
            answers = await self._answer_all([request for request, _ in group])
        except BaseException as error:
            for _, future in group:
                if not future.done():
                    future.set_exception(error)
            if not isinstance(error, Exception):
                raise
        else:
            for (_, future), answer in zip(group, answers, strict=True):
                if not future.done():
                    future.set_result(answer)
