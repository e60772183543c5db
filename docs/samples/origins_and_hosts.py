"""Pages of some other sites may connect; and only who has asked for this machine."""

from __future__ import annotations

import re

import anyio

from anyio_ws import InvalidStatus, WebSocket, open_server, open_websocket


async def greet(ws: WebSocket) -> None:
    await ws.send(f"hello {ws.request.headers.get('Origin', 'program')}")


async def main() -> None:
    async with open_server(
        greet,
        "127.0.0.1",
        0,
        origins=["https://example.org", re.compile(r"https://[a-z0-9-]+\.example\.org"), None],
        hosts=["localhost", "127.0.0.1", "::1", "*.internal.example.org"],
    ) as server:
        for origin in "https://app.example.org", None, "https://evil.example":
            try:
                async with open_websocket(server.url, origin=origin) as ws:
                    print(await ws.receive())
            except InvalidStatus as exc:
                print(exc)
        try:
            async with open_websocket(server.url, additional_headers={"Host": "evil.example"}):
                pass
        except InvalidStatus as exc:
            print(exc)


if __name__ == "__main__":
    anyio.run(main)
