"""One server on a Unix socket of restricted access and on TCP; a client over a socket of its own."""

import socket
import tempfile

import anyio

from anyio_ws import WebSocket, open_server, open_websocket


async def tell_where(ws: WebSocket) -> None:
    await ws.send("here" if isinstance(ws.local_address, str) else "over TCP")


async def main() -> None:
    with tempfile.TemporaryDirectory() as directory:
        path = f"{directory}/private.sock"
        private = await anyio.create_unix_listener(path, mode=0o600)
        public = socket.create_server(("127.0.0.1", 0))
        async with open_server(tell_where, listeners=[private, public]) as server:
            async with open_websocket(server.url) as ws:
                print(await ws.receive())
            sock = socket.socket(socket.AF_UNIX)
            sock.connect(path)
            async with open_websocket("ws://localhost/", stream=sock) as ws:
                print(await ws.receive())


if __name__ == "__main__":
    anyio.run(main)
