"""Echo servers to measure: ``python benchmarks/servers.py NAME`` prints its port and serves.

It serves on 127.0.0.1 until its stdin closes or a SIGTERM comes. Compression and pings are off
everywhere, and a message may have 16 MiB. What goes wrong is said on stderr; nothing else is.

A new server is a function here and a line in `SERVERS`. Importing this imports no library.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import sys
import threading
from collections.abc import Awaitable, Callable
from functools import partial
from typing import NamedTuple

MAX_SIZE = 2**24
HOST = "127.0.0.1"


class Server(NamedTuple):
    """How to run a server, and what to compare it with."""

    library: str
    loop: str
    """asyncio, uvloop or trio: ratios are between servers on the same one."""
    speaks: str
    """ws or raw, as the load generator calls it."""
    main: Callable[[], Awaitable[None]]
    needs: tuple[str, ...]
    """Modules without which it can't run."""

    def missing(self) -> list[str]:
        """The modules that it needs and that aren't installed."""
        return [name for name in self.needs if not _is_installed(name)]


def _is_installed(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:  # not even its package
        return False


def announce(port: int) -> None:
    """Tell whoever started us where we serve."""
    print(port, flush=True)


async def serve_anyio_ws() -> None:
    import anyio

    from anyio_ws import WebSocket, open_server

    async def echo(ws: WebSocket) -> None:
        async for message in ws:
            await ws.send(message)

    async with open_server(echo, HOST, 0, max_size=MAX_SIZE, ping_interval=None) as server:
        announce(server.port)
        await anyio.sleep_forever()


async def serve_websockets_asyncio() -> None:
    from websockets.asyncio.server import ServerConnection, serve
    from websockets.exceptions import ConnectionClosedError

    async def echo(ws: ServerConnection) -> None:
        try:
            async for message in ws:
                await ws.send(message)
        except ConnectionClosedError:  # the load generator doesn't say goodbye
            pass

    async with serve(
        echo, HOST, 0, compression=None, ping_interval=None, max_size=MAX_SIZE
    ) as server:
        announce(next(iter(server.sockets)).getsockname()[1])
        await server.serve_forever()


async def serve_websockets_trio() -> None:
    import trio
    from websockets.exceptions import ConnectionClosedError
    from websockets.trio.server import ServerConnection, serve

    async def echo(ws: ServerConnection) -> None:
        try:
            async for message in ws:
                await ws.send(message)
        except ConnectionClosedError:
            pass

    start = partial(
        serve, echo, 0, host=HOST, compression=None, ping_interval=None, max_size=MAX_SIZE
    )
    async with trio.open_nursery() as nursery:
        server = await nursery.start(start)
        announce(server.listeners[0].socket.getsockname()[1])


async def serve_aiohttp() -> None:
    import asyncio

    from aiohttp import WSMsgType, web

    async def echo(request: web.Request) -> web.WebSocketResponse:
        ws = web.WebSocketResponse(max_msg_size=MAX_SIZE, compress=False)
        await ws.prepare(request)
        async for message in ws:
            if message.type is WSMsgType.BINARY:
                await ws.send_bytes(message.data)
            else:
                await ws.send_str(message.data)
        return ws

    app = web.Application()
    app.router.add_get("/{path:.*}", echo)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, HOST, 0)
    await site.start()
    announce(runner.addresses[0][1])
    await asyncio.Event().wait()


async def serve_picows() -> None:
    import picows

    class Echo(picows.WSListener):
        def on_ws_frame(self, transport: picows.WSTransport, frame: picows.WSFrame) -> None:
            transport.send(frame.msg_type, frame.get_payload_as_bytes())

    server = await picows.ws_create_server(lambda request: Echo(), HOST, 0)
    announce(server.sockets[0].getsockname()[1])
    await server.serve_forever()


async def serve_trio_websocket() -> None:
    import trio
    from trio_websocket import ConnectionClosed, WebSocketRequest, serve_websocket

    async def echo(request: WebSocketRequest) -> None:
        ws = await request.accept()
        try:
            while True:
                await ws.send_message(await ws.get_message())
        except ConnectionClosed:
            pass

    start = partial(serve_websocket, echo, HOST, 0, ssl_context=None, max_message_size=MAX_SIZE)
    async with trio.open_nursery() as nursery:
        server = await nursery.start(start)
        announce(server.port)


async def serve_bytes() -> None:
    """The floor: what comes is sent back, with nothing on top of AnyIO's streams."""
    import anyio
    from anyio.abc import SocketAttribute, SocketStream

    async def echo(stream: SocketStream) -> None:
        async with stream:
            try:
                while True:
                    await stream.send(await stream.receive())
            except (anyio.EndOfStream, anyio.BrokenResourceError):
                pass

    listener = await anyio.create_tcp_listener(local_host=HOST)
    announce(listener.extra(SocketAttribute.local_port))
    await listener.serve(echo)


SERVERS = {
    "anyio_ws/asyncio": Server("anyio_ws", "asyncio", "ws", serve_anyio_ws, ("anyio_ws",)),
    "anyio_ws/uvloop": Server("anyio_ws", "uvloop", "ws", serve_anyio_ws, ("anyio_ws", "uvloop")),
    "anyio_ws/trio": Server("anyio_ws", "trio", "ws", serve_anyio_ws, ("anyio_ws", "trio")),
    "websockets/asyncio": Server(
        "websockets", "asyncio", "ws", serve_websockets_asyncio, ("websockets.asyncio",)
    ),
    "websockets/uvloop": Server(
        "websockets", "uvloop", "ws", serve_websockets_asyncio, ("websockets.asyncio", "uvloop")
    ),
    "websockets/trio": Server(
        "websockets", "trio", "ws", serve_websockets_trio, ("websockets.trio", "trio")
    ),
    "aiohttp/asyncio": Server("aiohttp", "asyncio", "ws", serve_aiohttp, ("aiohttp",)),
    "aiohttp/uvloop": Server("aiohttp", "uvloop", "ws", serve_aiohttp, ("aiohttp", "uvloop")),
    "picows/asyncio": Server("picows", "asyncio", "ws", serve_picows, ("picows",)),
    "picows/uvloop": Server("picows", "uvloop", "ws", serve_picows, ("picows", "uvloop")),
    "trio-websocket/trio": Server(
        "trio-websocket", "trio", "ws", serve_trio_websocket, ("trio_websocket",)
    ),
    "bare/anyio-asyncio": Server("bare", "asyncio", "raw", serve_bytes, ()),
    "bare/anyio-uvloop": Server("bare", "uvloop", "raw", serve_bytes, ("uvloop",)),
    "bare/anyio-trio": Server("bare", "trio", "raw", serve_bytes, ("trio",)),
}


def run(server: Server) -> None:
    """Run it on its loop. AnyIO only starts the loop; it costs nothing after that."""
    import anyio

    anyio.run(
        server.main,
        backend="trio" if server.loop == "trio" else "asyncio",
        backend_options={"use_uvloop": True} if server.loop == "uvloop" else {},
    )


def end_with_stdin() -> None:
    """End the process when stdin closes, so that no server outlives who started it."""
    while os.read(sys.stdin.fileno(), 1024):
        pass
    os._exit(0)  # nobody waits for goodbyes


def main() -> None:
    parser = argparse.ArgumentParser(description="Serve an echo; the port is the first line.")
    parser.add_argument("name", choices=SERVERS, metavar="NAME", help=", ".join(SERVERS))
    parser.add_argument("--core", type=int, metavar="N", help="stay on this core")
    arguments = parser.parse_args()
    if arguments.core is not None:
        os.sched_setaffinity(0, {arguments.core})
    threading.Thread(target=end_with_stdin, daemon=True).start()
    run(SERVERS[arguments.name])


if __name__ == "__main__":
    main()
