"""A price service: it follows an exchange, and tells its subscribers the price of what they ask for."""

from collections import defaultdict

import anyio

from anyio_ws import (
    Channel,
    ReconnectPolicy,
    Router,
    WebSocket,
    open_server,
    reconnecting_websocket,
)

EXCHANGE = "wss://exchange.example"


class PriceService:
    def __init__(self) -> None:
        self.latest: dict[str, float] = {}
        self.channels: defaultdict[str, Channel] = defaultdict(lambda: Channel(keep_last=1))
        self.app = Router()
        self.app.add("/prices/{symbol}", self.subscribe)

    async def follow(self) -> None:
        """Take prices from the exchange, and connect again whatever happens there."""
        policy = ReconnectPolicy(cap=30, fatal_codes=())
        async for attempt in reconnecting_websocket(f"{EXCHANGE}/trades", policy=policy):
            async with attempt as ws:
                async for trade in ws.iter_json():
                    await self.record(trade["symbol"], trade["price"])

    async def record(self, symbol: str, price: float) -> None:
        """Cancelled, it has done nothing."""
        await self.channels[symbol].publish(str(price))
        self.latest[symbol] = price

    async def subscribe(self, ws: WebSocket, symbol: str) -> None:
        async with self.channels[symbol].subscribe(ws, overflow="drop_oldest"):
            async with ws.discard_incoming():
                await ws.wait_closed()


async def main() -> None:
    service = PriceService()
    async with open_server(service.app, "127.0.0.1", 8765):
        await service.follow()


if __name__ == "__main__":
    anyio.run(main)
