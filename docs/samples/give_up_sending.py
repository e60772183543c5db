"""Exactly the sends that returned arrive, also when one is given up because the peer is slow."""

import anyio

from anyio_ws import WebSocket, open_server, open_websocket


async def slow(ws: WebSocket) -> None:
    await anyio.sleep(0.5)
    received = 0
    async for message in ws:
        if message == "how many?":
            await ws.send(str(received))
        received += 1


async def main() -> None:
    sent = 0
    async with open_server(slow, "127.0.0.1", 0) as server:
        async with open_websocket(server.url) as ws:
            with anyio.move_on_after(0.3) as scope:
                while True:
                    await ws.send(bytes(1_000_000))
                    sent += 1
            print("given up:", scope.cancelled_caught)
            await ws.send("how many?")
            print("as many as were sent:", await ws.receive() == str(sent))


if __name__ == "__main__":
    anyio.run(main)
