"""A Starlette application, FastAPI's too, and WebSockets beside it on a port of their own."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.request import Request as HTTPRequest
from urllib.request import urlopen

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from anyio_ws import WebSocket, WebSocketServer, broadcast, open_server, open_websocket

SITE = "http://127.0.0.1:8000"  # where browsers get the pages from


async def listen(ws: WebSocket) -> None:
    async with ws.discard_incoming():
        await ws.wait_closed()


@asynccontextmanager
async def lifespan(app: Starlette) -> AsyncIterator[dict[str, WebSocketServer]]:
    # The page is of another port than the WebSocket, so its origin has to be named.
    async with open_server(listen, "127.0.0.1", 0, origins=[SITE]) as server:
        yield {"websockets": server}


async def publish(request: Request) -> PlainTextResponse:
    server: WebSocketServer = request.state.websockets
    result = broadcast(server.connections, await request.body())
    return PlainTextResponse(f"sent to {result.sent}")


async def where(request: Request) -> PlainTextResponse:
    return PlainTextResponse(request.state.websockets.url)


app = Starlette(
    routes=[Route("/publish", publish, methods=["POST"]), Route("/where", where)],
    lifespan=lifespan,
)


def fetch(url: str, data: bytes | None = None) -> str:
    with urlopen(HTTPRequest(url, data)) as response:
        body: bytes = response.read()
    return body.decode()


async def main() -> None:
    """Try it: ``uvicorn starlette_application:app`` does the same."""
    listener = socket.create_server(("127.0.0.1", 0))
    site = f"http://127.0.0.1:{listener.getsockname()[1]}"
    asgi = uvicorn.Server(uvicorn.Config(app, ws="none", log_config=None))
    serving = asyncio.create_task(asgi.serve(sockets=[listener]))

    url = await asyncio.to_thread(fetch, f"{site}/where")
    async with open_websocket(url, origin=SITE) as ws:
        print(await asyncio.to_thread(fetch, f"{site}/publish", b"news"))
        print(await ws.receive())
        asgi.should_exit = True
        await serving
        await ws.wait_closed()
        print("closed with", ws.close_code)


if __name__ == "__main__":
    asyncio.run(main())
