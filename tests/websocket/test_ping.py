"""Pings of ours and of the peer's, and what a pong answers."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import anyio
import pytest

from anyio_ws import ConnectionClosedError, WebSocket
from anyio_ws.sansio.protocol import MAX_PONGS

from ..sansio.helpers import PING, PONG, ping, pong
from .helpers import connected, server_and_peer, settle


async def test_ping_gives_the_seconds_until_the_pong() -> None:
    async with connected() as (client, server):
        assert client.latency == 0
        latency = await client.ping()
        assert 0 < latency < 10
        assert client.latency == latency
        assert await server.ping("payload") > 0


async def test_a_ping_of_the_peer_is_answered_without_the_application() -> None:
    async with server_and_peer() as (_, peer):
        await peer.send(ping(b"are you there?"))
        assert await peer.receive() == pong(b"are you there?")


async def test_ten_pings_in_one_chunk_get_ten_pongs_in_their_order() -> None:
    payloads = [str(n).encode() for n in range(10)]
    async with server_and_peer() as (_, peer):
        await peer.send(*map(ping, payloads))
        assert [await peer.receive() for _ in payloads] == [*map(pong, payloads)]


async def test_of_very_many_pings_in_one_chunk_the_last_is_answered_and_most_are_not() -> None:
    async with server_and_peer() as (ws, peer):
        await peer.send(*[ping(b"early")] * 1000, ping(b"last"))
        pongs = [await peer.receive() for _ in range(MAX_PONGS)]
        assert pongs == [*[pong(b"early")] * (MAX_PONGS - 1), pong(b"last")]
        await ws.send("nothing in between")
        assert (await peer.receive()).payload == b"nothing in between"


async def test_payloads_of_pings_differ_and_can_be_chosen() -> None:
    async with server_and_peer() as (ws, peer):
        for data in (None, None, b"chosen", "gewählt", memoryview(b"")):
            await ws.send_ping(data)
        frames = [await peer.receive() for _ in range(5)]
        assert {frame.opcode for frame in frames} == {PING}
        payloads = [frame.payload for frame in frames]
        assert len(set(payloads)) == 5
        assert payloads[2:] == [b"chosen", "gewählt".encode(), b""]


async def test_a_later_pong_answers_the_earlier_pings_and_no_later_ones() -> None:
    answered: list[bytes] = []
    async with server_and_peer() as (ws, peer):

        async def measure(payload: bytes) -> None:
            assert await ws.ping(payload) >= 0
            answered.append(payload)

        async with anyio.create_task_group() as tasks:
            for payload in (b"1", b"2", b"3"):
                tasks.start_soon(measure, payload)
                await peer.receive()
            await peer.send(pong(b"unsolicited"), pong(b"2"))
            await settle()
            assert sorted(answered) == [b"1", b"2"]
            await peer.send(pong(b"1"))
            await settle()
            assert len(answered) == 2
            await peer.send(pong(b"3"))
        assert answered[-1] == b"3"


async def test_a_payload_can_not_be_used_while_a_ping_waits_with_it() -> None:
    async with server_and_peer() as (ws, peer):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(ws.ping, b"mine")
            await peer.receive()
            with pytest.raises(ValueError, match="mine"):
                await ws.ping(b"mine")
            with pytest.raises(ValueError, match="mine"):
                await ws.send_ping(b"mine")
            await peer.send(pong(b"mine"))
        await ws.send_ping(b"mine")
        assert await peer.receive() == ping(b"mine")


async def test_a_cancelled_ping_frees_its_payload() -> None:
    async with server_and_peer() as (ws, peer):
        for _ in range(2):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(ws.ping, b"again")
                assert await peer.receive() == ping(b"again")
                tasks.cancel_scope.cancel()


async def test_send_ping_does_not_wait_and_its_pong_updates_the_latency() -> None:
    async with server_and_peer() as (ws, peer):
        await ws.send_ping(b"1")
        await ws.send_ping(b"1")  # the one before is not waited for any more
        await ws.send_ping(b"2")
        await peer.send(pong(b"2"))
        await settle()
        assert ws.latency > 0


async def test_an_answered_send_ping_does_not_forget_a_ping_with_the_same_payload() -> None:
    latencies: list[float] = []
    async with server_and_peer() as (ws, peer):

        async def measure() -> None:
            latencies.append(await ws.ping(b"same"))

        await ws.send_ping(b"same")
        await peer.send(pong(b"same"))
        await settle()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(measure)
            await settle()
            await ws.send_ping(b"other")
            await peer.send(pong(b"same"))
            await settle()
            assert len(latencies) == 1


async def test_send_pong_is_sent_unasked() -> None:
    async with server_and_peer() as (ws, peer):
        await ws.send_pong()
        await ws.send_pong("beat")
        assert [await peer.receive() for _ in range(2)] == [pong(), pong(b"beat")]


each_method = pytest.mark.parametrize(
    "method", [WebSocket.ping, WebSocket.send_ping, WebSocket.send_pong]
)


@each_method
async def test_a_payload_of_more_than_125_bytes_is_refused(
    method: Callable[[WebSocket, bytes], Awaitable[object]],
) -> None:
    async with server_and_peer() as (ws, peer):
        with pytest.raises(ValueError, match="126 bytes"):
            await method(ws, b"x" * 126)
        await ws.send_pong(b"x" * 125)
        assert (await peer.receive()).opcode == PONG


@each_method
@pytest.mark.parametrize("data", [125, ["x"]])
async def test_a_payload_that_is_no_data_is_refused(
    method: Callable[[WebSocket, object], Awaitable[object]], data: object
) -> None:
    async with server_and_peer() as (ws, peer):
        with pytest.raises(TypeError, match=type(data).__name__):
            await method(ws, data)
        await ws.send_pong(b"and nothing was sent")
        assert await peer.receive() == pong(b"and nothing was sent")


async def test_a_ping_that_is_not_answered_ends_with_the_connection() -> None:
    async with server_and_peer() as (ws, peer):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(peer.aclose)
            with pytest.raises(ConnectionClosedError):
                await ws.ping()


async def test_a_ping_is_answered_while_a_message_waits_to_be_received() -> None:
    async with connected() as (client, server):
        await client.send("unread")
        assert await client.ping() > 0
        assert await server.receive() == "unread"
