"""Waits that look like deadlocks, each with what ends it. None of them fails the connection."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import anyio
import pytest

from anyio_ws import ConnectionClosedOK, State, WebSocket
from anyio_ws.testing import RawFrame, ScriptedPeer

from ..sansio.helpers import PING, PONG, close, more, ping, pong, text
from ..websocket.helpers import settle
from .helpers import both_ways, time_limit, virtual
from .links import Link

pytestmark = virtual

FULL = [text("1"), text("2"), text("3")]
"""More than ``max_queue=1`` lets in."""


async def fill_inbox(peer: ScriptedPeer, *behind: RawFrame) -> None:
    """Send messages until the inbox is full, and something behind them."""
    await peer.send(*FULL, *behind)
    await settle()


async def receive_all(ws: WebSocket) -> list[str | bytes]:
    return [await ws.receive() for _ in FULL]


class TestAFullInboxWithoutAReceiver:
    """Reading is paused: what the peer sent after that hasn't been seen by anybody."""

    async def test_makes_ping_wait_for_a_pong_that_has_arrived(self, link: Link) -> None:
        """``ping()`` while nobody receives. It ends when somebody does, not the connection."""
        ended: list[float] = []

        async def measure(ws: WebSocket) -> None:
            assert await ws.ping(b"mine") >= 0
            ended.append(anyio.current_time())

        async with link.server_and_peer(max_queue=1) as (ws, peer):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(measure, ws)
                assert (await peer.receive()).opcode == PING
                await fill_inbox(peer, pong(b"mine"))
                await anyio.sleep(80_000)
                assert (ended, ws.state) == ([], State.OPEN)
                assert await receive_all(ws) == ["1", "2", "3"]
                await settle()
                assert ended == [anyio.current_time()]

    async def test_makes_wait_closed_wait_for_a_close_that_has_arrived(self, link: Link) -> None:
        """``wait_closed()`` while nobody receives. It ends when somebody does."""
        ended: list[float] = []

        async def wait(ws: WebSocket) -> None:
            await ws.wait_closed()
            ended.append(anyio.current_time())

        async with link.server_and_peer(max_queue=1) as (ws, peer):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(wait, ws)
                await fill_inbox(peer, close(1000, "bye"))
                await anyio.sleep(80_000)
                assert (ended, ws.state, ws.close_code) == ([], State.OPEN, None)
                assert await receive_all(ws) == ["1", "2", "3"]
                await peer.aclose()
            assert ended
            assert ws.close_reason == "bye"

    async def test_leaves_the_peers_pings_without_an_answer(self, link: Link) -> None:
        """A peer that waits for a pong from a program that doesn't receive. It gets it afterwards."""
        async with link.server_and_peer(max_queue=1) as (ws, peer):
            await fill_inbox(peer, ping(b"theirs"))
            with anyio.move_on_after(100):
                await peer.receive_rest()
                pytest.fail("the end of the stream")
            assert await receive_all(ws) == ["1", "2", "3"]
            while (frame := await peer.receive()).opcode != PONG:  # it was pinged itself, maybe
                pass
            assert frame.payload == b"theirs"

    @pytest.mark.parametrize("call", ["send", "ping"])
    async def test_hides_the_peers_close_from_a_program_that_only_sends(
        self, link: Link, call: str
    ) -> None:
        """``send()`` goes on after the peer has closed. ``discard_incoming()`` is for that."""
        async with link.server_and_peer(max_queue=1) as (ws, peer):
            await fill_inbox(peer, close(1000))
            await (ws.send("anybody there?") if call == "send" else ws.send_ping())
            async with ws.discard_incoming():
                with pytest.raises(ConnectionClosedOK):
                    await (ws.send("anybody there?") if call == "send" else ws.ping())

    @pytest.mark.parametrize("closer", [WebSocket.aclose, anyio.aclose_forcefully])
    async def test_does_not_hold_up_a_client_that_leaves(
        self, link: Link, closer: Callable[[WebSocket], Awaitable[None]]
    ) -> None:
        """Leaving, or ``aclose()``, with a full inbox. It drops what is there; only the peer matters."""
        async with link.connected(client={"max_queue": 1}) as (client, server):
            for number in range(1000):
                await server.send(str(number))
            await settle()
            begin = anyio.current_time()
            await closer(client)
            assert anyio.current_time() == begin
            await server.wait_closed()
            assert anyio.current_time() == begin


class TestDiscardIncoming:
    """What ends those waits in a program that only sends."""

    async def test_lets_a_program_that_only_sends_see_the_close(self, link: Link) -> None:
        """A thousand messages and a Close, and nobody who receives."""
        async with link.connected(server={"max_queue": 1}) as (client, server):
            async with anyio.create_task_group() as tasks:

                async def send_for_ever() -> None:
                    async with server.discard_incoming():
                        while True:
                            await server.send("tick")
                            await anyio.sleep(1)

                async def expect_close() -> None:
                    with pytest.raises(ConnectionClosedOK):
                        await send_for_ever()

                tasks.start_soon(expect_close)
                for number in range(1000):
                    await client.send(str(number))
                await client.aclose()
            assert (client.close_code, server.close_code) == (1000, 1000)

    async def test_answers_pings_and_takes_note_of_pongs(self, link: Link) -> None:
        """``ping()`` of either side, while messages keep coming."""
        async with link.server_and_peer(max_queue=1) as (ws, peer):
            await fill_inbox(peer, ping(b"before"))
            async with ws.discard_incoming():
                assert await peer.receive() == pong(b"before")
                await fill_inbox(peer, ping(b"inside"))
                assert await peer.receive() == pong(b"inside")
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(ws.ping, b"mine")
                    assert await peer.receive() == ping(b"mine")
                    await fill_inbox(peer, pong(b"mine"))

    async def test_drops_what_was_there_and_what_arrives_and_nothing_after_it(
        self, link: Link
    ) -> None:
        """The inbox is empty when the block begins, and when it ends."""
        async with link.server_and_peer(max_queue=1) as (ws, peer):
            await peer.send(text("received"))
            assert await ws.receive() == "received"
            await fill_inbox(peer)
            async with ws.discard_incoming():
                await fill_inbox(peer)
            with pytest.raises(anyio.WouldBlock):
                ws.receive_nowait()
            await peer.send(text("after"))
            assert await ws.receive() == "after"

    async def test_drops_a_message_that_was_half_there_when_the_block_began(
        self, link: Link
    ) -> None:
        """No half of it is received, whether its end comes inside the block or after it."""
        for inside in (True, False):
            async with link.server_and_peer() as (ws, peer):
                await peer.send(text("be", fin=False))
                await settle()
                async with ws.discard_incoming():
                    await peer.send(*([more("gun", fin=True)] if inside else []))
                    await settle()
                await peer.send(*([] if inside else [more("gun", fin=True)]), text("after"))
                assert await ws.receive() == "after"

    async def test_drops_a_message_whole_that_was_half_there_when_the_block_ended(
        self, link: Link
    ) -> None:
        """Its rest is not taken for a message, however many fragments follow."""
        async with link.server_and_peer() as (ws, peer):
            async with ws.discard_incoming():
                await peer.send(text("half ", fin=False), more("a ", fin=False))
                await settle()
            await peer.send(more("message", fin=False), more("", fin=True), text("after"))
            assert await ws.receive() == "after"

    async def test_keeps_a_frame_of_which_only_a_part_has_come(self, link: Link) -> None:
        """A message that is complete after the block is a message after it."""
        data = text("after").serialize(masked=True)
        async with link.server_and_peer() as (ws, peer):
            async with ws.discard_incoming():
                await peer.send(data[:-2])
                await settle()
            await peer.send(data[-2:])
            assert await ws.receive() == "after"

    async def test_takes_receiving_over_and_gives_it_back(self, link: Link) -> None:
        """``receive()`` in another task is refused, and refuses the block."""
        async with link.server_and_peer() as (ws, peer):
            async with ws.discard_incoming():
                with pytest.raises(anyio.BusyResourceError):
                    await ws.receive()
                with pytest.raises(anyio.BusyResourceError):
                    await ws.discard_incoming().__aenter__()
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(ws.receive)
                await settle()
                with pytest.raises(anyio.BusyResourceError):
                    await ws.discard_incoming().__aenter__()
                await peer.send(text("for the one who waits"))

    @both_ways
    async def test_ends_with_a_cancelled_block(self, link: Link, native: bool) -> None:
        """Receiving goes on as if the block had ended by itself."""
        async with link.server_and_peer() as (ws, peer):
            async with time_limit(5, native=native):
                async with ws.discard_incoming():
                    await peer.send(text("dropped"), text("half", fin=False))
                    await anyio.sleep_forever()
            await peer.send(more("dropped", fin=True), text("after"))
            assert await ws.receive() == "after"
