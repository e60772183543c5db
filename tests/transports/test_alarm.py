"""The contract of transports, held against every kind: the alarm. See `test_writing`."""

from __future__ import annotations

import socket

import anyio
import pytest

from anyio_ws.transports.dial import over

from .kinds import TLS, Kind, every_kind, half_closing, running
from .recorder import Link, Watched, settle

SOON = 0.02
"""Seconds."""


def set_soon(link: Link) -> float:
    """Set the alarm, and return for when."""
    when = link.transport.clock() + SOON
    link.transport.set_alarm(when)
    return when


@every_kind
async def test_it_rings_once_and_not_before_its_time(kind: Kind, tls: TLS) -> None:
    async with running(kind, tls) as link:
        when = set_soon(link)
        await link.called("alarm")
        assert link.transport.clock() >= when - 0.002  # uvloop's clock counts milliseconds
        await anyio.sleep(2 * SOON)
        assert link.sink.calls.count("alarm") == 1
        link.transport.abort()


@every_kind
async def test_it_can_be_set_again_when_it_rings(kind: Kind, tls: TLS) -> None:
    async with running(kind, tls) as link:
        for number in range(1, 4):
            set_soon(link)
            await link.sink.until(lambda: link.sink.calls.count("alarm") == number)  # noqa: B023
        link.transport.abort()


@every_kind
@pytest.mark.parametrize("instead", [None, 3600])
async def test_it_can_be_put_off_and_taken_back(
    kind: Kind, tls: TLS, instead: float | None
) -> None:
    async with running(kind, tls) as link:
        set_soon(link)
        link.transport.set_alarm(None if instead is None else link.transport.clock() + instead)
        await anyio.sleep(2 * SOON)
        assert "alarm" not in link.sink.calls
        link.transport.abort()


@every_kind
async def test_a_time_that_has_passed_is_now(kind: Kind, tls: TLS) -> None:
    async with running(kind, tls) as link:
        link.transport.set_alarm(link.transport.clock() - 10)
        await link.called("alarm")
        link.transport.abort()


@every_kind
async def test_it_rings_while_reading_is_paused(kind: Kind, tls: TLS) -> None:
    async with running(kind, tls) as link:
        link.transport.pause_reading()
        set_soon(link)
        await link.called("alarm")
        link.transport.abort()


@every_kind
async def test_it_does_not_ring_after_abort(kind: Kind, tls: TLS) -> None:
    async with running(kind, tls) as link:
        await settle()
        link.transport.set_alarm(link.transport.clock())
        link.transport.abort()


@half_closing
async def test_it_rings_after_the_end_of_the_input(kind: Kind, tls: TLS) -> None:
    async with running(kind, tls) as link:
        await link.peer.send_eof()
        await link.called("eof")
        set_soon(link)
        await link.called("alarm")
        link.transport.abort()


@every_kind
async def test_what_had_arrived_is_handed_over_before(kind: Kind, tls: TLS) -> None:
    """Also when its time has passed before anything could be read, as in a thread that was blocked."""
    async with running(kind, tls) as link:
        await link.peer.ready()
        link.transport.pause_reading()
        sent = anyio.Event()

        async def send() -> None:
            await link.peer.send(b"in time")
            sent.set()

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(send)
            with anyio.move_on_after(SOON):  # some streams hold nothing: there it waits to be read
                await sent.wait()
            link.transport.resume_reading()
            link.transport.set_alarm(link.transport.clock() - 1)
            await link.called("alarm")
        assert link.sink.calls.index("data") < link.sink.calls.index("alarm")
        link.transport.abort()


async def test_a_peer_that_never_pauses_does_not_put_it_off() -> None:
    ours, theirs = socket.socketpair()
    theirs.setblocking(False)
    with theirs:
        transport = Watched(await over(ours), half_closes=True)
        sink = transport.recorder
        sink.on_data = lambda chunk: None if "alarm" in sink.calls else send_more()

        def send_more() -> None:
            theirs.send(b"more")

        transport.start(sink)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(transport.run)
            transport.set_alarm(transport.clock() + SOON)
            send_more()
            await sink.until(lambda: "alarm" in sink.calls)
            transport.abort()
            await sink.until(lambda: sink.lost)
        assert sink.complaints == []


@every_kind
async def test_it_counts_what_has_arrived(kind: Kind, tls: TLS) -> None:
    async with running(kind, tls) as link:
        await link.peer.ready()
        before = link.transport.received_total
        await link.peer.send(b"x" * 500)
        await link.received(500)
        assert link.transport.received_total - before >= 500
        link.transport.abort()
