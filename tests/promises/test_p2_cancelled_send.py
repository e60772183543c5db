"""P2. A cancelled send never corrupts the stream: cancelled means not sent, returned means committed."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Literal

import anyio
import pytest
from anyio.lowlevel import checkpoint

from anyio_ws import ConnectionClosedError, WebSocket
from anyio_ws.options import ClientOptions, ServerOptions
from anyio_ws.testing import RawFrame, cancel_sweep

from ..websocket.helpers import settle
from .helpers import Cancellable, both_ways, collect, fill, time_limit, virtual
from .links import Link

NO_ROOM: ClientOptions = {"write_limit": 0}
"""Sending waits as soon as the kernel, or the stream, takes no more."""

ONE_AT_A_TIME: ServerOptions = {"max_queue": 1, "read_limit": 1, "max_size": None}
"""Hardly anything is read that isn't received."""


@pytest.mark.parametrize("sender", ["client", "server"])
async def test_a_cancelled_send_is_not_sent_and_one_that_returned_is(
    link: Link, sender: str
) -> None:
    for attempt in cancel_sweep():
        received: list[str | bytes] = []
        async with link.connected(
            small=True, client={"write_limit": 0}, server={"write_limit": 0}
        ) as ends:
            this, that = ends if sender == "client" else reversed(ends)
            sent: list[str | bytes] = ["before"] * await fill(this, "before" * 100)
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(collect, that, received)
                await attempt.run(this.send("swept " * 100))
                if not attempt.cancelled:
                    sent.append("swept ")
                await this.send("after " * 100)
                await this.aclose()
            assert [message[:6] for message in received] == [*sent, "after "], attempt


@pytest.mark.parametrize("compression", [None, "deflate"])
async def test_that_holds_for_12_mib_behind_12_mib(
    link: Link, compression: Literal["deflate"] | None
) -> None:
    huge = bytes(range(256)) * (12 * 2**12)
    for attempt in cancel_sweep():
        received: list[str | bytes] = []
        client: ClientOptions = {"max_size": None, "compression": compression}
        async with link.connected(client=client) as (that, this):
            await this.send(huge, compress=False)
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(collect, that, received)
                await attempt.run(this.send(huge))
                await this.send("after" * 100)
                await this.aclose()
            expected = [huge, "after" * 100] if attempt.cancelled else [huge, huge, "after" * 100]
            assert received == expected, attempt


@virtual
@both_ways
async def test_of_what_many_tasks_send_under_timeouts_exactly_what_returned_arrives_in_order(
    link: Link, native: bool
) -> None:
    returned: list[str | bytes] = []
    received: list[str | bytes] = []
    names = "abcdef"

    async def send(ws: WebSocket, name: str) -> None:
        for number in range(30):
            message = f"{name}{number}".ljust(5000)
            async with time_limit(number % 4, native=native):
                await ws.send(message)
                returned.append(message)
        finished.append(name)

    async def receive(ws: WebSocket) -> None:
        while len(received) < len(returned) or len(finished) < len(names):
            await anyio.sleep(1)  # at the very times at which senders give up
            async with time_limit(0.5, native=native):
                received.append(await ws.receive())

    finished: list[str] = []
    async with link.connected(small=True, client=NO_ROOM, server=ONE_AT_A_TIME) as (client, server):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(receive, server)
            for name in names:
                tasks.start_soon(send, client, name)
    assert received == returned
    assert 10 < len(returned) < 170, "some returned, some were cancelled"


@virtual
@both_ways
async def test_a_thousand_cancelled_sends_leave_no_trace(link: Link, native: bool) -> None:
    received: list[str | bytes] = []
    async with link.connected(small=True, client=NO_ROOM, server=ONE_AT_A_TIME) as (client, server):
        sent = await fill(client, bytes(5000))
        for number in range(1000):
            async with time_limit(0.001 * (number % 3), native=native):
                await client.send("never sent")
        assert client.buffered_amount < 2 * 5014
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(collect, server, received)
            await client.send("after")
            await client.aclose()
    assert received == [bytes(5000)] * sent + ["after"]


class TestOthersThatWait:
    """They are neither held up nor overtaken by one that gives up."""

    async def test_get_their_turn_when_the_first_gives_up_its_place(self, link: Link) -> None:
        async with link.connected(small=True, client=NO_ROOM) as (client, server):
            sent = await fill(client, bytes(1000))
            async with anyio.create_task_group() as tasks:
                first = anyio.CancelScope()

                async def give_up() -> None:
                    with first:
                        await client.send("never sent")

                tasks.start_soon(give_up)
                await settle()
                tasks.start_soon(client.send, "second")
                await settle()
                first.cancel()
                await settle()
                for _ in range(sent):
                    assert await server.receive() == bytes(1000)
                assert await server.receive() == "second"

    @virtual
    @both_ways
    async def test_get_their_turn_when_the_first_is_cancelled_as_its_own_comes(
        self, link: Link, native: bool
    ) -> None:
        returned: list[str | bytes] = []

        async def send(ws: WebSocket, message: str, patience: float) -> None:
            async with time_limit(patience, native=native):
                await ws.send(message)
                returned.append(message)

        async with link.connected(small=True, client=NO_ROOM, server=ONE_AT_A_TIME) as ends:
            client, server = ends
            sent = await fill(client, bytes(1000))
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(send, client, "first", 1)
                await settle()
                tasks.start_soon(send, client, "second", 100)
                await anyio.sleep(1)
                for _ in range(sent):
                    assert await server.receive() == bytes(1000)
                await settle()
                await client.send("third")
            received = [await server.receive() for _ in (*returned, "third")]
            assert received == [*returned, "third"]
            assert returned[-1] == "second"

    async def test_get_their_turn_when_the_first_is_cancelled_after_it_was_woken(
        self, link: Link
    ) -> None:
        """Everything has left: nothing else will wake them."""
        first = Cancellable()
        frames: list[RawFrame] = []
        async with link.server_and_peer(small=True, write_limit=0) as (ws, peer):
            await ws.send(bytes(2**20))

            async def cancel_the_first() -> None:
                await ws.flush()  # woken along with the first, and before it
                first.cancel()

            async with anyio.create_task_group() as tasks:
                tasks.start_soon(cancel_the_first)
                await settle()
                tasks.start_soon(first.run, ws.send("first"))
                await settle()
                tasks.start_soon(ws.send, "second")
                frames += [await peer.receive(), await peer.receive()]
                if frames[-1].payload == b"first":  # the cancellation came too late
                    frames[-1] = await peer.receive()
            assert [frame.payload for frame in frames] == [bytes(2**20), b"second"]


async def test_a_committed_message_goes_on_without_its_sender(link: Link) -> None:
    async with link.connected(small=True) as (client, server):
        with anyio.CancelScope() as scope:
            await client.send("x" * 100_000)
            scope.cancel()
            await checkpoint()
        assert await server.receive() == "x" * 100_000


class TestAMessageSentInFragments:
    """The one send that can't be all or nothing."""

    async def test_is_not_sent_or_ends_the_connection_wherever_it_is_cancelled(
        self, link: Link
    ) -> None:
        async def fragments() -> AsyncGenerator[str, None]:
            for fragment in ("in ", "three ", "parts"):
                await checkpoint()
                yield fragment

        ended = 0
        for attempt in cancel_sweep():
            received: list[str | bytes] = []
            async with link.connected() as (client, server):
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(collect, server, received)
                    source = fragments()
                    await attempt.run(client.send(source))
                    await source.aclose()
                    try:
                        await client.send("after")
                    except ConnectionClosedError:
                        ended += 1
                    await client.aclose()
                if server.close_code == 1011:
                    assert received == [], attempt
                else:
                    whole = [] if attempt.cancelled else ["in three parts"]
                    assert received == [*whole, "after"], attempt
        assert ended
