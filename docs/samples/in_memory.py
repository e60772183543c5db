"""Tests without a network: a server in memory, and what becomes of a handler's exception."""

import anyio

from anyio_ws import ConnectionClosedError, WebSocket, open_websocket
from anyio_ws.testing import serve_in_memory

URL = "wss://feed.example/prices"


async def application() -> str | bytes:
    """What is to be tested: it knows nothing of tests."""
    async with open_websocket(URL) as ws:
        return await ws.receive()


async def feed(ws: WebSocket) -> None:
    await ws.send(f"you asked for {ws.request.path}")


async def fail(ws: WebSocket) -> None:
    raise ValueError("a bug in the handler")


async def main() -> None:
    async with serve_in_memory(feed, "wss://feed.example"):
        print(await application())

    async with serve_in_memory(feed) as server:  # at ws://app.test
        async with open_websocket(f"{server.url}/any/path") as ws:
            print(await ws.receive())

    try:
        async with serve_in_memory(fail) as server:
            async with open_websocket(server.url) as ws:
                await ws.wait_closed()
    except ValueError as exc:
        print(exc)

    async with serve_in_memory(fail, on_handler_error="log") as server:
        async with open_websocket(server.url) as ws:
            try:
                await ws.receive()
            except ConnectionClosedError as exc:
                print("the client:", exc)


if __name__ == "__main__":
    anyio.run(main)
