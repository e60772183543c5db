"""In a trio program: nurseries and cancel scopes as you know them, and nothing of AnyIO's."""

from functools import partial

import trio

from anyio_ws import WebSocket, open_websocket, serve_websocket


async def echo(ws: WebSocket) -> None:
    async for message in ws:
        await ws.send(message)


async def main() -> None:
    async with trio.open_nursery() as nursery:
        server = await nursery.start(partial(serve_websocket, echo, "127.0.0.1", 0))
        async with open_websocket(server.url) as ws:
            await ws.send("hello")
            with trio.fail_after(5):
                print(await ws.receive())
            with trio.move_on_after(0):
                print(await ws.receive())
        await server.shutdown()


if __name__ == "__main__":
    trio.run(main)
