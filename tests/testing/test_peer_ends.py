"""How a scripted peer makes one wait, how it goes, and that it can do so over sockets."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import anyio
import anyio.abc
import pytest
from anyio.streams.stapled import StapledByteStream

from anyio_ws import (
    ConnectionClosedError,
    InvalidHandshake,
    open_websocket,
)
from anyio_ws.sansio import Side
from anyio_ws.testing import (
    ScriptedPeer,
    handshake_request,
    memory_stream_pair,
)

from .helpers import (
    CLOSE,
    HELLO,
    connected,
    handshake,
    ours_facing,
    receive_all,
    settle,
)

either_side = pytest.mark.parametrize("side", Side)


# -- delay and silence


@pytest.mark.usefixtures("virtual_time")
class TestTime:
    async def test_pieces_are_a_delay_apart(self) -> None:
        ours, theirs = memory_stream_pair()
        peer = ScriptedPeer(theirs, Side.SERVER, cut=2, delay=10)
        arrived: list[tuple[float, bytes]] = []

        async def receive() -> None:
            async for chunk in ours:
                arrived.append((anyio.current_time(), chunk))

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(receive)
            await peer.send(b"abcde")
            assert anyio.current_time() == 20
            await peer.send(b"f")
            await peer.aclose()
        assert arrived[:2] == [(0, b"ab"), (10, b"cd")]
        assert b"".join(chunk for time, chunk in arrived if time == 20) == b"ef"

    @either_side
    async def test_a_slow_message_arrives_when_its_last_byte_does(self, side: Side) -> None:
        async with connected(side) as (ws, peer):
            peer.cut, peer.delay = 1, 15  # each of which is a sign of life
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(peer.send, HELLO)
                assert await ws.receive() == "hello"
                pauses = len(HELLO.serialize(masked=side is Side.CLIENT)) - 1
                assert anyio.current_time() == pauses * 15

    @either_side
    async def test_a_slow_handshake_meets_open_timeout(self, side: Side) -> None:
        ours, theirs = memory_stream_pair()
        async with ScriptedPeer(theirs, side, cut=1, delay=1) as peer:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(handshake, peer)
                with pytest.raises(TimeoutError):
                    async with ours_facing(side, ours, open_timeout=7.5):
                        pytest.fail("opened")
                assert anyio.current_time() == 7.5
                tasks.cancel_scope.cancel()

    @either_side
    async def test_silence_instead_of_a_handshake_meets_open_timeout(self, side: Side) -> None:
        ours, theirs = memory_stream_pair()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(ScriptedPeer(theirs, side).stay_silent)
            with pytest.raises(TimeoutError):
                async with ours_facing(side, ours, open_timeout=10):
                    pytest.fail("opened")
            assert anyio.current_time() == 10
            tasks.cancel_scope.cancel()

    @either_side
    async def test_silence_instead_of_a_close_frame_meets_close_timeout(self, side: Side) -> None:
        async with connected(side, close_timeout=10) as (ws, peer):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(peer.stay_silent)
                await ws.aclose()
                assert anyio.current_time() == 10
                tasks.cancel_scope.cancel()
            assert ws.close_code == 1006
            assert await peer.receive() == CLOSE

    async def test_a_silent_peer_takes_nothing(self) -> None:
        ours, theirs = memory_stream_pair(buffer=3)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(ScriptedPeer(theirs, Side.SERVER).stay_silent)
            with pytest.raises(TimeoutError), anyio.fail_after(3600):
                await ours.send(b"1234")
            tasks.cancel_scope.cancel()


# -- drops


@either_side
async def test_dropping_the_connection_ends_it_without_a_close_frame(side: Side) -> None:
    async with connected(side) as (ws, peer):
        await peer.send(HELLO, HELLO.serialize(masked=side is Side.CLIENT)[:-1])
        await peer.aclose()
        assert await ws.receive() == "hello"
        with pytest.raises(ConnectionClosedError):
            await ws.receive()
        assert ws.close_code == 1006


@either_side
@pytest.mark.parametrize("drop", [ScriptedPeer.aclose, ScriptedPeer.reset])
async def test_dropping_the_connection_in_the_handshake_fails_it(
    side: Side, drop: Callable[[ScriptedPeer], Awaitable[None]]
) -> None:
    ours, theirs = memory_stream_pair()
    peer = ScriptedPeer(theirs, side)
    await peer.send(b"GET / HT" if side is Side.CLIENT else b"HTTP/1.1 1")

    async def drop_later() -> None:
        await settle()
        await drop(peer)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(drop_later)
        with pytest.raises(InvalidHandshake):
            async with ours_facing(side, ours):
                pytest.fail("opened")


@either_side
async def test_it_can_hear_what_comes_after_it_has_half_closed(side: Side) -> None:
    async with connected(side, close_timeout=60) as (ws, peer):
        await peer.send(CLOSE)
        await peer.send_eof()
        await ws.wait_closed()
    assert await peer.receive() == CLOSE
    assert await peer.receive_rest() == b""


@either_side
async def test_a_reset_breaks_the_connection(side: Side) -> None:
    async with connected(side) as (ws, peer):
        await peer.reset()
        with pytest.raises(ConnectionClosedError):
            await ws.receive()


async def test_leaving_it_as_a_context_manager_drops_the_connection() -> None:
    ours, theirs = memory_stream_pair()
    async with ScriptedPeer(theirs, Side.SERVER) as peer:
        await peer.send(b"last words")
    assert await receive_all(ours) == b"last words"
    with pytest.raises(anyio.ClosedResourceError):
        await peer.receive()


async def test_a_stream_that_has_no_socket_cannot_be_reset() -> None:
    one, other = memory_stream_pair()
    peer = ScriptedPeer(StapledByteStream(one, other), Side.SERVER)
    with pytest.raises(anyio.TypedAttributeLookupError):
        await peer.reset()


# -- over sockets


@asynccontextmanager
async def listening(
    script: Callable[[ScriptedPeer], Awaitable[object]],
) -> AsyncIterator[int]:
    """Serve what *script* does on a TCP port."""

    async def serve(stream: anyio.abc.SocketStream) -> None:
        async with ScriptedPeer(stream, Side.SERVER) as peer:
            await script(peer)

    async with await anyio.create_tcp_listener(local_host="127.0.0.1") as listener:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(listener.serve, serve)
            yield listener.extra(anyio.abc.SocketAttribute.local_port)
            tasks.cancel_scope.cancel()


async def test_over_tcp_it_serves_our_client() -> None:
    async def script(peer: ScriptedPeer) -> None:
        peer.cut = 1
        await peer.accept()
        await peer.send(await peer.receive(), CLOSE)
        assert await peer.receive() == CLOSE

    async with listening(script) as port:
        async with open_websocket(f"ws://127.0.0.1:{port}") as ws:
            await ws.send("hello")
            assert [message async for message in ws] == ["hello"]


@pytest.mark.parametrize("when", ["during the handshake", "after it"])
async def test_over_tcp_a_reset_is_an_rst(when: str) -> None:
    async def script(peer: ScriptedPeer) -> None:
        # Only once nothing is on its way: the RST would overtake it.
        if when == "after it":
            await peer.accept()
            await peer.receive()
        else:
            await peer.receive_head()
        await peer.reset()

    async with listening(script) as port:
        async with await anyio.connect_tcp("127.0.0.1", port) as stream:
            async with ScriptedPeer(stream, Side.CLIENT) as peer:
                if when == "after it":
                    await peer.connect()
                    await peer.send(HELLO)
                else:
                    await peer.send(handshake_request())
                with pytest.raises(anyio.BrokenResourceError) as caught:
                    await peer.receive_rest()
        assert isinstance(caught.value.__cause__, ConnectionResetError)
