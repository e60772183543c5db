"""The contract of transports, held against every kind: reading, and pausing it. See `test_writing`."""

from __future__ import annotations

import anyio

from .kinds import PATIENCE, TLS, Kind, bounded, connected, every_kind, of_kinds, running
from .recorder import Link, pattern, settle


@every_kind
async def test_what_the_peer_sends_arrives_whole_and_in_order(kind: Kind, tls: TLS) -> None:
    data = pattern(kind.big)
    async with running(kind, tls) as link:
        await link.peer.send(data)
        assert await link.received(len(data)) == data
        link.transport.abort()


@every_kind
async def test_paused_before_it_runs_it_reads_nothing_until_it_is_resumed(
    kind: Kind, tls: TLS
) -> None:
    async with connected(kind, tls) as link, anyio.create_task_group() as tasks:
        link.transport.pause_reading()
        tasks.start_soon(link.transport.run)
        with anyio.fail_after(PATIENCE):
            await link.peer.ready()
        tasks.start_soon(link.peer.send, b"hello")
        await settle()
        assert not link.sink.received
        link.transport.resume_reading()
        assert await link.received(5) == b"hello"
        link.transport.abort()
        await link.lost()


@every_kind
async def test_it_can_pause_after_every_chunk(kind: Kind, tls: TLS) -> None:
    data = pattern(kind.big)
    async with running(kind, tls) as link, anyio.create_task_group() as tasks:
        link.sink.on_data = lambda chunk: link.transport.pause_reading()
        tasks.start_soon(link.peer.send, data)
        while len(link.sink.received) < len(data):
            await link.sink.until(lambda: link.sink.paused)
            link.transport.resume_reading()
        assert link.sink.received == data
        link.transport.abort()


@every_kind
async def test_it_can_pause_and_resume_from_within_data_received(kind: Kind, tls: TLS) -> None:
    data = pattern(kind.big)
    async with running(kind, tls) as link, anyio.create_task_group() as tasks:

        def pause_and_resume(chunk: bytes) -> None:
            link.transport.pause_reading()
            link.transport.resume_reading()

        link.sink.on_data = pause_and_resume
        tasks.start_soon(link.peer.send, data)
        assert await link.received(len(data)) == data
        link.transport.abort()


@every_kind
async def test_paused_while_it_waits_for_data_it_hands_none_over(kind: Kind, tls: TLS) -> None:
    async with running(kind, tls) as link, anyio.create_task_group() as tasks:
        await settle()  # it reads now
        link.transport.pause_reading()
        tasks.start_soon(link.peer.send, b"hello")
        link.transport.write(b"ping")
        await link.peer_receives(4)
        await settle()
        assert not link.sink.received
        link.transport.resume_reading()
        assert await link.received(5) == b"hello"
        link.transport.abort()


@every_kind
async def test_paused_about_when_data_arrives_it_hands_none_over(kind: Kind, tls: TLS) -> None:
    async with running(kind, tls) as link:
        await settle()
        for rounds in range(8):
            async with anyio.create_task_group() as tasks:
                before = len(link.sink.received)
                tasks.start_soon(link.peer.send, b"hello")
                for _ in range(rounds):
                    await anyio.lowlevel.checkpoint()
                link.transport.pause_reading()
                await settle()  # the recorder complains of what comes now
                link.transport.resume_reading()
                await link.received(before + 5)
        link.transport.abort()


@every_kind
async def test_resumed_and_paused_again_at_once_is_paused(kind: Kind, tls: TLS) -> None:
    async with running(kind, tls) as link, anyio.create_task_group() as tasks:
        link.transport.pause_reading()
        tasks.start_soon(link.peer.send, b"hello")
        await settle()
        link.sink.on_data = lambda chunk: link.transport.pause_reading()
        link.transport.resume_reading()
        link.transport.pause_reading()
        await settle()
        link.transport.resume_reading()
        link.transport.resume_reading()  # nothing is counted
        while len(link.sink.received) < 5:
            await link.sink.until(lambda: link.sink.paused)
            link.transport.resume_reading()
        assert link.sink.received == b"hello"
        link.transport.abort()


@every_kind
async def test_pausing_twice_needs_one_resuming(kind: Kind, tls: TLS) -> None:
    async with running(kind, tls) as link:
        link.transport.resume_reading()  # isn't paused
        link.transport.pause_reading()
        link.transport.pause_reading()
        link.transport.resume_reading()
        await link.peer.send(b"hello")
        assert await link.received(5) == b"hello"
        link.transport.abort()


@bounded
async def test_a_pause_stops_the_peer(kind: Kind, tls: TLS) -> None:
    data = pattern(kind.big)
    sent = anyio.Event()

    async def send(link: Link) -> None:
        await link.peer.send(data)
        sent.set()

    async with running(kind, tls) as link, anyio.create_task_group() as tasks:
        link.transport.pause_reading()
        tasks.start_soon(send, link)
        await settle()
        assert not sent.is_set()
        link.transport.resume_reading()
        assert await link.received(len(data)) == data
        with anyio.fail_after(PATIENCE):
            await sent.wait()
        link.transport.abort()


@every_kind
async def test_writing_goes_on_while_reading_is_paused(kind: Kind, tls: TLS) -> None:
    async with running(kind, tls) as link:
        link.transport.pause_reading()
        link.transport.write(bytes(kind.big))
        left = link.transport.unsent > 0
        await link.peer_receives(kind.big)
        if left:
            await link.called("writable")
        assert not link.transport.unsent
        link.transport.abort()


@of_kinds(lambda kind: kind.keeps_input)
async def test_what_arrived_before_it_was_started_is_not_lost(kind: Kind, tls: TLS) -> None:
    async with connected(kind, tls) as link, anyio.create_task_group() as tasks:
        tasks.start_soon(link.peer.send, b"hello")
        await settle()
        tasks.start_soon(link.transport.run)
        assert await link.received(5) == b"hello"
        link.transport.abort()
        await link.lost()
