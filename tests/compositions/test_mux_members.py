"""`anyio_ws.mux` while its members come and go: added, discarded, dropped, brought by a source."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import AsyncIterator

import anyio
import pytest
from anyio.lowlevel import checkpoint

from anyio_ws import (
    ConnectionClosed,
    ConnectionClosedError,
    ConnectionClosedOK,
    WebSocket,
    mux,
)

from ..promises.helpers import Cancellable
from .feeds import PATIENCE, Feed, Merged, all_of, feed, feeds, settle, sockets, some_of


class TestAdding:
    async def test_what_a_new_member_has_already_comes_before_what_it_gets(self) -> None:
        async with feeds(2) as (one, two), mux(one.ws) as merged:
            await two.send("early")
            merged.add(two.ws)
            await two.send("late")
            assert await some_of(merged, 2) == ["early", "late"]
            assert merged.members == (one.ws, two.ws)

    async def test_a_waiting_receive_gets_it(self) -> None:
        async with feeds(2) as (one, two), mux(one.ws) as merged:
            await two.send("here")
            async with anyio.create_task_group() as tasks:
                received: list[object] = []

                async def receive() -> None:
                    received.append(await merged.receive())

                tasks.start_soon(receive)
                await settle()
                merged.add(two.ws)
                await settle()
                assert received == [(two.ws, "here")]

    async def test_who_is_a_member_already_stays_it_once(self) -> None:
        async with feed() as one, mux(one.ws) as merged:
            await one.send("once")
            merged.add(one.ws)
            assert merged.receive_nowait() == (one.ws, "once")
            with pytest.raises(anyio.WouldBlock):
                merged.receive_nowait()
            assert merged.statistics().members == 1

    async def test_what_is_no_stream_is_a_type_error(self) -> None:
        async with feed() as one, mux(one.ws) as merged:
            with pytest.raises(TypeError, match="not 'ws'"):
                merged.add("ws")  # type: ignore[arg-type]  # on purpose

    async def test_whom_somebody_receives_from_is_busy_and_no_member(self) -> None:
        async with feeds(2) as (one, two), mux(one.ws) as merged, mux(two.ws):
            with pytest.raises(anyio.BusyResourceError):
                merged.add(two.ws)
            assert merged.members == (one.ws,)

    async def test_after_the_block_it_is_too_late(self) -> None:
        async with feeds(2) as (one, two):
            async with mux(one.ws) as merged:
                pass
            with pytest.raises(anyio.ClosedResourceError):
                merged.add(two.ws)
            await two.send("b")
            assert two.ws.receive_nowait() == "b"

    async def test_after_the_first_has_disconnected_nothing_of_a_new_one_is_delivered(self) -> None:
        async with feeds(3) as (one, two, three):
            async with mux(one.ws, two.ws) as merged:
                await one.send("a")
                await two.close()
                await three.send("c")
                merged.add(three.ws)
                assert await all_of(merged) == ["a"]
            assert three.ws.receive_nowait() == "c"

    async def test_a_new_member_that_has_ended_is_the_first_to_disconnect(self) -> None:
        async with feeds(2) as (one, two), mux(one.ws) as merged:
            await one.send("a")
            await two.send("b")
            await two.close()
            merged.add(two.ws)
            assert merged.first_to_disconnect is two.ws
            assert await all_of(merged) == ["a", "b"]


class TestDiscarding:
    async def test_it_gives_the_connection_back_with_what_was_not_taken(self) -> None:
        async with feeds(2) as (one, two), mux(one.ws, two.ws) as merged:
            await one.send("a1", "a2")
            await two.send("b1", "b2")
            assert await some_of(merged, 1) == ["a1"]
            merged.discard(one.ws)
            assert one.ws.receive_nowait() == "a2"
            assert await some_of(merged, 2) == ["b1", "b2"]
            await one.send("a3")
            with pytest.raises(anyio.WouldBlock):
                merged.receive_nowait()
            assert await one.ws.receive() == "a3"

    async def test_whoever_is_no_member_stays_it(self) -> None:
        async with feeds(2) as (one, two), mux(one.ws) as merged:
            merged.discard(two.ws)
            assert merged.members == (one.ws,)

    async def test_it_may_come_back_and_its_messages_stay_in_order(self) -> None:
        async with feeds(2) as (one, two), mux(one.ws, two.ws) as merged:
            await one.send(*"1234")
            assert await some_of(merged, 1) == ["1"]
            merged.discard(one.ws)
            assert await one.ws.receive() == "2"
            merged.add(one.ws)
            assert await some_of(merged, 2) == ["3", "4"]

    async def test_without_the_last_one_it_ends_quietly_until_there_is_another(self) -> None:
        async with feed() as one, mux(one.ws) as merged:
            async with anyio.create_task_group() as tasks:
                ended = anyio.Event()

                async def iterate() -> None:
                    assert await all_of(merged) == []
                    ended.set()

                tasks.start_soon(iterate)
                await settle()
                merged.discard(one.ws)
                with anyio.fail_after(PATIENCE):
                    await ended.wait()
            with pytest.raises(anyio.EndOfStream):
                merged.receive_nowait()
            await one.send("again")
            merged.add(one.ws)
            assert merged.receive_nowait() == (one.ws, "again")

    async def test_the_end_of_one_that_was_discarded_matters_to_nobody(self) -> None:
        async with feeds(2) as (one, two), mux(one.ws, two.ws) as merged:
            merged.discard(one.ws)
            await one.close(4000)
            await two.send("b")
            assert merged.first_to_disconnect is None
            assert merged.receive_nowait() == (two.ws, "b")

    async def test_those_who_come_and_go_leave_nothing_in_the_queue(self) -> None:
        async with feeds(2) as (one, two), mux(one.ws, two.ws) as merged:
            await one.send("a")
            for _ in range(1000):
                merged.discard(one.ws)
                merged.add(one.ws)
            assert len(merged._ready) < 100
            assert merged.statistics().ready == 1
            assert merged.receive_nowait() == (one.ws, "a")
            with pytest.raises(anyio.WouldBlock):
                merged.receive_nowait()


class TestDropping:
    async def test_the_others_go_on_and_it_ends_quietly_with_the_last(self) -> None:
        async with feeds(3) as (one, two, three):
            async with mux(one.ws, two.ws, three.ws, on_disconnect="drop") as merged:
                await one.send("a1")
                await two.send("b1")
                await two.close(4000)
                assert sorted(map(str, await some_of(merged, 2))) == ["a1", "b1"]
                await one.send("a2")
                assert await some_of(merged, 1) == ["a2"]
                assert merged.members == (one.ws, three.ws)
                await one.close()
                await three.send("c1")
                await three.close(4001)
                assert await all_of(merged) == ["c1"]
                assert merged.statistics().dropped == 3
            assert two.ws.close_code == 4000

    async def test_a_receive_that_waits_for_others_is_not_disturbed(self) -> None:
        async with feeds(2) as (one, two), anyio.create_task_group() as tasks:
            async with mux(one.ws, two.ws, on_disconnect="drop") as merged:
                received: list[object] = []

                async def receive() -> None:
                    received.append(await merged.receive())

                tasks.start_soon(receive)
                await one.close()
                assert received == []
                assert merged.members == (two.ws,)
                await two.send("b")
                assert received == [(two.ws, "b")]

    async def test_each_end_is_told_after_the_last_message(self) -> None:
        said: list[str] = []

        def dropped(ws: WebSocket, exc: Exception) -> None:
            assert ws is two.ws
            assert isinstance(exc, ConnectionClosedError)
            assert exc.rcvd is not None
            said.append(f"dropped {exc.rcvd.code}")

        async with feeds(2) as (one, two):
            async with mux(one.ws, two.ws, on_disconnect="drop", on_drop=dropped) as merged:
                await two.send("b1", "b2")
                await two.close(4000)
                await one.send("a1", "a2", "a3", "a4")
                for _ in range(6):
                    said.append(str((await merged.receive())[1]))
            mine = [word for word in said if not word.startswith("a")]
            assert mine == ["b1", "b2", "dropped 4000"]
            assert said.index("dropped 4000") < said.index("a4")

    async def test_what_on_drop_raises_comes_out_of_receive_and_it_goes_on(self) -> None:
        error = LookupError("mine")

        def dropped(ws: WebSocket, exc: Exception) -> None:
            raise error

        async with feeds(2) as (one, two):
            async with mux(one.ws, two.ws, on_disconnect="drop", on_drop=dropped) as merged:
                await one.close()
                with pytest.raises(LookupError) as caught:
                    await merged.receive()
                assert caught.value is error
                assert error.__context__ is None
                await two.send("b")
                assert await merged.receive() == (two.ws, "b")

    async def test_one_that_was_dropped_can_be_received_from(self) -> None:
        async with feed() as one, mux(one.ws, on_disconnect="drop") as merged:
            await one.close()
            assert await all_of(merged) == []
            with pytest.raises(ConnectionClosedOK):
                await one.ws.receive()

    async def test_one_that_had_ended_before_is_dropped_after_its_messages(self) -> None:
        async with feeds(2) as (one, two):
            await one.send("a")
            await one.close()
            async with mux(one.ws, two.ws, on_disconnect="drop") as merged:
                await two.send("b")
                assert await some_of(merged, 2) == ["a", "b"]
                with pytest.raises(anyio.WouldBlock):
                    merged.receive_nowait()
                assert merged.members == (two.ws,)

    async def test_a_violation_drops_its_member_only(self) -> None:
        async with feeds(2) as (one, two):
            async with mux(one.ws, two.ws, on_disconnect="drop") as merged:
                await one.wire.send(b"\x81\x01a\xff\x00")
                await two.send("b")
                assert await some_of(merged, 2) == ["a", "b"]
                await two.send("c")
                assert await some_of(merged, 1) == ["c"]
                assert merged.members == (two.ws,)

    async def test_on_drop_must_be_a_plain_function_that_may_be_called(self) -> None:
        async def dropped(ws: WebSocket, exc: Exception) -> None: ...

        async with feed() as one:
            with pytest.raises(TypeError, match="plain function"):
                mux(one.ws, on_disconnect="drop", on_drop=dropped)
            with pytest.raises(ValueError, match="drop"):
                mux(one.ws, on_drop=print)


class TestSource:
    async def test_it_may_begin_with_none_and_ends_when_there_can_be_no_more(self) -> None:
        send, source = anyio.create_memory_object_stream[WebSocket]()
        async with feeds(2) as (one, two), source, anyio.create_task_group() as tasks:
            received: list[object] = []

            async def receive() -> None:
                async with mux(source=source, on_disconnect="drop") as merged:
                    async for ws, message in merged:
                        received.append((ws, message))

            tasks.start_soon(receive)
            async with send:
                await settle()
                await send.send(one.ws)
                await one.send("a")
                await one.close()
                await send.send(two.ws)
                await two.send("b")
                await settle()
            assert received == [(one.ws, "a"), (two.ws, "b")]
            await two.send("c")
            await two.close()
            assert received[2:] == [(two.ws, "c")]

    async def test_no_connections_and_no_source_are_a_value_error(self) -> None:
        with pytest.raises(ValueError, match="or a source"):
            mux(on_disconnect="drop")

    async def test_what_is_no_asynchronous_iterable_is_a_type_error(self) -> None:
        with pytest.raises(TypeError, match="asynchronous iterable"):
            mux(source=[])  # type: ignore[call-overload]  # on purpose

    async def test_what_it_raises_ends_the_block_and_comes_out_as_that_very_object(self) -> None:
        error = LookupError("mine")
        error.__cause__ = cause = KeyError("why")

        async def source() -> AsyncIterator[WebSocket]:
            yield one.ws
            raise error

        async def run() -> None:
            async with mux(source=source()):
                await anyio.sleep_forever()

        async with feed() as one:
            with pytest.raises(LookupError) as caught:
                await run()
            assert caught.value is error
            assert error.__cause__ is cause
            assert error.__context__ is None
            await one.send("a")
            assert await one.ws.receive() == "a"

    async def test_what_it_gives_that_is_no_connection_comes_out_and_it_is_ended_properly(
        self,
    ) -> None:
        ended = False

        async def source() -> AsyncIterator[WebSocket]:
            nonlocal ended
            try:
                yield "ws"  # type: ignore[misc]  # on purpose
            finally:
                await checkpoint()
                ended = True

        async def run() -> None:
            async with mux(source=source()):
                await anyio.sleep_forever()

        with pytest.raises(TypeError, match="not 'ws'"):
            await run()
        assert ended

    async def test_leaving_the_block_ends_it_and_what_the_body_raises_is_untouched(self) -> None:
        ended = 0

        async def source() -> AsyncIterator[WebSocket]:
            nonlocal ended
            try:
                yield one.ws
                await anyio.sleep_forever()
            finally:
                ended += 1

        async def run(error: Exception | None) -> None:
            async with mux(source=source()):
                await settle()
                if error is not None:
                    raise error

        async with feed() as one:
            await run(None)
            for error in (ValueError(1), ExceptionGroup("mine", [KeyError(1), ValueError(2)])):
                with pytest.raises(type(error)) as caught:
                    await run(error)
                assert caught.value is error
                assert error.__context__ is None
            assert ended == 3

    async def test_what_it_gives_when_the_block_was_left_is_left_alone(self) -> None:
        async def source() -> AsyncIterator[WebSocket]:
            began.set()
            with anyio.CancelScope(shield=True):
                await settle()
            yield one.ws

        began = anyio.Event()
        async with feed() as one:
            async with mux(source=source()) as merged:
                await began.wait()
            assert merged.members == ()
            await one.send("a")
            assert one.ws.receive_nowait() == "a"

    async def test_the_bodys_exception_and_that_of_the_source_come_out_together(self) -> None:
        failing, mine = LookupError(), ValueError()

        async def source() -> AsyncIterator[WebSocket]:
            yield one.ws
            raise failing

        async def run() -> None:
            async with mux(source=source()):
                try:
                    await anyio.sleep_forever()
                finally:
                    raise mine

        async with feed() as one:
            with pytest.raises(ExceptionGroup) as caught:
                await run()
            assert set(caught.value.exceptions) == {failing, mine}

    async def test_a_cancellation_from_outside_is_not_swallowed(self) -> None:
        send, source = anyio.create_memory_object_stream[WebSocket]()
        went_on = False
        with send, source, anyio.CancelScope() as scope:
            async with mux(source=source):
                scope.cancel()
                await checkpoint()
            await checkpoint()
            went_on = True
        assert scope.cancelled_caught
        assert not went_on

    async def test_a_member_that_disconnects_cancels_the_block_and_the_source(self) -> None:
        send, source = anyio.create_memory_object_stream[WebSocket]()
        async with feed() as one:
            with send, source:
                with anyio.fail_after(PATIENCE):
                    async with mux(one.ws, source=source, on_disconnect="cancel") as merged:
                        await one.close()
                        await anyio.sleep_forever()
                assert merged.first_to_disconnect is one.ws

            async def broken() -> None:
                async with mux(two.ws, source=source, on_disconnect="cancel"):
                    await two.close(4000)
                    await anyio.sleep_forever()

            send, source = anyio.create_memory_object_stream[WebSocket]()
            async with feed() as two:
                with send, source, pytest.raises(ConnectionClosedError, match="4000"):
                    await broken()

    async def test_closing_it_in_the_block_ends_the_source_and_not_the_block(self) -> None:
        send, source = anyio.create_memory_object_stream[WebSocket]()
        with send, source:
            async with feed() as one, mux(one.ws, source=source) as merged:
                await merged.aclose()
                await settle()
                assert source.statistics().tasks_waiting_receive == 0
                await one.send("a")
                assert await one.ws.receive() == "a"


class TestStatistics:
    async def test_they_count_who_is_here_and_what_was_taken(self) -> None:
        async with feeds(3) as (one, two, three):
            async with mux(one.ws, two.ws, three.ws, on_disconnect="drop") as merged:
                await one.send("1", "2", "3")
                await two.send("1")
                await two.close()
                await some_of(merged, 3)
                found = merged.statistics()
                assert (found.members, found.ready, found.dropped, found.taken) == (3, 2, 0, 3)
                assert found.taken_from == {one.ws: 2, two.ws: 1, three.ws: 0}
                await some_of(merged, 1)
                merged.discard(one.ws)
                with pytest.raises(anyio.WouldBlock):
                    merged.receive_nowait()
                found = merged.statistics()
                assert (found.members, found.ready, found.dropped, found.taken) == (1, 0, 1, 4)
                assert found.taken_from == {three.ws: 0}
            found = merged.statistics()
            assert (found.members, found.taken) == (0, 4)


def jains_index(shares: list[float]) -> float:
    """1 if all are the same, 1 / n if one has everything."""
    return sum(shares) ** 2 / (len(shares) * sum(share**2 for share in shares))


def fair_share(available: list[int], total: int) -> list[float]:
    """Share *total* out so that nobody has more than is available, and nobody can have more at the cost of
    one who has as much or less."""
    shares = [0.0] * len(available)
    order = sorted(range(len(available)), key=available.__getitem__)
    left = float(total)
    for place, index in enumerate(order):
        shares[index] = min(available[index], left / (len(order) - place))
        left -= shares[index]
    return shares


@pytest.mark.parametrize("rate", [10, 30])  # less than the others send, and more
async def test_a_member_a_hundred_times_as_chatty_takes_nothing_from_the_others(rate: int) -> None:
    async with feeds(20) as members, mux(*sockets(members)) as merged:
        sent, taken = Counter[WebSocket](), Counter[WebSocket]()

        async def chat(member: Feed, number: int) -> None:
            for _ in range(number):
                await member.peer.send("x" * 100, compress=False)
                sent[member.ws] += 1

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(chat, members[0], 40 * 100)
            for _ in range(40):
                for member in members[1:]:
                    await chat(member, 1)
                await settle()
                for _ in range(rate):
                    taken[merged.receive_nowait()[0]] += 1
            tasks.cancel_scope.cancel()
        available = [sent[member.ws] for member in members]
        assert available[0] > 20 * available[1]
        shares = fair_share(available, taken.total())
        got = [taken[member.ws] / share for member, share in zip(members, shares, strict=True)]
        assert jains_index(got) >= 0.99
        assert (shares[1] == 40) is (rate > 20)


@pytest.mark.parametrize("seed", range(4))
async def test_whoever_comes_goes_or_dies_nothing_else_is_lost_or_reordered(seed: int) -> None:
    """Each member's messages are numbered. What was delivered, by the mux or by the connection that it gave
    back, are these numbers in order, without a gap: to the end, unless the connection broke."""
    chance = random.Random(seed)
    sent, got = Counter[WebSocket](), Counter[WebSocket]()
    dropped: dict[WebSocket, Exception] = {}
    broken: set[WebSocket] = set()

    def take(ws: WebSocket, message: str | bytes) -> None:
        assert int(message) == got[ws]
        got[ws] += 1

    def take_all(ws: WebSocket) -> None:
        try:
            while True:
                take(ws, ws.receive_nowait())
        except (anyio.WouldBlock, ConnectionClosed):
            pass

    async def talk(member: Feed) -> None:
        try:
            while True:
                for _ in range(chance.choice([1, 1, 2, 40])):
                    await member.peer.send(str(sent[member.ws]))
                    sent[member.ws] += 1
                await checkpoint()
        except ConnectionClosed:
            pass

    async def meddle(merged: Merged, members: list[Feed]) -> None:
        alive = list(members)
        for _ in range(150):
            await checkpoint()
            member = chance.choice(members)
            what = chance.random()
            if what < 0.3:
                merged.discard(member.ws)
                take_all(member.ws)
            elif what < 0.6 and member.ws not in dropped:
                merged.add(member.ws)
            elif what < 0.7 and len(alive) > 3 and member in alive:
                alive.remove(member)
                if chance.random() < 0.5:
                    await member.peer.send_eof()
                else:
                    broken.add(member.ws)
                    member.wire.reset()
        for member in alive:
            await member.peer.send_eof()
        await settle()
        for member in members:
            if member.ws not in dropped:
                merged.add(member.ws)

    def drop(ws: WebSocket, exc: Exception) -> None:
        dropped[ws] = exc

    async with feeds(8, max_queue=8) as members, anyio.create_task_group() as tasks:
        ends, source = anyio.create_memory_object_stream[WebSocket]()
        async with mux(
            *sockets(members), source=source, on_disconnect="drop", on_drop=drop
        ) as merged:

            async def run() -> None:
                with ends:  # while it is open, the mux doesn't end
                    await meddle(merged, members)

            for member in members:
                tasks.start_soon(talk, member)
            tasks.start_soon(run)
            with anyio.fail_after(PATIENCE):
                async for ws, message in merged:
                    take(ws, message)
        source.close()
        assert dropped.keys() == set(sockets(members))
        for member in members:
            if member.ws in broken:
                assert got[member.ws] <= sent[member.ws] + 1
                assert not isinstance(dropped[member.ws], ConnectionClosedOK)
            else:
                assert got[member.ws] == sent[member.ws] > 0
                assert isinstance(dropped[member.ws], ConnectionClosedOK)


async def test_cancelled_by_the_event_loops_own_means_it_loses_nothing() -> None:
    async with feeds(2) as (one, two), mux(one.ws, two.ws, on_disconnect="drop") as merged:
        received: list[str | bytes] = []

        async def receive() -> None:
            while True:
                received.append((await merged.receive())[1])

        for number in range(30):
            call = Cancellable()
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(call.run, receive())
                await settle()
                await one.peer.send(f"a{number}")
                await two.peer.send(f"b{number}")
                for _ in range(number % 5):
                    await checkpoint()
                call.cancel()
        await settle()
        while len(received) < 60:
            received.append(merged.receive_nowait()[1])
        for name in "ab":
            mine = [message for message in received if str(message).startswith(name)]
            assert mine == [f"{name}{number}" for number in range(30)]
