"""The contract of transports, held against every kind: aborting, and cancelling. See `test_writing`."""

from __future__ import annotations

from contextlib import suppress

import anyio
import pytest
from anyio.lowlevel import checkpoint

from anyio_ws.testing import cancel_sweep

from .kinds import TLS, Kind, bounded, connected, every_kind, running
from .recorder import BROKEN, Link, settle

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
            link.transport.pause_reading()
        elif step == "write":
            link.transport.write(bytes(size))
        else:
            link.transport.write_eof()


@every_kind
async def test_aborting_ends_it_without_a_cause(kind: Kind, tls: TLS) -> None:
    for stage in STAGES:
        async with running(kind, tls) as link:
            reach(stage, link, kind.big)
            await settle()
            link.transport.abort()
            link.transport.abort()
            await link.lost()
            await link.peer_sees_the_end()
        assert link.sink.cause is None, stage


@every_kind
async def test_aborted_before_it_runs_it_returns(kind: Kind, tls: TLS) -> None:
    for stage in STAGES:
        async with connected(kind, tls) as link:
            reach(stage, link, kind.big)
            link.transport.abort()
            await link.run()
            await link.peer_sees_the_end()
        assert link.sink.cause is None, stage
        assert link.sink.calls == ["lost"], stage


@every_kind
@pytest.mark.parametrize("call", ["data", "eof", "writable"])
async def test_aborting_from_within_a_call_of_the_sink(kind: Kind, tls: TLS, call: str) -> None:
    async with running(kind, tls) as link, anyio.create_task_group() as tasks:
        link.sink.on_data = lambda chunk: link.transport.abort() if call == "data" else None
        link.sink.on_eof = link.transport.abort
        link.sink.on_writable = lambda: link.transport.abort() if call == "writable" else None
        if call == "writable":
            link.transport.write(bytes(kind.big))
            assert link.transport.unsent
            await link.peer_sees_the_end()
        else:
            await link.peer.send(b"x")
        if call == "eof":
            await link.received(1)
            tasks.start_soon(link.peer.aclose)
        await link.lost()
    assert link.sink.calls[-2:] == [call, "lost"]
    assert link.sink.cause is None


@every_kind
async def test_what_is_written_afterwards_never_leaves(kind: Kind, tls: TLS) -> None:
    async with connected(kind, tls) as link, anyio.create_task_group() as tasks:
        link.transport.write(b"perhaps")
        left = not link.transport.unsent
        link.transport.abort()
        link.transport.write(b"never")
        tasks.start_soon(link.transport.run)
        assert await link.peer_sees_the_end() == (b"perhaps" if left else b"")
        await link.lost()


@bounded
async def test_what_has_not_left_is_dropped(kind: Kind, tls: TLS) -> None:
    async with running(kind, tls) as link:
        link.transport.write(bytes(kind.big))
        await settle()
        link.transport.abort()
        assert len(await link.peer_sees_the_end()) < kind.big


@every_kind
@pytest.mark.parametrize("rounds", range(6))
async def test_what_happens_at_the_same_time_is_not_told(kind: Kind, tls: TLS, rounds: int) -> None:
    async def send_and_receive(link: Link) -> None:
        with suppress(*BROKEN):
            await link.peer.send(b"hello")
            await link.peer.receive()

    async with running(kind, tls) as link, anyio.create_task_group() as tasks:
        link.transport.write(bytes(kind.big))
        await settle()
        tasks.start_soon(send_and_receive, link)
        for _ in range(rounds):  # about when its tasks are woken: the recorder complains
            await checkpoint()
        link.transport.abort()
        tasks.cancel_scope.cancel()
    assert link.sink.cause is None


@every_kind
async def test_it_can_be_called_while_it_ends(kind: Kind, tls: TLS) -> None:
    for _ in range(10):  # which task of a scheduling round runs first is left to chance
        async with running(kind, tls) as link:
            link.transport.abort()
            while not link.sink.lost:
                link.transport.write(b"x")
                link.transport.call_writable()
                await checkpoint()
        assert link.sink.calls == ["lost"]


@every_kind
async def test_after_the_end_nothing_does_anything(kind: Kind, tls: TLS) -> None:
    async with running(kind, tls) as link:
        link.transport.abort()
    calls = list(link.sink.calls)
    sent = link.transport.sent_total
    link.transport.write(b"x")
    link.transport.pause_reading()
    link.transport.resume_reading()
    link.transport.write_eof()
    link.transport.abort()
    await settle()
    assert (link.transport.unsent, link.transport.sent_total) == (0, sent)
    assert link.sink.calls == calls


async def over(link: Link) -> None:
    """The end that a cancellation has brought, where there was something to cancel."""
    if not link.transport.has_to_run:
        link.transport.abort()
    await link.lost()


@every_kind
async def test_cancelling_run_aborts(kind: Kind, tls: TLS) -> None:
    for stage in STAGES:
        async with connected(kind, tls) as link:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(link.transport.run)
                reach(stage, link, kind.big)
                await settle()
                link.sink.aborted = True
                tasks.cancel_scope.cancel()
            await over(link)
            await link.peer_sees_the_end()
        assert link.sink.cause is None, stage


@every_kind
async def test_run_can_be_cancelled_wherever_it_waits(kind: Kind, tls: TLS) -> None:
    async def talk(link: Link) -> None:
        with suppress(AssertionError, *BROKEN):
            await link.peer.send(b"one")
            assert await link.peer_receives(3) == b"two"
            await link.peer.send(b"three")
            await link.peer.aclose()

    for attempt in cancel_sweep():
        async with connected(kind, tls) as link, anyio.create_task_group() as tasks:
            link.transport.write(b"two")
            link.sink.on_eof = link.transport.write_eof
            tasks.start_soon(talk, link)
            await attempt.run(link.run())
            if attempt.cancelled:
                await over(link)
            else:
                await link.lost()
                assert link.sink.received == b"onethree", attempt
            assert link.sink.cause is None, attempt
            tasks.cancel_scope.cancel()
