"""One sealing pass: rewrites an epoch's points below some step from hot blocks into chunks, in one transaction.

Stands between hot and sealed history. Receives the key of an epoch; writes rows of track, chunk and metric_total, and
the step below which readers use them. Promises: chunks, totals and the hand-over commit together or not at all, so a
reader sees each point exactly once, whenever its snapshot was taken; two sealers never work on one writer at the same
time, and if they did, the compare-and-set of the hand-over would roll back the second.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import asyncpg
import numpy as np

from stepwell.errors import Error
from stepwell_ingest.config import SealSettings
from stepwell_ingest.db.copyrows import SIGNATURE, TRAILER, Reader, pieces
from stepwell_ingest.seal import chunks, stretches
from stepwell_ingest.seal.chunks import CHUNK_COLUMNS, TRACK_COLUMNS, EpochKey, Totals, Track
from stepwell_ingest.seal.stretches import Stretch
from stepwell_ingest.seal.windows import POINTS, grid_of, windows
from stepwell_schema import queries


class ChangedError(Error):
    """The rows that a pass has read have changed; the pass is rolled back, and a later one reads them again."""


class Candidate(NamedTuple):
    """An epoch that is worth a pass.

    Attributes:
        whole: all of it may be sealed.
        large: it has at least `SealSettings.points` points to seal.
    """

    epoch: EpochKey
    whole: bool
    large: bool


class Pass(NamedTuple):
    """The result of a pass.

    Attributes:
        points: the number of points that were sealed.
        to_step: the step below which the epoch is sealed now.
        more: whether more can be sealed immediately.
    """

    points: int
    to_step: int
    more: bool


class Sealer:
    """Seals epochs; each pass uses one connection.

    Args:
        pool: connections to Postgres.
        settings: when a pass is worthwhile, and how much it reads.
    """

    def __init__(self, pool: asyncpg.Pool, settings: SealSettings) -> None:
        self._pool = pool
        self._settings = settings
        self._sql = queries("seal")

    async def candidates(self, but: Collection[EpochKey] = ()) -> list[Candidate]:
        """The epochs that are worth a pass: small ones, the longest wait first, then large ones, the largest first.

        Args:
            but: epochs to leave out.

        Raises:
            asyncpg.PostgresError, OSError: Postgres cannot be reached.
        """
        settings = self._settings
        rows = await self._pool.fetch(
            self._sql["candidates"],
            *(settings.idle, settings.age, settings.points, settings.steps, settings.at_once),
            *([epoch[part] for epoch in but] for part in range(3)),
        )
        return [
            Candidate(EpochKey(row["run_id"], row["writer_id"], row["epoch"]), row["whole"], row["large"])
            for row in rows
        ]

    async def seal(self, epoch: EpochKey, whole: bool) -> Pass | None:
        """Makes one pass over an epoch.

        Args:
            epoch: the key of its ledger row.
            whole: whether to seal all steps. Otherwise, the steps after the last full chunks stay hot, and an epoch
                gets no pass if its hot blocks have both fewer rows than `SealSettings.steps` and fewer bytes than 8 ×
                `SealSettings.points`.

        Returns:
            The result; None: nothing was worth a pass, or another sealer has the writer.

        Raises:
            ChangedError: the rows changed meanwhile; nothing was written.
        """
        async with self._pool.acquire() as connection, connection.transaction():
            if not await connection.fetchval(self._sql["claim"], epoch.run_id, epoch.writer_id):
                return None
            state = await connection.fetchrow(self._sql["unsealed"], *epoch, self._settings.pass_bytes)
            if state is None or state["last_step"] < state["sealed_below"]:
                return None
            begin = state["sealed_below"]
            if (
                state["step_hi"] is None
            ):  # no hot blocks: `last_step` comes from the older epoch, which this one continues
                await self._hand_over(connection, epoch, begin, state["last_step"] + 1, 0)
                return Pass(0, state["last_step"] + 1, False)
            worth = state["rows"] >= self._settings.steps or state["bytes"] >= 8 * self._settings.points
            if not whole and not worth:
                return None
            end = min(state["pass_step_hi"], state["step_hi"]) + 1
            found = await self._read(connection, epoch, begin, end)
            if not whole or end <= state["step_hi"]:
                end = _cut(found, begin, end)
            groups = stretches.regroup([part for item in found if len((part := item.between(begin, end)).steps)])
            pass_id = await next_pass(connection, self._sql)
            points = await write(connection, self._sql, epoch, groups, 0, pass_id)
            await self._hand_over(connection, epoch, begin, end, points)
        return Pass(points, end, end <= state["step_hi"] and (whole or state["bytes"] >= 2 * self._settings.pass_bytes))

    async def _read(self, connection: asyncpg.Connection, epoch: EpochKey, begin: int, end: int) -> list[Stretch]:
        reader = Reader(await copy_out(connection, self._sql["hot_blocks"], *epoch, begin, end))
        blocks = []
        while reader.next_row():
            keys, steps = reader.array("int4"), reader.array("int8")
            times, values = reader.array("timestamptz"), reader.array("float8")
            assert keys is not None  # the columns are NOT NULL
            assert steps is not None
            assert times is not None
            assert values is not None
            blocks.append(Stretch(keys, steps, times, values.reshape(len(keys), len(steps))))
        return stretches.join(blocks)

    async def _hand_over(
        self, connection: asyncpg.Connection, epoch: EpochKey, begin: int, end: int, points: int
    ) -> None:
        tag = await connection.execute(self._sql["hand_over"], *epoch, begin, end, points)
        if tag != "UPDATE 1":
            raise ChangedError("an epoch was sealed elsewhere, or its run was deleted", detail=f"{epoch}")


def _cut(found: Sequence[Stretch], begin: int, end: int) -> int:
    """The step to seal up to: the last one, at most `end`, at which the chunks of the densest metrics are full."""
    most = max(found, key=lambda item: item.values.size)
    for k in range(max(grid_of(most.steps), POINTS.bit_length() - 1), -1, -1):
        cut = (end >> k) << k
        if cut > begin:
            return cut
    return end


async def copy_out(connection: asyncpg.Connection, query: str, *arguments: Any) -> bytearray:
    """Reads the rows of a query in COPY's binary format."""
    out = bytearray()

    async def take(data: bytes) -> None:
        out.extend(data)

    await connection.copy_from_query(query.rstrip(";"), *arguments, output=take, format="binary")
    return out


async def next_pass(connection: asyncpg.Connection, sql: dict[str, str]) -> int:
    """The serial number of a new pass."""
    return int(await connection.fetchval(sql["serials"], 1))


async def write(
    connection: asyncpg.Connection,
    sql: dict[str, str],
    epoch: EpochKey,
    groups: Sequence[Stretch],
    level: int,
    pass_id: int,
) -> int:
    """Stores groups as tracks and chunks, in the caller's transaction. Chunks of points that were hot before
    (level 0) are also added to metric_total; merged ones are in it already.

    Args:
        sql: the queries of `seal.sql`.
        groups: stretches from `stretches.regroup`, all of `epoch`.
        level: how often the points have been merged.
        pass_id: a serial number that is higher than those of earlier passes (`next_pass`).

    Returns:
        The number of points.

    Raises:
        ChangedError: Postgres stored a different number of rows than it was given.
    """
    cuts = sum(len(windows(group.steps)) for group in groups)
    serials = await connection.fetch(sql["serials"], cuts)
    tracks = chunks.tracks(groups, (row[0] for row in serials))
    if not tracks:
        return 0
    rows = (chunks.track_row(epoch, track, level, pass_id) for track in tracks)
    await _copy_in(connection, "track", TRACK_COLUMNS, rows, len(tracks))
    totals = Totals()
    count = sum(len(track.part.metric_ids) for track in tracks)
    await _copy_in(connection, "chunk", CHUNK_COLUMNS, _chunk_rows(epoch, tracks, totals), count)
    if level == 0 and count:
        await connection.execute(sql["add_totals"], *epoch, *totals.columns())
    return sum(track.part.values.size for track in tracks)


def _chunk_rows(epoch: EpochKey, tracks: Iterable[Track], totals: Totals) -> Iterator[np.ndarray[Any, Any]]:
    for track in tracks:
        if len(track.part.metric_ids):
            rows, stats = chunks.chunk_rows(epoch, track)
            totals.add(track.part, stats)
            yield from rows


async def _copy_in(
    connection: asyncpg.Connection,
    table: str,
    columns: Sequence[str],
    rows: Iterator[np.ndarray[Any, Any]],
    count: int,
) -> None:
    async def source() -> AsyncIterator[bytes | memoryview]:
        yield SIGNATURE
        for array in rows:  # built while Postgres stores the one before
            for piece in pieces(array):
                yield piece
        yield TRAILER

    tag = await connection.copy_to_table(
        table, schema_name="stepwell", columns=columns, source=source(), format="binary"
    )
    if tag != f"COPY {count}":
        raise ChangedError("Postgres stored a different number of rows than it was given", detail=f"{tag} of {count}")
