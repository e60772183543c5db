"""Everything that arrives, in the order in which it arrives: fragments, pings and the end."""

from collections.abc import AsyncIterator

import anyio

from anyio_ws import WebSocket, open_server, open_websocket


async def speak(ws: WebSocket) -> None:
    async def sentence() -> AsyncIterator[str]:
        yield "in two "
        await ws.send_ping(b"still here")
        yield "parts"

    await ws.receive()
    await ws.send(sentence())


async def main() -> None:
    async with open_server(speak, "127.0.0.1", 0) as server:
        async with open_websocket(server.url) as ws:
            async with ws.events(fragments=True) as events:
                await ws.send("your turn")
                async for event in events:
                    print(event)


if __name__ == "__main__":
    anyio.run(main)
