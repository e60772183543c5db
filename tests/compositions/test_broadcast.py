"""One message to many connections: `anyio_ws.broadcast` and `broadcast_and_wait`."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, Literal, Unpack

import anyio
import pytest

from anyio_ws import (
    BroadcastResult,
    Close,
    ConnectionClosed,
    ConnectionClosedError,
    Delivery,
    Overflow,
    PreparedMessage,
    State,
    WebSocket,
    broadcast,
    broadcast_and_wait,
)
from anyio_ws.backlog import OVERHEAD
from anyio_ws.options import ServerOptions
from anyio_ws.sansio import Extension, Frame, Opcode, ServerExtensionFactory
from anyio_ws.testing import RawFrame, ScriptedPeer, cancel_sweep

from ..websocket.helpers import client_and_peer, connected, server_and_peer, settle

PATIENCE = 10
TIGHT = 2000
"""Bytes that a connection with little room holds on its way."""

overflows = pytest.mark.parametrize("overflow", ["disconnect", "drop", "drop_oldest", "coalesce"])

Members = list[tuple[WebSocket, ScriptedPeer]]


@asynccontextmanager
async def audience(number: int, **options: Unpack[ServerOptions]) -> AsyncIterator[Members]:
    async with AsyncExitStack() as stack:
        yield [await stack.enter_async_context(server_and_peer(**options)) for _ in range(number)]


@asynccontextmanager
async def stalled(
    **options: Unpack[ServerOptions],
) -> AsyncIterator[tuple[WebSocket, ScriptedPeer]]:
    """A connection with no room, whose peer reads when it is told to: first what `filling` is."""
    options["write_limit"] = 0
    async with server_and_peer(buffer=TIGHT, **options) as (ws, peer):
        while True:
            try:
                ws.send_nowait("filling " * 100)
            except anyio.WouldBlock:
                break
            await settle()
        yield ws, peer


def sockets(members: Members) -> list[WebSocket]:
    return [ws for ws, _ in members]


async def next_message(peer: ScriptedPeer) -> str:
    """The next text that isn't what a stalled connection was filled with."""
    with anyio.fail_after(PATIENCE):
        while (frame := await peer.receive()).payload.startswith(b"filling"):
            pass
    assert frame.opcode == Opcode.TEXT, frame
    return frame.payload.decode()


async def rest(peer: ScriptedPeer) -> tuple[list[str], Close]:
    """The messages that come before the Close frame, and that."""
    messages: list[str] = []
    with anyio.fail_after(PATIENCE):
        while (frame := await peer.receive()).opcode != Opcode.CLOSE:
            if not frame.payload.startswith(b"filling"):
                messages.append(frame.payload.decode())
    return messages, Close.parse(frame.payload)


class TestEverybody:
    @pytest.mark.parametrize(
        ("message", "opcode"),
        [("text", 1), (b"bytes", 2), (bytearray(b"array"), 2), (memoryview(b"view"), 2), ("", 1)],
    )
    async def test_is_sent_it(self, message: Any, opcode: int) -> None:
        async with audience(3) as members:
            result = broadcast(sockets(members), message)
            assert result == BroadcastResult(sent=3)
            assert result.complete
            payload = message.encode() if isinstance(message, str) else bytes(message)
            for _, peer in members:
                assert await peer.receive() == RawFrame(opcode, payload)

    async def test_is_sent_it_before_anything_is_awaited(self) -> None:
        async with audience(2) as members:
            broadcast(sockets(members), "now")
            assert [ws.statistics().messages_sent for ws in sockets(members)] == [1, 1]

    async def test_may_be_nobody(self) -> None:
        assert broadcast([], "hello") == BroadcastResult()

    async def test_may_be_given_by_a_generator(self) -> None:
        async with audience(2) as members:
            assert broadcast((ws for ws, _ in members), "hello").sent == 2

    async def test_may_be_clients(self) -> None:
        async with client_and_peer() as one, client_and_peer() as two:
            assert broadcast([one[0], two[0]], "masked").sent == 2
            for _, peer in (one, two):
                assert (await peer.receive()).payload == b"masked"

    async def test_gets_a_prepared_message_again_and_again(self) -> None:
        prepared = PreparedMessage("again")
        async with audience(2) as members:
            for _ in range(3):
                broadcast(sockets(members), prepared)
            await members[0][0].send(prepared)
            await members[1][0].send(prepared)
            for _, peer in members:
                for _ in range(4):
                    assert (await peer.receive()).payload == b"again"

    async def test_is_text_or_binary_as_the_prepared_message_says(self) -> None:
        async with audience(1) as ((ws, _),):
            for text in (True, False):
                with pytest.raises(TypeError, match="says itself"):
                    await ws.send(PreparedMessage("no"), text=text)
            assert ws.statistics().messages_sent == 0

    async def test_can_inflate_it_between_messages_of_their_own(self) -> None:
        options: list[Literal["deflate"] | None] = ["deflate", "deflate", None]
        async with AsyncExitStack() as stack:
            ends = [
                await stack.enter_async_context(
                    connected(client={"compression": one}, server={"compression": one})
                )
                for one in options
            ]
            for sender in (1, 0):  # the servers, then the clients
                for number in range(3):
                    shared = f"for all {number} " * 20
                    broadcast([pair[sender] for pair in ends], shared)
                    broadcast([pair[sender] for pair in ends], shared, compress=False)
                    for pair in ends:
                        await pair[sender].send("for one " * 20)
                    for pair in ends:
                        receiver = pair[1 - sender]
                        got = [await receiver.receive() for _ in range(3)]
                        assert got == [shared, shared, "for one " * 20]

    async def test_is_sent_a_very_long_one(self) -> None:
        message = "x" * (2**20 + 2**19)
        async with connected(client={"max_size": None}) as (client, server):
            assert broadcast([server], message).sent == 1
            assert await client.receive() == message

    async def test_is_sent_it_with_a_write_timeout_too(self) -> None:
        async with audience(2, write_timeout=5) as members:
            assert broadcast(sockets(members), "hello").sent == 2

    async def test_that_is_not_open_is_skipped(self) -> None:
        async with audience(4) as members:
            (closing, _), (closed, peer), (ended, _), (open_, _) = members
            await closing.send_eof()
            await peer.aclose()
            await closed.wait_closed()
            await ended.aclose()
            result = broadcast(sockets(members), "hello")
            assert result == BroadcastResult(sent=1, skipped=(closing, closed, ended))
            assert not result.complete
            assert open_.state is State.OPEN

    @pytest.mark.parametrize("kind", ["list", "mapping", "none"])
    async def test_is_sent_nothing_that_is_no_message(self, kind: str) -> None:
        wrong: Any = {"list": ["a"], "mapping": {}, "none": None}[kind]
        async with audience(1) as members:
            with pytest.raises(TypeError, match="str or bytes-like"):
                broadcast(sockets(members), wrong)

    async def test_must_be_connections(self) -> None:
        wrong: Any = ["ws"]
        with pytest.raises(TypeError, match="takes connections, not 'ws'"):
            broadcast(wrong, "hello")

    async def test_has_one_of_four_policies(self) -> None:
        wrong: Any = "block"
        with pytest.raises(
            ValueError, match="disconnect, drop, drop_oldest, coalesce, not 'block'"
        ):
            broadcast([], "hello", overflow=wrong)


class TestOrder:
    async def test_a_send_after_it_comes_after_it(self) -> None:
        async with stalled() as (ws, peer), anyio.create_task_group() as tasks:
            result = broadcast([ws], "first")
            assert result == BroadcastResult(queued=(ws,))
            assert result.complete
            tasks.start_soon(ws.send, "second")
            await settle()
            assert await next_message(peer) == "first"
            assert await next_message(peer) == "second"

    async def test_those_who_wait_and_those_that_wait_keep_the_order_in_which_they_came(
        self,
    ) -> None:
        async with stalled() as (ws, peer), anyio.create_task_group() as tasks:
            expected: list[str] = []
            for number in range(3):
                expected += [f"sent {number}", f"broadcast {number}", f"and {number}"]
                tasks.start_soon(ws.send, f"sent {number}")
                await settle()
                broadcast([ws], f"broadcast {number}")
                broadcast([ws], f"and {number}")
            assert [await next_message(peer) for _ in expected] == expected

    async def test_a_cancelled_send_before_it_holds_nothing_up(self) -> None:
        async with stalled() as (ws, peer):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(ws.send, "never sent")
                await settle()
                broadcast([ws], "first")
                tasks.start_soon(ws.send, "never sent either")
                await settle()
                broadcast([ws], "second")
                tasks.cancel_scope.cancel()
            assert await next_message(peer) == "first"
            assert await next_message(peer) == "second"

    async def test_send_nowait_does_not_overtake_it(self) -> None:
        async with stalled() as (ws, peer):
            broadcast([ws], "first")
            with pytest.raises(anyio.WouldBlock):
                ws.send_nowait("second")
            assert await next_message(peer) == "first"

    async def test_it_comes_after_messages_that_are_held_to_leave_together(self) -> None:
        async with audience(1) as [(ws, peer)]:
            for name in ("one", "two", "three"):
                ws.send_nowait(name)
            broadcast([ws], "four")
            assert [await next_message(peer) for _ in range(4)] == ["one", "two", "three", "four"]

    async def test_it_comes_after_the_message_that_is_being_sent_in_fragments(self) -> None:
        go_on = anyio.Event()

        async def fragments() -> AsyncIterator[str]:
            yield "begun, "
            await go_on.wait()
            yield "ended"

        async with audience(1) as [(ws, peer)], anyio.create_task_group() as tasks:
            tasks.start_soon(ws.send, fragments())
            await settle()
            assert broadcast([ws], "after").queued == (ws,)
            await settle()
            assert (await peer.receive()).payload == b"begun, "
            go_on.set()
            frames = [await peer.receive() for _ in range(3)]
            assert [frame.payload for frame in frames] == [b"ended", b"", b"after"]

    async def test_it_waits_no_longer_for_fragments_that_wait_for_room_themselves(self) -> None:
        """Neither waits for the other: what is in the backlog doesn't count against the fragments."""
        async with stalled() as (ws, peer), anyio.create_task_group() as tasks:
            tasks.start_soon(ws.send, ["x" * 700] * 5)
            await settle()
            for number in range(5):
                broadcast([ws], f"{number}" * 700)
            with anyio.fail_after(PATIENCE):
                while (frame := await peer.receive()).payload[:1] != b"4":
                    pass
            assert frame.payload == b"4" * 700


def framed(message: str) -> PreparedMessage:
    """A message that a server's connection was sent before: the next takes the shortest way."""
    prepared = PreparedMessage(message)
    prepared.written((), None)
    assert prepared.plain is not None
    return prepared


class TestTheShortestWay:
    """Of a message that is framed already, it isn't taken where something is in it."""

    async def test_leads_to_everybody(self) -> None:
        async with audience(2) as members:
            assert broadcast(sockets(members), framed("hello")).sent == 2
            for ws, peer in members:
                assert await next_message(peer) == "hello"
                assert ws.statistics().messages_sent == 1

    async def test_does_not_lead_into_a_message_in_fragments(self) -> None:
        go_on = anyio.Event()

        async def fragments() -> AsyncIterator[str]:
            yield "begun"
            await go_on.wait()

        async with audience(1) as [(ws, peer)], anyio.create_task_group() as tasks:
            tasks.start_soon(ws.send, fragments())
            await settle()
            assert broadcast([ws], framed("after")).queued == (ws,)
            go_on.set()
            assert [(await peer.receive()).payload for _ in range(3)] == [b"begun", b"", b"after"]

    async def test_does_not_lead_past_messages_that_are_held(self) -> None:
        async with audience(1) as [(ws, peer)]:
            for name in ("one", "two", "three"):
                ws.send_nowait(name)
            broadcast([ws], framed("four"))
            assert [await next_message(peer) for _ in range(4)] == ["one", "two", "three", "four"]

    async def test_does_not_lead_past_who_was_woken_and_has_yet_to_send(self) -> None:
        class Somebody:
            def set(self) -> None: ...

        async with audience(1) as [(ws, peer)]:
            turnstile, somebody = ws._connection.turnstile, Somebody()
            turnstile.join(somebody)
            assert broadcast([ws], framed("later")).queued == (ws,)
            turnstile.leave(somebody)
            assert await next_message(peer) == "later"

    async def test_does_not_lead_past_what_has_no_room(self) -> None:
        async with stalled() as (ws, peer):
            broadcast([ws], "first")
            assert broadcast([ws], framed("second")).queued == (ws,)
            assert [await next_message(peer) for _ in range(2)] == ["first", "second"]

    async def test_does_not_lead_to_who_is_not_open(self) -> None:
        async with audience(2) as members:
            (closing, _), (broken, peer) = members
            await closing.send_eof()
            await peer.reset()
            await broken.wait_closed()
            sent = [ws.statistics().messages_sent for ws in sockets(members)]
            assert broadcast(sockets(members), framed("x")).skipped == (closing, broken)
            assert [ws.statistics().messages_sent for ws in sockets(members)] == sent

    async def test_does_not_lead_to_clients_nor_past_extensions(self) -> None:
        async with client_and_peer() as (ws, peer), connected() as (client, server):
            message = framed("x" * 100)
            assert broadcast([ws, server], message).sent == 2
            assert (await peer.receive()).payload == b"x" * 100
            assert await client.receive() == "x" * 100
            assert server.statistics().bytes_sent < 400, "compressed, behind its handshake"

    async def test_tells_the_write_timeout_that_output_waits(self) -> None:
        async with server_and_peer(buffer=TIGHT, write_timeout=1, close_timeout=0) as (ws, _):
            broadcast([ws], framed("x" * 10_000))
            with anyio.fail_after(PATIENCE), pytest.raises(ConnectionClosedError) as caught:
                await ws.receive()
            assert isinstance(caught.value.__cause__, TimeoutError)


class TestWhoHasNoRoom:
    async def test_gets_it_later(self) -> None:
        async with stalled() as (ws, peer):
            for number in range(20):
                assert broadcast([ws], f"late {number}").queued == (ws,)
            assert [await next_message(peer) for _ in range(20)] == [
                f"late {number}" for number in range(20)
            ]
            await settle()
            assert broadcast([ws], "at once").sent == 1

    async def test_is_counted_in_buffered_amount_until_it_has_left(self) -> None:
        async with stalled() as (ws, peer):
            before = ws.buffered_amount
            broadcast([ws], "x" * 100)
            assert ws.buffered_amount == before + 100
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(ws.flush)
                await settle()
                assert await next_message(peer) == "x" * 100
            assert ws.buffered_amount == 0

    async def test_is_flushed_also_behind_fragments(self) -> None:
        go_on = anyio.Event()

        async def fragments() -> AsyncIterator[str]:
            yield "begun"
            await go_on.wait()

        async with audience(1) as [(ws, _)], anyio.create_task_group() as tasks:
            tasks.start_soon(ws.send, fragments())
            await settle()
            broadcast([ws], "after")
            with anyio.fail_after(PATIENCE):
                tasks.start_soon(ws.flush)
                await settle()
                go_on.set()
        assert ws.buffered_amount == 0

    async def test_is_sent_it_before_the_connection_is_closed(self) -> None:
        async with (
            stalled(close_timeout=PATIENCE) as (ws, peer),
            anyio.create_task_group() as tasks,
        ):
            for number in range(20):
                broadcast([ws], str(number))
            tasks.start_soon(ws.aclose, 1001)
            await settle()
            assert broadcast([ws], "too late").skipped == (ws,)
            assert await rest(peer) == ([str(number) for number in range(20)], Close(1001))
            await peer.aclose()

    async def test_is_sent_nothing_once_the_peer_has_closed(self) -> None:
        async with stalled() as (ws, peer):
            broadcast([ws], "in vain")
            await peer.send(RawFrame(Opcode.CLOSE, Close(1000).serialize()))
            with pytest.raises(ConnectionClosed):
                await ws.receive()
            assert (await rest(peer))[0] == []

    async def test_holds_nothing_when_the_connection_breaks(self) -> None:
        async with stalled() as (ws, peer):
            broadcast([ws], "in vain")
            await peer.reset()
            with pytest.raises(ConnectionClosed):
                await ws.receive()
            assert ws.buffered_amount == 0

    @overflows
    async def test_gets_whole_frames_under_every_policy(self, overflow: Overflow) -> None:
        """Whatever is dropped, replaced or cut short by a Close frame."""
        seen: list[str] = []
        async with stalled(close_timeout=PATIENCE) as (ws, peer):

            async def read() -> None:
                messages, close = await rest(peer)
                seen.extend(messages)
                codes.append(close.code)
                await peer.aclose()

            codes: list[int] = []
            async with anyio.create_task_group() as tasks:
                for number in range(200):
                    if number == 150:
                        tasks.start_soon(read)
                    message = f"{number} " + "y" * (number * 7 % 500)
                    broadcast([ws], message, overflow=overflow, max_buffered=20_000, key=number % 5)
                    if number % 10 == 0:
                        await settle()
                await ws.aclose()
        numbers = [int(message.split()[0]) for message in seen]
        assert all(
            message == f"{number} " + "y" * (number * 7 % 500)
            for message, number in zip(seen, numbers, strict=True)
        )
        assert codes == [1008 if overflow == "disconnect" else 1000]
        if overflow == "coalesce":
            assert {199, 198, 197, 196, 195} <= set(numbers)
        else:
            assert numbers == sorted(numbers)
        if overflow == "drop_oldest":
            assert numbers[-1] == 199


class TestDisconnect:
    async def test_closes_a_client_at_the_limit_with_1008(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level(logging.INFO)
        async with stalled(close_timeout=PATIENCE) as (ws, peer), audience(1) as [(other, _)]:
            number = 0
            while not (result := broadcast([ws, other], "x" * 100, max_buffered=5000)).disconnected:
                assert result == BroadcastResult(sent=1, queued=(ws,))
                number += 1
            assert result == BroadcastResult(sent=1, disconnected=(ws,))
            assert number * (100 + OVERHEAD) <= 5000
            assert broadcast([ws, other], "x") == BroadcastResult(sent=1, skipped=(ws,))
            assert await rest(peer) == ([], Close(1008, "too slow"))
            await peer.send(RawFrame(Opcode.CLOSE, Close(1008).serialize()))
            await peer.aclose()
            with pytest.raises(ConnectionClosedError, match="1008"):
                await ws.receive()
        assert "closing, too slow" in caplog.text

    @pytest.mark.usefixtures("virtual_time")
    async def test_has_ended_close_timeout_later_whoever_waits(self) -> None:
        async with stalled(close_timeout=7, ping_interval=None) as (ws, _):
            broadcast([ws], "x", max_buffered=0)
            assert ws.state is State.CLOSING
            begin = anyio.current_time()
            with pytest.raises(ConnectionClosedError, match="1008"):
                await ws.receive()
            assert anyio.current_time() - begin == pytest.approx(7)

    async def test_what_had_arrived_can_be_received(self) -> None:
        async with stalled() as (ws, peer):
            await peer.send(RawFrame(Opcode.TEXT, b"question"))
            await settle()
            assert broadcast([ws], "x", max_buffered=0).disconnected == (ws,)
            assert await ws.receive() == "question"

    async def test_never_hits_one_that_has_room(self) -> None:
        async with audience(1) as [(ws, peer)]:
            assert broadcast([ws], "x" * 5000, max_buffered=0).sent == 1
            assert await next_message(peer) == "x" * 5000


class TestDrop:
    async def test_loses_this_message(self) -> None:
        async with stalled() as (ws, peer):
            assert broadcast([ws], "kept").queued == (ws,)
            result = broadcast([ws], "lost", overflow="drop", max_buffered=1000)
            assert result == BroadcastResult(dropped=(ws,))
            assert not result.complete
            assert await next_message(peer) == "kept"
            await settle()
            broadcast([ws], "next", overflow="drop", max_buffered=0)
            assert await next_message(peer) == "next"


class TestDropOldest:
    async def test_keeps_the_newest(self) -> None:
        async with stalled() as (ws, peer):
            limit = ws.buffered_amount + 3 * (OVERHEAD + 1)
            for number in range(3):
                broadcast([ws], f"{number}", overflow="drop_oldest", max_buffered=limit)
            for number in range(3, 8):
                result = broadcast([ws], f"{number}", overflow="drop_oldest", max_buffered=limit)
                assert result == BroadcastResult(queued=(ws,), dropped=(ws,))
            assert [await next_message(peer) for _ in range(3)] == ["5", "6", "7"]

    async def test_drops_nothing_that_was_sent_in_another_way(self) -> None:
        async with stalled() as (ws, peer):
            limit = ws.buffered_amount + 2 * (OVERHEAD + 1)
            broadcast([ws], "a")
            broadcast([ws], "b")
            result = broadcast([ws], "c", overflow="drop_oldest", max_buffered=limit)
            assert result == BroadcastResult(dropped=(ws,))
            assert [await next_message(peer) for _ in range(2)] == ["a", "b"]

    async def test_keeps_one_also_without_any_limit_to_spare(self) -> None:
        async with stalled() as (ws, peer):
            for number in range(10):
                broadcast([ws], f"{number}", overflow="drop_oldest", max_buffered=0)
            assert await next_message(peer) == "9"


class TestCoalesce:
    async def test_keeps_the_newest_of_each_key_in_the_place_of_the_first(self) -> None:
        async with stalled() as (ws, peer):
            for number in range(5):
                for key in ("bid", "ask"):
                    broadcast([ws], f"{key} {number}", overflow="coalesce", key=key)
            broadcast([ws], "trade", overflow="coalesce")
            broadcast([ws], "trade", overflow="coalesce")
            got = [await next_message(peer) for _ in range(4)]
            assert got == ["bid 4", "ask 4", "trade", "trade"]

    async def test_does_not_replace_what_was_sent_in_another_way(self) -> None:
        async with stalled() as (ws, peer):
            broadcast([ws], "kept", key="a")
            broadcast([ws], "newer", overflow="coalesce", key="a")
            broadcast([ws], "newest", overflow="coalesce", key="a")
            assert [await next_message(peer) for _ in range(2)] == ["kept", "newest"]

    async def test_disconnects_where_that_is_not_enough(self) -> None:
        async with stalled() as (ws, _):
            limit = ws.buffered_amount + 3 * (OVERHEAD + 1)
            for key in range(3):
                assert broadcast([ws], "x", overflow="coalesce", max_buffered=limit, key=key).queued
            assert broadcast([ws], "x", overflow="coalesce", max_buffered=limit, key=3).disconnected


class Failing(Extension):
    """An extension of somebody's own, with a bug."""

    name = "failing"
    rsv = 0x40

    def encode(self, frame: Frame, *, compress: bool = True) -> Frame:
        raise RuntimeError(f"can't encode {frame.data!r}")

    def decode(self, frame: Frame, *, max_size: int | None) -> Frame:
        return frame


class FailingFactory(ServerExtensionFactory):
    name = "failing"

    def process_request_params(self, params: object, accepted_extensions: object) -> Any:
        return [], Failing()


@asynccontextmanager
async def failing() -> AsyncIterator[WebSocket]:
    """A connection that can't send anything."""
    from anyio_ws import accept_websocket
    from anyio_ws.sansio import Side
    from anyio_ws.testing import memory_stream_pair

    ours, theirs = memory_stream_pair()
    peer = ScriptedPeer(theirs, Side.CLIENT)
    opened = anyio.Event()

    async def connect() -> None:
        await peer.connect("/", ("Sec-WebSocket-Extensions", "failing"))
        opened.set()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(connect)
        async with (
            peer,
            accept_websocket(ours, extensions=[FailingFactory()], close_timeout=0) as ws,
        ):
            await opened.wait()
            yield ws


class TestFailures:
    async def test_of_one_do_not_keep_the_others_from_being_sent_it(self) -> None:
        async with audience(2) as members, failing() as ws:
            one, two = sockets(members)
            result = broadcast([one, ws, two], "hello")
            assert result.sent == 2
            assert str(result.failed[ws]) == "can't encode b'hello'"
            assert not result.complete
            for _, peer in members:
                assert await next_message(peer) == "hello"

    async def test_are_raised_as_a_group_when_all_were_sent_it(self) -> None:
        async with audience(2) as members, failing() as ws:
            one, two = sockets(members)
            with pytest.raises(ExceptionGroup) as caught:
                broadcast([one, ws, two, ws], "hello", raise_exceptions=True)
            assert [str(exc) for exc in caught.value.exceptions] == ["can't encode b'hello'"]
            for _, peer in members:
                assert await next_message(peer) == "hello"

    async def test_raise_nothing_when_there_are_none(self) -> None:
        async with audience(2) as members:
            await members[0][0].aclose()
            assert broadcast(sockets(members), "hello", raise_exceptions=True).sent == 1

    async def test_after_it_was_queued_fail_the_connection(self) -> None:
        async with failing() as ws:
            ws._connection.sending_fragments = True
            assert broadcast([ws], "hello").queued == (ws,)
            ws._connection.sending_fragments = False
            ws._connection.turnstile.wake()
            with pytest.raises(ConnectionClosedError) as caught:
                await ws.receive()
            assert isinstance(caught.value.__cause__, RuntimeError)


class TestOffering:
    async def test_tells_what_became_of_the_message(self) -> None:
        message = PreparedMessage("x")
        async with stalled() as (ws, _), audience(1) as [(other, _)]:
            assert other.offer(message) is Delivery.SENT
            assert ws.offer(message) is Delivery.QUEUED
            assert ws.offer(message, "drop", 0) is Delivery.DROPPED
            assert ws.offer(message, "drop_oldest") is Delivery.QUEUED
            assert ws.offer(message, "drop_oldest", 0) is Delivery.DISPLACED
            assert ws.offer(message, "disconnect", 0) is Delivery.DISCONNECTED
            assert ws.offer(message) is Delivery.SKIPPED


class TestWaiting:
    async def test_sends_to_those_that_have_room_first(self) -> None:
        async with (
            stalled() as (slow, slow_peer),
            audience(2) as members,
            anyio.create_task_group() as tasks,
        ):
            results: list[BroadcastResult] = []

            async def send() -> None:
                everybody = [slow, *sockets(members)]
                results.append(await broadcast_and_wait(everybody, "hello", timeout=PATIENCE))

            tasks.start_soon(send)
            for _, peer in members:
                assert await next_message(peer) == "hello"
            assert results == []
            assert await next_message(slow_peer) == "hello"
            await settle()
            assert results == [BroadcastResult(sent=3)]

    @pytest.mark.usefixtures("virtual_time")
    @pytest.mark.parametrize("overflow", ["disconnect", "drop"])
    async def test_ends_when_the_time_is_over(
        self, overflow: Literal["disconnect", "drop"]
    ) -> None:
        async with stalled() as (one, _), stalled() as (two, peer), audience(1) as [(other, _)]:
            begin = anyio.current_time()
            result = await broadcast_and_wait(
                [one, two, other], "hello", timeout=5, overflow=overflow
            )
            assert anyio.current_time() - begin == pytest.approx(5)
            if overflow == "drop":
                assert result == BroadcastResult(sent=1, dropped=(one, two))
                broadcast([two], "next")
                assert await next_message(peer) == "next"
            else:
                assert result == BroadcastResult(sent=1, disconnected=(one, two))
                assert one.state is State.CLOSING

    @pytest.mark.usefixtures("virtual_time")
    async def test_goes_on_without_those_that_end_meanwhile(self) -> None:
        async with stalled() as (ws, peer), anyio.create_task_group() as tasks:
            tasks.start_soon(peer.aclose)
            result = await broadcast_and_wait([ws], "hello", timeout=5)
            assert result == BroadcastResult(skipped=(ws,))

    async def test_cancelled_has_sent_it_whole_or_not_at_all(self) -> None:
        for attempt in cancel_sweep():
            async with stalled() as (slow, slow_peer), audience(1) as [(ws, peer)]:
                possible = {"swept", "after"}
                async with anyio.create_task_group() as tasks:

                    async def read(slow_peer: ScriptedPeer, possible: set[str]) -> None:
                        await settle()
                        possible.add(f"first {await next_message(slow_peer)}")

                    tasks.start_soon(read, slow_peer, possible)
                    await attempt.run(broadcast_and_wait([slow, ws], "swept", timeout=PATIENCE))
                    await slow.send("after")
                    await ws.send("after")
                assert slow.state is State.OPEN
                if not attempt.cancelled:
                    possible.remove("after")
                    assert "first swept" in possible
                assert await next_message(peer) in possible

    async def test_gathers_failures(self) -> None:
        async with failing() as ws, audience(1) as [(other, _)]:
            result = await broadcast_and_wait([ws, other], "hello", timeout=PATIENCE)
            assert (result.sent, list(result.failed)) == (1, [ws])
            with pytest.raises(ExceptionGroup):
                await broadcast_and_wait(
                    [ws, other], "hello", timeout=PATIENCE, raise_exceptions=True
                )

    async def test_has_one_of_two_policies(self) -> None:
        wrong: Any = "coalesce"
        with pytest.raises(ValueError, match="disconnect or drop, not 'coalesce'"):
            await broadcast_and_wait([], "hello", timeout=1, overflow=wrong)
