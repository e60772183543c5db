"""Receive with a time limit, as often as you like: nothing is lost."""

from collections.abc import AsyncIterator

import anyio

from anyio_ws import WebSocket, open_server, open_websocket


async def fragments() -> AsyncIterator[str]:
    for fragment in ("in ", "three ", "parts"):
        await anyio.sleep(0.05)
        yield fragment


async def slow(ws: WebSocket) -> None:
    await ws.send(fragments())


async def main() -> None:
    async with open_server(slow, "127.0.0.1", 0) as server:
        async with open_websocket(server.url) as ws:
            message = None
            while message is None:
                with anyio.move_on_after(0.01):
                    message = await ws.receive()
            print(message)


if __name__ == "__main__":
    anyio.run(main)
