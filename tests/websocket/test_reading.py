"""Who reads: on trio the task that receives may; whatever else anybody does goes on as if nobody did."""

from __future__ import annotations

from contextlib import AsyncExitStack

import anyio
import pytest

from anyio_ws import ConnectionClosedError, WebSocket
from anyio_ws.testing import RawFrame, ScriptedPeer

from ..sansio.helpers import PING, PONG, ping, text
from .helpers import connected, server_and_peer, settle

pytestmark = pytest.mark.usefixtures("virtual_time")

MOMENT = 0.02
"""Seconds after which somebody reads who doesn't receive, at the latest."""


async def answer_ping(peer: ScriptedPeer) -> None:
    frame = await peer.receive()
    assert frame.opcode == PING
    await peer.send(RawFrame(PONG, frame.payload))


async def test_a_ping_is_answered_while_a_task_that_has_received_is_busy() -> None:
    async with server_and_peer() as (ws, peer):
        await peer.send(text("x"))
        assert await ws.receive() == "x"
        await peer.send(ping(b"?"))
        begin = anyio.current_time()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(anyio.sleep, 60)
            assert (await peer.receive()).payload == b"?"
            assert anyio.current_time() - begin < MOMENT
            tasks.cancel_scope.cancel()


async def test_so_it_is_after_a_receive_that_was_cancelled() -> None:
    async with server_and_peer() as (ws, peer):
        with anyio.move_on_after(1):
            await ws.receive()
        await peer.send(ping(b"?"))
        begin = anyio.current_time()
        assert (await peer.receive()).payload == b"?"
        assert anyio.current_time() - begin < MOMENT


@pytest.mark.parametrize("ended", [0, 1, 5], ids=["none ends", "the first ends", "half end"])
async def test_of_many_connections_that_are_busy_every_ping_is_answered(ended: int) -> None:
    async with AsyncExitStack() as stack:
        connections: list[tuple[WebSocket, ScriptedPeer]] = []
        for _ in range(10):
            ws, peer = await stack.enter_async_context(server_and_peer())
            await peer.send(text("x"))
            assert await ws.receive() == "x"
            connections.append((ws, peer))
        for ws, _ in connections[:ended]:
            await ws.aclose()
        begin = anyio.current_time()
        for _, peer in connections[ended:]:
            await peer.send(ping(b"?"))
            assert (await peer.receive()).payload == b"?"
        assert anyio.current_time() - begin < MOMENT


async def test_a_pong_is_not_waited_for_longer_because_of_a_receive_before() -> None:
    async with server_and_peer() as (ws, peer):
        await peer.send(text("x"))
        assert await ws.receive() == "x"
        begin = anyio.current_time()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(answer_ping, peer)
            await ws.ping()
        assert anyio.current_time() == begin


async def test_nor_is_the_closing_handshake() -> None:
    async with connected() as (client, server):
        await server.send("x")
        assert await client.receive() == "x"
        begin = anyio.current_time()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(server.wait_closed)
            await client.aclose()
        assert anyio.current_time() - begin < MOMENT


async def test_a_task_that_receives_is_woken_when_another_one_closes() -> None:
    async with server_and_peer(close_timeout=0) as (ws, _):

        async def receive() -> None:
            with pytest.raises(anyio.ClosedResourceError):
                await ws.receive()

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(receive)
            await settle()
            await ws.aclose()


async def test_and_when_keepalive_gives_the_peer_up() -> None:
    async with server_and_peer(ping_interval=3, ping_timeout=2) as (ws, peer):
        await peer.send(text("x"))
        assert await ws.receive() == "x"
        begin = anyio.current_time()
        with pytest.raises(ConnectionClosedError):
            await ws.receive()
        assert anyio.current_time() - begin == pytest.approx(5)


async def test_receiving_may_go_from_task_to_task() -> None:
    async with server_and_peer() as (ws, peer):
        received: list[str | bytes] = []

        async def receive() -> None:
            received.append(await ws.receive())

        for number in range(20):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(receive)
                await anyio.sleep(0.004 * (number % 4))
                await peer.send(text(str(number)))
        assert received == [str(number) for number in range(20)]


async def test_many_cancelled_receives_and_pauses_lose_nothing() -> None:
    async with server_and_peer(max_queue=2) as (ws, peer):
        received: list[str | bytes] = []

        async def send() -> None:
            for number in range(300):
                await peer.send(text(str(number)))
                await anyio.sleep(0.001 * (number % 13))

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(send)
            while len(received) < 300:
                with anyio.move_on_after(0.001 * (len(received) % 7 + 1)):
                    received.append(await ws.receive())
                await anyio.sleep(0.003 * (len(received) % 5))
        assert received == [str(number) for number in range(300)]
