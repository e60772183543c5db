"""A server on a Unix socket."""

import tempfile

import anyio

from anyio_ws import WebSocket, open_server, open_websocket


async def echo(ws: WebSocket) -> None:
    async for message in ws:
        await ws.send(message)


async def main() -> None:
    with tempfile.TemporaryDirectory() as directory:
        path = f"{directory}/echo.sock"
        async with open_server(echo, unix_path=path):
            async with open_websocket("ws://localhost/", unix_path=path) as ws:
                await ws.send("hello")
                print(await ws.receive())


if __name__ == "__main__":
    anyio.run(main)
