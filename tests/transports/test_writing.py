"""The contract of `anyio_ws.transports.base`, held against every kind of transport: writing.

What holds at all times, `recorder.Recorder` and `Link.assert_over` look for in every test: no data while
paused, no call after the end or after abort, nor from within a call of ours; ``writable`` only after
something was left unsent; ``connection_lost`` once and last; nothing left open. That ``run`` raises
nothing shows by its task group.
"""

from __future__ import annotations

import anyio

from .kinds import PATIENCE, TLS, Kind, bounded, connected, every_kind, running
from .recorder import Link, pattern, settle


def taken(link: Link) -> int:
    """Bytes that the transport has taken, whether or not they have left."""
    return link.transport.unsent + link.transport.sent_total


async def exchange(link: Link) -> None:
    """Send a byte: after that no handshake adds anything to what is counted."""
    link.transport.write(b"x")
    await link.peer_receives(1)
    await link.sink.until(lambda: not link.transport.unsent)
    await settle()
    link.sink.calls.clear()


@every_kind
async def test_what_is_written_arrives_whole_and_in_order(kind: Kind, tls: TLS) -> None:
    data = pattern(kind.big)
    async with running(kind, tls) as link:
        for start in range(0, 500, 10):
            link.transport.write(data[start : start + 10])
        link.transport.write(data[500:-20])
        link.transport.write(data[-20:-10])
        link.transport.write(data[-10:])
        assert await link.peer_receives(len(data)) == data
        link.transport.write(b"more")
        assert await link.peer_receives(4) == b"more"
        link.transport.abort()


@every_kind
async def test_what_is_written_in_two_pieces_arrives_like_one(kind: Kind, tls: TLS) -> None:
    data = pattern(kind.big)
    async with running(kind, tls) as link:
        await exchange(link)
        before = taken(link)
        link.transport.write(b"head", b"tail")
        assert taken(link) >= before + 8
        link.transport.write(b"long", data)
        link.transport.write(b"both", b"wait")
        assert await link.peer_receives(len(data) + 20) == b"headtaillong" + data + b"bothwait"
        link.transport.abort()


@every_kind
async def test_what_was_written_before_it_runs_leaves_too(kind: Kind, tls: TLS) -> None:
    async with connected(kind, tls) as link, anyio.create_task_group() as tasks:
        link.transport.write(b"early")
        assert taken(link) >= 5
        tasks.start_soon(link.transport.run)
        assert await link.peer_receives(5) == b"early"
        link.transport.abort()
        await link.lost()


@every_kind
async def test_much_that_was_written_before_it_runs_leaves_too(kind: Kind, tls: TLS) -> None:
    data = pattern(kind.big)
    async with connected(kind, tls) as link, anyio.create_task_group() as tasks:
        link.transport.write(data)
        tasks.start_soon(link.transport.run)
        assert await link.peer_receives(len(data)) == data
        await link.sink.until(lambda: not link.transport.unsent)
        link.transport.abort()
        await link.lost()


@every_kind
async def test_writable_is_called_soon_when_asked_for_with_nothing_unsent(
    kind: Kind, tls: TLS
) -> None:
    async with running(kind, tls) as link:
        await exchange(link)
        link.transport.call_writable()
        assert "writable" not in link.sink.calls
        await link.called("writable")
        await settle()
        assert link.sink.calls == ["writable"]
        link.transport.abort()


@every_kind
async def test_it_is_called_when_asked_for_before_the_transport_runs(kind: Kind, tls: TLS) -> None:
    async with connected(kind, tls) as link, anyio.create_task_group() as tasks:
        link.transport.call_writable()
        link.transport.write(b"early")
        tasks.start_soon(link.transport.run)
        assert await link.peer_receives(5) == b"early"
        await link.called("writable")
        link.transport.abort()
        await link.lost()


@every_kind
async def test_it_is_not_called_after_abort_when_asked_for(kind: Kind, tls: TLS) -> None:
    async with running(kind, tls) as link:
        await exchange(link)
        link.transport.call_writable()
        link.transport.abort()
        await link.lost()
        assert "writable" not in link.sink.calls


@every_kind
async def test_it_is_called_when_asked_for_in_the_midst_of_much_output(
    kind: Kind, tls: TLS
) -> None:
    data = pattern(kind.big)
    async with running(kind, tls) as link:
        await exchange(link)
        link.transport.write(data)
        link.transport.call_writable()
        assert await link.peer_receives(len(data)) == data
        await link.called("writable")
        link.transport.abort()


@every_kind
async def test_both_directions_are_busy_at_the_same_time(kind: Kind, tls: TLS) -> None:
    data = pattern(kind.big)
    async with running(kind, tls) as link, anyio.create_task_group() as tasks:
        link.transport.write(data)
        tasks.start_soon(link.peer.send, data)
        assert await link.peer_receives(len(data)) == data
        assert await link.received(len(data)) == data
        link.transport.abort()


@bounded
async def test_reading_does_not_wait_for_output_that_is_stuck(kind: Kind, tls: TLS) -> None:
    async with running(kind, tls) as link:
        link.transport.write(bytes(kind.big))
        with anyio.fail_after(PATIENCE):
            await link.peer.send(b"hello")
        assert await link.received(5) == b"hello"
        assert link.transport.unsent
        link.transport.abort()


@every_kind
async def test_it_counts_what_left_and_what_has_not(kind: Kind, tls: TLS) -> None:
    async with running(kind, tls) as link:
        await exchange(link)
        transport, before = link.transport, link.transport.sent_total
        transport.write(b"")
        assert (transport.unsent, transport.sent_total) == (0, before)
        transport.write(b"abc")
        transport.write(b"de")
        grown = taken(link) - before
        assert grown == 5 if kind.counts_all else grown > 5
        await link.peer_receives(5)
        await link.sink.until(lambda: not transport.unsent)
        assert transport.sent_total == before + grown
        link.transport.abort()


@bounded
async def test_unsent_output_never_counts_as_sent(kind: Kind, tls: TLS) -> None:
    async with running(kind, tls) as link:
        await exchange(link)
        transport, before = link.transport, link.transport.sent_total
        transport.write(bytes(kind.big))
        grown = taken(link) - before
        assert grown == kind.big if kind.counts_all else grown > kind.big
        await settle()
        assert 0 < transport.unsent <= grown
        assert taken(link) == before + grown
        await link.peer_receives(kind.big)
        await link.sink.until(lambda: not transport.unsent)
        assert transport.sent_total == before + grown
        link.transport.abort()


@every_kind
async def test_writable_is_called_if_something_was_left_unsent_and_only_then(
    kind: Kind, tls: TLS
) -> None:
    async with running(kind, tls) as link:
        await exchange(link)
        link.transport.write(b"one")
        left = link.transport.unsent > 0
        assert link.sink.calls == []  # not from within write
        await link.peer_receives(3)
        await link.sink.until(lambda: not link.transport.unsent)
        await settle()
        assert link.sink.calls == (["writable"] if left else [])
        link.transport.abort()


@bounded
async def test_writable_is_called_once_all_has_left(kind: Kind, tls: TLS) -> None:
    async with running(kind, tls) as link:
        await exchange(link)
        link.transport.write(bytes(kind.big))
        link.transport.write(b"and")
        await settle()
        assert link.transport.unsent
        assert link.sink.calls == []
        link.transport.write(b"more")
        await link.peer_receives(kind.big + 7)
        await link.called("writable")
        await settle()
        assert link.sink.calls == ["writable"]
        link.transport.abort()


@every_kind
async def test_all_output_can_be_given_from_within_writable(kind: Kind, tls: TLS) -> None:
    data = pattern(kind.big)
    async with running(kind, tls) as link:
        size = len(data) // 40
        rest = [data[start : start + size] for start in range(0, len(data), size)]

        def pump() -> None:
            while rest and not link.transport.unsent:
                link.transport.write(rest.pop(0))

        link.sink.on_writable = pump
        pump()
        assert await link.peer_receives(len(data)) == data
        link.transport.abort()


@every_kind
async def test_what_arrives_can_be_answered_from_within_data_received(kind: Kind, tls: TLS) -> None:
    data = pattern(3000)
    async with running(kind, tls) as link, anyio.create_task_group() as tasks:
        link.sink.on_data = link.transport.write
        tasks.start_soon(link.peer.send, data)
        assert await link.peer_receives(3000) == data
        link.transport.abort()
