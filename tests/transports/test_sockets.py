"""What is particular to transports over sockets: `anyio_ws.transports.asyncio_socket` and `trio_socket`."""

from __future__ import annotations

import socket
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, NoReturn

import anyio
import anyio.abc
import pytest
import trio
from anyio.abc import SocketAttribute
from anyio.lowlevel import checkpoint

from anyio_ws.testing import cancel_sweep
from anyio_ws.transports.base import Transport
from anyio_ws.transports.dial import over
from anyio_ws.transports.stream import StreamTransport

from .kinds import (
    SOCKETS,
    TLS,
    Kind,
    assert_closed,
    of_kinds,
    running,
)
from .peers import AnyIOPeer, SocketByteStream, reset_at_close
from .recorder import Link, pattern, settle

every_socket = of_kinds(lambda kind: kind in SOCKETS)


def peer_of(sock: socket.socket) -> AnyIOPeer:
    return AnyIOPeer(SocketByteStream(sock), lambda: None)


async def run(link: Link, ending: Callable[[], Awaitable[None]] | None = None) -> None:
    """Run it after what happened before; *ending* says when to abort it."""
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(link.transport.run)
        if ending is not None:
            await ending()
            link.transport.abort()
        await link.lost()
    await link.assert_over()
    await link.peer.leave()


class TestBeforeThereIsASink:
    @every_socket
    async def test_data_that_arrives_is_kept(self, kind: Kind, tls: TLS) -> None:
        transport, peer, ends = await kind.connect(tls)
        await peer.send(b"early ")
        await settle()
        await peer.send(b"bird")
        await settle()
        link = Link(transport, peer, ends)

        async def hear() -> None:
            assert await link.received(10) == b"early bird"

        await run(link, hear)

    async def test_data_that_arrived_before_it_was_made_is_kept(self) -> None:
        ours, theirs = socket.socketpair()
        theirs.send(b"early bird")
        theirs.shutdown(socket.SHUT_WR)
        link = Link(await over(ours), peer_of(theirs), [ours])
        link.sink.on_eof = link.transport.write_eof
        await run(link)
        assert link.sink.received == b"early bird"
        assert link.sink.cause is None

    @every_socket
    async def test_a_pause_that_comes_first_holds_it_back(self, kind: Kind, tls: TLS) -> None:
        transport, peer, ends = await kind.connect(tls)
        await peer.send(b"early bird")
        await peer.send_eof()
        await settle()
        link = Link(transport, peer, ends)
        link.transport.pause_reading()

        async def hear() -> None:
            await settle()
            assert link.sink.calls == []
            link.transport.resume_reading()
            await link.called("eof")
            assert link.sink.received == b"early bird"

        await run(link, hear)

    @of_kinds(lambda kind: kind in SOCKETS and kind.resets)
    async def test_a_reset_is_told_later(self, kind: Kind, tls: TLS) -> None:
        transport, peer, ends = await kind.connect(tls)
        await peer.reset()
        await settle()
        link = Link(transport, peer, ends)
        await run(link)
        assert isinstance(link.sink.cause, OSError)

    async def test_a_reset_from_before_it_was_made_is_told_later(self) -> None:
        ours, theirs = tcp_pair()
        peer = peer_of(theirs)
        reset_at_close(theirs)
        theirs.close()
        link = Link(await over(ours), peer, [ours])
        await run(link)
        assert isinstance(link.sink.cause, OSError)

    @every_socket
    async def test_aborted_at_once_it_is_closed(self, kind: Kind, tls: TLS) -> None:
        transport, peer, ends = await kind.connect(tls)
        await peer.send(b"early bird")
        await settle()
        link = Link(transport, peer, ends)
        link.transport.abort()
        await run(link)
        assert link.sink.calls == ["lost"]


class TestWriting:
    @every_socket
    async def test_what_the_kernel_takes_has_left_when_write_returns(
        self, kind: Kind, tls: TLS
    ) -> None:
        async with running(kind, tls) as link:
            link.transport.write(b"abc")
            assert (link.transport.unsent, link.transport.sent_total) == (0, 3)
            link.transport.write(b"de")
            assert (link.transport.unsent, link.transport.sent_total) == (0, 5)
            await settle()
            assert link.sink.calls == []
            link.transport.abort()

    @every_socket
    async def test_what_it_takes_of_much_has_left_and_the_rest_is_unsent(
        self, kind: Kind, tls: TLS
    ) -> None:
        data = pattern(kind.big)
        async with running(kind, tls) as link:
            link.transport.write(data)
            sent = link.transport.sent_total
            assert 0 < sent < len(data)
            assert link.transport.unsent == len(data) - sent
            assert (await link.peer_receives(sent))[:sent] == data[:sent]
            link.transport.abort()

    @pytest.mark.parametrize("large_head", [False, True])
    @every_socket
    async def test_of_two_pieces_the_rest_of_both_is_unsent(
        self, kind: Kind, tls: TLS, large_head: bool
    ) -> None:
        head = kind.big if large_head else 10
        data = pattern(head + kind.big)
        async with running(kind, tls) as link:
            link.transport.write(data[:head], data[head:])
            sent = link.transport.sent_total
            assert 0 < sent < len(data)
            assert large_head == (sent < head)
            assert link.transport.unsent == len(data) - sent
            assert await link.peer_receives(len(data)) == data
            assert link.transport.sent_total == len(data)
            link.transport.abort()

    @every_socket
    async def test_it_never_waits_to_join_small_writes(self, kind: Kind, tls: TLS) -> None:
        async with running(kind, tls) as link:
            (sock,) = link.ends
            assert not sock.getblocking()
            if sock.family == socket.AF_INET:
                assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
            link.transport.abort()


@every_socket
async def test_without_a_descriptor_to_read_the_rest_by_it_still_ends(
    kind: Kind, tls: TLS, monkeypatch: pytest.MonkeyPatch
) -> None:
    def dup(sock: socket.socket) -> NoReturn:
        raise OSError("too many open files")

    async with running(kind, tls) as link:
        link.transport.write(bytes(kind.big))
        await settle()
        monkeypatch.setattr(socket.socket, "dup", dup)
        await link.peer.leave()
        await link.lost()
    assert isinstance(link.sink.cause, OSError)


async def test_cancelled_while_it_is_made_the_socket_is_closed() -> None:
    made: list[Transport] = []

    async def make(sock: socket.socket) -> None:
        made.append(await over(sock))
        await checkpoint()

    for attempt in cancel_sweep():
        ours, theirs = socket.socketpair()
        await attempt.run(make(ours))
        if made:
            link = Link(made.pop(), peer_of(theirs), [ours])
            link.transport.abort()
            await run(link)
        elif attempt.suspension:
            await assert_closed(ours)
        ours.close()  # where it wasn't begun
        theirs.close()


ON_TRIO = ("trio",)


@dataclass(frozen=True)
class Brought:
    """A stream that a user brings."""

    name: str
    make: Callable[[socket.socket], Awaitable[Any]]
    backends: tuple[str, ...] = ("asyncio", "uvloop", "trio")
    unix: bool = False

    def __str__(self) -> str:
        return self.name


async def trio_stream(sock: socket.socket) -> Any:
    return trio.SocketStream(trio.socket.from_stdlib_socket(sock))


async def anyio_stream(sock: socket.socket) -> anyio.abc.SocketStream:
    return await anyio.abc.SocketStream.from_socket(sock)


async def anyio_unix_stream(sock: socket.socket) -> Any:
    return await anyio.abc.UNIXSocketStream.from_socket(sock)


class _AnyIOsHeir(anyio.abc.SocketStream):
    """A user's own: it may hold something back."""

    def __init__(self, inner: anyio.abc.SocketStream) -> None:
        self.inner = inner

    @property
    def _raw_socket(self) -> Any:
        return self.inner.extra(SocketAttribute.raw_socket)

    async def receive(self, max_bytes: int = 65536) -> bytes:
        return await self.inner.receive(max_bytes)

    async def send(self, item: bytes) -> None:
        await self.inner.send(item)

    async def send_eof(self) -> None:
        await self.inner.send_eof()

    async def aclose(self) -> None:
        await self.inner.aclose()


async def trio_composition(sock: socket.socket) -> Any:
    stream = await trio_stream(sock)
    return trio.StapledStream(stream, stream)


async def anyios_heir(sock: socket.socket) -> Any:
    return _AnyIOsHeir(await anyio_stream(sock))


async def exchange(connection: Any, theirs: socket.socket) -> Transport:
    """Exchange some bytes over what `over` makes of *connection*, and end it."""
    transport = await over(connection)
    link = Link(transport, peer_of(theirs), [])

    async def talk() -> None:
        link.transport.write(b"hello")
        assert await link.peer_receives(5) == b"hello"
        await link.peer.send(b"hi")
        assert await link.received(2) == b"hi"

    await run(link, talk)
    return transport


def tcp_pair() -> tuple[socket.socket, socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        theirs = socket.create_connection(listener.getsockname())
        ours, _ = listener.accept()
    return ours, theirs


class TestTakingStreamsOver:
    @pytest.mark.parametrize(
        "brought",
        [
            Brought("trio", trio_stream, ON_TRIO),
            Brought("AnyIO on trio", anyio_stream, ON_TRIO),
            Brought("AnyIO's Unix stream on trio", anyio_unix_stream, ON_TRIO, unix=True),
        ],
        ids=str,
    )
    async def test_one_that_gives_its_socket_up_loses_it(self, brought: Brought) -> None:
        ours, theirs = socket.socketpair() if brought.unix else tcp_pair()
        stream = await brought.make(ours)
        transport = await exchange(stream, theirs)
        assert not isinstance(transport, StreamTransport)
        await assert_closed(stream)

    @pytest.mark.parametrize(
        "brought",
        [
            Brought("a composition of trio's", trio_composition, ON_TRIO),
            Brought("AnyIO on asyncio", anyio_stream, ("asyncio", "uvloop")),
            Brought("a user's own", anyios_heir),
        ],
        ids=str,
    )
    async def test_any_other_is_used_as_it_is(self, brought: Brought) -> None:
        ours, theirs = tcp_pair()
        stream = await brought.make(ours)
        transport = await exchange(stream, theirs)
        assert isinstance(transport, StreamTransport)
        await assert_closed(stream)
