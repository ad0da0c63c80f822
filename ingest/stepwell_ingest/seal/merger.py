"""Merges short chunks into longer ones: those of rarely logged metrics, and of runs that log little.

Runs beside the sealer. Takes an epoch with short tracks of many passes; writes fewer, longer tracks of the next level,
in one transaction. Promises: readers see each point exactly once at every moment (a snapshot shows either the deleted
rows or the inserted ones); a point is merged at most once at each level, so it is rewritten only a few times; only
chunks between which the metric has no other chunk are joined, so the chunks of a metric never overlap.
"""

from __future__ import annotations

import asyncpg
import numpy as np

from stepwell.wire import Int64Array
from stepwell_ingest.config import SealSettings
from stepwell_ingest.db.copyrows import Reader
from stepwell_ingest.seal import stretches
from stepwell_ingest.seal.chunks import EpochKey
from stepwell_ingest.seal.sealer import ChangedError, copy_out, next_pass, write
from stepwell_ingest.seal.stretches import Stretch
from stepwell_schema import queries


class Merger:
    """Merges over one connection at a time.

    Args:
        pool: connections to Postgres.
        settings: how many passes a merge needs, and how much it reads.
    """

    def __init__(self, pool: asyncpg.Pool, settings: SealSettings) -> None:
        self._pool = pool
        self._settings = settings
        self._sql = queries("seal")

    async def candidates(self) -> list[tuple[EpochKey, int]]:
        """The epochs with short tracks of enough passes, and the level of these tracks."""
        rows = await self._pool.fetch(self._sql["mergeable"], self._settings.merge_passes, self._settings.at_once)
        return [(EpochKey(row["run_id"], row["writer_id"], row["epoch"]), row["level"]) for row in rows]

    async def merge(self, epoch: EpochKey, level: int) -> int:
        """Merges the oldest short tracks of one level; returns the number of points in them.

        0 means that another sealer has the writer, that there are fewer than two passes, or that no tracks can be
        joined. Tracks that cannot be joined move to the next level unchanged.

        Raises:
            ChangedError: the rows changed meanwhile; nothing was written.
        """
        async with self._pool.acquire() as connection, connection.transaction():
            if not await connection.fetchval(self._sql["claim"], epoch.run_id, epoch.writer_id):
                return 0
            chosen = self._choose(await connection.fetch(self._sql["short_tracks"], *epoch, level))
            if not chosen:
                return 0
            pass_id = await next_pass(connection, self._sql)
            track_ids, begins = _joinable(await connection.fetch(self._sql["merge_breaks"], *epoch, chosen))
            alone = sorted(set(chosen) - set(track_ids))
            await connection.execute(self._sql["raise_tracks"], epoch.run_id, alone, level + 1, pass_id)
            if not track_ids:
                return 0
            found = await self._read(connection, epoch.run_id, track_ids)
            count = sum(len(item.metric_ids) for item in found.values())
            deleted = await connection.execute(self._sql["delete_chunks"], epoch.run_id, track_ids)
            if deleted != f"DELETE {count}":
                raise ChangedError("chunks changed while they were merged", detail=f"{deleted} of {count}")
            await connection.execute(self._sql["delete_tracks"], epoch.run_id, track_ids)
            index = {track_id: number for number, track_id in enumerate(found)}
            starts = {(index[track_id], metric_id) for track_id, metric_id in begins if track_id in index}
            groups = stretches.regroup(list(found.values()), starts)
            points = await write(connection, self._sql, epoch, groups, level + 1, pass_id)
            if points != (before := sum(item.values.size for item in found.values())):
                raise ChangedError("a merge changed the number of points", detail=f"{before}, then {points}")
        return points

    def _choose(self, tracks: list[asyncpg.Record]) -> list[int]:
        """The tracks of the oldest passes: of at most `merge_passes`, and of as many as fit the memory of one pass, but
        of at least two."""
        chosen: list[int] = []
        size, passes = 0, 0
        last = None
        for row in tracks:
            if row["pass"] != last:
                if passes >= max(2, self._settings.merge_passes) or (passes >= 2 and size > self._settings.pass_bytes):
                    break
                passes, last = passes + 1, row["pass"]
            size += 8 * row["points"] * (row["chunks"] + 2)
            chosen.append(row["track_id"])
        return chosen if passes >= 2 else []

    async def _read(self, connection: asyncpg.Connection, run_id: int, track_ids: list[int]) -> dict[int, Stretch]:
        """The tracks by their ids, in step order."""
        values: dict[int, tuple[list[int], list[np.ndarray[tuple[int, ...], np.dtype[np.float64]]]]] = {}
        reader = Reader(await copy_out(connection, self._sql["chunks_to_merge"], run_id, track_ids))
        while reader.next_row():
            metrics, rows = values.setdefault(reader.integer(), ([], []))
            metrics.append(reader.integer())
            wide, narrow = reader.array("float8"), reader.array("float4")
            row = wide if wide is not None else narrow
            assert row is not None
            rows.append(row.astype(np.float64))
        out = {}
        reader = Reader(await copy_out(connection, self._sql["tracks_to_merge"], run_id, track_ids))
        while reader.next_row():
            track_id, step_lo, stride, time_lo, points = (reader.integer() for _ in range(5))
            steps, near, times = reader.array("int8"), reader.array("int4"), reader.array("timestamptz")
            all_steps: Int64Array = step_lo + stride * np.arange(points) if steps is None else steps.astype(np.int64)
            all_times: Int64Array = near.astype(np.int64) + time_lo if near is not None else np.asarray(times, np.int64)
            metrics, rows = values.get(track_id, ([], []))
            matrix = np.array(rows).reshape(len(metrics), points)
            out[track_id] = Stretch(np.array(metrics, np.int32), all_steps, all_times, matrix)
        return out


def _joinable(rows: list[asyncpg.Record]) -> tuple[list[int], set[tuple[int, int]]]:
    """The tracks with chunks that can be joined, and the (track id, metric id) pairs at which a metric's chunks must
    not be joined with earlier ones.

    Args:
        rows: rows of the query `merge_breaks`, those of each metric in step order.
    """
    joinable: set[int] = set()
    begins: set[tuple[int, int]] = set()
    before = 0
    for row in rows:
        if row["begins"]:
            begins.add((row["track_id"], row["metric_id"]))
        else:
            joinable |= {before, row["track_id"]}
        before = row["track_id"]
    return sorted(joinable), begins
