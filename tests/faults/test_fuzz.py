"""Mutated frames are refused or understood, by decoder and server alike; Postgres holds exactly the accepted ones.

The long run is `python -m faults.fuzz`.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator

import asyncpg
import pytest

from faults.fuzz import FindingError, fuzz, outcome
from faults.fuzz_endpoint import Client
from faults.fuzz_verdict import verdict
from fixtures.frames import block
from stepwell import wire
from stepwell.wire import Object
from stepwell.wire import frame as decoder
from stepwell_ingest.config import Config
from stepwell_ingest.server.worker import Worker

SESSION = bytes(range(16))
EVERY_KIND = {"accepted", "frame_corrupt", "frame_version", "step_order", "time_range", "object"}


def frame_with(body: bytes) -> bytes:
    return wire.encode(SESSION, 0, [block(["loss"], [0], [0], [[0.5]])], [Object(0, 0, "note", body)])


@pytest.fixture
async def worker(postgres_dsn: str, caplog: pytest.LogCaptureFixture) -> AsyncIterator[Worker]:
    """A worker that fails the test if it writes to its log."""
    caplog.set_level(logging.WARNING)
    made = Worker(Config(postgres_dsn, port=0))
    await made.start()
    yield made
    await made.drain()
    await made.stop()
    assert caplog.messages == []


def test_mutants_are_refused_or_consistent() -> None:
    seen = fuzz(20_000, "test")
    assert seen.keys() >= EVERY_KIND


def test_fuzzer_detects_a_crashing_decoder(monkeypatch: pytest.MonkeyPatch) -> None:
    frame = frame_with(b"1")
    monkeypatch.setattr(decoder, "MAX_FRAME_BYTES", "no number")
    with pytest.raises(FindingError, match="TypeError"):
        outcome(frame)


def test_fuzzer_detects_a_decoder_that_trusts_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    honest = decoder.decode_body

    def believing(header: wire.Header, view: memoryview) -> wire.Frame:
        made = honest(header, view)
        return made._replace(header=header._replace(points=10**9))

    monkeypatch.setattr(decoder, "decode_body", believing)
    with pytest.raises(FindingError, match="accepted, but AssertionError"):
        outcome(frame_with(b"1"))


async def test_only_accepted_mutants_are_stored_by_post(worker: Worker, pg: asyncpg.Connection) -> None:
    client = Client(worker.url, "post")
    await client.post(500)
    await client.fresh_frame()
    seen = await verdict(pg, [client])
    assert {"stored", "dropped", "step_order", "time_range", "object"} <= seen.keys()
    assert {"200", "frame_corrupt", "frame_version", "sequence_gap"} <= client.answers.keys()


async def test_only_accepted_mutants_are_stored_by_stream(worker: Worker, pg: asyncpg.Connection) -> None:
    client = Client(worker.url, "stream")
    await client.stream(200)
    await client.fresh_frame()
    seen = await verdict(pg, [client])
    assert {"stored", "step_order"} <= seen.keys()
    assert {"ack", "frame_corrupt", "sequence_gap"} <= client.answers.keys()


async def test_verdict_detects_missing_and_changed_rows(worker: Worker, pg: asyncpg.Connection) -> None:
    client = Client(worker.url, "control")
    await client.fresh_frame()
    await verdict(pg, [client])
    await pg.execute("UPDATE stepwell.hot_block SET vals[1][1] = 4711")
    with pytest.raises(FindingError, match=r"seqs \[0\] differ"):
        await verdict(pg, [client])
    await pg.execute("DELETE FROM stepwell.hot_block")
    with pytest.raises(FindingError, match=r"seqs \[0\] differ"):
        await verdict(pg, [client])


@pytest.mark.parametrize(
    "number", [b"1e-16384", b"[1.5e-16383]", b"0." + b"0" * 16_383 + b"1", b"0e9999999999", b'{"a": ["e", 1E-20000]}']
)
def test_number_with_too_many_decimals_is_refused(number: bytes) -> None:
    """The fuzzer found that these numbers reached Postgres, which refused the whole batch."""
    assert outcome(frame_with(number)) == "object"


@pytest.mark.parametrize(
    "number",
    [b"1e-16383", b"0." + b"0" * 16_382 + b"1", b"0e99999", b'"1e-20000"', b'{"\\"1e-20000": "\\\\"}', b"1e308"],
)
async def test_numbers_that_jsonb_accepts_are_stored(number: bytes, worker: Worker, pg: asyncpg.Connection) -> None:
    assert outcome(frame_with(number)) == "accepted"
    await pg.execute("SELECT $1::text::jsonb", number.decode())
