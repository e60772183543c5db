"""P3. A cancelled receive loses nothing, of messages that have half arrived neither."""

from __future__ import annotations

import anyio
import pytest

from anyio_ws import WebSocket
from anyio_ws.testing import RawFrame, ScriptedPeer, cancel_sweep

from ..sansio.helpers import more, ping, text
from ..websocket.helpers import settle
from .helpers import both_ways, time_limit, virtual
from .links import Link


async def test_wherever_it_is_cancelled_the_next_one_returns_the_message(link: Link) -> None:
    for attempt in cancel_sweep():
        received: list[str | bytes | None] = []
        async with link.server_and_peer() as (ws, peer):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(peer.send, text("whole"), text("in ", fin=False), ping(b"!"))
                received = [await attempt.run(ws.receive())]
                if attempt.cancelled:
                    received = [await ws.receive()]
            with anyio.move_on_after(0):
                await ws.receive()
            await peer.send(more("parts", fin=True))
            received.append(await ws.receive())
            assert received == ["whole", "in parts"], attempt


async def test_cancelled_as_its_message_arrives_it_leaves_it_to_the_next_one(link: Link) -> None:
    for attempt in cancel_sweep():
        async with link.server_and_peer() as (ws, peer):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(peer.send, text("now"))
                message = await attempt.run(ws.receive())
                if attempt.cancelled:
                    message = await ws.receive()
                assert message == "now", attempt


async def test_cancelled_between_the_fragments_it_leaves_them_all_to_the_next_one(
    link: Link,
) -> None:
    async def send_slowly(peer: ScriptedPeer) -> None:
        for frame in (text("in ", fin=False), more("many ", fin=False), more("parts", fin=True)):
            await settle()
            await peer.send(frame)

    for attempt in cancel_sweep():
        async with link.client_and_peer() as (ws, peer):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(send_slowly, peer)
                message = await attempt.run(ws.receive())
                if attempt.cancelled:
                    message = await ws.receive()
                assert message == "in many parts", attempt


@virtual
@both_ways
@pytest.mark.parametrize("cut", [1, 3, 7])
async def test_a_thousand_cancellations_lose_and_reorder_nothing_however_the_bytes_are_cut(
    link: Link, native: bool, cut: int
) -> None:
    sent = [f"{number} zwölf" * (number % 5) for number in range(30 * cut)]

    async def send(peer: ScriptedPeer) -> None:
        for message in sent:
            middle = len(message) // 2
            await peer.send(
                text(message[:middle], fin=False), ping(), more(message[middle:], fin=True)
            )

    received: list[str | bytes] = []
    cancelled = 0
    async with link.server_and_peer() as (ws, peer):
        peer.cut, peer.delay = cut, 0.001
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(send, peer)
            while len(received) < len(sent):
                cancelled += 1
                # as bytes arrive, between two arrivals, and without having waited
                async with time_limit(0.0005 * (cancelled % 4), native=native):
                    received.append(await ws.receive())
                    cancelled -= 1
    assert received == sent
    assert cancelled > 1000


@both_ways
async def test_one_that_has_no_time_at_all_gets_what_is_there_or_nothing_and_costs_nothing(
    link: Link, native: bool
) -> None:
    """It need not look at once whether it is cancelled; what it takes it returns."""
    async with link.server_and_peer() as (ws, peer):
        await peer.send(*[text(str(number)) for number in range(100)])
        await settle()
        missed = 0
        for number in range(100):
            received: str | bytes | None = None
            async with time_limit(0, native=native):
                received = await ws.receive()
            if received is None:
                missed += 1
                received = await ws.receive()
            assert received == str(number)
        assert missed


class TestTheFragmentsOfAMessage:
    """Received one by one, with ``receive_fragments``."""

    async def test_are_not_lost_wherever_waiting_for_one_is_cancelled(self, link: Link) -> None:
        def frame(number: int) -> RawFrame:
            return (more if number else text)(str(number), fin=number == 4)

        for attempt in cancel_sweep():
            received: list[str | bytes | None] = []
            async with link.server_and_peer() as (ws, peer):
                async with ws.receive_fragments() as parts, anyio.create_task_group() as tasks:
                    await peer.send(frame(0), frame(1))
                    received.append(await anext(parts))
                    received.append(await anext(parts))
                    tasks.start_soon(peer.send, frame(2))
                    received.append(await attempt.run(anext(parts)))
                    if attempt.cancelled:
                        received.pop()
                        received.append(await anext(parts))
                    await settle()
                    await peer.send(frame(3), frame(4))
                    received += [part async for part in parts]
            assert received == ["0", "1", "2", "3", "4"], attempt


class TestASecondReceive:
    async def test_is_refused_and_does_not_disturb_the_first(self, link: Link) -> None:
        async with link.server_and_peer() as (ws, peer):
            received: list[str | bytes] = []

            async def receive() -> None:
                received.append(await ws.receive())

            async with anyio.create_task_group() as tasks:
                tasks.start_soon(receive)
                await settle()
                with pytest.raises(anyio.BusyResourceError):
                    await ws.receive()
                with pytest.raises(anyio.BusyResourceError):
                    ws.receive_nowait()
                with pytest.raises(anyio.BusyResourceError):
                    ws.attach_reader(lambda: None)
                await peer.send(text("for the first"))
            assert received == ["for the first"]
            await peer.send(text("free again"))
            assert await ws.receive() == "free again"

    @both_ways
    @virtual
    async def test_is_free_to_go_as_soon_as_the_first_was_cancelled(
        self, link: Link, native: bool
    ) -> None:
        async def give_up(ws: WebSocket) -> None:
            async with time_limit(1, native=native):
                await ws.receive()

        async with link.server_and_peer() as (ws, peer):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(give_up, ws)
            await peer.send(text("for the second"))
            assert await ws.receive() == "for the second"
