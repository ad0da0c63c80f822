"""Answers of a server to the stream: those that it accepts, retries after, or gives up on."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from aiohttp import web

from fixtures.streams import client
from fixtures.unruly import Peer, serve, unruly
from stepwell import wire
from stepwell.errors import (
    Error,
    FencedError,
    FrameCorruptError,
    FrameVersionError,
    OverloadedError,
    RejectionError,
    StepOrderError,
    UnavailableError,
)
from stepwell.settings import Timeouts


def ack(**fields: Any) -> Callable[[Peer, list[bytes]], Awaitable[None]]:
    async def say(peer: Peer, _: list[bytes]) -> None:
        await peer.say(type="ack", **fields)

    return say


async def ack_with_wrong_checksum(peer: Peer, frames: list[bytes]) -> None:
    header = wire.peek(frames[-1])
    await peer.say(type="ack", next_seq=header.seq + 1, checksum=header.checksum ^ 1)


async def ack_of_another_frame(peer: Peer, frames: list[bytes]) -> None:
    await peer.say(type="ack", next_seq=1, checksum=wire.peek(frames[-1]).checksum)


async def not_json(peer: Peer, _: list[bytes]) -> None:
    await peer.say_raw(b"<html>login</html>")


async def malformed_rejections(peer: Peer, frames: list[bytes]) -> None:
    header = wire.peek(frames[-1])
    await peer.say(type="ack", next_seq=header.seq + 1, checksum=header.checksum, rejected=[{"code": "x"}, 5])


async def malformed_error(peer: Peer, _: list[bytes]) -> None:
    await peer.say(type="error", code="overloaded", retry_after_s="soon")


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        pytest.param(ack(), "an acknowledgement has the wrong checksum (seq None", id="empty"),
        pytest.param(ack(next_seq=2), "has the wrong checksum (seq 2, checksum None)", id="no checksum"),
        pytest.param(ack(next_seq=9), "has the wrong checksum (seq 9, checksum None)", id="beyond, no checksum"),
        pytest.param(ack(next_seq="2", checksum=0), "has the wrong checksum (seq 2", id="seq is no number"),
        pytest.param(ack_with_wrong_checksum, "has the wrong checksum (seq 2", id="wrong checksum"),
        pytest.param(ack_of_another_frame, "has the wrong checksum (seq 1", id="checksum of another frame"),
        pytest.param(not_json, "the server sent a message that is not JSON", id="not JSON"),
        pytest.param(malformed_rejections, "the server's list of rejections is invalid", id="malformed rejections"),
        pytest.param(malformed_error, "the server sent a malformed error message", id="malformed error"),
    ],
)
async def test_other_answers_acknowledge_nothing(
    answer: Callable[[Peer, list[bytes]], Awaitable[None]], text: str
) -> None:
    first_seq_at_reconnect: list[int] = []
    errors: list[str] = []

    async def answer_wrongly(peer: Peer) -> None:
        await peer.attach()
        await answer(peer, await peer.take(2))
        await peer.hear()

    async def then_well(peer: Peer) -> None:
        first_seq_at_reconnect.append(made.outbox.first_seq)
        errors.append(str(made.stream.last_error))
        await peer.attach()
        await peer.serve()

    async with unruly(answer_wrongly, then_well) as server, client(server, 2) as made:
        await made.stream.acknowledged(2)
    assert first_seq_at_reconnect == [0]
    assert text in errors[0]
    assert server.seqs == [0, 1, 0, 1]
    assert (made.rejected, made.stream.counts.values_acknowledged) == ([], 2)


@pytest.mark.parametrize("status", [200, 404, 502])
async def test_other_web_server_is_retried(status: int) -> None:
    asked = 0
    enough = asyncio.Event()

    async def login_page(_: web.Request) -> web.Response:
        nonlocal asked
        asked += 1
        if asked == 5:
            enough.set()
        return web.Response(status=status, text="<html>Please log in</html>", content_type="text/html")

    async with serve(login_page) as url, client(url, 2) as made:
        await enough.wait()
    assert (made.outbox.first_seq, made.stream.failed, made.stream.connected) == (0, None, False)
    assert f"{status}" in str(made.stream.last_error)


async def test_other_websocket_is_retried() -> None:
    async def chat(peer: Peer) -> None:
        await peer.say(type="hello")
        await peer.hear()

    async with unruly(chat) as server, client(server, 2) as made:
        await made.stream.acknowledged(2)
    assert str(made.stream.last_error) == (
        "the answer from the server's address does not come from a Stepwell server ({'type': 'hello'})"
    )


@pytest.mark.parametrize(
    "error",
    [
        FencedError("a newer process has taken over writer 0", hint="set RANK"),
        RejectionError("no"),
        FrameVersionError("a frame of format version 1 cannot be read"),
        Error("something of a newer server"),
    ],
    ids=lambda error: type(error).__name__,
)
@pytest.mark.parametrize("when", ["attach", "frames"])
async def test_permanent_error_stops_the_stream(error: Error, when: str) -> None:
    async def refuse(peer: Peer) -> None:
        if when == "frames":
            await peer.attach()
        await peer.hear()
        await peer.say(type="error", **error.as_dict())

    async with unruly(refuse) as server, client(server, 2) as made:
        waiting = asyncio.create_task(made.stream.acknowledged(2))
        await made.ended()
        for outcome in (waiting, made.stream.acknowledged(2)):
            with pytest.raises(type(error)) as raised:
                await outcome
            assert str(raised.value) == str(error)
    assert (server.connections, made.outbox.first_seq) == (1, 0)
    assert str(made.stream.failed) == str(error)


@pytest.mark.parametrize(
    "error",
    [UnavailableError("draining"), OverloadedError("no room", retry_after_s=0.01)],
    ids=["draining", "overload"],
)
async def test_retryable_error_is_retried(error: Error) -> None:
    async def refuse(peer: Peer) -> None:
        await peer.attach()
        await peer.take(1)
        await peer.say(type="error", **error.as_dict())

    async with unruly(*[refuse] * 8) as server, client(server, 2) as made:
        await made.stream.acknowledged(2)
    assert (server.connections, made.stream.failed) == (9, None)
    assert type(made.stream.last_error) is type(error)


async def test_retry_after_is_respected(monkeypatch: pytest.MonkeyPatch) -> None:
    pauses: list[float] = []
    sleep = asyncio.sleep

    async def record(seconds: float) -> None:
        pauses.append(seconds)
        await sleep(0)

    async def refuse(peer: Peer) -> None:
        await peer.hear()
        await peer.say(type="error", **OverloadedError("no room", retry_after_s=7.5).as_dict())

    monkeypatch.setattr("stepwell.delivery.stream.asyncio.sleep", record)
    async with unruly(refuse, refuse) as server, client(server, 1) as made:
        await made.stream.acknowledged(1)
    asked = [pause for pause in pauses if pause > 1]
    assert len(asked) == 2
    assert all(7.5 <= pause < 7.6 for pause in asked)


async def test_repeatedly_damaged_frame_is_given_up() -> None:
    async def damaged(peer: Peer) -> None:
        await peer.attach()
        await peer.take(1)
        await peer.say(type="error", **FrameCorruptError("a frame is damaged").as_dict())

    async with unruly(*[damaged] * 20) as server, client(server, 1) as made:
        await made.ended()
    assert server.connections == 6
    assert (type(made.stream.failed), made.outbox.first_seq) == (FrameCorruptError, 0)


async def test_frames_missing_on_both_sides_are_dropped(caplog: pytest.LogCaptureFixture) -> None:
    """A server was restored from an older backup: remaining frames arrive after tombstones for the lost ones."""

    async def first(peer: Peer) -> None:
        await peer.attach()
        await peer.acknowledge((await peer.take(4))[2])
        await peer.cut()

    async def forgetful(peer: Peer) -> None:
        await peer.attach(next_seq=1)
        frames = await peer.take(3)
        again.extend((wire.peek(frame).seq, wire.peek(frame).kind) for frame in frames)
        await peer.acknowledge(frames[-1], stored=3)
        await peer.serve()

    again: list[tuple[int, int]] = []
    async with unruly(first, forgetful) as server, client(server, 4) as made:
        await made.stream.acknowledged(4)
    assert again == [(1, wire.KIND_TOMBSTONE), (2, wire.KIND_TOMBSTONE), (3, wire.KIND_DATA)]
    assert "frames 1 to 2 are neither in the spool nor on the server" in caplog.text
    assert made.stream.failed is None


async def test_rejection_reaches_the_callback_first() -> None:
    refusal = {"seq": 1, **StepOrderError("steps go back", detail="step 3 follows 5").as_dict()}

    async def refuse_one(peer: Peer) -> None:
        await peer.attach()
        frames = await peer.take(3)
        await peer.acknowledge(frames[-1], stored=2, rejected=[refusal])
        await peer.serve()

    async with unruly(refuse_one) as server, client(server, 3) as made:
        await made.stream.acknowledged(3)
    assert [(seq, type(error), str(error)) for seq, error in made.rejected] == [
        (1, StepOrderError, "steps go back (step 3 follows 5)")
    ]
    counts = made.stream.counts
    assert (counts.frames_stored, counts.frames_rejected, counts.values_rejected, counts.values_acknowledged) == (
        *(2, 1, 1, 2),
    )
    assert server.connections == 1


async def test_unanswered_attach_times_out() -> None:
    async def silent(peer: Peer) -> None:
        await peer.hear()
        await peer.hear()

    timeouts = Timeouts(retry_min_s=0.001, retry_max_s=0.002, connect_s=0.05)
    async with unruly(silent) as server, client(server, 2) as made:
        made.stream._timeouts = timeouts
        await made.stream.acknowledged(2)
    assert (server.connections, type(made.stream.last_error)) == (2, TimeoutError)
