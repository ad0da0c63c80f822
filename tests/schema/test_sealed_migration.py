"""A database from before sealing: hot points stay readable, can be sealed, and missing partitions are added."""

from __future__ import annotations

import asyncpg
import pytest

import stepwell_schema
from stepwell_ingest.config import SealSettings
from stepwell_ingest.db import migrate as migrations
from stepwell_ingest.seal.chunks import EpochKey
from stepwell_ingest.seal.sealer import Sealer

pytestmark = pytest.mark.db

#: The id of a run of January 2025.
RUN = 158_000_000_000 << 20


async def test_history_from_before_sealing_can_be_sealed(any_empty_dsn: str) -> None:
    pool = await asyncpg.create_pool(any_empty_dsn, min_size=1, max_size=2)
    (first,) = (file for file in stepwell_schema.migrations() if file.name.startswith("0001"))
    async with pool.acquire() as connection:
        await connection.execute(migrations._BOOTSTRAP)
        await connection.execute(first.sql)
        await connection.execute(migrations._RECORD, first.name, first.checksum)
        for table in ("metric", "hot_block", "hot_object"):
            await connection.execute(
                f"CREATE TABLE stepwell.{table}_2025_01 PARTITION OF stepwell.{table} "
                f"FOR VALUES FROM ({157_852_800_000 << 20}) TO ({160_531_200_000 << 20})"
            )
        # As in that version: views depended on one that migrations had to drop.
        await connection.execute("CREATE VIEW stepwell.all_points AS SELECT * FROM stepwell.hot_block")
        await connection.execute("CREATE VIEW stepwell.history AS SELECT * FROM stepwell.all_points")
        await connection.execute(
            f"""
            INSERT INTO stepwell.run (run_id, entity, project, name) VALUES ({RUN}, 'team', 'mnist', 'old');
            INSERT INTO stepwell.lineage VALUES ({RUN}, {RUN}, NULL);
            INSERT INTO stepwell.metric (run_id, metric_id, name) VALUES ({RUN}, 1, 'loss');
            INSERT INTO stepwell.writer (run_id, writer_id, name) VALUES ({RUN}, 1, '0');
            INSERT INTO stepwell.ledger (run_id, writer_id, epoch, session, next_seq, last_step, first_step, points)
            VALUES ({RUN}, 1, 1, gen_random_uuid(), 1, 2, 0, 3);
            INSERT INTO stepwell.hot_block VALUES
                ({RUN}, 0, 0, 2, 1, 1, '{{1}}', '{{0,1,2}}', ARRAY[now(), now(), now()], '{{{{0.5,NaN,-0}}}}')
            """
        )
        assert await migrations.migrate(connection)
    expected = [("loss", 0, "0.5"), ("loss", 1, "NaN"), ("loss", 2, "-0")]
    query = "SELECT metric, step, value::text FROM stepwell.history ORDER BY step"
    assert [tuple(row) for row in await pool.fetch(query)] == expected
    done = await Sealer(pool, SealSettings()).seal(EpochKey(RUN, 1, 1), whole=True)
    assert done is not None
    assert done.points == 3
    assert [tuple(row) for row in await pool.fetch(query)] == expected
    assert await pool.fetchval("SELECT count(*) FROM stepwell.chunk_2025_01") == 1
    pool.terminate()
