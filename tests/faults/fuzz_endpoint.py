"""Mutants sent to a real worker, by POST and by stream; a short reference model says what must be in Postgres.

Each client has its own sessions and sends one message after the other, so the correct result of a message depends only
on the messages before it. Afterwards, Postgres must contain exactly the frames that decoder and validation accept, in
order, and a record of each refused one; Postgres itself must have refused nothing.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import orjson

from faults.fuzz import FindingError
from faults.fuzz_frames import Mutator
from stepwell import wire
from stepwell.errors import RejectionError, WireError
from stepwell.wire import Frame, Header
from stepwell_ingest.write.validation import check, without_bad_notes

_ANSWER_S = 60


@dataclass
class Expected:
    """The expected result of one session's frames.

    Attributes:
        stored: the frames that must be in Postgres, by seq.
        rejected: the codes of the refusals, by seq.
    """

    session: bytes
    run: str
    next_seq: int = 0
    last_step: int = -1
    stored: dict[int, Frame] = field(default_factory=dict)
    rejected: dict[int, str] = field(default_factory=dict)

    def take(self, frames: Iterable[tuple[Header, memoryview]]) -> bool:
        """Whether all of `frames` are accepted; otherwise only those before the first refused one are."""
        for header, view in frames:
            if header.seq > self.next_seq:
                return False
            if header.seq == self.next_seq:
                try:
                    self._judge(header, wire.decode_body(header, view))
                except WireError:
                    return False
                self.next_seq += 1
        return True

    def _judge(self, header: Header, frame: Frame) -> None:
        if header.kind == wire.KIND_TOMBSTONE:
            self.rejected[header.seq] = "dropped"
            return
        try:
            if header.kind == wire.KIND_NOTES:
                frame, refused = without_bad_notes(frame, wire.MAX_ROW_BYTES)
                if refused is not None:
                    self.rejected[header.seq] = refused.code
            else:
                self.last_step = check(frame, self.last_step, wire.MAX_ROW_BYTES)
            for block in frame.blocks:
                wire.unpack_names(block.names, block.values.shape[0])
        except RejectionError as error:
            self.rejected[header.seq] = error.code
        except WireError:
            self.rejected[header.seq] = "rows"
        else:
            self.stored[header.seq] = frame

    @property
    def worn_out(self) -> bool:
        """Whether a new session should be used: this one has many frames, or steps close to the maximum."""
        return self.next_seq >= 25 or self.last_step > 2**61

    def attach_message(self) -> dict[str, Any]:
        names = {"entity": "default", "project": "fuzz", "run": self.run, "writer": "0"}
        return {"type": "attach", "protocol": 1, **names, "session": self.session.hex(), "info": {}}


class Client:
    """Sends mutants to one server and records the expected results.

    Attributes:
        sessions: the expected contents of Postgres, by session.
        sent: the number of mutants so far.
        answers: counts by status or code.
    """

    def __init__(self, url: str, seed: str) -> None:
        self._url = url
        self._seed = seed
        self._mutator = Mutator(seed)
        self.sessions: dict[bytes, Expected] = {}
        self.sent = 0
        self.answers: Counter[str] = Counter()

    async def post(self, mutants: int) -> None:
        """Sends `count` mutants by POST."""
        goal = self.sent + mutants
        async with aiohttp.ClientSession(self._url) as http:
            while self.sent < goal:
                expected = self._new_session()
                async with http.post("/v1/attach", data=orjson.dumps(expected.attach_message())) as answer:
                    assert answer.status == 200, await answer.text()
                while True:
                    body = self._message(expected)
                    async with asyncio.timeout(_ANSWER_S), http.post("/v1/frames", data=body) as answer:
                        self._compare_answer(answer.status, orjson.loads(await answer.read()), body)
                    if self.sent >= goal or expected.worn_out:
                        break

    async def stream(self, mutants: int) -> None:
        """Sends `count` mutants over WebSockets; an error ends a connection, and the next one continues."""
        goal = self.sent + mutants
        async with aiohttp.ClientSession(self._url) as http:
            while self.sent < goal:
                expected = self._new_session()
                while self.sent < goal and not expected.worn_out:
                    async with http.ws_connect("/v1/stream", max_msg_size=0) as socket:
                        await socket.send_json(expected.attach_message())
                        attached = await self._reply(socket)
                        self._demand(attached["next_seq"] == expected.next_seq, "attach", attached, expected.next_seq)
                        while self.sent < goal and not expected.worn_out and await self._send(socket, expected):
                            pass

    async def fresh_frame(self) -> None:
        """Checks that a valid frame of a new session is still accepted."""
        expected = self._new_session()
        async with aiohttp.ClientSession(self._url) as http:
            await (await http.post("/v1/attach", data=orjson.dumps(expected.attach_message()))).read()
            body = Mutator("honest").honest(expected.session, 0, 0)
            expected.take(wire.split(body))
            async with http.post("/v1/frames", data=body) as answer:
                self._demand(answer.status == 200, "a fresh frame", await answer.text(), 200)

    async def _send(self, socket: aiohttp.ClientWebSocketResponse, expected: Expected) -> bool:
        """Whether the connection continues."""
        body = self._message(expected)
        own, whole = _split(body)
        others = next((index for index, (header, _) in enumerate(own) if header.session != expected.session), len(own))
        taken = expected.take(own[:others]) and others == len(own) and whole
        for start in range(0, len(body), wire.MAX_MESSAGE_BYTES):
            await socket.send_bytes(body[start : start + wire.MAX_MESSAGE_BYTES])
        if not taken:  # the beginning of a frame would wait for the rest
            await socket.send_json({"type": "nothing"})
        while True:
            reply = await self._reply(socket)
            self.answers[reply.get("code", reply["type"])] += 1
            if reply["type"] == "error":
                self._demand(not taken and reply["code"] != "unavailable", body.hex(), reply, "an acknowledgement")
                return False
            self._demand(reply["next_seq"] <= expected.next_seq, body.hex(), reply, expected.next_seq)
            if taken:
                return True

    async def _reply(self, socket: aiohttp.ClientWebSocketResponse) -> dict[str, Any]:
        async with asyncio.timeout(_ANSWER_S):
            message = await socket.receive()
        if message.type is not aiohttp.WSMsgType.BINARY:
            raise FindingError(f"seed {self._seed}, mutant {self.sent}: the stream ended with {message!r}")
        return dict(orjson.loads(message.data))

    def _new_session(self) -> Expected:
        session = self._mutator.rng.randbytes(16)
        expected = self.sessions[session] = Expected(session, f"run-{session.hex()}")
        return expected

    def _message(self, expected: Expected) -> bytes:
        rng, frames = self._mutator.rng, []
        for number in range(rng.choice((1, 1, 1, 2, 3))):
            place = (expected.session, expected.next_seq + number, expected.last_step + 1 + 10_000 * number)
            if number and rng.random() < 0.5:
                frames.append(self._mutator.honest(*place))
            else:
                frames.append(self._mutator.mutant(*place, others=list(self.sessions)[-3:]))
        self.sent += len(frames)
        return b"".join(frames) or b"\0"

    def _compare_answer(self, status: int, answer: dict[str, Any], body: bytes) -> None:
        self.answers[answer["error"]["code"] if "error" in answer else str(status)] += 1
        by_session: dict[bytes, list[tuple[Header, memoryview]]] = {}
        for header, view in _split(body)[0]:
            by_session.setdefault(header.session, []).append((header, view))
        for session, frames in by_session.items():
            if session in self.sessions:
                self.sessions[session].take(frames)
        for ack in answer.get("writers", ()):
            expected = self.sessions[bytes.fromhex(ack["session"])]
            self._demand(ack["next_seq"] <= expected.next_seq, body.hex(), ack, expected.next_seq)
        if status >= 500:
            self._demand(answer["error"]["code"] == "sequence_gap", body.hex(), answer, "no failure of the server")

    def _demand(self, condition: bool, what: str, got: object, wanted: object) -> None:
        if not condition:
            raise FindingError(f"seed {self._seed}, mutant {self.sent}: {what}: {got}, not {wanted}")


def _split(body: bytes) -> tuple[list[tuple[Header, memoryview]], bool]:
    """The frames of a message, and whether it contains nothing else."""
    frames = []
    try:
        for item in wire.split(body):
            frames.append(item)  # noqa: PERF402 - frames before an error count
    except WireError:
        return frames, False
    return frames, True
