"""A feed: the price of one symbol, twice a second."""

import random

import anyio

from anyio_ws import WebSocket

FIRST = {"/ABC": 100.0, "/XYZ": 7.0}


async def prices(ws: WebSocket) -> None:
    symbol = ws.request.path
    price = FIRST[symbol]
    moves = random.Random(symbol)  # the same ones for everybody
    while True:
        await ws.send(f"{price:.2f}")
        await anyio.sleep(0.5)
        price *= moves.uniform(0.99, 1.01)
