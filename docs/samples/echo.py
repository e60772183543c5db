"""A server that sends everything back, and a client that tries it."""

import anyio

from anyio_ws import WebSocket, open_server, open_websocket


async def echo(ws: WebSocket) -> None:
    async for message in ws:
        await ws.send(message)


async def main() -> None:
    async with open_server(echo, "127.0.0.1", 0) as server:  # port 0: any free one
        async with open_websocket(server.url) as ws:
            await ws.send("hello")
            print(await ws.receive())


if __name__ == "__main__":
    anyio.run(main)
