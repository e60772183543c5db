"""Streams in memory: `memory_stream_pair`."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import anyio
import pytest
from anyio.lowlevel import checkpoint

from anyio_ws.testing import MemoryByteStream, cancel_sweep, memory_stream_pair

from .helpers import receive_all, send_and_end, settle

every_variant = pytest.mark.parametrize("buffer", [None, 0, 1, 7])


@every_variant
@pytest.mark.parametrize("chunk", [None, 1, 5])
async def test_both_ends_can_send_and_receive_at_the_same_time(
    buffer: int | None, chunk: int | None
) -> None:
    one, other = memory_stream_pair(buffer=buffer, chunk=chunk)
    received: dict[MemoryByteStream, bytes] = {}

    async def drain(stream: MemoryByteStream) -> None:
        received[stream] = await receive_all(stream)

    async with one, other:
        with anyio.fail_after(30):
            async with anyio.create_task_group() as tg:
                for stream in (one, other):
                    tg.start_soon(drain, stream)
                tg.start_soon(send_and_end, one, b"from one" * 50)
                tg.start_soon(send_and_end, other, b"from other" * 50)
    assert received == {one: b"from other" * 50, other: b"from one" * 50}


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_a_pair_can_be_made_before_there_is_an_event_loop(backend: str) -> None:
    one, other = memory_stream_pair()

    async def main() -> bytes:
        await one.send(b"x")
        return await other.receive()

    assert anyio.run(main, backend=backend) == b"x"


@pytest.mark.parametrize("arguments", [{"buffer": -1}, {"chunk": 0}])
def test_sizes_that_make_no_sense_are_refused(arguments: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="must"):
        memory_stream_pair(**arguments)


@pytest.mark.parametrize("name", ["receive", "send", "send_eof", "aclose"])
async def test_every_operation_is_a_checkpoint_even_if_it_need_not_wait(name: str) -> None:
    one, other = memory_stream_pair()
    await other.send(b"x")
    with anyio.CancelScope() as scope:
        scope.cancel()
        if name == "send":
            await one.send(b"y")
        else:
            await getattr(one, name)()
    assert scope.cancelled_caught


async def test_receive_returns_at_most_max_bytes() -> None:
    one, other = memory_stream_pair()
    await one.send(b"abcdef")
    assert await other.receive(4) == b"abcd"
    assert await other.receive(4) == b"ef"
    with pytest.raises(ValueError, match="max_bytes"):
        await other.receive(0)


async def test_chunk_cuts_at_every_byte() -> None:
    one, other = memory_stream_pair(chunk=1)
    await send_and_end(one, b"abc")
    assert [chunk async for chunk in other] == [b"a", b"b", b"c"]


async def test_what_was_sent_is_a_copy() -> None:
    one, other = memory_stream_pair()
    data = bytearray(b"abc")
    await one.send(data)
    data[:] = b"xyz"
    assert await other.receive() == b"abc"


async def test_an_unbounded_send_does_not_wait_for_the_peer() -> None:
    one, other = memory_stream_pair()
    for _ in range(10):
        await one.send(bytes(100_000))
    await one.send_eof()
    assert len(await receive_all(other)) == 1_000_000


@pytest.mark.parametrize("buffer", [0, 2])
async def test_a_send_returns_once_its_bytes_are_received_or_buffered(buffer: int) -> None:
    one, other = memory_stream_pair(buffer=buffer, chunk=1)
    sent = anyio.Event()

    async def send() -> None:
        await one.send(b"12345")
        sent.set()

    async with anyio.create_task_group() as tg:
        tg.start_soon(send)
        for received in range(5 - buffer):
            await settle()
            assert not sent.is_set(), received
            await other.receive()
        await settle()
        assert sent.is_set()


async def test_a_peer_that_stops_reading_blocks_at_byte_n() -> None:
    one, other = memory_stream_pair(buffer=4)
    await one.send(b"123")
    await one.send(b"4")
    with anyio.CancelScope() as scope:
        async with anyio.create_task_group() as tg:
            tg.start_soon(one.send, b"5")
            await settle()
            scope.cancel()
    assert scope.cancelled_caught
    await other.receive(1)
    await one.send(b"6")
    await one.send_eof()
    assert await receive_all(other) == b"2346"


async def test_a_receive_gets_no_more_than_the_buffer_holds() -> None:
    one, other = memory_stream_pair(buffer=3)
    async with anyio.create_task_group() as tg:
        tg.start_soon(send_and_end, one, b"12345678")
        assert [chunk async for chunk in other] == [b"123", b"456", b"78"]


@every_variant
async def test_sending_nothing_never_waits_and_is_never_received(buffer: int | None) -> None:
    one, other = memory_stream_pair(buffer=buffer)
    await one.send(b"")
    await one.send_eof()
    assert await receive_all(other) == b""


async def test_send_eof_ends_one_direction_only() -> None:
    one, other = memory_stream_pair()
    await one.send(b"last words")
    await one.send_eof()
    await one.send_eof()
    with pytest.raises(anyio.ClosedResourceError):
        await one.send(b"x")
    await other.send(b"I hear you")
    assert await one.receive() == b"I hear you"
    assert await other.receive() == b"last words"
    for _ in range(2):
        with pytest.raises(anyio.EndOfStream):
            await other.receive()


async def test_send_eof_wakes_the_peer_that_receives() -> None:
    one, other = memory_stream_pair()
    async with anyio.create_task_group() as tg:
        tg.start_soon(one.send_eof)
        with pytest.raises(anyio.EndOfStream):
            await other.receive()


async def test_after_aclose_the_peer_gets_what_is_buffered_and_then_the_end() -> None:
    one, other = memory_stream_pair()
    await other.send(b"never looked at")
    await one.send(b"abc")
    await one.aclose()
    await one.aclose()
    assert await other.receive() == b"abc"
    with pytest.raises(anyio.EndOfStream):
        await other.receive()
    with pytest.raises(anyio.BrokenResourceError):
        await other.send(b"x")
    await other.send_eof()
    await other.aclose()


@pytest.mark.parametrize("close", [MemoryByteStream.aclose, MemoryByteStream.reset])
async def test_ones_own_closed_stream_raises_closed(
    close: Callable[[MemoryByteStream], Awaitable[None] | None],
) -> None:
    one, other = memory_stream_pair()
    await other.send(b"never looked at")
    closing = close(one)
    if closing is not None:
        await closing
    for call in (one.receive, lambda: one.send(b"x"), one.send_eof):
        with pytest.raises(anyio.ClosedResourceError):
            await call()
    await one.aclose()


async def test_a_cancelled_aclose_closes_all_the_same() -> None:
    one, other = memory_stream_pair()
    await anyio.aclose_forcefully(one)
    with pytest.raises(anyio.EndOfStream):
        await other.receive()


@pytest.mark.parametrize("buffer", [0, 2])
async def test_aclose_withdraws_a_waiting_send(buffer: int) -> None:
    one, other = memory_stream_pair(buffer=buffer)

    async def send() -> None:
        with pytest.raises(anyio.ClosedResourceError):
            await one.send(b"abcdef")

    async with anyio.create_task_group() as tg:
        tg.start_soon(send)
        await settle()
        await one.aclose()
        assert await receive_all(other) == b"abcdef"[:buffer]


@pytest.mark.parametrize("buffer", [0, 2])
async def test_aclose_withdraws_before_anybody_else_runs(buffer: int) -> None:
    one, other = memory_stream_pair(buffer=buffer)
    received: list[bytes] = []

    async def send() -> None:
        with pytest.raises(anyio.ClosedResourceError):
            await one.send(b"abcdef")

    async def receive() -> None:
        received.append(await receive_all(other))

    async with anyio.create_task_group() as tg:
        tg.start_soon(send)
        await settle()
        tg.start_soon(receive)
        await checkpoint()  # the receiver is about to look
        await one.aclose()
    assert received == [b"abcdef"[:buffer]]


async def test_closing_wakes_ones_own_receive() -> None:
    for close in ("aclose", "reset"):
        one, _ = memory_stream_pair()

        async def receive(stream: MemoryByteStream) -> None:
            with pytest.raises(anyio.ClosedResourceError):
                await stream.receive()

        async with anyio.create_task_group() as tg:
            tg.start_soon(receive, one)
            await settle()
            if close == "aclose":
                await one.aclose()
            else:
                one.reset()


@pytest.mark.parametrize("buffer", [0, 2])
@pytest.mark.parametrize("gentle", [True, False])
async def test_a_send_that_waits_breaks_when_the_peer_closes(buffer: int, gentle: bool) -> None:
    one, other = memory_stream_pair(buffer=buffer)

    async def send() -> None:
        with pytest.raises(anyio.BrokenResourceError):
            await one.send(b"abcdef")

    async with anyio.create_task_group() as tg:
        tg.start_soon(send)
        await settle()
        if gentle:
            await other.aclose()
        else:
            other.reset()


async def test_a_send_succeeds_when_the_peer_takes_everything_and_then_closes() -> None:
    one, other = memory_stream_pair(buffer=0)
    sent: list[bytes] = []

    async def send() -> None:
        await one.send(b"abc")
        sent.append(b"abc")

    async with anyio.create_task_group() as tg:
        tg.start_soon(send)
        assert await other.receive() == b"abc"
        await other.aclose()
    assert sent == [b"abc"]


@every_variant
async def test_after_a_reset_the_peer_gets_nothing_but_broken(buffer: int | None) -> None:
    one, other = memory_stream_pair(buffer=buffer)
    with anyio.CancelScope() as scope:
        async with anyio.create_task_group() as tg:
            tg.start_soon(one.send, b"a")
            await settle()
            scope.cancel()
    one.reset()
    one.reset()
    for call in (other.receive, lambda: other.send(b"x"), other.send_eof):
        with pytest.raises(anyio.BrokenResourceError):
            await call()
    await other.aclose()


async def test_a_reset_wakes_the_peer_that_receives() -> None:
    one, other = memory_stream_pair()

    async def receive() -> None:
        with pytest.raises(anyio.BrokenResourceError):
            await other.receive()

    async with anyio.create_task_group() as tg:
        tg.start_soon(receive)
        await settle()
        one.reset()


async def test_a_reset_may_follow_aclose() -> None:
    one, other = memory_stream_pair()
    await one.send(b"lost")
    await one.aclose()
    one.reset()
    with pytest.raises(anyio.BrokenResourceError):
        await other.receive()


async def test_two_receives_at_once_are_refused() -> None:
    one, other = memory_stream_pair()
    async with anyio.create_task_group() as tg:
        tg.start_soon(one.receive)
        await settle()
        with pytest.raises(anyio.BusyResourceError):
            await one.receive()
        await other.send(b"x")


async def test_two_sends_at_once_are_refused() -> None:
    one, other = memory_stream_pair(buffer=0)
    async with anyio.create_task_group() as tg:
        tg.start_soon(one.send, b"x")
        await settle()
        with pytest.raises(anyio.BusyResourceError):
            await one.send(b"y")
        with pytest.raises(anyio.BusyResourceError):
            await one.send_eof()
        assert await other.receive() == b"x"


@every_variant
async def test_a_cancelled_receive_loses_nothing(buffer: int | None) -> None:
    for attempt in cancel_sweep():
        one, other = memory_stream_pair(buffer=buffer, chunk=2)
        received = b""
        async with anyio.create_task_group() as tg:
            tg.start_soon(send_and_end, one, b"abcdef")
            received = await attempt.run(other.receive()) or b""
            received += await receive_all(other)
        assert received == b"abcdef", attempt


async def test_a_cancelled_receive_that_waits_loses_nothing() -> None:
    for attempt in cancel_sweep():
        one, other = memory_stream_pair()

        async def send_later(stream: MemoryByteStream) -> None:
            await checkpoint()
            await checkpoint()
            await send_and_end(stream, b"abcdef")

        received = b""
        async with anyio.create_task_group() as tg:
            tg.start_soon(send_later, one)
            received = await attempt.run(other.receive()) or b""
            received += await receive_all(other)
        assert received == b"abcdef", attempt


async def test_a_cancelled_unbounded_send_has_sent_nothing() -> None:
    for attempt in cancel_sweep():
        one, other = memory_stream_pair()
        await attempt.run(one.send(b"abc"))
        await send_and_end(one, b"def")
        expected = b"def" if attempt.cancelled else b"abcdef"
        assert await receive_all(other) == expected, attempt


@pytest.mark.parametrize("buffer", [0, 1, 7])
async def test_a_cancelled_send_leaves_a_part_and_the_next_is_delivered(buffer: int) -> None:
    for attempt in cancel_sweep():
        one, other = memory_stream_pair(buffer=buffer, chunk=3)
        received = bytearray()

        async def receive(stream: MemoryByteStream, into: bytearray) -> None:
            async for chunk in stream:
                into += chunk

        async with anyio.create_task_group() as tg:
            tg.start_soon(receive, other, received)
            await attempt.run(one.send(b"0123456789"))
            await send_and_end(one, b"the end")
        assert received.endswith(b"the end"), attempt
        part = bytes(received[: -len(b"the end")])
        assert b"0123456789".startswith(part), attempt
        assert attempt.cancelled or part == b"0123456789", attempt


async def test_a_cancelled_send_eof_was_not_sent() -> None:
    for attempt in cancel_sweep():
        one, other = memory_stream_pair()
        await attempt.run(one.send_eof())
        if attempt.cancelled:
            await one.send(b"more")
            assert await other.receive() == b"more", attempt
        else:
            with pytest.raises(anyio.EndOfStream):
                await other.receive()
