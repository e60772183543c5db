"""Print what feeds send, whenever they are there."""

import logging

import anyio

from anyio_ws import ReconnectPolicy, mux, reconnecting_websocket

FEEDS = ["ws://127.0.0.1:8001/ABC", "ws://127.0.0.1:8002/XYZ"]
POLICY = ReconnectPolicy(cap=2)  # seconds to wait, at most


async def collect(urls: list[str], policy: ReconnectPolicy) -> None:
    feeds = [reconnecting_websocket(url, policy=policy) for url in urls]
    async with mux(*feeds) as merged:
        async for ws, message in merged:
            print(ws.request.path, message)


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO)
    anyio.run(collect, FEEDS, POLICY)
