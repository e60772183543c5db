"""Time limits are cancel scopes, around one call or around many, and nothing is lost by them."""

import anyio

from anyio_ws import WebSocket, open_server, open_websocket


async def think(ws: WebSocket) -> None:
    async for question in ws:
        await anyio.sleep(0.3)
        await ws.send(f"the answer to {question!r}")


async def main() -> None:
    async with open_server(think, "127.0.0.1", 0) as server:
        async with open_websocket(server.url, open_timeout=5, close_timeout=5) as ws:
            await ws.send("one")
            with anyio.move_on_after(0.1):
                print(await ws.receive())
            print("not yet")
            print(await ws.receive())  # the first one took nothing

            try:
                with anyio.fail_after(0.1):  # for both questions
                    for question in ("two", "three"):
                        await ws.send(question)
                        print(await ws.receive())
            except TimeoutError:
                print("that takes too long")


if __name__ == "__main__":
    anyio.run(main)
