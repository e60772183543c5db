"""A WebSocket as a stream of bytes: `anyio_ws.byte_stream`."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import cast

import anyio
import pytest
from anyio.abc import ByteStream, SocketAttribute
from anyio.streams.tls import TLSAttribute
from hypothesis import given, settings
from hypothesis import strategies as st

from anyio_ws import (
    ClientOptions,
    ConnectionClosed,
    ProtocolViolation,
    WebSocket,
    byte_stream,
)
from anyio_ws.sansio import Opcode
from anyio_ws.testing import RawFrame, cancel_sweep

from ..websocket.helpers import client_and_peer, connected, settle

PATIENCE = 10


@asynccontextmanager
async def streams(
    *,
    max_message_size: int = 2**15,
    half_close: bool = False,
    client: ClientOptions | None = None,
    buffer: int | None = None,
) -> AsyncIterator[tuple[ByteStream, ByteStream, WebSocket, WebSocket]]:
    """Both ends of a connection, as streams and as they are."""
    async with connected(client=client, buffer=buffer) as (one, other):
        ends = [
            byte_stream(ws, max_message_size=max_message_size, half_close=half_close)
            for ws in (one, other)
        ]
        with anyio.fail_after(PATIENCE):
            yield ends[0], ends[1], one, other


async def receive_exactly(stream: ByteStream, size: int) -> bytes:
    received = b""
    while len(received) < size:
        received += await stream.receive(size - len(received))
    return received


async def send_for_ever(stream: ByteStream) -> None:
    while True:
        await stream.send(bytes(10_000))


async def receive_for_ever(stream: ByteStream) -> None:
    while True:
        await stream.receive()


async def receive_all(stream: ByteStream) -> bytes:
    return b"".join([chunk async for chunk in stream])


class TestBytes:
    async def test_bytes_go_both_ways(self) -> None:
        async with streams() as (one, other, _, _):
            await one.send(b"ping")
            assert await other.receive() == b"ping"
            await other.send(b"pong")
            assert await one.receive() == b"pong"

    async def test_they_are_binary_messages(self) -> None:
        async with streams() as (one, _, _, ws):
            await one.send(b"abc")
            assert await ws.receive() == b"abc"

    @pytest.mark.parametrize("kind", [bytearray, memoryview])
    async def test_anything_like_bytes_can_be_sent(
        self, kind: type[bytearray] | type[memoryview]
    ) -> None:
        async with streams() as (one, other, _, _):
            await one.send(cast(bytes, kind(b"abc")))
            assert await other.receive() == b"abc"

    @pytest.mark.parametrize("mistake", ["text", 5, None])
    async def test_nothing_else_can(self, mistake: object) -> None:
        async with streams() as (one, _, _, _):
            with pytest.raises(TypeError):
                await one.send(mistake)  # type: ignore[arg-type]  # the mistake

    async def test_receive_keeps_what_it_does_not_return(self) -> None:
        async with streams() as (one, other, _, _):
            await one.send(b"abcdef")
            await one.send(b"g")
            assert [await other.receive(4) for _ in range(3)] == [b"abcd", b"ef", b"g"]

    async def test_at_most_as_many_bytes_are_received_as_is_usual(self) -> None:
        async with streams(max_message_size=2**17) as (one, other, _, _):
            await one.send(bytes(70_000))
            assert [len(await other.receive()) for _ in range(2)] == [65_536, 4_464]

    async def test_a_rest_is_received_after_the_peer_has_closed(self) -> None:
        async with streams() as (one, other, _, _):
            await one.send(b"abc")
            assert await other.receive(1) == b"a"
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(one.aclose)
            assert await receive_all(other) == b"bc"

    @pytest.mark.parametrize("wrong", [0, -1])
    async def test_no_bytes_at_all_can_not_be_asked_for(self, wrong: int) -> None:
        async with streams() as (one, _, _, _):
            with pytest.raises(ValueError, match="max_bytes"):
                await one.receive(wrong)

    async def test_a_large_send_is_cut_into_messages(self) -> None:
        async with streams(max_message_size=4) as (one, _, _, ws):
            await one.send(b"abcdefghij")
            assert [await ws.receive() for _ in range(3)] == [b"abcd", b"efgh", b"ij"]

    async def test_what_is_cut_by_default_fits_into_careful_peers(self) -> None:
        async with streams(client={"max_size": 2**15}) as (one, other, _, _):
            data = bytes(range(256)) * 4096
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(other.send, data)
                assert await receive_exactly(one, len(data)) == data

    async def test_a_message_size_that_makes_no_sense_is_refused(self) -> None:
        async with connected() as (ws, _):
            with pytest.raises(ValueError, match="max_message_size"):
                byte_stream(ws, max_message_size=0)

    async def test_sending_nothing_sends_nothing(self) -> None:
        async with streams() as (one, _, _, ws):
            await one.send(b"")
            await settle()
            with pytest.raises(anyio.WouldBlock):
                ws.receive_nowait()

    async def test_empty_messages_are_skipped(self) -> None:
        async with streams() as (_, other, ws, _):
            for message in (b"", b"a", b"", b"", b"b"):
                await ws.send(message)
            assert await other.receive() == b"a"
            assert await other.receive() == b"b"

    @pytest.mark.parametrize("compress", [False, True])
    async def test_messages_are_compressed_if_that_is_wanted(self, compress: bool) -> None:
        async with connected() as (ws, other), byte_stream(ws, compress=compress) as stream:
            sent = ws.statistics().bytes_sent
            await stream.send(bytes(10_000))
            assert await other.receive() == bytes(10_000)
            assert (ws.statistics().bytes_sent - sent < 1000) is compress

    @settings(max_examples=30)
    @given(
        data=st.binary(max_size=400),
        sizes=st.lists(st.integers(0, 60), min_size=1),
        wanted=st.lists(st.integers(1, 60), min_size=1),
        max_message_size=st.integers(1, 50),
        empty=st.booleans(),
    )
    async def test_what_goes_in_comes_out_however_it_is_cut(
        self,
        data: bytes,
        sizes: list[int],
        wanted: list[int],
        max_message_size: int,
        empty: bool,
    ) -> None:
        async def send(stream: ByteStream, ws: WebSocket) -> None:
            position = 0
            for index in range(len(data) + len(sizes)):
                size = sizes[index % len(sizes)]
                await stream.send(data[position : position + size])
                position += size
                if empty:
                    await ws.send(b"")
            await stream.send(data[position:])
            await stream.aclose()

        received = b""
        async with streams(max_message_size=max_message_size) as (one, other, ws, _):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(send, one, ws)
                turn = 0
                while True:
                    most = wanted[turn % len(wanted)]
                    turn += 1
                    try:
                        chunk = await other.receive(most)
                    except anyio.EndOfStream:
                        break
                    assert 1 <= len(chunk) <= most
                    received += chunk
        assert received == data


class TestTextMessages:
    async def test_one_breaks_the_stream_and_closes_with_1003(self) -> None:
        async with streams() as (stream, _, ws, peer):
            await peer.send(b"before")
            await peer.send("text")
            await peer.send(b"after")
            assert await stream.receive() == b"before"
            for _ in range(2):
                with pytest.raises(anyio.BrokenResourceError, match="text in a stream") as caught:
                    await stream.receive()
                assert isinstance(caught.value.__cause__, ProtocolViolation)
                assert caught.value.__cause__.code == 1003
            with pytest.raises(anyio.BrokenResourceError, match="text in a stream"):
                await stream.send(b"x")
            await stream.aclose()
            await peer.wait_closed()
            assert (peer.close_code, peer.close_reason) == (1003, "text in a stream of bytes")
            assert ws.close_code == 1003

    async def test_a_send_that_waits_is_told_so_too(self) -> None:
        async with streams(buffer=0) as (stream, _, _, peer):
            told: list[BaseException] = []

            async def send() -> None:
                with pytest.raises(anyio.BrokenResourceError) as caught:
                    await send_for_ever(stream)
                told.append(caught.value)

            async with anyio.create_task_group() as tasks:
                tasks.start_soon(send)
                tasks.start_soon(peer.send, "text")
                await settle()
                with pytest.raises(anyio.BrokenResourceError):
                    await stream.receive()
                while not told:
                    await peer.receive()
            assert isinstance(told[0].__cause__, ProtocolViolation)
            await anyio.aclose_forcefully(stream)

    async def test_the_close_is_sent_even_if_that_was_cancelled_at_first(self) -> None:
        for attempt in cancel_sweep():
            async with streams() as (stream, _, _, peer):
                await peer.send("text")
                await settle()
                with suppress(anyio.BrokenResourceError):
                    await attempt.run(stream.receive())
                with pytest.raises(anyio.BrokenResourceError):
                    await stream.receive()
                await stream.aclose()
                await peer.wait_closed()
                assert peer.close_code == 1003, attempt


class TestTheEnd:
    async def test_closing_ends_the_peers_stream_after_what_was_sent(self) -> None:
        async with streams() as (one, other, _, ws):
            await one.send(b"last")
            await one.aclose()
            assert await receive_all(other) == b"last"
            with pytest.raises(anyio.EndOfStream):
                await other.receive()
            with pytest.raises(anyio.BrokenResourceError):
                await other.send(b"too late")
            assert ws.close_code == 1000

    @pytest.mark.parametrize("payload", [b"", b"\x03\xe8"])
    async def test_a_normal_close_and_one_without_a_code_are_ends(self, payload: bytes) -> None:
        async with client_and_peer() as (ws, peer):
            await peer.send(RawFrame(Opcode.BINARY, b"a"), RawFrame(Opcode.CLOSE, payload))
            assert await receive_all(byte_stream(ws)) == b"a"

    @pytest.mark.parametrize("code", [1001, 1011, 4000])
    async def test_any_other_code_breaks_the_stream_after_what_was_sent(self, code: int) -> None:
        async with streams() as (stream, _, _, peer):
            await peer.send(b"a")
            await peer.aclose(code)
            assert await stream.receive() == b"a"
            with pytest.raises(anyio.BrokenResourceError) as caught:
                await stream.receive()
            error = caught.value
            closed = error if isinstance(error, ConnectionClosed) else error.__cause__
            assert isinstance(closed, ConnectionClosed)
            assert closed.rcvd is not None
            assert closed.rcvd.code == code
            with pytest.raises(anyio.BrokenResourceError):
                await stream.receive()
            with pytest.raises(anyio.BrokenResourceError):
                await stream.send(b"x")

    async def test_so_does_an_end_without_a_close(self) -> None:
        async with client_and_peer() as (ws, peer):
            await peer.aclose()
            with pytest.raises(anyio.BrokenResourceError):
                await byte_stream(ws).receive()

    async def test_after_closing_it_nothing_can_be_done(self) -> None:
        async with streams(half_close=True) as (one, other, ws, _):
            await other.send(b"never received")
            await one.aclose()
            await one.aclose()
            assert ws.close_code == 1000
            with pytest.raises(anyio.ClosedResourceError):
                await one.receive()
            with pytest.raises(anyio.ClosedResourceError):
                await one.send(b"")
            with pytest.raises(anyio.ClosedResourceError):
                await one.send_eof()

    async def test_a_rest_is_gone_after_closing(self) -> None:
        async with streams() as (one, other, _, _):
            await other.send(b"abc")
            assert await one.receive(1) == b"a"
            await one.aclose()
            with pytest.raises(anyio.ClosedResourceError):
                await one.receive()

    @pytest.mark.parametrize("wait", [receive_for_ever, send_for_ever])
    async def test_who_waits_when_it_is_closed_is_told(
        self, wait: Callable[[ByteStream], Awaitable[None]]
    ) -> None:
        async with streams(buffer=0, client={"close_timeout": 0}) as (one, _, _, _):
            told: list[BaseException] = []

            async def be_told() -> None:
                with pytest.raises(anyio.ClosedResourceError) as caught:
                    await wait(one)
                told.append(caught.value)

            async with anyio.create_task_group() as tasks:
                tasks.start_soon(be_told)
                await settle()
                await one.aclose()
            assert len(told) == 1

    async def test_closing_it_forcefully_waits_for_nobody(self) -> None:
        async with client_and_peer(close_timeout=60) as (ws, _):
            stream = byte_stream(ws)
            with anyio.fail_after(PATIENCE):
                await anyio.aclose_forcefully(stream)
            with pytest.raises(anyio.ClosedResourceError):
                await stream.receive()

    async def test_its_block_closes_with_1000(self) -> None:
        async with connected() as (ws, peer):
            async with byte_stream(ws) as stream:
                await stream.send(b"a")
            assert await receive_all(byte_stream(peer)) == b"a"
            assert peer.close_code == 1000

    async def test_its_block_left_by_an_exception_breaks_the_peers_stream(self) -> None:
        error = LookupError("mine")

        async def fail(ws: WebSocket) -> None:
            async with byte_stream(ws) as stream:
                await stream.send(b"a half")
                raise error

        async with connected() as (ws, peer):
            with pytest.raises(LookupError) as caught:
                await fail(ws)
            assert caught.value is error
            other = byte_stream(peer)
            assert await other.receive() == b"a half"
            with pytest.raises(anyio.BrokenResourceError):
                await other.receive()
            assert peer.close_code == 1011


class TestHalfClosing:
    async def test_it_takes_an_agreement(self) -> None:
        async with streams() as (one, _, _, _):
            with pytest.raises(NotImplementedError, match="half_close=True"):
                await one.send_eof()
            await one.send(b"that did no harm")

    async def test_one_direction_ends_and_the_other_goes_on(self) -> None:
        async with streams(half_close=True) as (one, other, ws, _):
            await one.send(b"question")
            await one.send_eof()
            assert await receive_all(other) == b"question"
            with pytest.raises(anyio.EndOfStream):
                await other.receive()
            await other.send(b"ans")
            await other.send(b"wer")
            await other.send_eof()
            assert await receive_all(one) == b"answer"
            assert ws.close_code is None

    async def test_nothing_can_be_sent_after_it_and_again_it_does_nothing(self) -> None:
        async with streams(half_close=True) as (one, other, _, peer):
            await one.send_eof()
            await one.send_eof()
            with pytest.raises(anyio.ClosedResourceError):
                await one.send(b"x")
            with pytest.raises(anyio.EndOfStream):
                await other.receive()
            with pytest.raises(anyio.WouldBlock):
                peer.receive_nowait()

    async def test_a_peer_that_has_closed_is_not_told(self) -> None:
        async with streams(half_close=True) as (one, other, _, _):
            await other.aclose()
            await one.send_eof()
            with pytest.raises(anyio.EndOfStream):
                await one.receive()

    async def test_a_connection_that_broke_says_so(self) -> None:
        async with client_and_peer() as (ws, peer):
            await peer.aclose()
            await ws.wait_closed()
            with pytest.raises(anyio.BrokenResourceError):
                await byte_stream(ws, half_close=True).send_eof()

    async def test_cancelled_it_was_not_sent_and_can_be_sent_again(self) -> None:
        for attempt in cancel_sweep():
            async with streams(half_close=True) as (one, other, _, peer):
                await attempt.run(one.send_eof())
                if attempt.cancelled:
                    await one.send(b"more")
                    await one.send_eof()
                assert await receive_all(other) == (b"more" if attempt.cancelled else b""), attempt
                with pytest.raises(anyio.WouldBlock):
                    peer.receive_nowait()


class TestWaiting:
    async def test_send_waits_for_a_peer_that_does_not_receive(self) -> None:
        async with streams(buffer=1000) as (one, other, ws, _):
            data = bytes(range(256)) * 4096  # a MiB
            sent = False

            async def send() -> None:
                nonlocal sent
                await one.send(data)
                sent = True

            async with anyio.create_task_group() as tasks:
                tasks.start_soon(send)
                await settle()
                assert not sent
                assert ws.buffered_amount < 2**16 + 2**15 + 100
                assert await receive_exactly(other, len(data)) == data
            assert sent

    async def test_one_task_receives_at_a_time(self) -> None:
        async with streams() as (one, _, _, _), anyio.create_task_group() as tasks:
            tasks.start_soon(one.receive)
            await settle()
            with pytest.raises(anyio.BusyResourceError):
                await one.receive()
            tasks.cancel_scope.cancel()

    async def test_one_task_sends_at_a_time(self) -> None:
        async with streams(half_close=True, buffer=0) as (one, _, _, _):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(one.send, bytes(2**20))
                await settle()
                with pytest.raises(anyio.BusyResourceError):
                    await one.send(b"x")
                with pytest.raises(anyio.BusyResourceError):
                    await one.send_eof()
                tasks.cancel_scope.cancel()
            await anyio.aclose_forcefully(one)

    async def test_a_cancelled_receive_loses_nothing(self) -> None:
        for attempt in cancel_sweep():
            async with streams() as (one, other, _, _), anyio.create_task_group() as tasks:
                tasks.start_soon(one.send, b"abcdef")
                received = await attempt.run(other.receive(4)) or b""
                received += await receive_exactly(other, 6 - len(received))
                assert received == b"abcdef", attempt

    async def test_a_cancelled_send_of_one_message_has_sent_it_or_nothing(self) -> None:
        for attempt in cancel_sweep():
            async with streams() as (one, other, _, _):
                await attempt.run(one.send(b"abc"))
                await one.send(b"d")
                assert await receive_exactly(other, 1) == (b"d" if attempt.cancelled else b"a")

    async def test_a_cancelled_send_of_several_has_sent_the_first_ones(self) -> None:
        data = bytes(range(200))
        for attempt in cancel_sweep():
            async with streams(max_message_size=3) as (one, other, _, _):
                await attempt.run(one.send(data))
                await one.aclose()
                received = await receive_all(other)
                assert data.startswith(received), attempt
                assert attempt.cancelled or received == data, attempt


async def test_typed_attributes_are_those_of_the_connection() -> None:
    async with streams() as (stream, _, ws, _):
        name = SocketAttribute.remote_address
        assert stream.extra(name, None) == ws.extra(name, None)
        assert stream.extra(TLSAttribute.tls_version, None) is None
