"""HTTP Basic authentication, and a health check that needs none."""

from __future__ import annotations

import anyio

from anyio_ws import (
    InvalidStatus,
    Request,
    Response,
    WebSocket,
    basic_auth,
    open_server,
    open_websocket,
)

authenticate = basic_auth("the staff", [("ada", "lovelace"), ("charles", "babbage")])


async def process_request(ws: WebSocket, request: Request) -> Response | None:
    if request.path == "/health":
        return Response.text(200, "fine\n")
    return await authenticate(ws, request)


async def greet(ws: WebSocket) -> None:
    await ws.send(f"hello {ws.username}")


async def main() -> None:
    async with open_server(greet, "127.0.0.1", 0, process_request=process_request) as server:
        async with open_websocket(f"ws://ada:lovelace@127.0.0.1:{server.port}/") as ws:
            print(await ws.receive())
        try:
            async with open_websocket(f"ws://ada:babbage@127.0.0.1:{server.port}/"):
                pass
        except InvalidStatus as exc:
            print(exc)
            print(exc.response.headers["WWW-Authenticate"])


if __name__ == "__main__":
    anyio.run(main)
