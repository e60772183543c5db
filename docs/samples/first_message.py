"""A token as the first message, which has to come within five seconds."""

from __future__ import annotations

import hashlib

import anyio

from anyio_ws import ConnectionClosed, WebSocket, open_server, open_websocket

users = {hashlib.sha256(b"5e1f-4c09-a7d2").digest(): "ada"}


async def authenticate(ws: WebSocket) -> bool:
    with anyio.move_on_after(5):
        token = await ws.receive()
        if isinstance(token, str):
            ws.username = users.get(hashlib.sha256(token.encode()).digest())
    return ws.username is not None


async def greet(ws: WebSocket) -> None:
    if not await authenticate(ws):
        await ws.aclose(1008, "a valid token was expected")
        return
    await ws.send(f"hello {ws.username}")


async def main() -> None:
    async with open_server(greet, "127.0.0.1", 0) as server:
        for token in "5e1f-4c09-a7d2", "wrong":
            async with open_websocket(server.url) as ws:
                await ws.send(token)
                try:
                    print(await ws.receive())
                except ConnectionClosed as exc:
                    print(exc)


if __name__ == "__main__":
    anyio.run(main)
