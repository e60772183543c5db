"""Servers that receive from all their connections in one place: what `mux`, `members` and `fairness` compare.

`anyio_ws.mux` is one. The others have nothing like it: there it is a queue, and a task for each connection
that fills it; or with ``picows`` a callback, which can't wait, so that its queue has no limit. ``tasks`` is a
task for each connection of ``anyio_ws``, and AnyIO's memory object stream.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from typing import Any, NamedTuple, TypeAlias

from servers import ALL_LOOPS, BOTH_ASYNCIO
from subject import HOST, MAX_SIZE, Options, Subject

QUEUE = 64
"""Messages that a queue holds, where it has a limit."""


class Merged(NamedTuple):
    """A server that runs."""

    port: int
    receive: Callable[[], Awaitable[tuple[Any, str | bytes]]]
    """The next message, with its connection."""
    send: Callable[[Any, Any], Awaitable[object]]
    """Send a message on a connection."""
    path: Callable[[Any], str]
    """What a connection asked for."""


Merge: TypeAlias = Callable[[], AbstractAsyncContextManager[Merged]]


def _path(ws: Any) -> str:
    path: str = ws.request.path
    return path


@asynccontextmanager
async def by_mux() -> AsyncIterator[Merged]:
    import anyio

    from anyio_ws import WebSocket, mux, open_server

    arriving, arrivals = anyio.create_memory_object_stream[WebSocket](QUEUE)

    async def join(ws: WebSocket) -> None:
        await arriving.send(ws)
        await ws.wait_closed()

    async with (
        mux(source=arrivals, on_disconnect="drop") as merged,
        open_server(
            join, HOST, 0, max_size=MAX_SIZE, ping_interval=None, compression=None
        ) as server,
    ):
        yield Merged(server.port, merged.receive, WebSocket.send, _path)


@asynccontextmanager
async def by_tasks() -> AsyncIterator[Merged]:
    import anyio

    from anyio_ws import WebSocket, open_server

    put, get = anyio.create_memory_object_stream[tuple[WebSocket, str | bytes]](QUEUE)

    async def join(ws: WebSocket) -> None:
        async for message in ws:
            await put.send((ws, message))

    async with open_server(
        join, HOST, 0, max_size=MAX_SIZE, ping_interval=None, compression=None
    ) as server:
        yield Merged(server.port, get.receive, WebSocket.send, _path)


@asynccontextmanager
async def by_websockets_asyncio() -> AsyncIterator[Merged]:
    import asyncio

    from websockets.asyncio.server import ServerConnection, serve
    from websockets.exceptions import ConnectionClosedError

    queue: asyncio.Queue[tuple[ServerConnection, str | bytes]] = asyncio.Queue(QUEUE)

    async def join(ws: ServerConnection) -> None:
        try:
            async for message in ws:
                await queue.put((ws, message))
        except ConnectionClosedError:
            pass

    async with serve(join, HOST, 0, compression=None, ping_interval=None) as server:
        port = next(iter(server.sockets)).getsockname()[1]
        yield Merged(port, queue.get, ServerConnection.send, _path)


@asynccontextmanager
async def by_websockets_trio() -> AsyncIterator[Merged]:
    import trio
    from websockets.exceptions import ConnectionClosedError
    from websockets.trio.server import ServerConnection, serve

    put, get = trio.open_memory_channel[tuple[ServerConnection, str | bytes]](QUEUE)

    async def join(ws: ServerConnection) -> None:
        try:
            async for message in ws:
                await put.send((ws, message))
        except ConnectionClosedError:
            pass

    start = partial(serve, join, 0, host=HOST, compression=None, ping_interval=None)
    async with trio.open_nursery() as nursery:
        server = await nursery.start(start)
        port = server.listeners[0].socket.getsockname()[1]
        yield Merged(port, get.receive, ServerConnection.send, _path)
        nursery.cancel_scope.cancel()


@asynccontextmanager
async def by_picows() -> AsyncIterator[Merged]:
    import asyncio

    import picows

    queue: asyncio.Queue[tuple[Member, bytes]] = asyncio.Queue()

    class Member(picows.WSListener):
        def __init__(self, path: str) -> None:
            self.path = path

        def on_ws_connected(self, transport: picows.WSTransport) -> None:
            self.transport = transport

        def on_ws_frame(self, transport: picows.WSTransport, frame: picows.WSFrame) -> None:
            queue.put_nowait((self, frame.get_payload_as_bytes()))

    async def send(member: Member, message: bytes) -> None:
        member.transport.send(picows.WSMsgType.BINARY, message)

    def member(request: picows.WSUpgradeRequest) -> Member:
        return Member(request.path.decode())

    server = await picows.ws_create_server(member, HOST, 0, max_frame_size=MAX_SIZE)
    async with server:
        port = server.sockets[0].getsockname()[1]
        yield Merged(port, queue.get, send, lambda one: str(one.path))


def subjects(main: Callable[[Merge, Options], Awaitable[None]]) -> list[Subject]:
    """All of them, doing *main*."""

    def subject(library: str, loop: str, merge: Merge, *needs: str) -> Subject:
        return Subject(library, loop, partial(main, merge), needs)

    return [
        *(subject("anyio_ws", loop, by_mux, "anyio_ws") for loop in ALL_LOOPS),
        *(subject("tasks", loop, by_tasks, "anyio_ws") for loop in ALL_LOOPS),
        *(
            subject("websockets", loop, by_websockets_asyncio, "websockets.asyncio")
            for loop in BOTH_ASYNCIO
        ),
        subject("websockets", "trio", by_websockets_trio, "websockets.trio"),
        *(subject("picows", loop, by_picows, "picows") for loop in BOTH_ASYNCIO),
    ]
