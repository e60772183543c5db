"""The same prices for everybody; who is slow gets the newest of each, and holds nobody up."""

import anyio

from anyio_ws import WebSocket, broadcast, open_server, open_websocket

viewers: set[WebSocket] = set()


async def view(ws: WebSocket) -> None:
    viewers.add(ws)
    try:
        await ws.send("welcome")
        async with ws.discard_incoming():
            await ws.wait_closed()
    finally:
        viewers.remove(ws)


async def publish(prices: dict[str, float]) -> None:
    for symbol, price in prices.items():
        result = broadcast(viewers, f"{symbol} {price}", overflow="coalesce", key=symbol)
        print("sent to", result.sent)


async def main() -> None:
    async with (
        open_server(view, "127.0.0.1", 0) as server,
        open_websocket(server.url) as one,
        open_websocket(server.url) as two,
    ):
        print(await one.receive(), await two.receive())
        await publish({"ABC": 101.5, "XYZ": 7.25})
        for ws in (one, two):
            print(await ws.receive(), await ws.receive())


if __name__ == "__main__":
    anyio.run(main)
