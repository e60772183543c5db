"""Who the client is, behind a proxy on this machine."""

import anyio

from anyio_ws import WebSocket, open_server, open_websocket


async def greet(ws: WebSocket) -> None:
    await ws.send(f"hello {ws.client_address}")


async def main() -> None:
    # What a proxy would send: the client itself had written the first address into the header.
    as_proxy = {"X-Forwarded-For": "203.0.113.9, 198.51.100.7"}

    async with open_server(greet, "127.0.0.1", 0, trusted_proxies=["127.0.0.1"]) as server:
        async with open_websocket(server.url, additional_headers=as_proxy) as ws:
            print(await ws.receive())

    async with open_server(greet, "127.0.0.1", 0) as server:  # believes nobody
        async with open_websocket(server.url, additional_headers=as_proxy) as ws:
            print(await ws.receive())


if __name__ == "__main__":
    anyio.run(main)
