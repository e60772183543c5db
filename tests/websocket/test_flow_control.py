"""What is held of each direction, who waits for it, and in which order."""

from __future__ import annotations

import anyio
import pytest

from anyio_ws import WebSocket
from anyio_ws.testing import ScriptedPeer

from ..sansio.helpers import close, ping, pong, text
from .helpers import client_and_peer, connected, server_and_peer, settle

# -- in


def held(ws: WebSocket) -> tuple[int, int]:
    """Messages and bytes in the inbox: nothing public tells, and that it is bounded is the point."""
    inbox = ws._connection.inbox
    return inbox.count, inbox.size


class Feed:
    """A peer that sends one message per chunk, as long as they are taken."""

    def __init__(self, peer: ScriptedPeer, size: int) -> None:
        self._peer = peer
        self._size = size
        self.sent = 0

    async def run(self) -> None:
        while True:
            await self._peer.send(text(f"{self.sent:0{self._size}}"))
            self.sent += 1


@pytest.mark.parametrize(
    ("max_queue", "read_limit", "size", "most"),
    [(8, 2**16, 100, 9), (1, 2**16, 100, 2), (512, 1000, 100, 11), (512, 1, 100, 1)],
)
async def test_reading_pauses_above_the_limit_and_resumes_at_half(
    max_queue: int, read_limit: int, size: int, most: int
) -> None:
    async with server_and_peer(buffer=200, max_queue=max_queue, read_limit=read_limit) as ends:
        ws, peer = ends
        feed = Feed(peer, size)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(feed.run)
            await settle()
            assert held(ws)[0] == most
            taken = 0
            paused_at = feed.sent
            while held(ws)[0] > most // 2 + 1:
                assert int(await ws.receive()) == taken
                taken += 1
                await settle()
                assert feed.sent == paused_at, "reading goes on at half, not before"
            for _ in range(2 * most):
                assert int(await ws.receive()) == taken
                taken += 1
            await settle()
            assert feed.sent > paused_at
            assert held(ws)[0] <= most
            tasks.cancel_scope.cancel()


async def test_a_message_larger_than_read_limit_is_received() -> None:
    async with connected(server={"read_limit": 10}) as (client, server):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(client.send, "x" * 100_000)
            assert await server.receive() == "x" * 100_000


async def test_thousands_of_messages_in_a_chunk_do_not_overfill_the_inbox() -> None:
    async with server_and_peer(max_queue=16, read_limit=1000) as (ws, peer):
        numbers = [str(number) for number in range(5000)]
        await peer.send(*map(text, numbers), ping(b"behind"), close(1000))
        most = (0, 0)
        received = []
        async for message in ws:
            received.append(message)
            most = max(most, held(ws))
        assert received == numbers
        assert most[0] <= 17
        assert most[1] <= 1000 + 4


async def test_thousands_of_empty_messages_in_a_chunk_are_bounded_by_their_number() -> None:
    async with server_and_peer() as (ws, peer):
        await peer.send(*[text("")] * 5000)
        await settle()
        assert held(ws)[0] <= 513
        for _ in range(5000):
            assert await ws.receive() == ""
            assert held(ws)[0] <= 513


async def test_the_end_of_the_stream_waits_behind_what_the_inbox_had_no_room_for() -> None:
    async with server_and_peer(max_queue=4) as (ws, peer):
        await peer.send(*(text(str(number)) for number in range(1000)))
        await peer.aclose()
        await settle()
        for number in range(1000):
            assert await ws.receive() == str(number)
        await settle()
        assert ws.close_code == 1006


async def test_a_message_in_assembly_does_not_pause_reading() -> None:
    async with server_and_peer(read_limit=100, max_queue=1) as (ws, peer):
        await peer.send(text("x" * 500, fin=False))
        await peer.send(ping(b"read"))
        assert await peer.receive() == pong(b"read")
        await peer.send(text("y" * 500)._replace(opcode=0))
        assert await ws.receive() == "x" * 500 + "y" * 500


async def test_pings_are_answered_as_long_as_there_is_room() -> None:
    async with server_and_peer(max_queue=2) as (ws, peer):
        for number in range(2):
            await peer.send(text("x"), ping(b"%d" % number))
            assert await peer.receive() == pong(b"%d" % number)
        await peer.send(text("x"), ping(b"behind the limit"))
        await settle()
        assert await ws.receive() == "x"
        assert await ws.receive() == "x"
        assert await peer.receive() == pong(b"behind the limit")


async def test_a_close_behind_a_full_inbox_is_seen_once_there_is_room() -> None:
    async with server_and_peer(max_queue=1) as (ws, peer):
        await peer.send(text("1"), text("2"), text("3"), close(1000))
        await settle()
        assert ws.close_code is None
        assert [message async for message in ws] == ["1", "2", "3"]
        assert ws.close_code == 1000


# -- out


async def test_senders_wait_above_write_limit_and_go_in_the_order_they_came() -> None:
    returned: list[int] = []
    async with server_and_peer(buffer=500, write_limit=1000) as (ws, peer):

        async def send(number: int) -> None:
            await ws.send(f"{number:0100}")
            returned.append(number)

        async with anyio.create_task_group() as tasks:
            for number in range(30):
                tasks.start_soon(send, number)
                await settle()  # so that the calls are in this order on trio, too
            committed = len(returned)
            assert 10 <= committed <= 20
            assert ws.buffered_amount <= 1000 + 102 + 500
            payloads = [int((await peer.receive()).payload) for _ in range(30)]
            assert payloads == returned == list(range(30))


async def test_messages_of_several_tasks_are_not_mixed() -> None:
    async with server_and_peer(buffer=500, write_limit=0) as (ws, peer):

        async def send(letter: str) -> None:
            for length in range(1, 20):
                await ws.send(letter * length * 20)

        async with anyio.create_task_group() as tasks:
            for letter in "abc":
                tasks.start_soon(send, letter)
            for _ in range(3 * 19):
                frame = await peer.receive()
                assert len(set(frame.payload)) == 1


async def test_reading_does_not_wait_for_writing() -> None:
    async with client_and_peer(buffer=500) as (ws, peer):
        await ws.send("x" * 100_000)
        await settle()
        for number in range(10):
            await peer.send(text(str(number)))
            assert await ws.receive() == str(number)
