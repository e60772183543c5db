"""Two feeds, read as one stream."""

import anyio

from anyio_ws import WebSocket, mux, open_server, open_websocket


async def spread(bids: WebSocket, asks: WebSocket) -> float:
    latest: dict[WebSocket, float] = {}
    async with mux(bids, asks) as merged:
        async for ws, message in merged:
            latest[ws] = float(message)
            if len(latest) == 2:
                break
    return latest[asks] - latest[bids]


async def send_bids(ws: WebSocket) -> None:
    await ws.send("101.25")
    await ws.wait_closed()


async def send_asks(ws: WebSocket) -> None:
    await ws.send("101.75")
    await ws.wait_closed()


async def main() -> None:
    async with (
        open_server(send_bids, "127.0.0.1", 0) as bid_server,
        open_server(send_asks, "127.0.0.1", 0) as ask_server,
        open_websocket(bid_server.url) as bids,
        open_websocket(ask_server.url) as asks,
    ):
        print("spread", await spread(bids, asks))


if __name__ == "__main__":
    anyio.run(main)
