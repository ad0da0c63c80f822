"""The queue of answers that a stream owes its client: in the order of the messages, each taken out when its work is
done.

Stands between the reader of a stream, which puts in an answer for each message, and the task that sends them.
"""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass
from typing import TypeAlias

from stepwell.errors import Error
from stepwell_ingest.write.batcher import Submission
from stepwell_ingest.write.ledger import LedgerCursor


@dataclass(frozen=True, slots=True)
class Finish:
    """The end of a writer, which is recorded after everything before it."""

    cursor: LedgerCursor
    exit_code: int


@dataclass(frozen=True, slots=True)
class Stored:
    """The acknowledgement of a submission.

    Attributes:
        size: the bytes of room to give back with it.
    """

    submission: Submission
    size: int


#: None: the connection ends.
Answer: TypeAlias = Stored | Finish | Error | None


class Answers:
    """A queue of answers for one task that sends them, which wakes up only when the first of them is ready.

    If the queue woke the task for each answer, and the task then waited for the submission, each frame would cost one
    more turn of the event loop.
    """

    def __init__(self) -> None:
        self._queue: deque[Answer] = deque()
        self._waiting: asyncio.Future[None] | None = None

    def __bool__(self) -> bool:
        return bool(self._queue)

    def put(self, answer: Answer) -> None:
        """Queues an answer behind the others."""
        self._queue.append(answer)
        if isinstance(answer, Stored):
            answer.submission.done.add_done_callback(self._wake)
        else:
            self._wake()

    def _wake(self, _: object = None) -> None:
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_result(None)

    async def next(self) -> Answer:
        """Waits until there is a first answer and its work is done; removes and returns it."""
        while not self._ready():
            self._waiting = asyncio.get_running_loop().create_future()
            await self._waiting
        return self._queue.popleft()

    def next_stored(self, cursor: LedgerCursor) -> Stored | None:
        """Removes and returns the first answer if it is the acknowledgement of a finished submission of this writer."""
        head = self._queue[0] if self._ready() else None
        if isinstance(head, Stored) and head.submission.cursor is cursor:
            self._queue.popleft()
            return head
        return None

    def drop(self) -> list[Stored]:
        """Removes all answers; returns the acknowledgements, whose submissions may still be under way."""
        dropped = [answer for answer in self._queue if isinstance(answer, Stored)]
        self._queue.clear()
        return dropped

    def _ready(self) -> bool:
        head = self._queue[0] if self._queue else False
        return head is not False and (not isinstance(head, Stored) or head.submission.done.done())
