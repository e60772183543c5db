"""A connection's life as events: `anyio_ws.websocket_events`."""

# ruff: noqa: PT012  # blocks are the subject

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import anyio
import pytest
from anyio.abc import SocketAttribute

from anyio_ws import (
    ConnectError,
    ConnectionClosedError,
    ConnectionClosedOK,
    InvalidMessage,
    InvalidStatus,
    InvalidURI,
    ProtocolError,
    State,
    WebSocket,
    WebSocketEvents,
    open_server,
    websocket_events,
)
from anyio_ws.events import (
    BackOff,
    Binary,
    Closed,
    Closing,
    Connected,
    ConnectFail,
    Connecting,
    Disconnected,
    Fragment,
    LifecycleEvent,
    Ping,
    Poll,
    Pong,
    Ready,
    Rejected,
    Text,
)
from anyio_ws.testing import cancel_sweep

from ..websocket import helpers
from ..websocket.helpers import settle
from .doors import AT_ONCE, EXACT, STAY, Accept, Door, Reject

virtual = pytest.mark.usefixtures("virtual_time")


def names(events: list[LifecycleEvent]) -> list[str]:
    return [type(event).__name__ for event in events]


async def all_of(events: WebSocketEvents) -> list[LifecycleEvent]:
    with anyio.fail_after(10):
        return [event async for event in events]


async def until(kind: type[LifecycleEvent], events: WebSocketEvents) -> list[LifecycleEvent]:
    found: list[LifecycleEvent] = []
    while not found or not isinstance(found[-1], kind):
        found.append(await events.receive())
    return found


class TestOneConnection:
    async def test_is_told_from_connecting_to_its_end(self) -> None:
        async def handler(ws: WebSocket) -> None:
            await ws.receive()
            for send in (
                ws.send("text"),
                ws.send(b"binary"),
                ws.send_ping(b"ping"),
                ws.send_pong(b"pong"),
            ):
                await send
                await ws.flush()  # or else a ping may pass a message
            await ws.aclose(4000, "that is all")

        async with open_server(handler, "127.0.0.1", 0, subprotocols=["chat"]) as server:
            async with websocket_events(server.url, subprotocols=["chat"]) as events:
                found = await until(Ready, events)
                ws = events.websocket
                await ws.send("go")
                found += await all_of(events)
        ready, end = found[2], found[-1]
        assert isinstance(ready, Ready)
        assert isinstance(end, Disconnected)
        assert found == [
            Connecting(server.url),
            Connected(server.url),
            Ready(ws.response, "chat", ws.extensions),
            Text("text"),
            Binary(b"binary"),
            Ping(b"ping"),
            Pong(b"pong"),
            Closing(4000, "that is all"),
            Closed(4000, "that is all"),
            Disconnected(True, end.error),
        ]
        assert ready.response.status_code == 101
        assert ready.extensions
        assert isinstance(end.error, ConnectionClosedError)

    async def test_that_cannot_be_opened_fails_to_connect(self) -> None:
        async with Door(STAY).open() as server:
            pass
        async with websocket_events(server.url) as events:
            connecting, failed = await all_of(events)
        assert connecting == Connecting(server.url)
        assert isinstance(failed, ConnectFail)
        assert isinstance(failed.error, ConnectError)

    @virtual
    async def test_that_takes_too_long_to_open_fails_to_connect(self) -> None:
        async with await anyio.create_tcp_listener(local_host="127.0.0.1") as listener:
            port = listener.extra(SocketAttribute.local_port)
            url = f"ws://127.0.0.1:{port}/"
            async with websocket_events(url, open_timeout=3) as events:
                _, failed = await all_of(events)
        assert isinstance(failed, ConnectFail)
        assert isinstance(failed.error, TimeoutError)

    async def test_that_is_rejected_tells_the_response(self) -> None:
        async with Door(Reject(401, {"X-Why": "because"})).open() as server:
            async with websocket_events(server.url) as events:
                found = await all_of(events)
        assert names(found) == ["Connecting", "Connected", "Rejected", "Disconnected"]
        rejected, end = found[2:]
        assert isinstance(rejected, Rejected)
        assert isinstance(rejected.error, InvalidStatus)
        assert rejected.response is rejected.error.response
        assert rejected.error.response.headers["X-Why"] == "because"
        assert end == Disconnected(False, rejected.error)

    async def test_whose_answer_is_no_response_is_rejected_too(self) -> None:
        async def answer(stream: anyio.abc.SocketStream) -> None:
            async with stream:
                await stream.receive()
                await stream.send(b"SSH-2.0\r\n\r\n")

        found: list[LifecycleEvent] = []
        async with await anyio.create_tcp_listener(local_host="127.0.0.1") as listener:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(listener.serve, answer)
                port = listener.extra(SocketAttribute.local_port)
                async with websocket_events(f"ws://127.0.0.1:{port}/") as events:
                    found += await all_of(events)
                tasks.cancel_scope.cancel()
        assert names(found) == ["Connecting", "Connected", "Rejected", "Disconnected"]
        rejected = found[2]
        assert isinstance(rejected, Rejected)
        assert isinstance(rejected.error, InvalidMessage)
        assert rejected.response is None

    async def test_that_breaks_is_not_closed_but_disconnected(self) -> None:
        async with Door(Accept(None)).open() as server:
            async with websocket_events(server.url) as events:
                found = await all_of(events)
        assert names(found) == ["Connecting", "Connected", "Ready", "Text", "Disconnected"]
        end = found[-1]
        assert isinstance(end, Disconnected)
        assert not end.graceful
        assert isinstance(end.error, ConnectionClosedError)

    async def test_that_you_close_is_not_closing_but_closed(self) -> None:
        async with Door(STAY).open() as server:
            async with websocket_events(server.url) as events:
                await until(Text, events)
                await events.websocket.aclose(1000, "enough")
                closed, end = await all_of(events)
        assert isinstance(closed, Closed)
        assert isinstance(end, Disconnected)
        assert end.graceful
        assert isinstance(end.error, ConnectionClosedOK)

    async def test_sends_through_its_websocket_and_receives_here_only(self) -> None:
        async def echo(ws: WebSocket) -> None:
            async for message in ws:
                await ws.send(message)

        async with open_server(echo, "127.0.0.1", 0) as server:
            async with websocket_events(server.url) as events:
                with pytest.raises(ProtocolError, match="no connection yet"):
                    _ = events.websocket
                await until(Ready, events)
                await events.websocket.send("hello")
                with pytest.raises(anyio.BusyResourceError):
                    await events.websocket.receive()
                assert await events.receive() == Text("hello")

    @virtual
    async def test_is_polled_while_it_is_open(self) -> None:
        times: list[float] = []
        begin = anyio.current_time()
        async with Door(Accept(1000, after=14)).open() as server:
            async with websocket_events(server.url, poll=3) as events:
                found = []
                async for event in events:
                    found.append(event)
                    if isinstance(event, Poll):
                        times.append(anyio.current_time() - begin)
        assert times == pytest.approx([3, 6, 9, 12])
        assert names(found[-3:]) == ["Closing", "Closed", "Disconnected"]

    @virtual
    @pytest.mark.parametrize("poll", [None, 0])
    async def test_is_not_polled_where_nobody_wants_it(self, poll: float | None) -> None:
        async with Door(Accept(1000, after=15)).open() as server:
            async with websocket_events(server.url, poll=poll) as events:
                assert "Poll" not in names([event async for event in events])

    async def test_gives_fragments_where_they_are_asked_for(self) -> None:
        async def handler(ws: WebSocket) -> None:
            await ws.send(["one ", "two"])

        async with open_server(handler, "127.0.0.1", 0) as server:
            async with websocket_events(server.url, fragments=True) as events:
                told = await all_of(events)
        fragments = [event for event in told if isinstance(event, Fragment)]
        assert "".join(str(fragment.data) for fragment in fragments) == "one two"
        assert [fragment.final for fragment in fragments] == [False, False, True]
        assert "Text" not in names(told)

    @virtual
    async def test_that_is_not_consumed_stops_reading_and_is_alive(self) -> None:
        sent = 0

        async def chatter(ws: WebSocket) -> None:
            nonlocal sent
            while True:
                await ws.send(bytes(2**16), compress=False)
                sent += 1

        async with open_server(chatter, "127.0.0.1", 0, ping_interval=None) as server:
            async with websocket_events(server.url) as events:
                await until(Ready, events)
                await anyio.sleep(3600)
                before = sent
                await anyio.sleep(3600)
                assert sent == before < 1000
                assert events.websocket.state is State.OPEN
                for _ in range(before):
                    assert isinstance(await events.receive(), Binary | Poll)
                assert sent > before


class TestConnectingAgain:
    @virtual
    async def test_tells_each_back_off(self) -> None:
        door = Door(Reject(503), Accept(1012), Accept(None, after=15), STAY)
        async with door.open() as server:
            async with websocket_events(server.url, poll=None, reconnect=EXACT) as events:
                found = await until(BackOff, events)
                assert names(found[-2:]) == ["Disconnected", "BackOff"]
                assert found[-1] == BackOff(1)
                found = await until(BackOff, events)
                assert names(found) == [
                    *("Connecting", "Connected", "Ready", "Text", "Closing", "Closed"),
                    *("Disconnected", "BackOff"),
                ]
                assert found[-1] == BackOff(2)
                first = events.websocket
                found = await until(BackOff, events)
                assert found[-1] == BackOff(1)  # after a healthy connection
                assert events.websocket is not first
                with pytest.raises(ConnectionClosedError):
                    await events.websocket.send("too late")
                assert (await until(Text, events))[-1] == Text("number 4")
                await events.websocket.send("hello")
        assert door.pauses() == [1, 2, 16]

    @virtual
    async def test_ends_when_the_policy_gives_up(self) -> None:
        async with Door(Accept(1012), Reject(503), Reject(403)).open() as server:
            async with websocket_events(server.url, reconnect=EXACT) as events:
                found = [event async for event in events]
        assert names(found)[-4:] == ["Connecting", "Connected", "Rejected", "Disconnected"]
        assert [event.delay for event in found if isinstance(event, BackOff)] == [1, 2]

    async def test_shows_no_credentials(self, caplog: pytest.LogCaptureFixture) -> None:
        caplog.set_level(logging.INFO)
        async with Door(Reject(503), STAY).open() as server:
            url = server.url.replace("ws://", "ws://ada:secret@")
            async with websocket_events(url, reconnect=AT_ONCE) as events:
                found = await until(Text, events)
        assert found[0] == Connecting(server.url)
        assert "secret" not in repr(found[:5])
        assert "secret" not in caplog.text
        assert f"connecting to {server.url} again" in caplog.text


class TestTheBlock:
    @staticmethod
    @asynccontextmanager
    async def opened(door: Door, **options: Any) -> AsyncIterator[tuple[Any, str]]:
        async with door.open() as server:
            yield websocket_events(server.url, **options), server.url

    async def test_closes_the_connection_when_it_is_left(self) -> None:
        door = Door(STAY)
        async with self.opened(door) as (context, _):
            async with context as events:
                await until(Ready, events)
            with pytest.raises(anyio.ClosedResourceError):
                await events.receive()
        assert door.codes == [1000]

    async def test_raises_what_its_body_raises_and_closes_with_1011(self) -> None:
        for error in (ValueError("mine"), ExceptionGroup("mine", [ValueError(), KeyError()])):
            door = Door(STAY)
            async with self.opened(door) as (context, _):
                with pytest.raises(Exception) as caught:  # noqa: PT011  # by identity
                    async with context as events:
                        await until(Ready, events)
                        raise error
                assert caught.value is error
                assert error.__context__ is None
            assert door.codes == [1011]

    async def test_sends_1001_when_it_is_cancelled(self) -> None:
        door = Door(STAY)
        async with self.opened(door) as (context, _):
            with anyio.CancelScope() as scope:
                async with context as events:
                    await until(Ready, events)
                    scope.cancel()
                    await anyio.sleep_forever()
            assert scope.cancelled_caught
            with anyio.fail_after(10):
                while not door.codes:
                    await settle()
        # A stream can't be written to without waiting.
        assert door.codes == [1001 if helpers.over_sockets else 1006]

    async def test_ends_whatever_is_going_on(self) -> None:
        door = Door(Reject(503))
        never = replace(EXACT, initial=1e6, cap=1e6)
        for kind in (Connecting, Connected, Rejected, Disconnected, BackOff):
            async with self.opened(door, reconnect=never) as (context, _):
                with anyio.fail_after(10):
                    async with context as events:
                        await until(kind, events)

    async def test_goes_on_when_its_stream_is_closed_early(self) -> None:
        door = Door(Accept(1001), Accept(1000, after=1e9))
        async with self.opened(door, reconnect=AT_ONCE) as (context, _):
            async with context as events:
                await until(BackOff, events)
                await events.aclose()
                with pytest.raises(anyio.ClosedResourceError):
                    await events.receive()
                await settle()

    async def test_closes_normally_a_connection_that_comes_after_its_stream_was_closed(
        self,
    ) -> None:
        door = Door(STAY)
        async with self.opened(door) as (context, _):
            async with context as events:
                assert isinstance(await events.receive(), Connecting)
                await events.aclose()
                with anyio.fail_after(10):
                    while not door.codes:
                        await settle()
        assert door.codes == [1000]

    async def test_raises_what_a_policy_raises(self) -> None:
        error = LookupError("a bug")

        def fail(failure: object) -> float:
            raise error

        async with self.opened(Door(Accept(1012)), reconnect=fail) as (context, _):
            with pytest.raises(LookupError) as caught:
                async with context as events:
                    async for _event in events:
                        pass
                    await anyio.sleep_forever()
        assert caught.value is error

    async def test_can_be_entered_once(self) -> None:
        async with self.opened(Door(STAY)) as (context, _):
            async with context:
                with pytest.raises(RuntimeError, match="only once"):
                    await context.__aenter__()

    async def test_wherever_it_is_cancelled_it_leaves_nothing(self) -> None:
        async def scenario(url: str) -> list[str]:
            async with websocket_events(url, reconnect=AT_ONCE) as events:
                found = [await events.receive() for _ in range(12)]
            return names(found)

        for attempt in cancel_sweep():
            door = Door(Reject(503), Accept(1012), STAY)
            async with door.open() as server:
                found = await attempt.run(scenario(server.url))
                assert attempt.cancelled or found is not None, attempt
                with anyio.fail_after(10):
                    while server.connections:
                        await settle()


def test_what_is_wrong_is_raised_before_anything_is_dialled() -> None:
    with pytest.raises(InvalidURI):
        websocket_events("http://127.0.0.1/")
    with pytest.raises(TypeError, match="did you mean 'origin'"):
        websocket_events("ws://127.0.0.1/", orign="x")  # type: ignore[call-arg]
    with pytest.raises(TypeError, match="policy must be"):
        websocket_events("ws://127.0.0.1/", reconnect=5)  # type: ignore[arg-type]
    for poll in (-1, float("nan")):
        with pytest.raises(ValueError, match="poll must be"):
            websocket_events("ws://127.0.0.1/", poll=poll)
