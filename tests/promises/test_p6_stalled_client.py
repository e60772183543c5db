"""P6. One stalled client never delays a broadcast, and never grows memory without bound."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from typing import Unpack

import anyio
import pytest

from anyio_ws import (
    BroadcastResult,
    Channel,
    Close,
    ConnectionClosed,
    Overflow,
    State,
    WebSocket,
    broadcast,
    broadcast_and_wait,
)
from anyio_ws.backlog import OVERHEAD
from anyio_ws.options import ServerOptions
from anyio_ws.sansio import Opcode
from anyio_ws.testing import ScriptedPeer

from ..websocket.helpers import settle
from .helpers import collect, fill, memory, virtual
from .links import Link

PATIENCE = 30

overflows = pytest.mark.parametrize("overflow", ["disconnect", "drop", "drop_oldest", "coalesce"])


@asynccontextmanager
async def stalled(
    link: Link, **options: Unpack[ServerOptions]
) -> AsyncIterator[tuple[WebSocket, ScriptedPeer]]:
    """A connection whose peer doesn't read, and that has no room any more."""
    async with link.server_and_peer(small=True, **options) as (ws, peer):
        await fill(ws, "filling" * 100)
        yield ws, peer


@asynccontextmanager
async def healthy(link: Link, number: int) -> AsyncIterator[list[tuple[WebSocket, WebSocket]]]:
    async with AsyncExitStack() as stack:
        yield [await stack.enter_async_context(link.connected()) for _ in range(number)]


class TestTheOthers:
    @overflows
    async def test_are_sent_every_message_at_once(self, link: Link, overflow: Overflow) -> None:
        """That it returns is what shows that it doesn't wait: it is a plain function."""
        async with stalled(link) as (slow, _), healthy(link, 3) as others:
            sockets = [ws for _, ws in others]
            everybody = [sockets[0], slow, *sockets[1:]]
            for number in range(50):
                result = broadcast(everybody, str(number), overflow=overflow, max_buffered=0)
                assert result.sent == 3
            for client, _ in others:
                assert [await client.receive() for _ in range(50)] == [str(i) for i in range(50)]

    @virtual
    async def test_wait_for_nobody_also_where_the_sender_does(self, link: Link) -> None:
        arrived: list[float] = []

        async def receive(client: WebSocket) -> None:
            await client.receive()
            arrived.append(anyio.current_time())

        async with stalled(link) as (slow, _), healthy(link, 3) as others:
            begin = anyio.current_time()
            result = BroadcastResult()
            async with anyio.create_task_group() as tasks:
                for client, _ in others:
                    tasks.start_soon(receive, client)
                everybody = [slow, *(ws for _, ws in others)]
                result = await broadcast_and_wait(everybody, "hello", timeout=5)
            assert result == BroadcastResult(sent=3, disconnected=(slow,))
            assert arrived == [begin] * 3
            assert anyio.current_time() - begin == pytest.approx(5)

    async def test_are_served_while_one_takes_a_message_in_fragments(self, link: Link) -> None:
        go_on = anyio.Event()

        async def fragments() -> AsyncIterator[str]:
            yield "begun, "
            await go_on.wait()
            yield "ended"

        async with healthy(link, 2) as [(one, one_ws), (two, two_ws)]:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(one_ws.send, fragments())
                await settle()
                assert broadcast([one_ws, two_ws], "after").queued == (one_ws,)
                assert await two.receive() == "after"
                go_on.set()
                assert [await one.receive() for _ in range(2)] == ["begun, ended", "after"]

    async def test_are_sent_what_is_published_on_a_channel(self, link: Link) -> None:
        channel = Channel()
        async with (
            stalled(link) as (slow, _),
            healthy(link, 2) as others,
            AsyncExitStack() as stack,
        ):
            for ws in (slow, *(ws for _, ws in others)):
                await stack.enter_async_context(channel.subscribe(ws, max_buffered=0))
            for number in range(10):
                await channel.publish(str(number))
            for client, _ in others:
                assert [await client.receive() for _ in range(10)] == [str(i) for i in range(10)]
            assert channel.statistics().disconnected == 1


class TestTheStalledOne:
    @overflows
    @pytest.mark.parametrize("size", [1, 10_000])
    async def test_holds_no_more_than_max_buffered(
        self, link: Link, overflow: Overflow, size: int
    ) -> None:
        most, limit = 0, 200_000
        async with stalled(link) as (slow, _):
            before = slow.buffered_amount
            with memory() as allocated:
                for number in range(600):
                    # Each is a message of its own, which nobody else holds.
                    message = bytes([number % 256]) * size
                    broadcast([slow], message, overflow=overflow, max_buffered=limit, key=number)
                    if number % 100 == 99:
                        most = max(most, allocated())
            count = (limit - before) // (size + OVERHEAD) + 1
            assert slow.buffered_amount - before <= count * size
            # The payload, and where it doesn't leave at once the frame with it.
            assert most <= limit + count * size + 20_000

    async def test_shares_with_others_what_waits_for_them_as_well(self, link: Link) -> None:
        held = 0
        async with AsyncExitStack() as stack:
            slow = [(await stack.enter_async_context(stalled(link)))[0] for _ in range(5)]
            with memory() as allocated:
                for number in range(50):
                    broadcast(slow, bytes([number]) * 10_000)
                held = allocated()
            assert all(ws.buffered_amount > 500_000 for ws in slow)
        assert held < 2 * 500_000

    @virtual
    async def test_is_disconnected_and_ends_within_close_timeout(self, link: Link) -> None:
        async with stalled(link, close_timeout=3, ping_interval=None) as (slow, _):
            begin = anyio.current_time()
            while not broadcast([slow], "x" * 10_000).disconnected:
                pass
            assert slow.state is State.CLOSING
            assert slow.buffered_amount < 2**17, "what was waiting is dropped"
            with pytest.raises(ConnectionClosed, match="1008"):
                await slow.receive()
            assert anyio.current_time() - begin == pytest.approx(3)

    @overflows
    async def test_gets_nothing_but_whole_messages_when_it_reads_on(
        self, link: Link, overflow: Overflow
    ) -> None:
        """What was committed isn't cut by what is dropped, nor by the Close frame."""
        codes: list[int] = []
        numbers: list[int] = []

        async def read(peer: ScriptedPeer) -> None:
            while (frame := await peer.receive()).opcode != Opcode.CLOSE:
                if not frame.payload.startswith(b"filling"):
                    number, padding = frame.payload.split()
                    assert padding == b"x" * (int(number) * 37 % 3000 + 1)
                    numbers.append(int(number))
            codes.append(Close.parse(frame.payload).code)
            await peer.aclose()

        async with stalled(link, close_timeout=PATIENCE) as (slow, peer):
            send = partial(broadcast, [slow], overflow=overflow, max_buffered=100_000)
            async with anyio.create_task_group() as tasks:
                for number in range(300):
                    if number == 200:
                        tasks.start_soon(read, peer)
                    if number % 20 == 0:
                        await settle()
                    send(f"{number} " + "x" * (number * 37 % 3000 + 1), key=number % 7)
                with anyio.fail_after(PATIENCE):
                    await slow.aclose()
        assert codes == [1008 if overflow == "disconnect" else 1000]
        if overflow == "coalesce":
            assert set(range(293, 300)) <= set(numbers)
        else:
            assert numbers == sorted(numbers)
        if overflow == "drop_oldest":
            assert numbers[-1] == 299

    async def test_that_only_paused_has_missed_nothing(self, link: Link) -> None:
        received: list[str | bytes] = []
        async with link.connected(
            small=True, client={"max_queue": 1, "read_limit": 1}, server={"write_limit": 0}
        ) as (client, server):
            filled = await fill(server, "x" * 1000)
            sent = [str(number) * 1000 for number in range(50)]
            for message in sent:
                assert broadcast([server], message).queued == (server,)
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(collect, client, received)
                await server.flush()
                await server.aclose()
        assert received[filled:] == sent
