"""The best price among several servers; neither one that doesn't answer nor quiet ones take for ever."""

import socket
from contextlib import AsyncExitStack
from functools import partial

import anyio

from anyio_ws import InvalidHandshake, WebSocket, mux, open_server, open_websocket


async def connect(stack: AsyncExitStack, urls: dict[str, str]) -> dict[WebSocket, str]:
    """Connect to those that answer, within half a second each."""
    names: dict[WebSocket, str] = {}
    for name, url in urls.items():
        try:
            ws = await stack.enter_async_context(open_websocket(url, open_timeout=0.5))
        except (OSError, InvalidHandshake) as exc:
            print(f"{name} is left out: {type(exc).__name__}")
        else:
            names[ws] = name
    return names


async def best_price(urls: dict[str, str], enough: int) -> tuple[float, str]:
    """Look at *enough* prices, or at those that come within five seconds."""
    best = (0.0, "nobody")
    async with AsyncExitStack() as stack:
        names = await connect(stack, urls)
        with anyio.move_on_after(5):
            async with mux(*names) as merged:
                async for ws, message in merged:
                    best = max(best, (float(message), names[ws]))
                    enough -= 1
                    if not enough:
                        break
    return best


async def quote(prices: list[str], ws: WebSocket) -> None:
    for price in prices:
        await ws.send(price)
    await ws.wait_closed()


async def main() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        async with (
            open_server(partial(quote, ["101.20", "101.10"]), "127.0.0.1", 0) as amber,
            open_server(partial(quote, ["101.35", "101.40"]), "127.0.0.1", 0) as beryl,
        ):
            port = silent.getsockname()[1]
            urls = {"amber": amber.url, "beryl": beryl.url, "coral": f"ws://127.0.0.1:{port}"}
            price, name = await best_price(urls, enough=4)
            print(f"{price:.2f} at {name}")


if __name__ == "__main__":
    anyio.run(main)
