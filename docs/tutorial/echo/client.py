"""A client that says two words, and prints the answers."""

import anyio

from anyio_ws import open_websocket


async def main() -> None:
    async with open_websocket("ws://127.0.0.1:8000") as ws:
        for word in ("hello", "world"):
            await ws.send(word)
            print(await ws.receive())


if __name__ == "__main__":
    anyio.run(main)
