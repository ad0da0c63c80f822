import asyncio, sys, faulthandler, asyncpg, pytest
from fixtures.ingest import *

@pytest.mark.parametrize("n", range(25))
async def test_storm(postgres_dsn, pg, loop_errors, n):
    sessions = [Session(writer=str(rank)) for rank in range(4)]
    frames = {session.id: [session.frame() for _ in range(150)] for session in sessions}

    async def deliver(session):
        next_seq = 0
        while next_seq < 150:
            async with Client(worker) as client:
                attached = await client.attach(session)
                if attached["type"] != "attached":
                    assert attached["retryable"], attached
                    continue
                next_seq = attached["next_seq"]
                for frame in frames[session.id][next_seq:]:
                    await client.send(frame)
                while next_seq < 150 and (reply := await client.hear())["type"] == "ack":
                    next_seq = reply["next_seq"]

    async def storm():
        for _ in range(15):
            await pg.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE datname = current_database() AND application_name = 'stepwell' AND state <> 'idle'")
            await asyncio.sleep(0.02)

    async with start_worker(postgres_dsn) as worker:
        t = asyncio.gather(storm(), *(deliver(session) for session in sessions))
        done, _ = await asyncio.wait({t}, timeout=8)
        if not done:
            out = open("/tmp/hang.txt", "w")
            for task in asyncio.all_tasks():
                print("=====", task.get_name(), task.get_coro(), file=out)
                c = task.get_coro()
                while c is not None:
                    fr = getattr(c, "cr_frame", None) or getattr(c, "gi_frame", None) or getattr(c, "ag_frame", None)
                    if fr: print("   ", fr.f_code.co_filename, fr.f_lineno, fr.f_code.co_qualname, file=out)
                    else: print("   ", repr(c), file=out)
                    c = getattr(c, "cr_await", None) or getattr(c, "gi_yieldfrom", None) or getattr(c, "ag_await", None)
            for row in await pg.fetch("SELECT pid, state, wait_event_type, wait_event, left(query, 100) q, pg_blocking_pids(pid) b, now()-state_change age FROM pg_stat_activity WHERE datname=current_database()"):
                print(dict(row), file=out)
            print("pool", worker._pool.get_size(), worker._pool.get_idle_size(), file=out)
            for h in worker._pool._holders: print(h._con, h._in_use, h._con and h._con._protocol and (h._con._protocol.state if hasattr(h._con._protocol,'state') else None), h._con and h._con.is_closed(), file=out)
            print("held", worker.room.held_bytes, "waiting", worker.batcher.waiting, worker.batcher._in_batch, worker.batcher._ready, file=out)
            out.close()
            pytest.exit("HANG")
    import gc; gc.collect(); loop_errors.clear()
