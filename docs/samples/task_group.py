"""A server among the other tasks of a program."""

from functools import partial

import anyio

from anyio_ws import WebSocket, open_websocket, serve_websocket


async def shout(ws: WebSocket) -> None:
    async for message in ws:
        await ws.send(message.upper())


async def main() -> None:
    async with anyio.create_task_group() as tg:  # or trio.open_nursery()
        server = await tg.start(partial(serve_websocket, shout, "127.0.0.1", 0))
        async with open_websocket(server.url) as ws:
            await ws.send("hello")
            print(await ws.receive())
        tg.cancel_scope.cancel()


if __name__ == "__main__":
    anyio.run(main)
