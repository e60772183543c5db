"""What DEBUG shows of a connection."""

import io
import logging

import anyio

from anyio_ws import WebSocket, open_server, open_websocket


async def echo(ws: WebSocket) -> None:
    async for message in ws:
        await ws.send(message)


async def main() -> None:
    output = io.StringIO()  # or sys.stderr, with logging.basicConfig(level=logging.DEBUG)
    logger = logging.getLogger("anyio_ws.client")
    handler = logging.StreamHandler(output)
    logger.addHandler(handler)
    logger.setLevel(logging.DEBUG)

    async with open_server(echo, "127.0.0.1", 0) as server:
        url = f"ws://ada:secret@127.0.0.1:{server.port}/feed"
        async with open_websocket(url) as ws:
            await ws.send("hello")
            await ws.receive()

    logger.setLevel(logging.NOTSET)
    logger.removeHandler(handler)
    for line in output.getvalue().splitlines():
        if not line.startswith((("> Host"), "> Sec-WebSocket", "< Sec-WebSocket", "< Date")):
            print(line)


if __name__ == "__main__":
    anyio.run(main)
