"""Servers that send every message back, and the floors below them: servers that send bytes back.

Pings are off everywhere, and a message may have 16 MiB. A new server is a function here and a line in
`SUBJECTS`. ``python benchmarks/subject.py servers NAME`` runs one.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, cast

from subject import HOST, MAX_SIZE, Options, Subject, announce

if TYPE_CHECKING:
    import asyncio

    import trio

BOTH_ASYNCIO = ("asyncio", "uvloop")
ALL_LOOPS = (*BOTH_ASYNCIO, "trio")


def tls(options: Options) -> ssl.SSLContext | None:
    """The server's side of TLS, if it is to speak that."""
    if options.certificate is None:
        return None
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(options.certificate)
    return context


async def serve_anyio_ws(options: Options) -> None:
    import anyio

    from anyio_ws import WebSocket, open_server

    async def echo(ws: WebSocket) -> None:
        async for message in ws:
            await ws.send(message)

    async with open_server(
        echo,
        HOST,
        0,
        max_size=MAX_SIZE,
        ping_interval=None,
        compression="deflate" if options.compress else None,
        ssl=tls(options),
    ) as server:
        announce(server.port)
        await anyio.sleep_forever()


async def serve_websockets_asyncio(options: Options) -> None:
    from websockets.asyncio.server import ServerConnection, serve
    from websockets.exceptions import ConnectionClosedError

    async def echo(ws: ServerConnection) -> None:
        try:
            async for message in ws:
                await ws.send(message)
        except ConnectionClosedError:  # the load doesn't say goodbye
            pass

    async with serve(
        echo,
        HOST,
        0,
        compression="deflate" if options.compress else None,
        ping_interval=None,
        max_size=MAX_SIZE,
        ssl=tls(options),
    ) as server:
        announce(next(iter(server.sockets)).getsockname()[1])
        await server.serve_forever()


async def serve_websockets_trio(options: Options) -> None:
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
        serve,
        echo,
        0,
        host=HOST,
        compression="deflate" if options.compress else None,
        ping_interval=None,
        max_size=MAX_SIZE,
        ssl=tls(options),
    )
    async with trio.open_nursery() as nursery:
        server = await nursery.start(start)
        announce(server.listeners[0].socket.getsockname()[1])


async def serve_aiohttp(options: Options) -> None:
    from aiohttp import WSMsgType, web

    async def echo(request: web.Request) -> web.WebSocketResponse:
        ws = web.WebSocketResponse(max_msg_size=MAX_SIZE, compress=options.compress)
        await ws.prepare(request)
        async for message in ws:
            if message.type is WSMsgType.BINARY:
                await ws.send_bytes(message.data)
            else:
                await ws.send_str(message.data)
        return ws

    await serve_with_aiohttp(echo, options)


async def serve_with_aiohttp(handler: Callable[..., object], options: Options) -> None:
    """Serve *handler* for every path."""
    import asyncio

    from aiohttp import web

    app = web.Application()
    app.router.add_get("/{path:.*}", handler)  # type: ignore[arg-type]  # it is typed by who gives it
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, HOST, 0, ssl_context=tls(options)).start()
    announce(runner.addresses[0][1])
    await asyncio.Event().wait()


async def serve_picows(options: Options) -> None:
    import picows

    class Echo(picows.WSListener):
        def on_ws_frame(self, transport: picows.WSTransport, frame: picows.WSFrame) -> None:
            transport.send(frame.msg_type, frame.get_payload_as_bytes())

    server = await picows.ws_create_server(
        lambda request: Echo(), HOST, 0, max_frame_size=MAX_SIZE, ssl=tls(options)
    )
    announce(server.sockets[0].getsockname()[1])
    await server.serve_forever()


async def serve_trio_websocket(options: Options) -> None:
    import trio
    from trio_websocket import ConnectionClosed, WebSocketRequest, serve_websocket

    async def echo(request: WebSocketRequest) -> None:
        ws = await request.accept()
        try:
            while True:
                await ws.send_message(await ws.get_message())
        except ConnectionClosed:
            pass

    start = partial(
        serve_websocket, echo, HOST, 0, ssl_context=tls(options), max_message_size=MAX_SIZE
    )
    async with trio.open_nursery() as nursery:
        server = await nursery.start(start)
        announce(server.port)


async def serve_anyio_bytes(options: Options) -> None:
    """AnyIO's streams."""
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


async def serve_protocol_bytes(options: Options) -> None:
    """An `asyncio.Protocol`: callbacks, no await."""
    import asyncio

    class Echo(asyncio.Protocol):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            self.write = cast("asyncio.Transport", transport).write

        def data_received(self, data: bytes) -> None:
            self.write(data)

    server = await asyncio.get_running_loop().create_server(Echo, HOST, 0)
    announce(server.sockets[0].getsockname()[1])
    await server.serve_forever()


async def serve_asyncio_stream_bytes(options: Options) -> None:
    """asyncio's own streams."""
    import asyncio

    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(2**16):
                writer.write(data)
                await writer.drain()
        except ConnectionError:
            pass

    server = await asyncio.start_server(echo, HOST, 0)
    announce(server.sockets[0].getsockname()[1])
    await server.serve_forever()


async def serve_trio_stream_bytes(options: Options) -> None:
    """trio's own streams."""
    import trio

    async def echo(stream: trio.SocketStream) -> None:
        try:
            while data := await stream.receive_some(2**16):
                await stream.send_all(data)
        except trio.BrokenResourceError:
            pass

    listeners = await trio.open_tcp_listeners(0, host=HOST)
    announce(listeners[0].socket.getsockname()[1])
    await trio.serve_listeners(echo, listeners)


SUBJECTS = [
    *(Subject("anyio_ws", loop, serve_anyio_ws, ("anyio_ws",)) for loop in (*BOTH_ASYNCIO, "trio")),
    *(
        Subject("websockets", loop, serve_websockets_asyncio, ("websockets.asyncio",))
        for loop in BOTH_ASYNCIO
    ),
    Subject("websockets", "trio", serve_websockets_trio, ("websockets.trio",)),
    *(Subject("aiohttp", loop, serve_aiohttp, ("aiohttp",)) for loop in BOTH_ASYNCIO),
    *(Subject("picows", loop, serve_picows, ("picows",)) for loop in BOTH_ASYNCIO),
    Subject("trio-websocket", "trio", serve_trio_websocket, ("trio_websocket",)),
    *(
        Subject("bare-anyio", loop, serve_anyio_bytes, (), speaks_websocket=False)
        for loop in ALL_LOOPS
    ),
    *(
        Subject("bare-protocol", loop, serve_protocol_bytes, (), speaks_websocket=False)
        for loop in BOTH_ASYNCIO
    ),
    Subject("bare-streams", "asyncio", serve_asyncio_stream_bytes, (), speaks_websocket=False),
    Subject("bare-streams", "trio", serve_trio_stream_bytes, (), speaks_websocket=False),
]


WEBSOCKET = [subject for subject in SUBJECTS if subject.speaks_websocket]
