"""Text or binary as you want it, whatever the other side sends."""

import anyio

from anyio_ws import WebSocket, open_server, open_websocket


async def greet(ws: WebSocket) -> None:
    name = await ws.receive(decode=True)  # a str, also of a binary message
    await ws.send(f"hello {name}", text=False)  # binary, although it is a str
    await ws.send(b"and goodbye", text=True)  # text: the bytes must be UTF-8
    await ws.send(b"\xff\xfe")


async def main() -> None:
    async with open_server(greet, "127.0.0.1", 0) as server:
        async with open_websocket(server.url) as ws:
            await ws.send(b"ada")
            print(await ws.receive())
            print(await ws.receive())
            try:
                await ws.receive(decode=True)
            except UnicodeDecodeError as exc:
                print("no text, but here it is:", exc.object)


if __name__ == "__main__":
    anyio.run(main)
