"""The sealing loop: looks for work, seals, merges, turns the ring, folds notes and stores summaries.

Drives the stations of `seal`. Promises: sealing keeps up with ingest, and while it does, leaves half of the time free;
small epochs and large ones get about the same time, so neither waits for the others to end; failed work is retried, and
nothing is lost, since a pass is one transaction; an epoch that fails does not keep others from being sealed.
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import Awaitable, Sequence
from typing import TypeVar

import asyncpg

from stepwell.errors import Error, UnavailableError
from stepwell_ingest.config import SealSettings
from stepwell_ingest.db.errors import postgres_errors
from stepwell_ingest.seal.chunks import EpochKey
from stepwell_ingest.seal.merger import Merger
from stepwell_ingest.seal.notes import Notes
from stepwell_ingest.seal.ring import Ring
from stepwell_ingest.seal.sealer import Candidate, Sealer
from stepwell_ingest.seal.summaries import Summaries

log = logging.getLogger(__name__)

_RETRY_S = 5.0
_MERGE_EVERY_S = 30.0
#: The number of small epochs that are sealed side by side; a small pass mostly waits for answers of Postgres.
_SMALL_AT_ONCE = 3
#: The longest time for which merging delays sealing.
_MERGE_S = 5.0
#: How long an epoch is left out after a pass that found too little, and after one that failed.
_REST_S, _FAILED_REST_S = 10.0, 300.0

Work = TypeVar("Work")


class _LockedError(Error):
    """Another transaction has locked rows of an epoch."""


class Keeper:
    """Runs the sealing of one server. Other servers may seal on the same Postgres at the same time.

    Args:
        pool: connections to Postgres; at most three are used at the same time.
        settings: when and how much to seal, merge and summarize.
    """

    def __init__(self, pool: asyncpg.Pool, settings: SealSettings) -> None:
        self._settings = settings
        self._sealer = Sealer(pool, settings)
        self._merger = Merger(pool, settings)
        self._ring = Ring(pool, settings)
        self._notes = Notes(pool, settings)
        self._summaries = Summaries(pool, settings)
        self._merged_at = time.monotonic()
        self._to_merge: list[tuple[EpochKey, int]] = []
        self._resting: dict[EpochKey, float] = {}  # the end of each epoch's rest
        self._behind = False  # whether the last round has left something that is worth a pass

    async def run(self) -> None:
        """Seals until cancelled."""
        while True:
            pause_s = self._settings.every_s
            try:
                await self.look()
                if self._behind:
                    pause_s = 0.0
            except Error as error:
                log.warning("%s", error)
                pause_s = _RETRY_S
            await asyncio.sleep(pause_s)

    async def look(self) -> int:
        """Makes one round: seals epochs that are worth a pass, turns the ring, merges, folds notes, stores summaries.

        Returns:
            The number of points that were sealed.

        Raises:
            UnavailableError: Postgres cannot be reached; the pass in progress is rolled back.
        """
        sealed = 0
        with postgres_errors("seal"):
            calm = await self._ring.unsealed_bytes() <= self._settings.calm_bytes / 2
            found = await self._sealer.candidates(self._at_rest())
            small = [item for item in found if not item.large]
            self._behind = len(small) == self._settings.at_once
            began = time.monotonic()
            for start in range(0, len(small), _SMALL_AT_ONCE):
                sealed += await self._seal_together(small[start : start + _SMALL_AT_ONCE], calm)
            until = time.monotonic() + max(time.monotonic() - began, self._settings.every_s)
            for number, item in enumerate(found[len(small) :]):
                if number and time.monotonic() >= until:
                    self._behind = True
                    break
                sealed += await self._try("seal", item.epoch, self._seal(item, calm, until)) or 0
            await self._ring.turn()
            await self._merge()
            if calm:  # readers can do without folded notes and stored summaries; writers must wait for sealing
                await self._notes.turn()
                await self._summaries.turn()
        return sealed

    async def _seal_together(self, items: Sequence[Candidate], calm: bool) -> int:
        """Seals small epochs side by side; returns the number of points.

        Raises:
            UnavailableError: Postgres cannot be reached.
        """
        passes = (self._try("seal", item.epoch, self._seal(item, calm, math.inf)) for item in items)
        done = await asyncio.gather(*passes, return_exceptions=True)  # so that none is left running
        for result in done:
            if isinstance(result, BaseException):
                raise result
        return sum(result for result in done if isinstance(result, int))

    async def _seal(self, item: Candidate, calm: bool, until: float) -> int:
        sealed, passes = 0, 0
        while True:
            began = time.monotonic()
            done = await self._sealer.seal(item.epoch, item.whole)
            if done is None:
                if not passes:
                    self._resting[item.epoch] = time.monotonic() + _REST_S
                return sealed
            sealed, passes = sealed + done.points, passes + 1
            if not done.more:
                return sealed
            await self._ring.turn()
            if calm:
                await asyncio.sleep(time.monotonic() - began)
            if time.monotonic() >= until:
                self._behind = True
                return sealed

    async def _merge(self) -> None:
        """Merges for some seconds; the rest is merged in the next rounds."""
        began = time.monotonic()
        if not self._to_merge and began - self._merged_at > _MERGE_EVERY_S:
            self._to_merge = list(reversed(await self._merger.candidates()))
            self._merged_at = began
        while self._to_merge and time.monotonic() < began + _MERGE_S:
            epoch, level = self._to_merge.pop()
            if epoch not in self._at_rest():
                started = time.monotonic()
                await self._try("merge", epoch, self._merger.merge(epoch, level))
                await asyncio.sleep(time.monotonic() - started)

    def _at_rest(self) -> set[EpochKey]:
        now = time.monotonic()
        self._resting = {epoch: until for epoch, until in self._resting.items() if until > now}
        return set(self._resting)

    async def _try(self, doing: str, epoch: EpochKey, work: Awaitable[Work]) -> Work | None:
        """The result of `work`; None when it fails because of this epoch, which then rests.

        Raises:
            UnavailableError: Postgres cannot be reached.
        """
        try:
            with postgres_errors(doing):
                try:
                    return await work
                except asyncpg.LockNotAvailableError as error:
                    raise _LockedError(str(error)) from error
        except UnavailableError:
            raise
        except Exception as error:  # whatever it is, other epochs must still be sealed
            expected = isinstance(error, asyncpg.PostgresError | Error)
            log.error("%s: cannot %s, so it stays as it is for now: %s", epoch, doing, error, exc_info=not expected)
            self._resting[epoch] = time.monotonic() + _FAILED_REST_S
            return None
