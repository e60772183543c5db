"""Print what a feed sends."""

import anyio

from anyio_ws import open_websocket


async def main() -> None:
    async with open_websocket("ws://127.0.0.1:8001/ABC") as ws:
        async for message in ws:
            print(message)


if __name__ == "__main__":
    anyio.run(main)
