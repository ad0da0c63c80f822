"""A hypothesis state machine over a whole Stepwell: it chooses what is logged, disconnected, killed and restarted.

It uses real processes on a real Postgres, in one `Stack` that all examples share. Each example has its own project,
which the judge checks at the end. Small settings run in `make test`, large ones in the soak (`faults.soak`).
"""

from __future__ import annotations

import asyncio
import threading
import traceback
from collections.abc import Coroutine
from contextlib import AsyncExitStack
from itertools import count
from pathlib import Path
from typing import Any, TypeVar

import aiohttp
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from faults.forks import Forks
from faults.harness import Child, Stack, stack
from faults.journal import Record, read_journal
from faults.judge import Judge, Verdict
from faults.programs import Sync, Writer
from faults.proxy import Action, Rule
from faults.stages import Victim
from stepwell.spool import Spool

T = TypeVar("T")

_WRITERS = 2
_NAMES = st.integers(0, _WRITERS - 1)
#: The number of steps between a process and its replacement.
_GAP = 10_000
_CUTS = st.sampled_from([Action.CUT, Action.RESET, Action.HALF_OPEN])


class Ground:
    """A stack with one worker, and its event loop in a thread, since a state machine has no loop."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._exits = AsyncExitStack()
        self.numbers = count()
        self.verdicts: list[Verdict] = []
        self.failures: list[str] = []
        self.stack: Stack
        self.worker: Child | None = None
        self.sealer: Child | None = None

    def __enter__(self) -> Ground:
        self._thread.start()
        self.stack = self.wait(self._exits.enter_async_context(stack()))
        return self

    def __exit__(self, *_: object) -> None:
        self.wait(self._exits.aclose())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def wait(self, work: Coroutine[Any, Any, T]) -> T:
        """Runs an action in the loop, and keeps its exception, which hypothesis may not reproduce in a second run."""
        try:
            return asyncio.run_coroutine_threadsafe(work, self._loop).result(120)
        except BaseException:
            self.failures.append(traceback.format_exc())
            raise


class Machine(RuleBasedStateMachine):
    """One example: two writers of one run, and all actions on them."""

    def __init__(self, ground: Ground) -> None:
        super().__init__()
        self._ground = ground
        self._project = f"machine-{next(ground.numbers)}"
        self._place: Path = ground.stack.place / self._project
        self._place.mkdir()
        self._writers: dict[int, Child] = {}
        #: Processes that keep running after another one has taken over their writer, and that other one.
        self._replaced: list[tuple[Child, Child]] = []
        self._far: set[Child] = set()  # those that log steps above the other one
        self._journals: list[Path] = []
        self._next_step = [0] * _WRITERS
        self._sent: list[bytes] = []
        self._forks = Forks(ground.stack.dsn, self._project)

    @initialize()
    def begin(self) -> None:
        self.restart_worker()
        self.restart_sealer()

    @rule(name=_NAMES, steps=st.integers(1, 60))
    def log(self, name: int, steps: int) -> None:
        self._wait(self._tell(name, f"log {steps}"))

    @rule(name=_NAMES, steps=st.integers(1, 60))
    def log_and_flush(self, name: int, steps: int) -> None:
        self._wait(self._tell(name, f"log {steps}"))
        self._wait(self._tell(name, "flush 0.5"))

    @rule(name=_NAMES)
    def finish(self, name: int) -> None:
        if name in self._writers:
            self._wait(self._tell(name, "finish"))
            self._ended(name)

    @rule(name=_NAMES)
    def kill_writer(self, name: int) -> None:
        if name in self._writers:
            self._writers[name].kill()
            self._ended(name)

    @rule(name=_NAMES, steps=st.integers(1, 60))
    def take_a_writer_over(self, name: int, steps: int) -> None:
        if name in self._writers:
            self._wait(self._take_over(name, steps))

    @rule(steps=st.integers(1, 60))
    def log_in_a_process_that_was_replaced(self, steps: int) -> None:
        if self._replaced:
            self._wait(self._log_late(steps))

    @rule(back=st.integers(0, 40))
    def fork(self, back: int) -> None:
        self._wait(self._forks.make(back))

    @rule()
    def deliver_what_is_left(self) -> None:
        self._wait(self._sync())

    @precondition(lambda self: self._ground.worker is not None)
    @rule()
    def kill_worker(self) -> None:
        assert self._ground.worker is not None
        self._ground.worker.kill()
        self._wait(self._ground.worker.ended.wait())
        self._ground.worker = None

    @precondition(lambda self: self._ground.worker is None)
    @rule()
    def restart_worker(self) -> None:
        if self._ground.worker is None:
            self._ground.worker = self._wait(self._ground.stack.run_worker())

    @rule()
    def kill_sealer(self) -> None:
        if self._ground.sealer is not None:
            self._ground.sealer.kill()
            self._wait(self._ground.sealer.ended.wait())
            self._ground.sealer = None

    @rule()
    def restart_sealer(self) -> None:
        if self._ground.sealer is None:
            self._ground.sealer = self._wait(self._ground.stack.run_worker(self._ground.stack.sealer()))

    @rule(action=_CUTS)
    def cut_the_way_to_the_worker(self, action: Action) -> None:
        self._wait(self._end_all(self._ground.stack.web_proxy, action))

    @rule(action=_CUTS)
    def cut_the_way_to_postgres(self, action: Action) -> None:
        self._wait(self._end_all(self._ground.stack.postgres_proxy, action))

    @rule(at=st.sampled_from(["< ack", "< attached", "> frames"]), skip=st.integers(0, 3), action=_CUTS)
    def cut_at_a_message(self, at: str, skip: int, action: Action) -> None:
        self._ground.stack.web_proxy.rules.append(Rule(at, action, skip=skip))

    @rule(at=st.sampled_from(["> CopyDone", "> COMMIT", "< COMMIT"]), after=st.booleans(), skip=st.integers(0, 3))
    def cut_at_a_commit(self, at: str, after: bool, skip: int) -> None:
        self._ground.stack.postgres_proxy.rules.append(Rule(at, Action.CUT, after=after, skip=skip))

    @rule(victim=st.sampled_from(Victim))
    def kill_postgres(self, victim: Victim) -> None:
        self._wait(self._strike(victim))

    @rule(name=_NAMES)
    def post_old_frames_again(self, name: int) -> None:
        self._wait(self._post_again())

    def teardown(self) -> None:
        verdict = self._wait(self._settle())
        self._ground.verdicts.append(verdict)
        assert verdict.clean, str(verdict)

    def _wait(self, work: Coroutine[Any, Any, T]) -> T:
        return self._ground.wait(work)

    async def _tell(self, name: int, line: str) -> None:
        if name not in self._writers:
            journal = self._place / f"{len(self._journals)}.journal"
            self._journals.append(journal)
            options = (self._ground.stack.url, str(self._place), self._project, "run", str(name), self._next_step[name])
            number = len(self._journals)  # the replacement is younger by more than the server requires
            writer = Writer(*options, str(journal), seed=number, age_s=3600.0 - 10 * number)
            self._writers[name] = await self._ground.stack.run(writer)
        await self._ground.stack.tell(self._writers[name], line)

    async def _take_over(self, name: int, steps: int) -> None:
        """Whether or not the old process has ever reached the server, it returns as a separate writer or not at all."""
        old = self._writers.pop(name)
        self._next_step[name] = max(self._next_step[name], _record(old).last_tried) + _GAP  # the old one logs below
        await self._tell(name, f"log {steps}")
        await self._tell(name, "flush 0.5")
        self._replaced.append((old, self._writers[name]))

    async def _log_late(self, steps: int) -> None:
        old, heir = self._replaced[-1]
        if old not in self._far and _record(heir).stored >= 0:
            # If it were not fenced, this would be acknowledged, and superseded by what its replacement has logged.
            self._far.add(old)
            await self._ground.stack.tell(old, f"skip {_GAP * 3 // 2}")
        await self._ground.stack.tell(old, f"log {steps}")
        await self._ground.stack.tell(old, "flush 0.2")

    def _ended(self, name: int) -> None:
        child = self._writers.pop(name)
        self._wait(asyncio.wait_for(child.ended.wait(), 60))
        self._next_step[name] = max(self._next_step[name], _record(child).last_tried + 1)

    async def _sync(self) -> bool:
        child = await self._ground.stack.run(Sync(self._ground.stack.url, str(self._place), timeout_s=0.5))
        await asyncio.wait_for(child.ended.wait(), 60)
        return child.status == 0

    async def _end_all(self, proxy: Any, action: Action) -> None:
        proxy.end_all(action)

    async def _strike(self, victim: Victim) -> None:
        backend = await self._ground.stack.any_backend()
        self._ground.stack.strike(victim, backend)
        await self._ground.stack.recover(victim, backend)

    async def _post_again(self) -> None:
        """Sends frames that the spools of this example contain or contained, like a retry over another path."""
        for directory in Spool.discover(self._place):
            for segment in sorted(directory.glob("*.seg")):
                data = segment.read_bytes()
                self._sent.append(data[data.find(b"SWFR") :] if b"SWFR" in data else b"")
        if self._ground.worker is None:
            return
        url = f"http://127.0.0.1:{self._ground.stack.port}/v1/frames"
        async with aiohttp.ClientSession() as client:
            for body in filter(None, self._sent[-20:]):
                async with client.post(url, data=body) as reply:
                    assert reply.status in (200, 400, 404, 409, 503), await reply.text()

    async def _settle(self) -> Verdict:
        made = self._ground.stack
        made.web_proxy.rules.clear()
        made.postgres_proxy.rules.clear()
        made.web_proxy.end_all(Action.CUT)
        made.postgres_proxy.end_all(Action.CUT)
        if self._ground.worker is None:
            self._ground.worker = await made.run_worker()
        for name in range(_WRITERS):
            await self._tell(name, "log 5")
            await self._tell(name, "finish")
            await asyncio.wait_for(self._writers.pop(name).ended.wait(), 60)
        for child, _ in self._replaced:
            await made.tell(child, "finish")
            await asyncio.wait_for(child.ended.wait(), 60)
        async with asyncio.timeout(60):
            while not await self._sync():
                pass
        verdict = await Judge(made.dsn, self._project).verdict({"run": self._journals})
        verdict.complaints.extend(await self._forks.complaints())
        return verdict


def _record(child: Child) -> Record:
    assert isinstance(child.program, Writer)
    return read_journal(Path(child.program.journal))
