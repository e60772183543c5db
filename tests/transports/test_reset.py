"""The contract of transports, held against every kind: the peer breaks the connection. See `test_writing`.

The cause is told. While reading is paused that the output is lost is told, and only that.
"""

from __future__ import annotations

import math

import anyio
from anyio.lowlevel import checkpoint

from .kinds import PATIENCE, TLS, Kind, bounded, closing_whole, connected, of_kinds, running
from .recorder import Link, pattern, settle

resettable = of_kinds(lambda kind: kind.resets)
keeping_input = of_kinds(lambda kind: kind.keeps_input)


async def arrives(link: Link, kind: Kind, size: int) -> None:
    """Wait until the kernel holds *size* bytes that the peer has sent."""
    records = 0 if kind.counts_all else math.ceil(size / 2**14)
    await link.arrives(size + 22 * records)  # TLS 1.3's overhead


async def write_until(link: Link, call: str) -> None:
    """Write: the first that meets the reset may still be taken."""
    with anyio.fail_after(PATIENCE):
        while call not in link.sink.calls:
            link.transport.write(bytes(1000))
            await checkpoint()


@resettable
async def test_before_it_runs(kind: Kind, tls: TLS) -> None:
    async with connected(kind, tls) as link:
        await link.peer.reset()
        await link.run()
    assert link.sink.cause is not None


@resettable
async def test_before_it_runs_with_output(kind: Kind, tls: TLS) -> None:
    async with connected(kind, tls) as link:
        await link.peer.reset()
        link.transport.write(bytes(1000))
        link.transport.write(bytes(1000))
        await link.run()
    assert link.sink.cause is not None


@resettable
async def test_while_it_waits_for_input(kind: Kind, tls: TLS) -> None:
    async with running(kind, tls) as link:
        await settle()
        link.sink.calls.clear()
        await link.peer.reset()
    assert link.sink.cause is not None
    assert set(link.sink.calls) <= {"output_lost", "lost"}


@resettable
async def test_while_it_writes(kind: Kind, tls: TLS) -> None:
    async with running(kind, tls) as link:
        await link.peer.reset()
        await write_until(link, "lost")
    assert link.sink.cause is not None


@of_kinds(lambda kind: kind.resets and kind.bounded)
async def test_while_output_is_stuck(kind: Kind, tls: TLS) -> None:
    async with running(kind, tls) as link:
        link.transport.write(bytes(kind.big))
        await settle()
        await link.peer.reset()
    assert link.sink.cause is not None


@bounded
async def test_a_peer_that_closes_on_output_that_is_stuck(kind: Kind, tls: TLS) -> None:
    async with running(kind, tls) as link:
        link.transport.write(bytes(kind.big))
        await settle()
        await link.peer.leave()
    assert link.sink.cause is not None


@bounded
async def test_a_peer_that_closes_on_output_that_is_stuck_before_the_end(
    kind: Kind, tls: TLS
) -> None:
    async with running(kind, tls) as link:
        link.transport.write(bytes(kind.big))
        link.transport.write_eof()
        await settle()
        await link.peer.leave()
    assert link.sink.cause is not None


@bounded
async def test_while_reading_is_paused_and_output_is_stuck(kind: Kind, tls: TLS) -> None:
    async with running(kind, tls) as link:
        link.transport.pause_reading()
        link.transport.write(bytes(kind.big))
        await settle()
        await link.peer.leave()
        await link.called("output_lost")
        await settle()
        assert not link.sink.lost
        assert not link.transport.unsent
        link.transport.write(b"x")
        assert not link.transport.unsent  # dropped
        link.transport.resume_reading()
    assert link.sink.cause is not None
    assert link.sink.calls.count("output_lost") == 1


@resettable
async def test_while_reading_is_paused_it_is_noticed_after_that(kind: Kind, tls: TLS) -> None:
    async with running(kind, tls) as link:
        link.transport.pause_reading()
        await settle()
        await link.peer.reset()
        await settle()
        link.transport.resume_reading()
    assert link.sink.cause is not None


@resettable
async def test_while_reading_is_paused_writing_notices_it(kind: Kind, tls: TLS) -> None:
    async with running(kind, tls) as link:
        link.transport.pause_reading()
        await link.peer.reset()
        await write_until(link, "output_lost")
        await settle()
        assert not link.sink.lost
        link.transport.resume_reading()
    assert link.sink.cause is not None


@keeping_input
async def test_what_had_arrived_is_read_after_the_pause_though_writing_failed(
    kind: Kind, tls: TLS
) -> None:
    data = pattern(100_000)
    async with running(kind, tls) as link:
        link.transport.pause_reading()
        with anyio.fail_after(PATIENCE):
            await link.peer.send(data)
        await arrives(link, kind, len(data))
        await link.peer.reset()
        await write_until(link, "output_lost")
        await settle()
        assert not link.sink.received
        link.transport.resume_reading()
        await link.lost()
        assert link.sink.received == data
    assert link.sink.cause is not None
    assert "eof" not in link.sink.calls


@keeping_input
async def test_what_had_arrived_is_read_after_the_pause_though_pending_output_failed(
    kind: Kind, tls: TLS
) -> None:
    data = pattern(100_000)
    async with running(kind, tls) as link:
        link.transport.pause_reading()
        link.transport.write(bytes(kind.big))
        with anyio.fail_after(PATIENCE):
            await link.peer.send(data)
        await arrives(link, kind, len(data))
        await link.peer.leave()
        await link.called("output_lost")
        await settle()
        assert not link.sink.received
        # In portions: it can be paused as before.
        link.sink.on_data = lambda chunk: link.transport.pause_reading()
        while not link.sink.lost:
            link.transport.resume_reading()
            await link.sink.until(lambda: link.sink.paused or link.sink.lost)
        assert link.sink.received == data
    assert link.sink.cause is not None
    assert "eof" not in link.sink.calls


@keeping_input
async def test_what_had_arrived_is_read_without_a_pause_though_writing_failed(
    kind: Kind, tls: TLS
) -> None:
    data = pattern(100_000)
    async with running(kind, tls) as link:
        link.transport.pause_reading()
        link.transport.write(bytes(kind.big))
        with anyio.fail_after(PATIENCE):
            await link.peer.send(data)
        await arrives(link, kind, len(data))
        await link.peer.leave()
        link.transport.resume_reading()
        await link.lost()
        assert link.sink.received == data
    assert link.sink.cause is not None


@keeping_input
async def test_it_can_be_paused_from_within_output_lost(kind: Kind, tls: TLS) -> None:
    data = pattern(100_000)
    async with running(kind, tls) as link:
        link.sink.on_output_lost = link.transport.pause_reading
        link.transport.pause_reading()
        link.transport.write(bytes(kind.big))
        with anyio.fail_after(PATIENCE):
            await link.peer.send(data)
        await arrives(link, kind, len(data))
        await link.peer.leave()
        link.transport.resume_reading()
        await link.sink.until(lambda: link.sink.paused or link.sink.lost)
        await settle()
        link.transport.resume_reading()
        await link.lost()
        assert link.sink.received == data
    assert link.sink.cause is not None


@bounded
async def test_it_can_be_aborted_from_within_output_lost(kind: Kind, tls: TLS) -> None:
    async with running(kind, tls) as link:
        link.sink.on_output_lost = link.transport.abort
        link.transport.pause_reading()
        link.transport.write(bytes(kind.big))
        await settle()
        await link.peer.leave()
    assert link.sink.cause is None
    assert link.sink.calls[-2:] == ["output_lost", "lost"]


@bounded
async def test_it_can_be_aborted_after_output_was_lost(kind: Kind, tls: TLS) -> None:
    async with running(kind, tls) as link:
        link.transport.pause_reading()
        link.transport.write(bytes(kind.big))
        await settle()
        await link.peer.leave()
        await link.called("output_lost")
        link.transport.abort()
        link.transport.resume_reading()
    assert link.sink.cause is None


@of_kinds(lambda kind: kind.resets and kind.half_closes)
async def test_after_write_eof(kind: Kind, tls: TLS) -> None:
    async with running(kind, tls) as link:
        link.transport.write_eof()
        assert await link.peer_receives_all() == b""
        await link.peer.reset()
    assert link.sink.cause is not None


@of_kinds(lambda kind: kind.resets and kind.half_closes)
async def test_after_the_end_of_the_input(kind: Kind, tls: TLS) -> None:
    async with running(kind, tls) as link:
        await link.peer.send_eof()
        await link.called("eof")
        await link.peer.reset()
        await write_until(link, "lost")
    assert link.sink.cause is not None


@of_kinds(lambda kind: kind.bounded and kind.half_closes)
async def test_after_the_end_of_the_input_while_output_is_stuck_and_reading_paused(
    kind: Kind, tls: TLS
) -> None:
    async with running(kind, tls) as link:
        await link.peer.send_eof()
        await link.called("eof")
        link.transport.pause_reading()
        link.transport.write(bytes(kind.big))
        await settle()
        await link.peer.leave()
        await link.lost()  # there is nothing left to read
    assert link.sink.cause is not None


@of_kinds(lambda kind: kind.resets and not kind.half_closes)
async def test_while_it_closes_changes_nothing(kind: Kind, tls: TLS) -> None:
    async with running(kind, tls) as link:
        link.transport.write_eof()
        assert await link.peer_receives_all() == b""
        await link.peer.reset()
    assert link.sink.cause is None  # it was on its way out


@closing_whole
async def test_an_input_that_ends_without_a_goodbye_is_an_end(kind: Kind, tls: TLS) -> None:
    async with running(kind, tls) as link:
        link.transport.write(b"x")
        await link.peer_receives(1)
        await link.peer.leave()
        await link.sink.until(lambda: "eof" in link.sink.calls or link.sink.lost)
        link.transport.abort()
