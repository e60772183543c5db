"""Several connections merged into one stream: `anyio_ws.mux`."""

from __future__ import annotations

from contextlib import AsyncExitStack
from functools import partial
from typing import Any, Literal

import anyio
import pytest
from anyio.lowlevel import checkpoint

from anyio_ws import (
    ConnectionClosedError,
    ConnectionClosedOK,
    WebSocket,
    mux,
    open_server,
    open_websocket,
)
from anyio_ws.testing import cancel_sweep

from .feeds import PATIENCE, Feed, Merged, all_of, feed, feeds, settle, sockets, some_of

Mode = Literal["end", "cancel"]
in_both_modes = pytest.mark.parametrize("mode", ["end", "cancel"])


class TestMerging:
    async def test_every_message_comes_with_its_connection(self) -> None:
        async with feeds(2) as (one, two), mux(one.ws, two.ws) as merged:
            await one.send("a")
            assert await merged.receive() == (one.ws, "a")
            await two.peer.send(b"b")
            assert await merged.receive() == (two.ws, b"b")

    async def test_a_waiting_receive_is_woken_by_any_member(self) -> None:
        async with feeds(3) as members, mux(*sockets(members)) as merged:
            for member in members * 2:
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(member.send, "hello")
                    with anyio.fail_after(PATIENCE):
                        assert await merged.receive() == (member.ws, "hello")

    async def test_the_order_within_a_member_is_kept(self) -> None:
        async with feeds(3) as members, mux(*sockets(members)) as merged:
            for index, member in enumerate(members):
                await member.send(*(f"{index}:{number}" for number in range(50)))
            received = [str(message) for message in await some_of(merged, 150)]
            for index in range(3):
                mine = [message for message in received if message.startswith(f"{index}:")]
                assert mine == [f"{index}:{number}" for number in range(50)]

    async def test_members_that_have_several_messages_are_served_in_turns(self) -> None:
        async with feeds(3) as (one, two, three), mux(one.ws, two.ws, three.ws) as merged:
            await one.send(*"aaaaaa")
            await two.send(*"bb")
            await three.send(*"ccc")
            assert "".join(map(str, await some_of(merged, 11))) == "abcabcacaaa"

    async def test_a_member_that_gets_the_next_as_one_is_taken_has_one_turn_for_it(self) -> None:
        async with feeds(2, max_queue=1) as (one, two), mux(one.ws, two.ws) as merged:
            for name, member in (("a", one), ("b", two)):
                await member.wire.send((b"\x81\x01" + name.encode()) * 20)
                await settle()
            assert "".join(map(str, await some_of(merged, 40))) == "ab" * 20

    async def test_a_member_that_never_stops_does_not_starve_the_others(self) -> None:
        async def chatter(member: Feed) -> None:
            while True:
                await member.peer.send("chatter")

        async with feeds(2) as (chatty, quiet), mux(chatty.ws, quiet.ws) as merged:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(chatter, chatty)
                await some_of(merged, 10)
                await quiet.send("excuse me")
                assert "excuse me" in await some_of(merged, 2)
                tasks.cancel_scope.cancel()

    async def test_messages_from_before_the_block_come_first(self) -> None:
        async with feeds(2) as (one, two):
            await one.send("early", "earlier than late")
            async with mux(one.ws, two.ws) as merged:
                await one.send("late")
                assert await some_of(merged, 3) == ["early", "earlier than late", "late"]

    async def test_a_connection_that_is_given_twice_is_one_member(self) -> None:
        async with feed() as one, mux(one.ws, one.ws) as merged:
            await one.send("once")
            assert merged.receive_nowait() == (one.ws, "once")
            with pytest.raises(anyio.WouldBlock):
                merged.receive_nowait()
            await one.close()
            assert await all_of(merged) == []

    async def test_what_is_no_message_wakes_nobody(self) -> None:
        async with feeds(2) as (one, two), mux(one.ws, two.ws) as merged:
            async with anyio.create_task_group() as tasks:
                received: list[Any] = []

                async def receive() -> None:
                    received.append(await merged.receive())

                tasks.start_soon(receive)
                await one.peer.send_ping(b"ping")
                await one.peer.send_pong(b"pong")
                await settle()
                await one.wire.send(b"\x01\x03not")  # the first fragment of a text
                await settle()
                assert received == []
                await one.wire.send(b"\x80\x04 yet")
                await settle()
                assert received == [(one.ws, "not yet")]

    async def test_no_task_and_no_buffer_is_added(self) -> None:
        async with feeds(10) as members:
            before = len(anyio.get_running_tasks())
            async with mux(*sockets(members)) as merged:
                for member in members:
                    await member.send("one", "two")
                assert len(anyio.get_running_tasks()) == before
                assert len(await some_of(merged, 5)) == 5
                assert len(anyio.get_running_tasks()) == before
            left = 0
            for member in members:
                while True:
                    try:
                        member.ws.receive_nowait()
                    except anyio.WouldBlock:
                        break
                    left += 1
            assert left == 15  # mux held none of them

    async def test_a_member_whose_messages_are_not_taken_pauses_its_peer(self) -> None:
        sent = 0

        async def send(member: Feed) -> None:
            nonlocal sent
            for number in range(500):
                await member.peer.send(str(number).ljust(1000), compress=False)
                sent += 1

        async with feed(buffer=1000, max_queue=4, read_limit=4000) as one:
            async with mux(one.ws) as merged, anyio.create_task_group() as tasks:
                tasks.start_soon(send, one)
                for _ in range(100):
                    await settle()
                # Ours, and what its own write_limit allows the peer.
                assert sent < 2**16 // 1000 + 2**16 // 1000 + 20
                messages = await some_of(merged, 500)
                assert [int(message) for message in messages] == list(range(500))

    async def test_a_thousand_members(self) -> None:
        async with feeds(1000) as members, mux(*sockets(members)) as merged:
            for index, member in enumerate(members):
                await member.peer.send(str(index))
            received = await some_of(merged, 1000)
            assert sorted(map(int, received)) == list(range(1000))
            await members[500].peer.send_eof()
            assert await all_of(merged) == []
            assert merged.first_to_disconnect is members[500].ws

    async def test_real_servers_are_merged(self) -> None:
        async def serve(name: str, ws: WebSocket) -> None:
            for number in range(20):
                await ws.send(f"{name}{number}")
            await ws.receive()

        async with AsyncExitStack() as stack:
            members: list[WebSocket] = []
            for name in "abc":
                server = await stack.enter_async_context(
                    open_server(partial(serve, name), "127.0.0.1", 0)
                )
                members.append(await stack.enter_async_context(open_websocket(server.url)))
            async with mux(*members) as merged:
                received = [str(message) for message in await some_of(merged, 60)]
                for name in "abc":
                    mine = [message for message in received if message.startswith(name)]
                    assert mine == [f"{name}{number}" for number in range(20)]
                await members[1].send("thank you")
                assert await all_of(merged) == []
                assert merged.first_to_disconnect is members[1]


class TestEnd:
    async def test_what_had_arrived_on_all_members_is_delivered_first(self) -> None:
        async with feeds(3) as (one, two, three), mux(one.ws, two.ws, three.ws) as merged:
            await one.send("a1", "a2", "a3")
            await two.send("b1")
            await two.close()
            await three.send("too late")
            await one.send("too late")
            assert sorted(map(str, await all_of(merged))) == ["a1", "a2", "a3", "b1"]
            assert merged.first_to_disconnect is two.ws
            assert await all_of(merged) == []  # and stays so

    async def test_what_came_too_late_stays_with_its_connection(self) -> None:
        async with feeds(2) as (one, two):
            async with mux(one.ws, two.ws) as merged:
                await one.send("in time")
                await two.close()
                await one.send("too late")
                assert await all_of(merged) == ["in time"]
            assert one.ws.receive_nowait() == "too late"

    async def test_receive_raises_how_the_first_ended(self) -> None:
        async with feeds(2) as (one, two), mux(one.ws, two.ws) as merged:
            await two.close(1001)
            await one.close(1011)
            for _ in range(2):
                with pytest.raises(ConnectionClosedOK) as caught:
                    await merged.receive()
                assert isinstance(caught.value, anyio.EndOfStream)
                assert caught.value.rcvd is not None
                assert caught.value.rcvd.code == 1001
                with pytest.raises(ConnectionClosedOK):
                    merged.receive_nowait()
            assert merged.first_to_disconnect is two.ws
            assert isinstance(merged.closed_exc, ConnectionClosedOK)

    async def test_as_long_as_nobody_disconnects_there_is_no_first(self) -> None:
        async with feeds(2) as (one, two), mux(one.ws, two.ws) as merged:
            assert merged.first_to_disconnect is None
            assert merged.closed_exc is None

    @pytest.mark.parametrize("how", ["close", "reset", "end"])
    async def test_an_abnormal_end_is_raised_in_iteration_after_what_had_arrived(
        self, how: str
    ) -> None:
        async with feeds(2) as (one, two):
            received = []
            async with mux(one.ws, two.ws) as merged:
                await one.send("a")
                await two.send("b")
                if how == "close":
                    await two.close(4000)
                elif how == "reset":
                    two.wire.reset()
                else:
                    await two.wire.aclose()
                await settle()

                async def iterate(merged: Merged) -> None:
                    async for _, message in merged:
                        received.append(message)

                with pytest.raises(ConnectionClosedError) as caught:
                    await iterate(merged)
                assert isinstance(caught.value, anyio.BrokenResourceError)
            assert received == ["a", "b"]
            assert merged.first_to_disconnect is two.ws

    async def test_leaving_the_block_raises_nothing_of_its_own(self) -> None:
        async with feeds(2) as (one, two):
            async with mux(one.ws, two.ws):
                await two.close(4000)
            assert two.ws.close_code == 4000

    async def test_a_chatty_member_cannot_postpone_the_end(self) -> None:
        async def chatter(member: Feed) -> None:
            while True:
                await member.peer.send("chatter")

        async with feeds(2) as (chatty, other), mux(chatty.ws, other.ws) as merged:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(chatter, chatty)
                await some_of(merged, 5)
                await other.close()
                assert len(await all_of(merged)) <= 514  # its max_queue, and then some
                tasks.cancel_scope.cancel()

    async def test_a_waiting_receive_is_woken_by_the_end(self) -> None:
        async with feeds(2) as (one, two), mux(one.ws, two.ws) as merged:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(one.close)
                assert await all_of(merged) == []

    @pytest.mark.parametrize("code", [1000, 4000])
    async def test_a_member_that_had_ended_before(self, code: int) -> None:
        async with feeds(3) as (one, two, three):
            await three.send("c")
            await two.send("b")
            await two.close(code)
            async with mux(one.ws, two.ws, three.ws) as merged:
                assert merged.first_to_disconnect is two.ws
                assert sorted(map(str, await some_of(merged, 2))) == ["b", "c"]
                with pytest.raises(ConnectionClosedOK if code == 1000 else ConnectionClosedError):
                    await merged.receive()

    async def test_a_member_that_this_side_closes_ends_it_quietly(self) -> None:
        async with feeds(2) as (one, two), mux(one.ws, two.ws) as merged:
            await one.send("a")
            await two.send("dropped by aclose")
            await two.ws.aclose()
            assert await all_of(merged) == ["a"]
            with pytest.raises(ConnectionClosedOK) as caught:
                await merged.receive()
            assert isinstance(caught.value, anyio.ClosedResourceError)
            assert merged.first_to_disconnect is two.ws

    async def test_a_violation_comes_after_the_good_messages_of_the_same_chunk(self) -> None:
        async with feeds(2) as (one, two), mux(one.ws, two.ws) as merged:
            await two.send("other")
            await one.wire.send(b"\x81\x01a\x81\x01b\xff\x00")
            await settle()
            assert merged.first_to_disconnect is None  # not before its messages are taken
            assert await some_of(merged, 3) == ["other", "a", "b"]
            with pytest.raises(ConnectionClosedError, match="1002"):
                await merged.receive()
            assert merged.first_to_disconnect is one.ws

    async def test_a_violation_alone_is_noticed_by_a_waiting_receive(self) -> None:
        async with feed() as one, mux(one.ws) as merged, anyio.create_task_group() as tasks:
            tasks.start_soon(one.wire.send, b"\xff\x00")
            with anyio.fail_after(PATIENCE), pytest.raises(ConnectionClosedError, match="1002"):
                await merged.receive()


class TestCancel:
    async def test_a_normal_close_cancels_the_block_and_nothing_is_raised(self) -> None:
        async with feeds(2) as (one, two):
            went_on = False
            async with mux(one.ws, two.ws, on_disconnect="cancel") as merged:
                await two.close()
                await checkpoint()
                went_on = True
            assert not went_on
            assert merged.first_to_disconnect is two.ws

    async def test_an_abnormal_close_cancels_the_block_and_is_raised_at_its_end(self) -> None:
        async def run(one: Feed, two: Feed) -> None:
            async with mux(one.ws, two.ws, on_disconnect="cancel"):
                await two.close(4000)
                await anyio.sleep_forever()

        async with feeds(2) as (one, two):
            with pytest.raises(ConnectionClosedError, match="4000") as caught:
                await run(one, two)
            assert isinstance(caught.value, anyio.BrokenResourceError)
            assert caught.value.__suppress_context__  # the cancellation is nobody's business

    async def test_a_loop_is_cancelled_while_it_waits(self) -> None:
        async with feeds(2) as (one, two), anyio.create_task_group() as tasks:
            received = []
            async with mux(one.ws, two.ws, on_disconnect="cancel") as merged:
                await one.send("a")
                async for _, message in merged:
                    received.append(message)
                    tasks.start_soon(two.close)
                received.append("ended by itself")
            assert received == ["a"]

    async def test_what_was_not_taken_stays_with_its_connection(self) -> None:
        async with feeds(2) as (one, two):
            async with mux(one.ws, two.ws, on_disconnect="cancel"):
                await one.send("a")
                await two.send("b")
                await two.close()
                await anyio.sleep_forever()
            assert await one.ws.receive() == "a"
            assert await two.ws.receive() == "b"
            with pytest.raises(ConnectionClosedOK):
                await two.ws.receive()

    async def test_a_member_that_had_ended_before_cancels_at_the_first_checkpoint(self) -> None:
        async with feeds(2) as (one, two):
            await two.close()
            steps = []
            async with mux(one.ws, two.ws, on_disconnect="cancel"):
                steps.append("in")
                await checkpoint()
                steps.append("on")
            assert steps == ["in"]

    @pytest.mark.parametrize("code", [1000, 4000])
    async def test_a_block_that_ends_without_a_checkpoint(self, code: int) -> None:
        async with feeds(2) as (one, two):
            await two.close(code)
            context = mux(one.ws, two.ws, on_disconnect="cancel")
            if code == 1000:
                async with context as merged:
                    pass
                assert merged.first_to_disconnect is two.ws
                await checkpoint()  # nothing of the cancellation is left
            else:
                with pytest.raises(ConnectionClosedError):
                    async with context:
                        pass

    async def test_without_a_disconnection_nothing_is_cancelled(self) -> None:
        async with feeds(2) as (one, two):
            async with mux(one.ws, two.ws, on_disconnect="cancel") as merged:
                await one.send("a")
                assert await merged.receive() == (one.ws, "a")
            assert merged.first_to_disconnect is None
            await two.close()
            await checkpoint()

    @in_both_modes
    @pytest.mark.parametrize("disconnects", [False, True])
    async def test_a_cancellation_from_outside_is_not_swallowed(
        self, mode: Mode, disconnects: bool
    ) -> None:
        async with feeds(2) as (one, two):
            went_on = False
            with anyio.CancelScope() as scope:
                async with mux(one.ws, two.ws, on_disconnect=mode):
                    if disconnects:
                        with anyio.CancelScope(shield=True):
                            await two.close()
                    scope.cancel()
                    await checkpoint()
                await checkpoint()
                went_on = True
            assert scope.cancelled_caught
            assert not went_on

    async def test_a_violation_that_a_receive_meets_is_raised(self) -> None:
        async def run(one: Feed) -> None:
            async with mux(one.ws, on_disconnect="cancel") as merged:
                await one.wire.send(b"\x81\x01a\xff\x00")
                await settle()
                assert await some_of(merged, 1) == ["a"]
                await merged.receive()

        async with feed() as one:
            with pytest.raises(ConnectionClosedError, match="1002"):
                await run(one)


class TestTheBlock:
    @in_both_modes
    @pytest.mark.parametrize("disconnects", [False, True])
    async def test_what_the_body_raises_comes_out_as_that_very_object(
        self, mode: Mode, disconnects: bool
    ) -> None:
        async def run(one: Feed, two: Feed, error: Exception) -> None:
            async with mux(one.ws, two.ws, on_disconnect=mode):
                if disconnects:
                    with anyio.CancelScope(shield=True):
                        await two.close(4000)
                raise error

        for error in (ValueError("mine"), ExceptionGroup("mine", [KeyError(1), ValueError(2)])):
            error.__cause__ = cause = LookupError("why")
            async with feeds(2) as (one, two):
                with pytest.raises(type(error)) as caught:
                    await run(one, two, error)
                assert caught.value is error
                assert caught.value.__cause__ is cause
                assert caught.value.__context__ is None

    async def test_an_exception_in_a_task_group_of_the_body_comes_out_without_the_cancellation(
        self,
    ) -> None:
        async def raise_when_cancelled() -> None:
            try:
                await anyio.sleep_forever()
            finally:
                raise LookupError

        async def run(one: Feed) -> None:
            async with mux(one.ws, on_disconnect="cancel"):
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(raise_when_cancelled)
                    await one.close()
                    await anyio.sleep_forever()

        async with feed() as one:
            with pytest.raises(ExceptionGroup) as caught:
                await run(one)
            assert [type(inner) for inner in caught.value.exceptions] == [LookupError]

    def test_no_connections_are_a_value_error(self) -> None:
        with pytest.raises(ValueError, match="at least one"):
            mux()

    async def test_another_on_disconnect_is_a_value_error(self) -> None:
        async with feed() as one:
            with pytest.raises(ValueError, match='"cancel" or "drop", not \'stop\''):
                mux(one.ws, on_disconnect="stop")  # type: ignore[call-overload]  # on purpose

    async def test_it_can_be_entered_once(self) -> None:
        async with feed() as one:
            context = mux(one.ws)
            async with context as merged:
                with pytest.raises(RuntimeError, match="only once"):
                    await context.__aenter__()
                await one.send("a")
                assert await merged.receive() == (one.ws, "a")
            with pytest.raises(RuntimeError, match="only once"):
                await context.__aenter__()
            await one.send("b")
            assert await one.ws.receive() == "b"

    async def test_a_member_that_somebody_receives_from_is_busy_and_the_others_stay_usable(
        self,
    ) -> None:
        async with feeds(3) as (one, two, three), anyio.create_task_group() as tasks:
            received = []

            async def receive() -> None:
                received.append(await two.ws.receive())

            tasks.start_soon(receive)
            await settle()
            with pytest.raises(anyio.BusyResourceError):
                await mux(one.ws, two.ws, three.ws).__aenter__()
            await two.send("b")
            assert received == ["b"]
            async with mux(one.ws, two.ws, three.ws) as merged:
                await one.send("a")
                assert await merged.receive() == (one.ws, "a")

    async def test_a_connection_can_be_in_one_mux_only(self) -> None:
        async with feeds(2) as (one, two), mux(one.ws):
            with pytest.raises(anyio.BusyResourceError):
                await mux(two.ws, one.ws).__aenter__()
            await two.send("b")
            assert two.ws.receive_nowait() == "b"

    async def test_inside_the_members_can_send_and_not_receive(self) -> None:
        async with feed() as one, mux(one.ws) as merged:
            await one.send("question")
            with pytest.raises(anyio.BusyResourceError):
                await one.ws.receive()
            with pytest.raises(anyio.BusyResourceError):
                one.ws.receive_nowait()
            ws, message = await merged.receive()
            assert message == "question"
            await ws.send("answer")
            assert await one.peer.receive() == "answer"

    @in_both_modes
    @pytest.mark.parametrize("leaving", ["normally", "by an exception"])
    async def test_leaving_gives_the_connections_back_with_what_was_not_taken(
        self, mode: Mode, leaving: str
    ) -> None:
        async with feeds(2) as (one, two):
            await one.send("a1")
            try:
                async with mux(one.ws, two.ws, on_disconnect=mode) as merged:
                    await one.send("a2", "a3")
                    await two.send("b1", "b2")
                    assert await some_of(merged, 2) == ["a1", "b1"]
                    if leaving == "by an exception":
                        raise LookupError
            except LookupError:
                pass
            assert [await one.ws.receive(), await one.ws.receive()] == ["a2", "a3"]
            assert await two.ws.receive() == "b2"
            assert one.ws.close_code is None
            async with mux(one.ws, two.ws, on_disconnect=mode) as merged:
                await two.send("b3")
                assert await merged.receive() == (two.ws, "b3")


class TestReceiving:
    async def test_receive_nowait_takes_what_has_arrived(self) -> None:
        async with feeds(2) as (one, two), mux(one.ws, two.ws) as merged:
            with pytest.raises(anyio.WouldBlock):
                merged.receive_nowait()
            await two.send("b")
            assert merged.receive_nowait() == (two.ws, "b")
            with pytest.raises(anyio.WouldBlock):
                merged.receive_nowait()

    async def test_one_task_at_a_time(self) -> None:
        async with feed() as one, mux(one.ws) as merged, anyio.create_task_group() as tasks:
            received = []

            async def receive() -> None:
                received.append(await merged.receive())

            tasks.start_soon(receive)
            await settle()
            with pytest.raises(anyio.BusyResourceError):
                await merged.receive()
            with pytest.raises(anyio.BusyResourceError):
                merged.receive_nowait()
            await one.send("for the first")
            assert received == [(one.ws, "for the first")]

    async def test_after_the_block_it_is_closed(self) -> None:
        async with feed() as one:
            async with mux(one.ws) as merged:
                pass
            await one.send("a")
            with pytest.raises(anyio.ClosedResourceError):
                await merged.receive()
            with pytest.raises(anyio.ClosedResourceError):
                merged.receive_nowait()
            with pytest.raises(anyio.ClosedResourceError):
                await all_of(merged)
            assert await one.ws.receive() == "a"

    async def test_closing_it_inside_the_block_gives_the_connections_back(self) -> None:
        async with feed() as one, mux(one.ws) as merged:
            await merged.aclose()
            await merged.aclose()
            await one.send("a")
            assert await one.ws.receive() == "a"

    async def test_a_task_that_still_waits_when_the_block_is_left_is_told(self) -> None:
        async with feed() as one, anyio.create_task_group() as tasks:
            told = []

            async def receive(merged: Merged) -> None:
                with pytest.raises(anyio.ClosedResourceError) as caught:
                    await merged.receive()
                told.append(caught.value)

            async with mux(one.ws) as merged:
                tasks.start_soon(receive, merged)
                await settle()
            await settle()
            assert len(told) == 1

    @pytest.mark.parametrize("when", ["before", "meanwhile"])
    async def test_cancelled_wherever_it_waits_it_loses_nothing(self, when: str) -> None:
        texts = [str(number) for number in range(40)]  # more than are received without a pause
        received: list[tuple[WebSocket, str | bytes]] = []

        async def receive_all(merged: Merged) -> None:
            for _ in texts:
                received.append(await merged.receive())

        async with feeds(2) as (one, two), mux(one.ws, two.ws) as merged:
            for attempt in cancel_sweep():
                received.clear()
                async with anyio.create_task_group() as tasks:
                    if when == "before":
                        await two.send(*texts)
                    else:
                        tasks.start_soon(two.send, *texts)
                    with anyio.fail_after(PATIENCE):
                        await attempt.run(receive_all(merged))
                while len(received) < len(texts):
                    received.append(merged.receive_nowait())
                assert received == [(two.ws, text) for text in texts], attempt
                with pytest.raises(anyio.WouldBlock):
                    merged.receive_nowait()


def test_a_list_of_connections_is_refused_and_the_error_says_how_to_give_them() -> None:
    with pytest.raises(TypeError, match="each an argument"):
        mux([])  # type: ignore[call-overload]  # the mistake


async def test_why_it_ended_can_be_asked_after_the_block() -> None:
    async with feed() as one:
        async with mux(one.ws) as merged:
            await one.close(4000)
            with pytest.raises(ConnectionClosedError):
                await merged.receive()
        assert isinstance(merged.closed_exc, ConnectionClosedError)


async def test_a_merged_stream_closed_early_does_not_upset_its_cancelling_block() -> None:
    async def body(one: Feed) -> None:
        async with mux(one.ws, on_disconnect="cancel") as merged:
            try:
                await one.close(4000)
                await anyio.sleep_forever()
            finally:
                await merged.aclose()

    async with feed() as one:
        with pytest.raises(ConnectionClosedError):
            await body(one)
