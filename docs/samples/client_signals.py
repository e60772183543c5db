"""A client that SIGTERM ends in order: it says goodbye, and receives what was on its way."""

import os
from collections.abc import AsyncIterator
from signal import SIGINT, SIGTERM, Signals

import anyio

from anyio_ws import WebSocket, open_server, open_websocket


async def leave(ws: WebSocket, signals: AsyncIterator[Signals]) -> None:
    async for _ in signals:
        # From here on nothing can be sent; what is on its way is received.
        await ws.send_eof(1001, "the program ends")
        break


async def follow(url: str) -> None:
    with anyio.open_signal_receiver(SIGINT, SIGTERM) as signals:
        async with open_websocket(url) as ws, anyio.create_task_group() as tg:
            tg.start_soon(leave, ws, signals)
            async for message in ws:
                print(message)
            tg.cancel_scope.cancel()


async def main() -> None:
    goodbyes: list[str] = []

    async def feed(ws: WebSocket) -> None:
        await ws.send("one")
        os.kill(os.getpid(), SIGTERM)  # as an init system would, here to the same process
        await ws.wait_closed()
        goodbyes.append(f"{ws.close_code} {ws.close_reason}")

    async with open_server(feed, "127.0.0.1", 0) as server:
        await follow(server.url)
    print(goodbyes)


if __name__ == "__main__":
    anyio.run(main)
