"""Turns the keys of blocks into metric ids, which are small integers within a run.

Used by the copier. The cache holds Postgres' answers; ids never change, so an entry never becomes stale. The cache is
bounded: the least recently used key sets are dropped first. The names of all runs in a batch are looked up in one
statement, so a hundred runs that start together cost one round trip.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence

import asyncpg
import numpy as np
import numpy.typing as npt
import orjson

from stepwell import wire
from stepwell.errors import FrameCorruptError, LimitError, RejectionError, UnknownWriterError
from stepwell.wire import Block
from stepwell_ingest.config import Timeouts
from stepwell_ingest.db.errors import postgres_errors
from stepwell_ingest.write.locked import locked_error
from stepwell_schema import queries

_MAX_KEY_SETS = 20_000
_MAX_KEY_SET_BYTES = 64 * 1024 * 1024  # wide rows: 100,000 names may take megabytes

#: Metric ids, int32[K], by run id and packed names.
Ids = dict[tuple[int, bytes], npt.NDArray[np.int32]]


class MetricNames:
    """The key sets that this worker knows.

    Args:
        pool: connections to Postgres.
        metrics_per_run: the most metric names of one run.
        connect_s: the longest wait for a connection.
    """

    def __init__(self, pool: asyncpg.Pool, metrics_per_run: int, connect_s: float = Timeouts().connect_s) -> None:
        self._pool = pool
        self._connect_s = connect_s
        self._metrics_per_run = metrics_per_run
        self._sql = queries("write")
        self._key_sets: OrderedDict[tuple[int, bytes], npt.NDArray[np.int32]] = OrderedDict()
        self._key_set_bytes = 0

    def known(self, run_id: int, blocks: Iterable[Block]) -> bool:
        """Returns whether the ids of all these blocks are cached."""
        return all((run_id, block.names) in self._key_sets for block in blocks)

    async def prepare(self, wanted: Iterable[tuple[int, Sequence[Block]]]) -> None:
        """Looks up the names of many runs in one statement. If that fails, `ids` finds out which names are at fault.

        Args:
            wanted: run ids, and the blocks whose names will be needed.

        Raises:
            UnavailableError: Postgres cannot be reached.
        """
        missing: dict[int, dict[bytes, list[str]]] = {}
        for run_id, blocks in wanted:
            for block in blocks:
                if (run_id, block.names) not in self._key_sets:
                    try:
                        keys = wire.unpack_names(block.names, len(block.values))
                    except FrameCorruptError:
                        continue
                    missing.setdefault(run_id, {})[block.names] = keys
        if len(missing) < 2:
            return
        names = {run_id: _distinct(missing[run_id].values()) for run_id in sorted(missing)}
        try:
            found = await self._intern(names)
        except (RejectionError, asyncpg.PostgresError):
            return  # one of the runs is at fault
        for run_id, sets in missing.items():
            ids = found.get(run_id, {})
            for packed, keys in sets.items():
                if all(key in ids for key in keys):
                    self._remember(run_id, packed, np.array([ids[key] for key in keys], np.int32))

    async def ids(self, run_id: int, blocks: Iterable[Block], into: Ids) -> None:
        """Adds int32[K] metric ids for the names of each block to `into`; new names get ids, in one round trip for all
        blocks.

        Args:
            into: ids by run id and packed names. It belongs to the caller, so that its entries cannot be evicted.

        Raises:
            FrameCorruptError: the names are malformed.
            LimitError: the run would have too many metrics.
            RejectionError: two names of the run have the same hash.
            UnknownWriterError: the run was deleted.
            asyncpg.PostgresError: Postgres cannot store the names.
            LockedError: another transaction has locked the run; raised without waiting.
            UnavailableError: Postgres cannot be reached.
        """
        missing: dict[bytes, list[str]] = {}
        for block in blocks:
            known = self._key_sets.get((run_id, block.names))
            if known is not None and len(known) == len(block.values):
                into[run_id, block.names] = known
                self._key_sets.move_to_end((run_id, block.names))
            elif block.names not in missing or len(missing[block.names]) != len(block.values):
                missing[block.names] = wire.unpack_names(block.names, len(block.values))
        if not missing:
            return
        names = _distinct(missing.values())
        ids = (await self._intern({run_id: names})).get(run_id, {}) if names else {}
        if names and not ids:
            raise locked_error("the run", 0.0)
        if strangers := [name for name in names if name not in ids]:
            # Postgres identifies names by their MD5, and another name has the same MD5.
            raise RejectionError("two metric names have the same hash", detail=strangers[0][:200])
        for packed, keys in missing.items():
            array = np.array([ids[key] for key in keys], np.int32)
            into[run_id, packed] = array
            self._remember(run_id, packed, array)

    def _remember(self, run_id: int, packed: bytes, ids: npt.NDArray[np.int32]) -> None:
        old = self._key_sets.pop((run_id, packed), None)
        self._key_sets[run_id, packed] = ids
        self._key_set_bytes += len(packed) + ids.nbytes if old is None else 0
        while len(self._key_sets) > _MAX_KEY_SETS or self._key_set_bytes > _MAX_KEY_SET_BYTES:
            (_, oldest), dropped = self._key_sets.popitem(last=False)
            self._key_set_bytes -= len(oldest) + dropped.nbytes

    async def _intern(self, names: Mapping[int, list[str]]) -> dict[int, dict[str, int]]:
        with postgres_errors("store metric names"):
            try:
                async with self._pool.acquire(timeout=self._connect_s) as connection:
                    rows = await connection.fetch(
                        self._sql["intern_metrics"],
                        *(list(names), [orjson.dumps(of_run).decode() for of_run in names.values()]),
                        self._metrics_per_run,
                    )
            except asyncpg.PostgresError as error:
                if error.sqlstate == "ST001":
                    raise LimitError(
                        "the run has too many metrics",
                        detail=str(error),
                        hint="use fewer names for what varies (a layer, a sample), or raise --metrics-per-run",
                    ) from error
                if error.sqlstate == "ST002":
                    raise UnknownWriterError("the run was deleted", detail=str(error)) from error
                raise
        ids: dict[int, dict[str, int]] = {}
        for run_id, name, metric_id in rows:
            ids.setdefault(run_id, {})[name] = metric_id
        return ids


def _distinct(key_sets: Iterable[list[str]]) -> list[str]:
    return list(dict.fromkeys(name for keys in key_sets for name in keys))
