"""Everything that arrives, typed; and receiving on somebody else's behalf."""

from __future__ import annotations

import anyio
import pytest

from anyio_ws import ConnectionClosedError, ConnectionClosedOK, WebSocket
from anyio_ws.events import Binary, Closed, Event, Ping, Pong, Text
from anyio_ws.testing import cancel_sweep

from ..sansio.helpers import Raw, binary, close, more, ping, pong, text
from .helpers import connected, server_and_peer, settle

# -- events


async def test_events_come_typed_and_in_order_and_end_with_closed() -> None:
    async with server_and_peer() as (ws, peer):
        async with ws.events() as events:
            await peer.send(text("a"), ping(b"b"), binary(b"c"), pong(b"d"), close(1000, "bye"))
            assert [event async for event in events] == [
                Text("a"),
                Ping(b"b"),
                Binary(b"c"),
                Pong(b"d"),
                Closed(1000, "bye"),
            ]
            with pytest.raises(anyio.EndOfStream):
                await events.receive()


@pytest.mark.parametrize("end", ["eof", "violation"])
async def test_the_last_event_tells_of_an_abnormal_end(end: str) -> None:
    async with server_and_peer() as (ws, peer):
        async with ws.events() as events:
            await peer.send(text("a"))
            if end == "eof":
                await peer.aclose()
            else:
                await peer.send(Raw(0x3))
            assert [event async for event in events] == [Text("a"), Closed(1006, "")]


async def test_a_ping_inside_a_fragmented_message_comes_before_it() -> None:
    async with server_and_peer() as (ws, peer):
        async with ws.events() as events:
            await peer.send(text("one"), text("tw", fin=False), ping(b"!"), ping(b"?"))
            assert [await events.receive() for _ in range(3)] == [
                Text("one"),
                Ping(b"!"),
                Ping(b"?"),
            ]
            await peer.send(more("o", fin=True), text("three"))
            assert [await events.receive() for _ in range(2)] == [Text("two"), Text("three")]


async def test_cancelled_from_outside_it_is_cancelled_and_not_at_its_end() -> None:
    async def scenario(ws: WebSocket) -> None:
        async with ws.events() as events:
            with anyio.move_on_after(0.01):
                await events.receive()

    for attempt in cancel_sweep():
        async with server_and_peer() as (ws, _):
            await attempt.run(scenario(ws))


async def test_pings_are_answered_and_awaited_pongs_are_noticed_all_the_same() -> None:
    async with connected() as (client, server):
        async with client.events() as events:
            assert await server.ping(b"1") > 0
            assert await client.ping(b"2") > 0
            assert [await events.receive() for _ in range(2)] == [Ping(b"1"), Pong(b"2")]


async def test_receiving_is_taken_over_while_the_block_lasts() -> None:
    async with server_and_peer() as (ws, _):
        async with ws.events():
            with pytest.raises(anyio.BusyResourceError):
                await ws.receive()
            with pytest.raises(anyio.BusyResourceError):
                async with ws.events():
                    pass
        with pytest.raises(anyio.WouldBlock):
            ws.receive_nowait()


async def test_messages_that_were_not_taken_are_left_and_none_comes_twice() -> None:
    async with server_and_peer() as (ws, peer):
        await peer.send(text("1"), ping(), text("2"), ping(), text("3"))
        await settle()
        async with ws.events() as events:
            assert await events.receive() == Text("1")
        assert await ws.receive() == "2"
        assert await ws.receive() == "3"
        with pytest.raises(anyio.WouldBlock):
            ws.receive_nowait()


async def test_events_wait_until_they_are_taken_and_reading_pauses() -> None:
    async with server_and_peer(max_queue=2) as (ws, peer):
        async with ws.events() as events:
            for number in range(50):
                await peer.send(text(str(number)), ping())
            await settle()
            received: list[Event] = [await events.receive() for _ in range(99)]
        texts = [event.data for event in received if isinstance(event, Text)]
        assert texts == [str(number) for number in range(50)]


async def test_closing_the_stream_of_events_early_is_no_error() -> None:
    async with server_and_peer() as (ws, peer):
        await peer.send(text("1"), text("2"), text("3"))
        async with ws.events() as events, events:
            assert await events.receive() == Text("1")
        assert await ws.receive() == "2"
        async with ws.events() as events:
            await events.aclose()
            await settle()
        assert await ws.receive() == "3"


async def test_a_cancelled_block_gives_receiving_back() -> None:
    async with server_and_peer() as (ws, peer):
        with anyio.CancelScope() as scope:
            async with ws.events() as events:
                scope.cancel()
                await events.receive()
        assert scope.cancelled_caught
        await peer.send(ping(), text("still here"))
        assert await ws.receive() == "still here"


async def test_what_the_block_raises_comes_out_as_it_is_also_when_cancelled() -> None:
    error = ValueError("of the block")
    async with server_and_peer() as (ws, _):
        with pytest.raises(ValueError, match="of the block") as caught:  # noqa: PT012  # a block
            with anyio.CancelScope() as scope:
                async with ws.events():
                    scope.cancel()
                    raise error
        assert caught.value is error
        with pytest.raises(anyio.WouldBlock):
            ws.receive_nowait()


async def test_closing_the_connection_while_an_event_waits_ends_the_events() -> None:
    async with connected() as (client, server):
        await server.send("1")
        await server.send("2")
        await settle()
        async with client.events() as events:
            await settle()
            await client.aclose(4000, "enough")
            received = [event async for event in events]
        assert received[-1] == Closed(4000, "enough")
        assert Text("2") not in received, "what is not received is dropped"


# -- attach_reader


async def test_a_reader_is_notified_and_takes_without_waiting() -> None:
    notified: list[bool] = []
    async with server_and_peer() as (ws, peer):
        reader = ws.attach_reader(lambda: notified.append(reader.ready))
        assert (reader.ready, reader.available, reader.closed_exc) == (False, 0, None)
        with pytest.raises(anyio.WouldBlock):
            reader.receive_nowait()
        await peer.send(text("1"), text("2"))
        await settle()
        assert notified[-1] is True
        assert (reader.ready, reader.available) == (True, 2)
        assert [reader.receive_nowait(), reader.receive_nowait()] == ["1", "2"]
        assert reader.ready is False
        with pytest.raises(anyio.BusyResourceError):
            await ws.receive()
        with pytest.raises(anyio.BusyResourceError):
            ws.attach_reader(lambda: None)
        count = len(notified)
        await peer.send(close(1000))
        await settle()
        assert len(notified) > count
        assert reader.ready is True
        assert isinstance(reader.closed_exc, ConnectionClosedOK)
        with pytest.raises(ConnectionClosedOK):
            reader.receive_nowait()


async def test_a_detached_reader_leaves_what_it_did_not_take() -> None:
    notified: list[None] = []
    async with server_and_peer() as (ws, peer):
        reader = ws.attach_reader(lambda: notified.append(None))
        await peer.send(text("1"), text("2"))
        await settle()
        assert reader.receive_nowait() == "1"
        reader.detach()
        reader.detach()  # does nothing
        notified.clear()
        await peer.send(text("3"))
        assert [await ws.receive(), await ws.receive()] == ["2", "3"]
        assert not notified


async def test_a_reader_is_told_of_a_violation_after_it_has_taken_what_came_before() -> None:
    async with server_and_peer() as (ws, peer):
        reader = ws.attach_reader(lambda: None)
        await peer.send(text("1"), Raw(0x3))
        await settle()
        assert (reader.available, reader.closed_exc) == (1, None)
        assert reader.receive_nowait() == "1"
        assert reader.ready is True
        with pytest.raises(ConnectionClosedError, match="1002"):
            reader.receive_nowait()
        assert isinstance(reader.closed_exc, ConnectionClosedError)


async def test_reading_goes_on_after_a_flood_of_pings_that_filled_the_events() -> None:
    async with server_and_peer(max_queue=10) as (ws, peer):
        async with ws.events():
            for number in range(30):
                await peer.send(ping(b"%d" % number))
            await settle()
            await peer.send(text("hello"))
        with anyio.fail_after(5):
            assert await ws.receive() == "hello"


async def test_a_reader_that_is_detached_again_does_not_deafen_the_next_one() -> None:
    async with server_and_peer() as (ws, peer):
        first = ws.attach_reader(lambda: None)
        first.detach()
        heard: list[str] = []
        second = ws.attach_reader(lambda: heard.append("something"))
        first.detach()
        with pytest.raises(anyio.ClosedResourceError):
            first.receive_nowait()
        await peer.send(text("hello"))
        await settle()
        assert heard
        assert second.receive_nowait() == "hello"
