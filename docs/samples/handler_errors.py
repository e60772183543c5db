"""Being told what handlers raise, and ending a server by an exception of a handler."""

import anyio

from anyio_ws import ConnectionClosedError, WebSocket, open_server, open_websocket


async def divide(ws: WebSocket) -> None:
    async for message in ws:
        await ws.send(str(100 / int(message)))


failures: list[str] = []


async def count(ws: WebSocket, exc: Exception) -> None:
    failures.append(f"{ws.url}: {exc}")


async def ask(url: str, message: str) -> None:
    async with open_websocket(url) as ws:
        await ws.send(message)
        try:
            print(await ws.receive())
        except ConnectionClosedError as exc:
            print("client:", exc)


async def main() -> None:
    async with open_server(divide, "127.0.0.1", 0, on_handler_error=count) as server:
        await ask(server.url + "/1", "0")
        await ask(server.url + "/2", "8")
    print("failed:", failures)

    try:
        async with open_server(divide, "127.0.0.1", 0, on_handler_error="raise") as server:
            await ask(server.url, "0")
            await anyio.sleep_forever()
    except ZeroDivisionError as exc:
        print("the server ended:", exc)


if __name__ == "__main__":
    anyio.run(main)
