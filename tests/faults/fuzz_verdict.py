"""Compares Postgres with the expected contents after fuzzing; the long run, against a separate worker process."""

from __future__ import annotations

import asyncio
import datetime
import json
import time
from collections import Counter, defaultdict
from typing import Any

import asyncpg
import numpy as np
import psutil

from faults.fuzz import FindingError, report, say
from faults.fuzz_endpoint import Client, Expected
from faults.real_server import real_server
from stepwell import wire
from stepwell.wire import Frame

_EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)
_MICROSECOND = datetime.timedelta(microseconds=1)
_CLIENTS = 4


async def verdict(connection: asyncpg.Connection, clients: list[Client]) -> Counter[str]:
    """The results of all frames, if Postgres contains exactly the expected ones.

    Raises:
        FindingError: it does not, or it has refused rows that had passed validation.
    """
    every = {session: expected for client in clients for session, expected in client.sessions.items()}
    seen: Counter[str] = Counter()
    for expected in every.values():
        await _compare(connection, expected)
        seen["stored"] += len(expected.stored)
        seen += Counter(expected.rejected.values())
    for part, table in enumerate(("hot_block", "hot_object", "note")):
        found = await connection.fetchval(f"SELECT count(*) FROM stepwell.{table}")
        wanted = sum(len(rows_of(frame)[part]) for item in every.values() for frame in item.stored.values())
        if found != wanted:
            raise FindingError(f"{table} has {found} rows, not {wanted}")
    return seen


async def _compare(connection: asyncpg.Connection, expected: Expected) -> None:
    ledger = await connection.fetchrow("SELECT * FROM stepwell.ledger WHERE session = $1", expected.session.hex())
    if ledger is None or ledger["next_seq"] != expected.next_seq:
        raise FindingError(f"{expected.run}: the ledger says {ledger}, not {expected.next_seq}")
    run_id = ledger["run_id"]
    refused = await connection.fetch("SELECT seq, code, message FROM stepwell.rejection WHERE run_id = $1", run_id)
    if by_postgres := [row["message"] for row in refused if row["message"].startswith("Postgres would not store")]:
        raise FindingError(f"{expected.run}: validation let pass what Postgres refused: {by_postgres}")
    if {row["seq"]: row["code"] for row in refused} != expected.rejected:
        raise FindingError(f"{expected.run}: rejected are {refused}, not {expected.rejected}")
    stored = await stored_rows(connection, run_id)
    wanted = {seq: rows_of(frame) for seq, frame in expected.stored.items() if any(frame[1:])}
    if stored != wanted:
        wrong = [seq for seq in stored.keys() | wanted.keys() if stored.get(seq) != wanted.get(seq)]
        first = min(wrong)
        raise FindingError(
            f"{expected.run}: seqs {wrong} differ; {first}: {stored.get(first)}, not {wanted.get(first)}"
        )


Rows = tuple[list[Any], list[Any], list[Any]]


async def stored_rows(connection: asyncpg.Connection, run_id: int) -> dict[int, Rows]:
    """The blocks, objects and notes of a run, by seq, in the form of `rows_of`."""
    names = dict(await connection.fetch("SELECT metric_id, name FROM stepwell.metric WHERE run_id = $1", run_id))
    out: dict[int, Rows] = defaultdict(lambda: ([], [], []))
    for row in await connection.fetch("SELECT * FROM stepwell.hot_block WHERE run_id = $1", run_id):
        keys = [names[key] for key in row["keys"]]
        times = [_microseconds(at) for at in row["times"]]
        values = np.array(row["vals"], np.float64).tobytes()
        out[row["seq"]][0].append((keys, row["steps"], times, values))
    for row in await connection.fetch("SELECT * FROM stepwell.hot_object WHERE run_id = $1", run_id):
        thing = (row["step"], _microseconds(row["time"]), row["key"], _canonical(row["value"]))
        out[row["seq"]][1].append(thing)
    for row in await connection.fetch(
        "SELECT * FROM stepwell.note WHERE run_id = $1 AND seq >= 0 ORDER BY ord", run_id
    ):
        out[row["seq"]][2].append((row["step"], _microseconds(row["time"]), row["kind"], _canonical(row["value"])))
    return {seq: (sorted(blocks), sorted(objects), notes) for seq, (blocks, objects, notes) in out.items()}


def rows_of(frame: Frame) -> Rows:
    """The blocks, objects and notes of a frame, in the form of `stored_rows`, with notes in order."""
    blocks = [
        (wire.unpack_names(names, len(values)), steps.tolist(), times.tolist(), values.tobytes())
        for names, steps, times, values in frame.blocks
    ]
    objects = [(item.step, item.time, item.key, _canonical(item.body)) for item in frame.objects]
    if frame.header.kind == wire.KIND_NOTES:
        return [], [], objects
    return sorted(blocks), sorted(objects), []


def _canonical(text: str | bytes) -> str:
    """A JSON value in the form in which jsonb writes it: 0e9 and -0.0 are 0, and 1e2 is 100."""
    return repr(
        json.loads(text, parse_int=lambda digits: float(digits) + 0.0, parse_float=lambda digits: float(digits) + 0.0)
    )


def _microseconds(at: datetime.datetime) -> int:
    return (at - _EPOCH) // _MICROSECOND


async def long_run(mutants: int, seed: str) -> None:
    """Sends `mutants` by POST and a tenth as many by stream; prints the results.

    Raises:
        FindingError: see `verdict`; also when the worker has written an error to its log.
    """
    with real_server() as server:
        worker = psutil.Process(server.pid)
        before, began = worker.memory_info().rss / 2**20, time.perf_counter()
        clients = [Client(server.url, f"{seed}/{number}") for number in range(_CLIENTS)]
        await asyncio.gather(*(client.post(mutants // _CLIENTS) for client in clients))
        await asyncio.gather(*(client.stream(mutants // _CLIENTS // 10) for client in clients))
        for client in clients:
            await client.fresh_frame()
        answers: Counter[str] = sum((client.answers for client in clients), Counter())
        say(f"{sum(client.sent for client in clients):,} mutants in {len(answers)} kinds of answers: {dict(answers)}")
        report(answers, began, before, worker_peak=f"{server.peak_mib():.0f} MiB")
        connection = await asyncpg.connect(server.dsn)
        seen = await verdict(connection, clients)
        await connection.close()
        if problems := server.log():
            raise FindingError(f"the worker wrote to its log:\n{problems[:5000]}")
        say(f"Postgres holds exactly what it must: {dict(seen)}")
