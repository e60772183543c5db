"""The contract of transports, held against every kind: both directions end in order. See `test_writing`."""

from __future__ import annotations

import anyio
import pytest

from .kinds import TLS, Kind, bounded, closing_whole, connected, every_kind, half_closing, running
from .recorder import Link, pattern, settle


@half_closing
async def test_after_write_eof_the_peer_gets_everything_and_the_end_and_can_still_send(
    kind: Kind, tls: TLS
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
async def test_after_the_peer_has_ended_its_side_output_still_leaves(kind: Kind, tls: TLS) -> None:
    data = pattern(kind.big)
    async with running(kind, tls) as link:
        await link.peer.send(b"last words")
        await link.peer.send_eof()
        await link.called("eof")
        assert link.sink.received == b"last words"
        link.transport.write(data)
        link.transport.write_eof()
        assert await link.peer_receives_all() == data
    assert link.sink.cause is None


@half_closing
async def test_a_pause_after_the_end_of_the_input_delays_nothing(kind: Kind, tls: TLS) -> None:
    data = pattern(kind.big)
    async with running(kind, tls) as link:
        await link.peer.send_eof()
        await link.called("eof")
        link.transport.pause_reading()
        link.transport.resume_reading()
        link.transport.pause_reading()
        link.transport.write(data)
        link.transport.write_eof()
        assert await link.peer_receives_all() == data
    assert link.sink.cause is None
    assert link.sink.calls.count("eof") == 1


@half_closing
async def test_paused_when_the_peer_ends_its_side_it_ends_after_the_pause(
    kind: Kind, tls: TLS
) -> None:
    async with running(kind, tls) as link:
        link.transport.pause_reading()
        link.transport.write_eof()
        assert await link.peer_receives_all() == b""
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(_send_and_end, link)
            await settle()
            assert "eof" not in link.sink.calls
            link.transport.resume_reading()
        await link.lost()
        assert link.sink.received == b"bye"
    assert link.sink.cause is None


async def _send_and_end(link: Link) -> None:
    await link.peer.send(b"bye")
    await link.peer.send_eof()


@bounded
@pytest.mark.parametrize("ending", ["half-close", "close"])
async def test_the_end_waits_for_output_that_is_stuck(kind: Kind, tls: TLS, ending: str) -> None:
    data = pattern(kind.big)
    async with running(kind, tls) as link:
        link.transport.write(data)
        link.transport.write_eof()
        await settle()
        assert not link.sink.lost
        assert await link.peer_receives_all() == data
        if ending == "half-close" and kind.half_closes:
            await link.peer.send_eof()
        else:
            await link.peer.aclose()
    assert link.sink.cause is None


@closing_whole
async def test_where_half_closing_is_impossible_write_eof_closes(kind: Kind, tls: TLS) -> None:
    data = pattern(kind.big)
    async with running(kind, tls) as link:
        link.transport.write(data)
        link.transport.write_eof()
        assert await link.peer_receives_all() == data  # an end and not a truncation
        await link.peer.aclose()
    assert link.sink.cause is None
    assert "eof" not in link.sink.calls


@closing_whole
@pytest.mark.parametrize("paused", [False, True])
async def test_a_peer_that_is_still_sending_does_not_disturb_the_closing(
    kind: Kind, tls: TLS, paused: bool
) -> None:
    async def send(link: Link) -> None:
        try:
            while True:
                await link.peer.send(bytes(5000))
        finally:
            sending.cancel()

    async with running(kind, tls) as link:
        if paused:
            link.transport.pause_reading()
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
async def test_a_peer_that_closes_ends_the_input_first(kind: Kind, tls: TLS) -> None:
    async with running(kind, tls) as link, anyio.create_task_group() as tasks:
        await link.peer.send(b"bye")
        tasks.start_soon(link.peer.aclose)
        await link.called("eof")
        assert not link.sink.lost
        assert link.sink.received == b"bye"
        link.transport.write_eof()
    assert link.sink.cause is None
    assert link.sink.calls[-2:] == ["eof", "lost"]


@every_kind
async def test_the_end_can_be_answered_from_within_eof_received(kind: Kind, tls: TLS) -> None:
    async with running(kind, tls) as link:
        link.sink.on_eof = link.transport.write_eof
        await link.peer.aclose()
    assert link.sink.cause is None


@every_kind
async def test_after_write_eof_nothing_can_be_written(kind: Kind, tls: TLS) -> None:
    async with running(kind, tls) as link, anyio.create_task_group() as tasks:
        link.transport.write(b"last")
        link.transport.write_eof()
        link.transport.write_eof()
        link.transport.write(b"more")
        assert await link.peer_receives_all() == b"last"
        tasks.start_soon(link.peer.aclose)
    assert link.sink.cause is None


@every_kind
async def test_write_eof_before_it_runs_is_not_forgotten(kind: Kind, tls: TLS) -> None:
    async with connected(kind, tls) as link, anyio.create_task_group() as tasks:
        link.transport.write(b"bye")
        link.transport.write_eof()
        tasks.start_soon(link.transport.run)
        assert await link.peer_receives_all() == b"bye"
        tasks.start_soon(link.peer.aclose)
        await link.lost()
    assert link.sink.cause is None


@every_kind
async def test_the_end_of_the_input_is_noticed_after_a_pause(kind: Kind, tls: TLS) -> None:
    async with running(kind, tls) as link, anyio.create_task_group() as tasks:
        link.transport.pause_reading()
        tasks.start_soon(_send_and_close, link)
        await settle()
        assert "eof" not in link.sink.calls
        link.transport.resume_reading()
        await link.called("eof")
        assert link.sink.received == b"bye"
        link.transport.write_eof()
    assert link.sink.cause is None


@every_kind
async def test_a_pause_between_the_last_data_and_the_end_of_the_input(kind: Kind, tls: TLS) -> None:
    async with running(kind, tls) as link, anyio.create_task_group() as tasks:
        link.sink.on_data = lambda chunk: link.transport.pause_reading()
        tasks.start_soon(_send_and_close, link)
        while len(link.sink.received) < 3:
            await link.sink.until(lambda: link.sink.paused)
            if len(link.sink.received) < 3:
                link.transport.resume_reading()
        await settle()
        assert "eof" not in link.sink.calls
        link.transport.resume_reading()
        await link.called("eof")
        link.transport.write_eof()
    assert link.sink.cause is None


async def _send_and_close(link: Link) -> None:
    await link.peer.send(b"bye")
    await link.peer.aclose()
