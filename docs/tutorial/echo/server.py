"""A server that sends everything back."""

from anyio_ws import WebSocket


async def echo(ws: WebSocket) -> None:
    async for message in ws:
        await ws.send(message)
