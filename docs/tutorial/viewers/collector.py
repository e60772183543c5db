"""Send what feeds send to everybody who connects."""

import logging

import anyio

from anyio_ws import (
    Channel,
    ReconnectPolicy,
    WebSocket,
    mux,
    open_server,
    reconnecting_websocket,
)

FEEDS = ["ws://127.0.0.1:8001/ABC", "ws://127.0.0.1:8002/XYZ"]
POLICY = ReconnectPolicy(cap=2)  # seconds to wait, at most

prices = Channel(keep_last=100)


async def view(ws: WebSocket) -> None:
    async with prices.subscribe(ws, overflow="coalesce"), ws.discard_incoming():
        await ws.wait_closed()


async def collect(urls: list[str], policy: ReconnectPolicy) -> None:
    feeds = [reconnecting_websocket(url, policy=policy) for url in urls]
    async with mux(*feeds) as merged:
        async for ws, message in merged:
            symbol = ws.request.path
            price = float(message)
            await prices.publish(f"{symbol} {price:.2f}", key=symbol)


async def main() -> None:
    async with open_server(view, "127.0.0.1", 8000) as server:
        print("serving", server.url)
        await collect(FEEDS, POLICY)


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO)
    anyio.run(main)
