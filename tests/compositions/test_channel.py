"""Topics: `anyio_ws.Channel`, and brokers."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import anyio
import pytest
from anyio.lowlevel import checkpoint

from anyio_ws import Broker, Channel, ChannelStatistics, Deliver, MemoryBroker, State, WebSocket
from anyio_ws.testing import cancel_sweep

from ..websocket.helpers import connected, server_and_peer, settle

PATIENCE = 10


@asynccontextmanager
async def clients(number: int) -> AsyncIterator[list[tuple[WebSocket, WebSocket]]]:
    """Connections: the client's end, and the server's, which subscribes."""
    async with AsyncExitStack() as stack:
        yield [await stack.enter_async_context(connected()) for _ in range(number)]


async def received(ws: WebSocket) -> list[str | bytes]:
    """What has arrived."""
    await settle()
    messages: list[str | bytes] = []
    try:
        while True:
            messages.append(ws.receive_nowait())
    except anyio.WouldBlock:
        return messages


class SlowBroker(Broker):
    """One as over a network: everything takes a while, and messages come from a task of its own."""

    def __init__(self) -> None:
        self.memory = MemoryBroker()
        self.subscriptions = 0
        self.kept: list[str] = []
        self.fails = False

    async def __aenter__(self) -> SlowBroker:
        self._send, self._receive = anyio.create_memory_object_stream[Any](100)
        self._tasks = anyio.create_task_group()
        await self._tasks.__aenter__()
        self._tasks.start_soon(self._run)
        return self

    async def __aexit__(self, *exc: Any) -> None:
        self._send.close()
        await self._tasks.__aexit__(*exc)

    async def _run(self) -> None:
        async with self._receive:
            async for arguments in self._receive:
                await settle()
                await self.memory.publish(*arguments)

    async def publish(self, topic: str, message: str | bytes, key: str | None) -> None:
        await self._send.send((topic, message, key))

    async def subscribe(self, topic: str, deliver: Deliver) -> None:
        await settle()
        if self.fails:
            raise OSError("the network is down")
        for message in self.kept:
            deliver(message, None)
        await self.memory.subscribe(topic, deliver)
        self.subscriptions += 1

    def unsubscribe(self, topic: str, deliver: Deliver) -> None:
        self.memory.unsubscribe(topic, deliver)
        self.subscriptions -= 1


class TestSubscribers:
    async def test_are_sent_what_is_published_while_they_are(self) -> None:
        channel = Channel()
        async with clients(2) as [(one, one_ws), (two, two_ws)]:
            await channel.publish("to nobody")
            async with channel.subscribe(one_ws):
                await channel.publish("to one")
                async with channel.subscribe(two_ws):
                    await channel.publish(b"to both")
                await channel.publish("to one again")
            await channel.publish("to nobody again")
            assert await received(one) == ["to one", b"to both", "to one again"]
            assert await received(two) == [b"to both"]

    async def test_may_have_several_channels(self) -> None:
        news, sports = Channel("news"), Channel("sports")
        async with clients(2) as [(one, one_ws), (two, two_ws)]:
            async with news.subscribe(one_ws), sports.subscribe(one_ws), sports.subscribe(two_ws):
                await news.publish("n")
                await sports.publish("s")
            assert await received(one) == ["n", "s"]
            assert await received(two) == ["s"]

    async def test_are_subscribed_once(self) -> None:
        channel = Channel("news")
        async with clients(1) as [(client, ws)]:
            async with channel.subscribe(ws):
                with pytest.raises(
                    ValueError, match="subscribed to <Channel 'news' subscribers=1>"
                ):
                    async with channel.subscribe(ws, overflow="drop"):
                        raise AssertionError
                await channel.publish("once")
            async with channel.subscribe(ws):
                await channel.publish("and again")
            assert await received(client) == ["once", "and again"]

    async def test_leave_also_when_their_block_raises(self) -> None:
        channel = Channel()
        async with clients(1) as [(_, ws)]:
            with pytest.raises(RuntimeError, match="mine"):
                async with channel.subscribe(ws):
                    raise RuntimeError("mine")
            assert channel.statistics().subscribers == 0

    async def test_that_have_gone_do_not_disturb(self) -> None:
        channel = Channel()
        async with clients(2) as [(one, one_ws), (two, two_ws)]:
            async with channel.subscribe(one_ws), channel.subscribe(two_ws):
                await one.aclose()
                await one_ws.wait_closed()
                await channel.publish("hello")
                assert await received(two) == ["hello"]
                assert channel.statistics().sent == 1

    async def test_have_a_policy_each(self) -> None:
        channel = Channel()
        async with AsyncExitStack() as stack:
            ends = [
                await stack.enter_async_context(server_and_peer(buffer=1000, write_limit=0))
                for _ in range(4)
            ]
            strict, lossy, newest, latest = (ws for ws, _ in ends)
            for ws, _ in ends:
                ws.send_nowait("x" * 5000)  # no room for another
            async with (
                channel.subscribe(strict, max_buffered=0),
                channel.subscribe(lossy, overflow="drop", max_buffered=0),
                channel.subscribe(newest, overflow="drop_oldest", max_buffered=0),
                channel.subscribe(latest, overflow="coalesce"),
            ):
                for number in range(5):
                    await channel.publish(str(number), key="k")
                assert channel.statistics() == ChannelStatistics(
                    subscribers=4, messages=5, sent=10, dropped=9, disconnected=1
                )
                for _, peer in ends[2:]:
                    await peer.receive()
                    assert (await peer.receive()).payload == b"4"
            assert strict.state is not State.OPEN
            assert lossy.state is State.OPEN

    async def test_keep_keys_of_different_channels_apart(self) -> None:
        one, two = Channel(), Channel()
        async with server_and_peer(buffer=1000, write_limit=0) as (ws, peer):
            ws.send_nowait("x" * 5000)
            async with (
                one.subscribe(ws, overflow="coalesce"),
                two.subscribe(ws, overflow="coalesce"),
            ):
                for number in range(3):
                    await one.publish(f"one {number}", key="k")
                    await two.publish(f"two {number}", key="k")
            got = [(await peer.receive()).payload for _ in range(3)]
            assert got[1:] == [b"one 2", b"two 2"]

    async def test_must_have_a_policy_that_there_is(self) -> None:
        wrong: Any = "block"
        async with clients(1) as [(_, ws)]:
            with pytest.raises(ValueError, match="not 'block'"):
                Channel().subscribe(ws, overflow=wrong)


class TestNewcomers:
    async def test_are_sent_the_last_messages(self) -> None:
        channel = Channel(keep_last=2)
        async with clients(2) as [(one, one_ws), (two, two_ws)]:
            for number in range(4):
                await channel.publish(str(number))
            async with channel.subscribe(one_ws), channel.subscribe(two_ws, replay=False):
                await channel.publish("4")
            assert await received(one) == ["2", "3", "4"]
            assert await received(two) == ["4"]

    async def test_are_sent_the_newest_of_each_key(self) -> None:
        channel = Channel(keep_last=10)
        async with clients(1) as [(client, ws)]:
            for number in range(3):
                await channel.publish(f"bid {number}", key="bid")
                await channel.publish(f"ask {number}", key="ask")
            async with channel.subscribe(ws):
                assert await received(client) == ["bid 2", "ask 2"]

    async def test_are_sent_nothing_by_default(self) -> None:
        channel = Channel()
        async with clients(1) as [(client, ws)]:
            await channel.publish("before")
            async with channel.subscribe(ws):
                assert await received(client) == []

    async def test_are_sent_nothing_of_before_it_was_closed(self) -> None:
        broker = MemoryBroker()
        channel = Channel(keep_last=2, broker=broker)
        async with clients(1) as [(client, ws)]:
            await channel.publish("before")
            channel.close()
            async with channel.subscribe(ws):
                assert await received(client) == []
                await channel.publish("after")
                channel.close()
                await channel.publish("still")
                assert await received(client) == ["after", "still"]

    async def test_miss_nothing_and_get_nothing_twice(self) -> None:
        channel = Channel(keep_last=1)

        async def publish() -> None:
            for number in range(100):
                await channel.publish(str(number))

        async with clients(1) as [(client, ws)], anyio.create_task_group() as tasks:
            tasks.start_soon(publish)
            for _ in range(10):
                await checkpoint()
            async with channel.subscribe(ws):
                await settle()
                await settle()
                numbers = [int(message) for message in await received(client)]
                assert 1 <= numbers[0] < 90
                assert numbers == list(range(numbers[0], 100))

    async def test_keep_last_is_not_negative(self) -> None:
        with pytest.raises(ValueError, match="can't be -1"):
            Channel(keep_last=-1)


class TestPublishing:
    async def test_takes_what_is_a_message(self) -> None:
        channel = Channel()
        wrong: Any = ["a"]
        async with clients(1) as [(client, ws)], channel.subscribe(ws):
            await channel.publish(bytearray(b"array"))
            with pytest.raises(TypeError):
                await channel.publish(wrong)
            assert await received(client) == [b"array"]

    async def test_cancelled_has_sent_it_to_all_or_to_nobody(self) -> None:
        channel = Channel()
        async with clients(2) as [(one, one_ws), (two, two_ws)]:
            async with channel.subscribe(one_ws), channel.subscribe(two_ws):
                for attempt in cancel_sweep():
                    await attempt.run(channel.publish("swept"))
                    expected = [] if attempt.cancelled else ["swept"]
                    assert await received(one) == expected
                    assert await received(two) == expected

    async def test_yields_to_others(self) -> None:
        channel = Channel()
        turns = 0

        async def count() -> None:
            nonlocal turns
            while True:
                await checkpoint()
                turns += 1

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(count)
            for _ in range(100):
                await channel.publish("hello")
            tasks.cancel_scope.cancel()
        assert turns > 50


class TestBrokers:
    async def test_connect_channels_of_the_same_topic(self) -> None:
        broker = MemoryBroker()
        here, there, other = (Channel(topic, broker=broker) for topic in ("news", "news", "sports"))
        async with clients(3) as [(one, one_ws), (two, two_ws), (three, three_ws)]:
            async with here.subscribe(one_ws), there.subscribe(two_ws), other.subscribe(three_ws):
                await here.publish("hello")
            assert await received(one) == await received(two) == ["hello"]
            assert await received(three) == []
            await there.publish("nobody listens")

    async def test_may_be_slow(self) -> None:
        async with SlowBroker() as broker, clients(2) as [(one, one_ws), (two, two_ws)]:
            channel = Channel("news", broker=broker)
            async with channel.subscribe(one_ws), channel.subscribe(two_ws):
                for number in range(5):
                    await channel.publish(str(number))
                with anyio.fail_after(PATIENCE):
                    got = [await one.receive() for _ in range(5)]
                assert got == await received(two) == ["0", "1", "2", "3", "4"]
            assert broker.subscriptions == 0

    async def test_are_subscribed_to_once_for_all(self) -> None:
        async with SlowBroker() as broker, clients(3) as ends:
            channel = Channel("news", broker=broker)
            leave = anyio.Event()

            async def stay(ws: WebSocket) -> None:
                async with channel.subscribe(ws):
                    await leave.wait()

            async with anyio.create_task_group() as tasks:
                for _, ws in ends:
                    tasks.start_soon(stay, ws)
                while channel.statistics().subscribers < 3:
                    await settle()
                assert broker.subscriptions == 1
                await channel.publish("once")
                assert [await client.receive() for client, _ in ends] == ["once"] * 3
                leave.set()
            assert broker.subscriptions == 0

    async def test_may_bring_what_they_keep(self) -> None:
        async with SlowBroker() as broker, clients(1) as [(client, ws)]:
            broker.kept = ["from before"]
            channel = Channel("news", broker=broker, keep_last=5)
            async with channel.subscribe(ws):
                assert await received(client) == ["from before"]
            channel.close()
            assert broker.subscriptions == 0

    async def test_that_fail_leave_nobody_subscribed(self) -> None:
        async with SlowBroker() as broker, clients(1) as [(_, ws)]:
            channel = Channel("news", broker=broker)
            broker.fails = True
            with pytest.raises(OSError, match="network"):
                async with channel.subscribe(ws):
                    raise AssertionError
            assert channel.statistics().subscribers == 0
            broker.fails = False
            async with channel.subscribe(ws):
                assert broker.subscriptions == 1

    async def test_whose_subscribing_is_cancelled_leave_nobody_subscribed(self) -> None:
        async with SlowBroker() as broker, clients(1) as [(_, ws)]:
            channel = Channel("news", broker=broker)

            async def subscribe() -> None:
                async with channel.subscribe(ws):
                    pass

            for attempt in cancel_sweep():
                await attempt.run(subscribe())
                assert channel.statistics().subscribers == 0
                assert broker.subscriptions == 0


def test_a_channel_serves_one_event_loop_after_another() -> None:
    channel = Channel(keep_last=1)

    async def main() -> None:
        async with clients(1) as [(client, ws)], channel.subscribe(ws, replay=False):
            await channel.publish("hello")
            assert await received(client) == ["hello"]

    for backend in ("asyncio", "trio", "asyncio"):
        anyio.run(main, backend=backend)
