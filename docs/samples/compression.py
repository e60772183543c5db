"""A server that spends more memory on compression, and doesn't compress what is compressed already."""

from __future__ import annotations

import zlib

import anyio

from anyio_ws import WebSocket, open_server, open_websocket
from anyio_ws.sansio import ServerPerMessageDeflateFactory

history = '{"symbol": "EURUSD", "bid": 1.0953}\n' * 1000

deflate = ServerPerMessageDeflateFactory(
    server_max_window_bits=15, client_max_window_bits=10, mem_level=8, threshold=256
)


async def serve_history(ws: WebSocket) -> None:
    await ws.send(history)
    await ws.send(zlib.compress(history.encode()), compress=False)


async def main() -> None:
    async with open_server(serve_history, "127.0.0.1", 0, extensions=[deflate]) as server:
        async with open_websocket(server.url) as ws:
            print(ws.response.headers["Sec-WebSocket-Extensions"])
            print(await ws.receive() == history)
            archive = await ws.receive()
            print(archive == zlib.compress(history.encode()))


if __name__ == "__main__":
    anyio.run(main)
