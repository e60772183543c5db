"""A handler that raises closes its own connection, and nothing else."""

import anyio

from anyio_ws import ConnectionClosedError, WebSocket, open_server, open_websocket


async def divide(ws: WebSocket) -> None:
    async for message in ws:
        await ws.send(str(100 / int(message)))


async def main() -> None:
    async with open_server(divide, "127.0.0.1", 0) as server:
        async with open_websocket(server.url) as unlucky:
            await unlucky.send("0")
            try:
                await unlucky.receive()
            except ConnectionClosedError:
                print("closed with", unlucky.close_code)
        async with open_websocket(server.url) as next_client:
            await next_client.send("8")
            print(await next_client.receive())


if __name__ == "__main__":
    anyio.run(main)
