"""The libraries that the promise scenarios are run against, each behind the same few methods.

Each is used as its documentation shows, with its defaults; an option is set only where a scenario is about
it, and by the library's own name for it. Importing this imports none of them.
"""

from __future__ import annotations

import asyncio
import importlib.metadata
import importlib.util
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

Message = str | bytes
HOST = "127.0.0.1"


@dataclass(frozen=True, kw_only=True)
class Options:
    """What a scenario sets; None: the library's default."""

    ping: float | None = None
    """Seconds between pings, and as many for the answer."""
    queue: int | None = None
    """Messages that wait to be received."""
    close_timeout: float | None = None


DEFAULTS = Options()


class Conn:
    """A connection in the hands of a library."""

    def __init__(self, ws: Any) -> None:
        self.ws = ws

    async def send(self, message: Message) -> None:
        await self.ws.send(message)

    async def receive(self) -> Message:
        return await self.ws.recv()  # type: ignore[no-any-return]

    async def ping(self) -> None:
        """Send a ping, and wait for its pong where the library's method does that."""
        await self.ws.ping()

    async def each(self, function: Callable[[Message], Awaitable[None]]) -> None:
        """Call *function* with every message, in the loop that the library's documentation shows."""
        async for message in self.ws:
            await function(message)

    def is_open(self) -> bool:
        return self.ws.state.name == "OPEN"  # type: ignore[no-any-return]


Handler = Callable[[Conn], Awaitable[None]]


class Backend:
    """An event loop, used by its own means: those who write for it do."""

    def run(self, main: Callable[[], Coroutine[Any, Any, None]]) -> None:
        raise NotImplementedError

    async def within(self, seconds: float, function: Callable[[], Awaitable[object]]) -> bool:
        """Await *function*, cancelled after *seconds*; whether it returned before."""
        raise NotImplementedError


class Asyncio(Backend):
    def run(self, main: Callable[[], Coroutine[Any, Any, None]]) -> None:
        asyncio.run(main())

    async def within(self, seconds: float, function: Callable[[], Awaitable[object]]) -> bool:
        try:
            async with asyncio.timeout(seconds) as scope:
                await function()
        except TimeoutError:
            if not scope.expired():
                raise
            return False
        return True


class Trio(Backend):
    def run(self, main: Callable[[], Coroutine[Any, Any, None]]) -> None:
        import trio

        trio.run(main)

    async def within(self, seconds: float, function: Callable[[], Awaitable[object]]) -> bool:
        import trio

        with trio.move_on_after(seconds):
            await function()
            return True
        return False


class Driver:
    """How a library is used."""

    library: str
    package: str
    """Its name on the package index."""
    needs: str
    """The module without which it can't run."""
    backend: Backend
    has_server = True
    has_reconnect = False
    """Whether it has a loop that connects again and again."""
    note_on_pings = ""
    """Where its keepalive comes from, if not from itself."""
    note_on_broadcast = ""
    """What `broadcast` is, if it has none."""

    @property
    def loop(self) -> str:
        return type(self.backend).__name__.lower()

    @property
    def name(self) -> str:
        return f"{self.library}/{self.loop}"

    def missing(self) -> bool:
        names = [self.needs, *(["trio"] if isinstance(self.backend, Trio) else [])]
        try:
            return any(importlib.util.find_spec(name) is None for name in names)
        except ModuleNotFoundError:  # not even its package
            return True

    def version(self) -> str:
        return importlib.metadata.version(self.package)

    def connect(self, url: str, options: Options = DEFAULTS) -> AbstractAsyncContextManager[Any]:
        """The library's own context manager: what passes through it is what a user would see."""
        raise NotImplementedError

    def wrap(self, ws: Any) -> Conn:
        return Conn(ws)

    def serve(self, handler: Handler) -> AbstractAsyncContextManager[int]:
        """Serve inside of a block, on a free port of 127.0.0.1; gives the port."""
        raise NotImplementedError

    async def reconnect(self, url: str, body: Callable[[Conn], Awaitable[bool]]) -> None:
        """Run the library's loop; *body* says for each connection whether to break out of it."""
        raise NotImplementedError

    async def broadcast(self, conns: Sequence[Conn], message: Message) -> None:
        """Send *message* to all."""
        raise NotImplementedError

    async def heartbeat(self, ws: Any, seconds: float) -> None:
        """Run beside the application, where a library leaves pinging to that."""


def _given(**options: object) -> dict[str, Any]:
    return {name: value for name, value in options.items() if value is not None}


# anyio_ws: `open_websocket` and `open_server`, as its README has them. `max_queue` is in messages.
class AnyioWs(Driver):
    library, package, needs = "anyio_ws", "anyio-ws", "anyio_ws"
    has_reconnect = True

    def __init__(self, backend: Backend) -> None:
        self.backend = backend

    def connect(self, url: str, options: Options = DEFAULTS) -> AbstractAsyncContextManager[Any]:
        from anyio_ws import open_websocket

        return open_websocket(
            url,
            **_given(
                ping_interval=options.ping,
                ping_timeout=options.ping,
                max_queue=options.queue,
                close_timeout=options.close_timeout,
            ),
        )

    def wrap(self, ws: Any) -> Conn:
        return _AnyioWsConn(ws)

    @asynccontextmanager
    async def serve(self, handler: Handler) -> AsyncIterator[int]:
        from anyio_ws import WebSocket, open_server

        async def handle(ws: WebSocket) -> None:
            await handler(self.wrap(ws))

        async with open_server(handle, HOST, 0) as server:
            yield server.port

    async def reconnect(self, url: str, body: Callable[[Conn], Awaitable[bool]]) -> None:
        from anyio_ws import reconnecting_websocket

        async for attempt in reconnecting_websocket(url):
            async with attempt as ws:
                if await body(self.wrap(ws)):
                    break

    async def broadcast(self, conns: Sequence[Conn], message: Message) -> None:
        from anyio_ws import broadcast

        broadcast([conn.ws for conn in conns], message)


class _AnyioWsConn(Conn):
    async def receive(self) -> Message:
        return await self.ws.receive()  # type: ignore[no-any-return]


# websockets on asyncio: `connect` and `serve` from `websockets.asyncio`, as in its quick start. The quick
# start's server runs in `async with serve(...)`. `max_queue` is in frames.
class WebsocketsAsyncio(Driver):
    library, package, needs = "websockets", "websockets", "websockets.asyncio"
    backend = Asyncio()
    has_reconnect = True

    def connect(self, url: str, options: Options = DEFAULTS) -> AbstractAsyncContextManager[Any]:
        from websockets.asyncio.client import connect

        return connect(url, **self._options(options))

    def _options(self, options: Options) -> dict[str, Any]:
        return _given(
            ping_interval=options.ping,
            ping_timeout=options.ping,
            max_queue=options.queue,
            close_timeout=options.close_timeout,
        )

    @asynccontextmanager
    async def serve(self, handler: Handler) -> AsyncIterator[int]:
        from websockets.asyncio.server import ServerConnection, serve

        async def handle(ws: ServerConnection) -> None:
            await handler(self.wrap(ws))

        async with serve(handle, HOST, 0) as server:
            yield next(iter(server.sockets)).getsockname()[1]

    async def reconnect(self, url: str, body: Callable[[Conn], Awaitable[bool]]) -> None:
        from websockets.exceptions import ConnectionClosed

        async for ws in self.connect(url):
            try:
                if await body(self.wrap(ws)):
                    break
            except ConnectionClosed:
                continue

    async def broadcast(self, conns: Sequence[Conn], message: Message) -> None:
        from websockets.asyncio.server import broadcast

        broadcast([conn.ws for conn in conns], message)


# websockets on trio: the same names from `websockets.trio`; `serve` is started in a nursery, as its
# documentation has it.
class WebsocketsTrio(WebsocketsAsyncio):
    needs = "websockets.trio.client"
    backend = Trio()

    def connect(self, url: str, options: Options = DEFAULTS) -> AbstractAsyncContextManager[Any]:
        from websockets.trio.client import connect

        return connect(url, **self._options(options))

    @asynccontextmanager
    async def serve(self, handler: Handler) -> AsyncIterator[int]:
        import trio
        from websockets.trio.server import ServerConnection, serve

        async def handle(ws: ServerConnection) -> None:
            await handler(self.wrap(ws))

        async with trio.open_nursery() as nursery:
            server = await nursery.start(partial(serve, handle, 0, host=HOST))
            yield server.listeners[0].socket.getsockname()[1]
            nursery.cancel_scope.cancel()

    async def broadcast(self, conns: Sequence[Conn], message: Message) -> None:
        from websockets.trio.server import broadcast

        await broadcast([conn.ws for conn in conns], message)


# trio-websocket: `open_websocket_url` and `serve_websocket`, as in its README. It has no keepalive of its
# own: its documentation has a recipe, a task beside the application that pings with a time limit; it is used
# where a scenario is about keepalive. Its time limit for closing is `disconnect_timeout`, its queue is in
# messages. Its README's handler ends its loop on `ConnectionClosed`.
class TrioWebsocket(Driver):
    library, package, needs = "trio-websocket", "trio-websocket", "trio_websocket"
    backend = Trio()
    note_on_pings = "with the heartbeat of its documentation"
    note_on_broadcast = "; it has no broadcast, and was sent them one after the other"

    def connect(self, url: str, options: Options = DEFAULTS) -> AbstractAsyncContextManager[Any]:
        from trio_websocket import open_websocket_url

        return open_websocket_url(
            url,
            **_given(message_queue_size=options.queue, disconnect_timeout=options.close_timeout),
        )

    def wrap(self, ws: Any) -> Conn:
        return _TrioWebsocketConn(ws)

    @asynccontextmanager
    async def serve(self, handler: Handler) -> AsyncIterator[int]:
        import trio
        from trio_websocket import WebSocketRequest, serve_websocket

        async def handle(request: WebSocketRequest) -> None:
            await handler(self.wrap(await request.accept()))

        async with trio.open_nursery() as nursery:
            start = partial(serve_websocket, handle, HOST, 0, ssl_context=None)
            server = await nursery.start(start)
            yield server.port
            nursery.cancel_scope.cancel()

    async def broadcast(self, conns: Sequence[Conn], message: Message) -> None:
        for conn in conns:
            await conn.send(message)

    async def heartbeat(self, ws: Any, seconds: float) -> None:
        import trio

        while True:
            await trio.sleep(seconds)
            with trio.fail_after(seconds):
                await ws.ping()


class _TrioWebsocketConn(Conn):
    async def send(self, message: Message) -> None:
        await self.ws.send_message(message)

    async def receive(self) -> Message:
        return await self.ws.get_message()  # type: ignore[no-any-return]

    async def each(self, function: Callable[[Message], Awaitable[None]]) -> None:
        from trio_websocket import ConnectionClosed

        while True:
            try:
                await function(await self.receive())
            except ConnectionClosed:
                break

    def is_open(self) -> bool:
        return self.ws.closed is None


# httpx-ws: `aconnect_ws` without a client of one's own, the first example of its documentation. A client
# only. Its queue is in messages.
class HttpxWs(Driver):
    library, package, needs = "httpx-ws", "httpx-ws", "httpx_ws"
    has_server = False

    def __init__(self, backend: Backend) -> None:
        self.backend = backend

    def connect(self, url: str, options: Options = DEFAULTS) -> AbstractAsyncContextManager[Any]:
        from httpx_ws import aconnect_ws

        return aconnect_ws(
            url,
            **_given(
                keepalive_ping_interval_seconds=options.ping,
                keepalive_ping_timeout_seconds=options.ping,
                queue_size=options.queue,
            ),
        )

    def wrap(self, ws: Any) -> Conn:
        return _HttpxWsConn(ws)


class _HttpxWsConn(Conn):
    async def send(self, message: Message) -> None:
        if isinstance(message, str):
            await self.ws.send_text(message)
        else:
            await self.ws.send_bytes(message)

    async def receive(self) -> Message:
        return (await self.ws.receive()).data  # type: ignore[no-any-return]

    def is_open(self) -> bool:
        return self.ws.connection.state.name == "OPEN"  # type: ignore[no-any-return]


DRIVERS: dict[str, Driver] = {
    driver.name: driver
    for driver in (
        AnyioWs(Asyncio()),
        AnyioWs(Trio()),
        WebsocketsAsyncio(),
        WebsocketsTrio(),
        TrioWebsocket(),
        HttpxWs(Asyncio()),
        HttpxWs(Trio()),
    )
}
