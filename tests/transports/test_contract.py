"""The contract of `anyio_ws.transports.base`, held against every kind of transport.

What holds at all times, `kinds.Recorder` and `Link.assert_over` look for in every test: no call while
paused, after the end or after abort; ``connection_lost`` once and last; nothing left open. That ``run``
raises nothing shows by its task group.
"""

from __future__ import annotations

from contextlib import suppress

import anyio
import pytest
import trio

from anyio_ws.testing import cancel_sweep

from .kinds import (
    HIGH_WATER,
    PATIENCE,
    TLS,
    Kind,
    Link,
    connected,
    every_kind,
    over,
    running,
    settle,
)

bounded = over(lambda kind: kind.bounded)
half_closing = over(lambda kind: kind.half_closes)
closing_whole = over(lambda kind: not kind.half_closes)
resettable = over(lambda kind: kind.resets)


def pattern(size: int) -> bytes:
    """Bytes of which no part looks like another."""
    return b"".join(number.to_bytes(4) for number in range(size // 4 + 1))[:size]


class TestWriting:
    @every_kind
    async def test_what_is_written_arrives_whole_and_in_order(self, kind: Kind, tls: TLS) -> None:
        data = pattern(kind.big)
        async with running(kind, tls) as link:
            for start in range(0, 500, 10):
                link.transport.write(data[start : start + 10])
            link.transport.write(data[500:])
            assert await link.peer_receives(len(data)) == data
            link.abort()

    @every_kind
    async def test_what_was_written_before_it_runs_leaves_too(self, kind: Kind, tls: TLS) -> None:
        async with connected(kind, tls) as link, anyio.create_task_group() as tasks:
            link.transport.write(b"early")
            assert link.transport.unsent == 5
            tasks.start_soon(link.transport.run)
            assert await link.peer_receives(5) == b"early"
            link.abort()

    @every_kind
    async def test_both_directions_are_busy_at_the_same_time(self, kind: Kind, tls: TLS) -> None:
        data = pattern(kind.big)
        async with running(kind, tls) as link, anyio.create_task_group() as tasks:
            link.transport.write(data)
            tasks.start_soon(link.peer.send, data)
            assert await link.peer_receives(len(data)) == data
            assert await link.received(len(data)) == data
            link.abort()

    @bounded
    async def test_reading_does_not_wait_for_output_that_is_stuck(
        self, kind: Kind, tls: TLS
    ) -> None:
        async with running(kind, tls) as link:
            link.transport.write(bytes(kind.big))
            with anyio.fail_after(PATIENCE):
                await link.peer.send(b"hello")
            assert await link.received(5) == b"hello"
            assert link.transport.unsent
            link.abort()

    @every_kind
    async def test_it_counts_what_left_and_what_has_not(self, kind: Kind, tls: TLS) -> None:
        async with running(kind, tls) as link:
            transport = link.transport
            assert (transport.unsent, transport.sent_total) == (0, 0)
            transport.write(b"")
            assert transport.unsent == 0
            transport.write(b"abc")
            transport.write(b"de")
            assert (transport.unsent, transport.sent_total) == (5, 0)
            await link.peer_receives(5)
            await link.sink.until(lambda: transport.unsent == 0)
            assert transport.sent_total == 5
            link.abort()

    @bounded
    async def test_unsent_output_never_counts_as_sent(self, kind: Kind, tls: TLS) -> None:
        async with running(kind, tls) as link:
            transport = link.transport
            transport.write(bytes(kind.big))
            await settle()
            assert 0 < transport.unsent <= kind.big
            assert transport.unsent + transport.sent_total == kind.big
            await link.peer_receives(kind.big)
            await link.sink.until(lambda: transport.unsent == 0)
            assert transport.sent_total == kind.big
            link.abort()

    @every_kind
    async def test_writable_is_called_once_it_can_take_more(self, kind: Kind, tls: TLS) -> None:
        async with running(kind, tls) as link:
            await settle()
            assert link.sink.calls == []
            link.transport.write(b"one")
            assert link.sink.calls == []  # not from within write
            await link.peer_receives(3)
            await link.sink.until(lambda: "writable" in link.sink.calls)
            assert link.sink.calls == ["writable"]
            link.abort()

    @bounded
    async def test_writable_is_not_called_while_much_is_unsent(self, kind: Kind, tls: TLS) -> None:
        async with running(kind, tls) as link:
            link.transport.write(bytes(max(kind.big, HIGH_WATER)))
            await settle()
            if link.transport.unsent >= HIGH_WATER:
                assert "writable" not in link.sink.calls
            link.abort()

    @every_kind
    async def test_whole_output_can_be_given_from_within_writable(
        self, kind: Kind, tls: TLS
    ) -> None:
        data = pattern(4000)
        async with running(kind, tls) as link:
            rest = [data[start : start + 100] for start in range(100, 4000, 100)]

            def more() -> None:
                if rest:
                    link.transport.write(rest.pop(0))

            link.sink.on_writable = more
            link.transport.write(data[:100])
            assert await link.peer_receives(4000) == data
            link.abort()

    @every_kind
    async def test_what_arrives_can_be_answered_from_within_data_received(
        self, kind: Kind, tls: TLS
    ) -> None:
        data = pattern(3000)
        async with running(kind, tls) as link, anyio.create_task_group() as tasks:
            link.sink.on_data = link.transport.write
            tasks.start_soon(link.peer.send, data)
            assert await link.peer_receives(3000) == data
            link.abort()


class TestPausing:
    @every_kind
    async def test_what_the_peer_sends_arrives_whole_and_in_order(
        self, kind: Kind, tls: TLS
    ) -> None:
        data = pattern(kind.big)
        async with running(kind, tls) as link:
            await link.peer.send(data)
            assert await link.received(len(data)) == data
            link.abort()

    @every_kind
    async def test_paused_before_it_runs_it_reads_nothing_until_it_is_resumed(
        self, kind: Kind, tls: TLS
    ) -> None:
        async with connected(kind, tls) as link, anyio.create_task_group() as tasks:
            link.pause()
            tasks.start_soon(link.transport.run)
            tasks.start_soon(link.peer.send, b"hello")
            await settle()
            assert not link.sink.received
            link.resume()
            assert await link.received(5) == b"hello"
            link.abort()

    @every_kind
    async def test_it_can_pause_after_every_chunk(self, kind: Kind, tls: TLS) -> None:
        data = pattern(kind.big)
        async with running(kind, tls) as link, anyio.create_task_group() as tasks:
            link.sink.on_data = lambda chunk: link.pause()
            tasks.start_soon(link.peer.send, data)
            while len(link.sink.received) < len(data):
                await link.sink.until(lambda: link.sink.paused)
                link.resume()
            assert link.sink.received == data
            link.abort()

    @every_kind
    async def test_paused_while_it_waits_for_data_it_hands_none_over(
        self, kind: Kind, tls: TLS
    ) -> None:
        async with running(kind, tls) as link, anyio.create_task_group() as tasks:
            await settle()  # it reads now
            link.pause()
            tasks.start_soon(link.peer.send, b"hello")
            link.transport.write(b"ping")
            await link.peer_receives(4)
            await settle()
            assert not link.sink.received
            link.resume()
            assert await link.received(5) == b"hello"
            link.abort()

    @every_kind
    async def test_resumed_and_paused_again_at_once_is_paused(self, kind: Kind, tls: TLS) -> None:
        async with running(kind, tls) as link, anyio.create_task_group() as tasks:
            link.pause()
            tasks.start_soon(link.peer.send, b"hello")
            await settle()
            link.resume()
            link.pause()
            await settle()
            link.resume()
            link.resume()  # nothing is counted
            assert await link.received(5) == b"hello"
            link.abort()

    @every_kind
    async def test_pausing_twice_needs_one_resuming(self, kind: Kind, tls: TLS) -> None:
        async with running(kind, tls) as link:
            link.resume()  # isn't paused
            link.pause()
            link.pause()
            link.resume()
            await link.peer.send(b"hello")
            assert await link.received(5) == b"hello"
            link.abort()

    @bounded
    async def test_a_pause_stops_the_peer(self, kind: Kind, tls: TLS) -> None:
        data = pattern(kind.big)
        sent = anyio.Event()

        async def send(link: Link) -> None:
            await link.peer.send(data)
            sent.set()

        async with running(kind, tls) as link, anyio.create_task_group() as tasks:
            link.pause()
            tasks.start_soon(send, link)
            await settle()
            assert not sent.is_set()
            link.resume()
            assert await link.received(len(data)) == data
            with anyio.fail_after(PATIENCE):
                await sent.wait()
            link.abort()

    @every_kind
    async def test_writing_goes_on_while_reading_is_paused(self, kind: Kind, tls: TLS) -> None:
        async with running(kind, tls) as link:
            link.pause()
            link.transport.write(bytes(kind.big))
            await link.peer_receives(kind.big)
            await link.sink.until(lambda: "writable" in link.sink.calls)
            link.abort()


class TestEndsInOrder:
    @half_closing
    async def test_after_write_eof_the_peer_gets_everything_and_the_end_and_can_still_send(
        self, kind: Kind, tls: TLS
    ) -> None:
        data = pattern(kind.big)
        async with running(kind, tls) as link:
            link.transport.write(data)
            link.transport.write_eof()
            assert await link.peer_receives_all() == data
            await link.peer.send(b"still here")
            assert await link.received(10) == b"still here"
            assert "eof" not in link.sink.calls
            await link.peer.send_eof()
            await link.lost()
        assert link.sink.cause is None
        assert link.sink.calls[-2:] == ["eof", "lost"]

    @half_closing
    async def test_after_the_peer_has_ended_its_side_output_still_leaves(
        self, kind: Kind, tls: TLS
    ) -> None:
        data = pattern(kind.big)
        async with running(kind, tls) as link:
            await link.peer.send(b"last words")
            await link.peer.send_eof()
            await link.eof()
            assert link.sink.received == b"last words"
            link.transport.write(data)
            link.transport.write_eof()
            assert await link.peer_receives_all() == data
        assert link.sink.cause is None

    @bounded
    @pytest.mark.parametrize("ending", ["write_eof", "then nothing"])
    async def test_the_end_waits_for_output_that_is_stuck(
        self, kind: Kind, tls: TLS, ending: str
    ) -> None:
        data = pattern(kind.big)
        async with running(kind, tls) as link:
            link.transport.write(data)
            link.transport.write_eof()
            await settle()
            assert not link.sink.lost
            assert await link.peer_receives_all() == data
            if ending == "write_eof" and kind.half_closes:
                await link.peer.send_eof()
            else:
                await link.peer.aclose()
        assert link.sink.cause is None

    @closing_whole
    async def test_where_half_closing_is_impossible_write_eof_closes(
        self, kind: Kind, tls: TLS
    ) -> None:
        data = pattern(kind.big)
        async with running(kind, tls) as link:
            link.transport.write(data)
            link.transport.write_eof()
            assert await link.peer_receives_all() == data  # an end and not a truncation
            await link.peer.aclose()
        assert link.sink.cause is None
        assert "eof" not in link.sink.calls

    @closing_whole
    async def test_a_peer_that_is_still_sending_does_not_disturb_the_closing(
        self, kind: Kind, tls: TLS
    ) -> None:
        async def send(link: Link) -> None:
            try:
                while True:
                    await link.peer.send(bytes(5000))
            finally:
                sending.cancel()

        async with running(kind, tls) as link:
            link.pause()
            with anyio.CancelScope() as sending:
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(send, link)
                    await settle()
                    link.transport.write(b"bye")
                    link.transport.write_eof()
                    assert await link.peer_receives_all() == b"bye"
                    sending.cancel()
            await link.peer.leave()
        assert link.sink.cause is None

    @every_kind
    async def test_a_peer_that_closes_ends_the_input_first(self, kind: Kind, tls: TLS) -> None:
        async with running(kind, tls) as link, anyio.create_task_group() as tasks:
            await link.peer.send(b"bye")
            tasks.start_soon(link.peer.aclose)
            await link.eof()
            assert not link.sink.lost
            assert link.sink.received == b"bye"
            link.transport.write_eof()
        assert link.sink.cause is None
        assert link.sink.calls[-2:] == ["eof", "lost"]

    @every_kind
    async def test_the_end_can_be_answered_from_within_eof_received(
        self, kind: Kind, tls: TLS
    ) -> None:
        async with running(kind, tls) as link:
            link.sink.on_eof = link.transport.write_eof
            await link.peer.aclose()
        assert link.sink.cause is None

    @every_kind
    async def test_after_write_eof_nothing_can_be_written(self, kind: Kind, tls: TLS) -> None:
        async with running(kind, tls) as link, anyio.create_task_group() as tasks:
            link.transport.write(b"last")
            link.transport.write_eof()
            link.transport.write_eof()
            link.transport.write(b"more")
            assert link.transport.unsent == 4
            assert await link.peer_receives_all() == b"last"
            tasks.start_soon(link.peer.aclose)
        assert link.sink.cause is None
        assert link.transport.sent_total == 4

    @every_kind
    async def test_write_eof_before_it_runs_is_not_forgotten(self, kind: Kind, tls: TLS) -> None:
        async with connected(kind, tls) as link, anyio.create_task_group() as tasks:
            link.transport.write_eof()
            tasks.start_soon(link.transport.run)
            assert await link.peer_receives_all() == b""
            tasks.start_soon(link.peer.aclose)
        assert link.sink.cause is None

    @every_kind
    async def test_the_end_of_the_input_is_noticed_after_a_pause(
        self, kind: Kind, tls: TLS
    ) -> None:
        async with running(kind, tls) as link, anyio.create_task_group() as tasks:
            link.pause()
            tasks.start_soon(self._send_and_close, link)
            await settle()
            link.resume()
            await link.eof()
            assert link.sink.received == b"bye"
            link.transport.write_eof()
        assert link.sink.cause is None

    @staticmethod
    async def _send_and_close(link: Link) -> None:
        await link.peer.send(b"bye")
        await link.peer.aclose()


class TestReset:
    """By the peer. The cause is told."""

    @resettable
    async def test_before_it_runs(self, kind: Kind, tls: TLS) -> None:
        async with connected(kind, tls) as link:
            await link.peer.reset()
            with anyio.fail_after(PATIENCE):
                await link.transport.run()
        assert link.sink.cause is not None

    @resettable
    async def test_while_it_waits_for_input(self, kind: Kind, tls: TLS) -> None:
        async with running(kind, tls) as link:
            await settle()
            await link.peer.reset()
        assert link.sink.cause is not None
        assert link.sink.calls == ["lost"]

    @over(lambda kind: kind.resets and kind.bounded)
    async def test_while_output_is_stuck(self, kind: Kind, tls: TLS) -> None:
        async with running(kind, tls) as link:
            link.transport.write(bytes(kind.big))
            await settle()
            await link.peer.reset()
        assert link.sink.cause is not None

    @over(lambda kind: kind.resets and kind.bounded)
    async def test_while_reading_is_paused_and_output_is_stuck(self, kind: Kind, tls: TLS) -> None:
        async with running(kind, tls) as link:
            link.pause()
            link.transport.write(bytes(kind.big))
            await settle()
            await link.peer.reset()
        assert link.sink.cause is not None

    @resettable
    async def test_while_reading_is_paused_it_is_noticed_after_that(
        self, kind: Kind, tls: TLS
    ) -> None:
        async with running(kind, tls) as link:
            link.pause()
            await settle()
            await link.peer.reset()
            await settle()
            link.resume()
        assert link.sink.cause is not None

    @over(lambda kind: kind.resets and kind.half_closes)
    async def test_after_write_eof(self, kind: Kind, tls: TLS) -> None:
        async with running(kind, tls) as link:
            link.transport.write_eof()
            assert await link.peer_receives_all() == b""
            await link.peer.reset()
        assert link.sink.cause is not None

    @over(lambda kind: kind.resets and kind.half_closes)
    async def test_after_the_end_of_the_input(self, kind: Kind, tls: TLS) -> None:
        async with running(kind, tls) as link:
            await link.peer.send_eof()
            await link.eof()
            await link.peer.reset()
            for _ in range(100):  # the first that meets the reset may have been taken before it
                link.transport.write(bytes(10_000))
                await settle()
        assert link.sink.cause is not None

    @over(lambda kind: kind.resets and not kind.half_closes)
    async def test_while_it_closes_changes_nothing(self, kind: Kind, tls: TLS) -> None:
        async with running(kind, tls) as link:
            link.transport.write_eof()
            assert await link.peer_receives_all() == b""
            await link.peer.reset()
        assert link.sink.cause is None  # it was on its way out

    @bounded
    async def test_a_peer_that_closes_on_output_that_is_stuck(self, kind: Kind, tls: TLS) -> None:
        async with running(kind, tls) as link:
            link.transport.write(bytes(kind.big))
            await settle()
            await link.peer.leave()
        assert link.sink.cause is not None


STAGES = {
    "idle": "",
    "paused": "pause",
    "sending": "write",
    "paused and sending": "pause write",
    "half-closed": "write_eof",
    "about to half-close": "write write_eof",
}


def reach(stage: str, link: Link, size: int) -> None:
    for step in STAGES[stage].split():
        if step == "pause":
            link.pause()
        elif step == "write":
            link.transport.write(bytes(size))
        else:
            link.transport.write_eof()


class TestAbort:
    @every_kind
    async def test_aborting_ends_it_without_a_cause(self, kind: Kind, tls: TLS) -> None:
        for stage in STAGES:
            async with running(kind, tls) as link:
                reach(stage, link, kind.big)
                await settle()
                link.abort()
                link.abort()
                await link.lost()
                await link.peer_sees_the_end()
            assert link.sink.cause is None, stage

    @every_kind
    async def test_aborted_before_it_runs_it_returns(self, kind: Kind, tls: TLS) -> None:
        for stage in STAGES:
            async with connected(kind, tls) as link:
                reach(stage, link, kind.big)
                link.abort()
                with anyio.fail_after(PATIENCE):
                    await link.transport.run()
                await link.peer_sees_the_end()
            assert link.sink.cause is None, stage
            assert link.sink.calls == ["lost"], stage

    @every_kind
    @pytest.mark.parametrize("call", ["data", "eof", "writable"])
    async def test_aborting_from_within_a_call_of_the_sink(
        self, kind: Kind, tls: TLS, call: str
    ) -> None:
        async with running(kind, tls) as link, anyio.create_task_group() as tasks:
            link.sink.on_data = lambda chunk: link.abort() if call == "data" else None
            link.sink.on_eof = link.abort
            link.sink.on_writable = lambda: link.abort() if call == "writable" else None
            link.transport.write(b"x")
            await link.peer_receives(1)
            if call != "writable":
                await link.peer.send(b"x")
            if call == "eof":
                await link.received(1)
                tasks.start_soon(link.peer.aclose)
            await link.lost()
        assert link.sink.calls[-2:] == [call, "lost"]
        assert link.sink.cause is None

    @every_kind
    async def test_what_has_not_left_is_dropped(self, kind: Kind, tls: TLS) -> None:
        async with connected(kind, tls) as link, anyio.create_task_group() as tasks:
            link.transport.write(b"never")
            link.abort()
            link.transport.write(b"ever")
            tasks.start_soon(link.transport.run)
            assert await link.peer_sees_the_end() == b""
            assert link.transport.sent_total == 0

    @every_kind
    async def test_data_that_came_at_the_same_time_is_not_handed_over(
        self, kind: Kind, tls: TLS
    ) -> None:
        async with running(kind, tls) as link, anyio.create_task_group() as tasks:
            await settle()
            tasks.start_soon(link.peer.send, b"hello")
            for _ in range(
                3
            ):  # about when the reader is woken: the recorder complains if it's late
                await anyio.lowlevel.checkpoint()
            link.abort()
            tasks.cancel_scope.cancel()
        assert link.sink.cause is None

    @every_kind
    async def test_after_the_end_nothing_does_anything(self, kind: Kind, tls: TLS) -> None:
        async with running(kind, tls) as link:
            link.abort()
        calls = list(link.sink.calls)
        link.transport.write(b"x")
        link.transport.pause_reading()
        link.transport.resume_reading()
        link.transport.write_eof()
        link.transport.abort()
        await settle()
        assert link.transport.unsent == 0
        assert link.sink.calls == calls


class TestCancelling:
    @every_kind
    async def test_cancelling_run_aborts(self, kind: Kind, tls: TLS) -> None:
        for stage in STAGES:
            async with connected(kind, tls) as link:
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(link.transport.run)
                    reach(stage, link, kind.big)
                    await settle()
                    tasks.cancel_scope.cancel()
                await link.peer_sees_the_end()
            assert link.sink.cause is None, stage

    @every_kind
    async def test_run_can_be_cancelled_wherever_it_waits(self, kind: Kind, tls: TLS) -> None:
        async def talk(link: Link) -> None:
            with suppress(AssertionError, anyio.BrokenResourceError, trio.BrokenResourceError):
                await link.peer.send(b"one")
                assert await link.peer_receives(3) == b"two"
                await link.peer.send(b"three")
                await link.peer.aclose()

        for attempt in cancel_sweep():
            async with connected(kind, tls) as link, anyio.create_task_group() as tasks:
                link.transport.write(b"two")
                link.sink.on_eof = link.transport.write_eof
                tasks.start_soon(talk, link)
                with anyio.fail_after(PATIENCE):
                    await attempt.run(link.transport.run())
                if not attempt.cancelled:
                    assert link.sink.received == b"onethree", attempt
                assert link.sink.cause is None, attempt
                tasks.cancel_scope.cancel()
