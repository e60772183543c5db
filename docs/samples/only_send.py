"""A server that only sends notices that the client has closed."""

import anyio

from anyio_ws import ConnectionClosedOK, WebSocket, open_server, open_websocket


async def ticker(ws: WebSocket) -> None:
    try:
        async with ws.discard_incoming():
            while True:
                await ws.send("tick")
                await anyio.sleep(0.01)
    except ConnectionClosedOK:
        print("the client has left")


async def main() -> None:
    async with open_server(ticker, "127.0.0.1", 0) as server:
        async with open_websocket(server.url) as ws:
            for number in range(1000):
                await ws.send(f"nobody receives {number}")
            print(await ws.receive())


if __name__ == "__main__":
    anyio.run(main)
