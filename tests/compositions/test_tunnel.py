"""The tunnel of the documentation: TCP through WebSockets, with its ends and its breaks."""

from __future__ import annotations

import runpy
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import anyio
import pytest
from anyio.abc import SocketAttribute, SocketStream

import anyio_ws
from anyio_ws import open_server

PATIENCE = 10

AMOUNT = 2**20

tunnel = runpy.run_path(str(Path(anyio_ws.__file__).parents[1] / "docs" / "samples" / "tunnel.py"))


@asynccontextmanager
async def through(serve: Callable[[SocketStream], Awaitable[None]]) -> AsyncIterator[SocketStream]:
    """A connection through the tunnel to a service, which *serve* is."""
    service = await anyio.create_tcp_listener(local_host="127.0.0.1")
    async with service, anyio.create_task_group() as tasks:
        tasks.start_soon(service.serve, serve)
        async with to_port(service.extra(SocketAttribute.local_port)) as tcp:
            yield tcp
        tasks.cancel_scope.cancel()


@asynccontextmanager
async def to_port(port: int) -> AsyncIterator[SocketStream]:
    """A connection through the tunnel to a port of this machine."""
    entrance = await anyio.create_tcp_listener(local_host="127.0.0.1")
    with anyio.fail_after(PATIENCE):
        async with (
            entrance,
            open_server(partial(tunnel["way_out"], port), "127.0.0.1", 0) as server,
            anyio.create_task_group() as tasks,
        ):
            tasks.start_soon(entrance.serve, partial(tunnel["way_in"], server.url))
            local_port = entrance.extra(SocketAttribute.local_port)
            async with await anyio.connect_tcp("127.0.0.1", local_port) as tcp:
                yield tcp
            await server.shutdown(grace=PATIENCE)  # it ends by itself, and isn't cancelled
            tasks.cancel_scope.cancel()


async def reset(tcp: SocketStream) -> None:
    raw_socket = tcp.extra(SocketAttribute.raw_socket)
    raw_socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    await anyio.aclose_forcefully(tcp)


async def receive_all(tcp: SocketStream) -> bytes:
    return b"".join([chunk async for chunk in tcp])


async def test_each_end_may_go_on_after_the_other() -> None:
    heard: list[bytes] = []

    async def serve(tcp: SocketStream) -> None:
        async with tcp:
            await tcp.send(b"hello")
            await tcp.send_eof()
            heard.append(await receive_all(tcp))

    async with through(serve) as tcp:
        assert await receive_all(tcp) == b"hello"
        await tcp.send(b"goodbye")
        await tcp.send_eof()
    assert heard == [b"goodbye"]


async def test_a_large_amount_goes_both_ways_at_once() -> None:
    data = bytes(range(256)) * (AMOUNT // 256)

    async def serve(tcp: SocketStream) -> None:
        async with tcp:
            async for chunk in tcp:
                await tcp.send(chunk)

    async with through(serve) as tcp:

        async def send() -> None:
            await tcp.send(data)
            await tcp.send_eof()

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(send)
            assert await receive_all(tcp) == data


async def test_a_break_of_the_program_breaks_the_service() -> None:
    broke = anyio.Event()

    async def serve(tcp: SocketStream) -> None:
        async with tcp:
            assert await tcp.receive() == b"a half"
            await tcp.send(b"and then?")
            with pytest.raises(anyio.BrokenResourceError):
                await tcp.receive()
            broke.set()

    async with through(serve) as tcp:
        await tcp.send(b"a half")
        await tcp.receive()
        await reset(tcp)
        await broke.wait()


async def test_a_break_of_the_service_breaks_the_program() -> None:
    async def serve(tcp: SocketStream) -> None:
        await tcp.send(b"a half")
        await tcp.receive()
        await reset(tcp)

    async with through(serve) as tcp:
        assert await tcp.receive() == b"a half"
        await tcp.send(b"and then?")
        with pytest.raises(anyio.BrokenResourceError):
            await tcp.receive()


async def test_so_does_a_service_that_is_not_there() -> None:
    with socket.socket() as deaf:  # it has a port, so that nobody else has, and doesn't listen
        deaf.bind(("127.0.0.1", 0))
        async with to_port(deaf.getsockname()[1]) as tcp:
            with pytest.raises(anyio.BrokenResourceError):
                await tcp.receive()
