# pyright: strict, reportUnnecessaryTypeIgnoreComment=true
"""A program that is trio's: nurseries, listeners and streams of its own."""

from __future__ import annotations

from functools import partial

import trio

from anyio_ws import (
    WebSocket,
    WebSocketServer,
    endpoint,
    open_websocket,
    serve_websocket,
    trio_stream,
)


async def echo(ws: WebSocket) -> None:
    async for message in ws:
        await ws.send(message)


async def serve() -> None:
    async with trio.open_nursery() as nursery:
        server: WebSocketServer = await nursery.start(
            partial(serve_websocket, echo, "127.0.0.1", 0, ping_interval=None)
        )
        async with open_websocket(server.url) as ws:
            await ws.send("hello")
        listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
        nursery.start_soon(trio.serve_listeners, endpoint(echo), listeners)
        more = await trio.open_tcp_listeners(0, host="127.0.0.1")
        nursery.start_soon(partial(serve_websocket, echo, listeners=more))


async def over_streams(stream: trio.SocketStream, sending: trio.abc.SendStream) -> None:
    async with open_websocket("ws://localhost/", stream=stream) as ws:
        inside = trio_stream(ws)
        await inside.send_all(b"hello")
        await sending.send_all(bytes(await inside.receive_some(100)))
    async with open_websocket("ws://localhost/", stream=(stream, sending)) as ws:
        await trio_stream(ws, half_close=True).send_eof()


async def in_time(url: str) -> str | bytes | None:
    with trio.move_on_after(5):
        async with open_websocket(url) as ws:
            return await ws.receive()
    return None


def main() -> None:
    trio.run(serve)
