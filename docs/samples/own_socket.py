"""A client over a socket that is there already, and one whose socket is set up in a certain way."""

import socket

import anyio
from anyio.abc import SocketAttribute

from anyio_ws import WebSocket, open_server, open_websocket


async def echo(ws: WebSocket) -> None:
    async for message in ws:
        await ws.send(message)


async def main() -> None:
    async with open_server(echo, "127.0.0.1", 0) as server:
        sock = socket.create_connection(("127.0.0.1", server.port))
        async with open_websocket("ws://feed.internal/", stream=sock) as ws:
            await ws.send(ws.request.headers["Host"])
            print(await ws.receive())
        print(sock.fileno())  # closed with the connection

        keep_alive = (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        async with open_websocket(server.url, socket_options=[keep_alive]) as ws:
            sock = ws.extra(SocketAttribute.raw_socket)
            print(bool(sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)))


if __name__ == "__main__":
    anyio.run(main)
