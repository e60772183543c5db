"""What a block raises is what comes out of it; what became of the connection is not."""

import anyio

from anyio_ws import WebSocket, open_server, open_websocket


class OutOfRange(Exception):
    pass


async def feed(ws: WebSocket) -> None:
    for reading in ("12.5", "13.1", "999"):
        await ws.send(reading)
    await ws.wait_closed()


async def main() -> None:
    async with open_server(feed, "127.0.0.1", 0) as server:
        try:
            async with open_websocket(server.url) as ws:
                async for reading in ws:
                    if float(reading) > 100:
                        raise OutOfRange(reading)
        except OutOfRange as exc:  # no group around it, and the connection was closed with 1011
            print("out of range:", exc)

        with anyio.move_on_after(0.1) as limit:
            async with open_websocket(server.url) as ws:
                async for _ in ws:
                    pass
        print("cancelled:", limit.cancelled_caught)

        async with open_websocket(server.url) as ws:
            await ws.receive()
            await anyio.aclose_forcefully(ws)  # the connection is gone
            print("and the block goes on")
        print("left without an error")


if __name__ == "__main__":
    anyio.run(main)
