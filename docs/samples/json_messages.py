"""JSON in both directions, as dictionaries and as types."""

import anyio
import msgspec

from anyio_ws import InvalidJSON, WebSocket, open_server, open_websocket


class Trade(msgspec.Struct):  # or a model of pydantic's, or a dataclass
    symbol: str
    price: float


async def feed(ws: WebSocket) -> None:
    subscription = await ws.receive_json()
    await ws.send_json(Trade(subscription["symbol"], 1.0953))
    await ws.send_json(symbol=subscription["symbol"], price="unknown")
    await ws.send_json({"symbol": subscription["symbol"], "price": 1.0954})


async def main() -> None:
    async with open_server(feed, "127.0.0.1", 0, json="msgspec") as server:
        async with open_websocket(server.url) as ws:
            await ws.send_json(symbol="EURUSD")
            print(await ws.receive_json(Trade))
            try:
                await ws.receive_json(Trade)
            except InvalidJSON as exc:
                print(exc.message, "is", exc)
            async for trade in ws.iter_json(Trade):
                print(trade.price)


if __name__ == "__main__":
    anyio.run(main)
