"""A run as a `with` block, also an `async with` one: it ends with the block, and fails with it.

`Run` builds on it.
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from types import TracebackType
from typing import Self

from stepwell.runs.exit import exit_code_of


class WithBlock(ABC):
    """What `with` needs."""

    @abstractmethod
    def finish(self, exit_code: int | None = None) -> None:
        """Ends it."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.finish(exit_code_of(error))

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await asyncio.to_thread(self.finish, exit_code_of(error))
