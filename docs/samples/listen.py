"""A client that prints what it is sent, and a server to send it something."""

import anyio

from anyio_ws import WebSocket, open_server, open_websocket


async def listen(url: str) -> None:
    async with open_websocket(url) as ws:
        await ws.send("hello")
        async for message in ws:
            print(message)


async def greet(ws: WebSocket) -> None:
    name = await ws.receive()
    await ws.send(f"you said {name!r}")
    await ws.send(b"and this is binary")


async def main() -> None:
    async with open_server(greet, "127.0.0.1", 0) as server:
        await listen(server.url)


if __name__ == "__main__":
    anyio.run(main)
