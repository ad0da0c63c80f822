"""The stream: frames in order, within the window, the same bytes after a reconnect, and the end last."""

from __future__ import annotations

import asyncio

from fixtures.spools import SESSION, make_frame
from fixtures.streams import client
from fixtures.unruly import Peer, unruly
from stepwell import wire
from stepwell.delivery.outbox import Outbox
from stepwell.delivery.stream import Stream
from stepwell.errors import (
    SpoolError,
    SpoolLockedError,
)
from stepwell.settings import Limits


async def test_finish_follows_all_acknowledgements() -> None:
    order: list[str] = []

    async def slow(peer: Peer) -> None:
        await peer.attach()
        frames = await peer.take(10)
        for frame in frames:
            await asyncio.sleep(0)
            order.append(f"ack {wire.peek(frame).seq}")
            await peer.acknowledge(frame)
        order.append(str((await peer.hear())["type"]))  # type: ignore[call-overload]
        await peer.say(type="finished")

    async with unruly(slow) as server, client(server, 10) as made:
        made.stream.finish(3)
        await made.ended()
    assert order == [*(f"ack {seq}" for seq in range(10)), "finish"]
    assert (server.frames, server.messages[-1]) == (made.frames, {"type": "finish", "exit_code": 3})
    assert (made.stream.finished, made.stream.failed, made.outbox.first_seq) == (True, None, 10)
    assert (made.stream.counts.frames_sent, made.stream.counts.values_acknowledged) == (10, 10)


async def test_reconnect_resends_the_same_bytes() -> None:
    async def take_four_acknowledge_two_and_cut(peer: Peer) -> None:
        await peer.attach()
        frames = await peer.take(4)
        await peer.acknowledge(frames[1])
        await peer.cut()

    async with unruly(take_four_acknowledge_two_and_cut) as server, client(server, 4) as made:
        made.stream.finish(0)
        await made.ended()
    assert server.seqs == [0, 1, 2, 3, 2, 3]
    assert server.frames == [*made.frames, *made.frames[2:]]
    assert (server.connections, made.stream.counts.connections) == (2, 2)
    assert made.stream.counts.values_acknowledged == 4


async def test_attach_reply_acknowledges_frames() -> None:
    """The frames were committed, but the acknowledgement was lost."""

    async def commit_three_and_cut(peer: Peer) -> None:
        await peer.attach()
        await peer.take(4)
        peer._server.next_seq = 3
        await peer.cut()

    async with unruly(commit_three_and_cut) as server, client(server, 4) as made:
        await made.stream.acknowledged(4)
    assert server.seqs == [0, 1, 2, 3, 3]
    assert (made.stream.counts.values_acknowledged, made.outbox.first_seq) == (4, 4)


async def test_disconnects_lose_and_reorder_nothing() -> None:
    async def cut_after(peer: Peer, taken: int) -> None:
        await peer.attach()
        frames = await peer.take(1)
        while len(frames) < taken:
            frames += await peer.take(1)
        if taken % 2:
            await peer.acknowledge(frames[taken // 2])
        await peer.cut()

    scripts = [lambda peer, taken=taken: cut_after(peer, taken) for taken in (1, 2, 1, 3, 1, 4, 1, 5)]
    small = Limits(message_bytes=1)
    async with unruly(*scripts) as server, client(server, 50, limits=small) as made:  # type: ignore[arg-type]
        made.stream.finish(0)
        await made.ended()
    assert sorted(set(server.seqs)) == list(range(50))
    assert {wire.peek(frame).seq: frame for frame in server.frames} == dict(enumerate(made.frames))
    assert made.stream.counts.values_acknowledged == 50


async def sent(stream: Stream) -> int:
    """The number of frames that it has sent when it has to wait."""
    while not stream._more._waiters:  # noqa: ASYNC110 - nothing tells that it waits
        await asyncio.sleep(0)
    return stream.counts.frames_sent


async def test_window_limits_frames_in_flight() -> None:
    async def hold_back(peer: Peer) -> None:
        await peer.attach()
        frames = await peer.take(wire.WINDOW_FRAMES)
        assert await sent(made.stream) == wire.WINDOW_FRAMES
        await peer.acknowledge(frames[9])
        await peer.take(10)
        assert await sent(made.stream) == wire.WINDOW_FRAMES + 10
        await peer.acknowledge(peer._server.frames[-1])
        await peer.serve()

    async with unruly(hold_back) as server, client(server, 1000) as made:
        await made.stream.acknowledged(1000)
    assert server.seqs == list(range(1000))
    assert made.stream.counts.frames_sent == 1000


async def test_limit_on_bytes_in_flight() -> None:
    size = len(make_frame(0))
    limits = Limits(in_flight_bytes=3 * size, message_bytes=2 * size)

    async def hold_back(peer: Peer) -> None:
        await peer.attach()
        for start in range(0, 30, 3):
            frames = await peer.take(3)
            assert await sent(made.stream) == start + 3
            await peer.acknowledge(frames[-1])
        await peer.serve()

    async with unruly(hold_back) as server, client(server, 30, limits=limits) as made:
        await made.stream.acknowledged(30)
    assert server.seqs == list(range(30))


async def test_oversized_frame_is_sent_alone() -> None:
    limits = Limits(in_flight_bytes=100, message_bytes=100)
    async with unruly() as server, client(server, 0, limits=limits) as made:
        made.log(1, points=1000)
        made.log(2)
        made.stream.wake()
        await made.stream.acknowledged(3)
    assert server.frames == made.frames


async def test_later_frames_are_sent_when_woken() -> None:
    async with unruly() as server, client(server) as made:
        for count in range(1, 6):
            made.log(2)
            made.stream.wake()
            await made.stream.acknowledged(2 * count)
    assert (server.seqs, server.connections) == (list(range(10)), 1)


class FailingDisk(Outbox):
    """An outbox whose frames cannot be read for a while."""

    def __init__(self, *errors: SpoolError) -> None:
        super().__init__(None, SESSION, 1 << 20)
        self.errors = list(errors)

    def read(self, from_seq: int, max_bytes: int, max_frames: int) -> list[bytes]:
        if self.errors:
            raise self.errors.pop(0)
        return super().read(from_seq, max_bytes, max_frames)


async def test_unreadable_disk_is_retried() -> None:
    source = FailingDisk(*[SpoolError("the spool cannot read a frame back", detail="Input/output error")] * 3)
    async with unruly() as server, client(server, 2, source=source) as made:
        await made.stream.acknowledged(2)
    assert (server.seqs, server.connections) == ([0, 1], 4)


async def test_lost_spool_ends_the_stream() -> None:
    source = FailingDisk(SpoolLockedError("another process owns the spool"))
    async with unruly() as server, client(server, 2, source=source) as made:
        await made.ended()
    assert (type(made.stream.failed), server.seqs) == (SpoolLockedError, [])


async def test_unconfirmed_finish_is_resent() -> None:
    async def hear_the_end_and_cut(peer: Peer) -> None:
        await peer.attach()
        await peer.acknowledge((await peer.take(1))[0])
        await peer.hear()
        await peer.cut()

    async with unruly(hear_the_end_and_cut) as server, client(server, 1) as made:
        made.stream.finish(7)
        await made.ended()
    assert [message for message in server.messages if message["type"] == "finish"] == [
        {"type": "finish", "exit_code": 7}
    ] * 2
    assert made.stream.finished
