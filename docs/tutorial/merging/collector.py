"""Print what two feeds send."""

import anyio

from anyio_ws import mux, open_websocket


async def main() -> None:
    async with (
        open_websocket("ws://127.0.0.1:8001/ABC") as abc,
        open_websocket("ws://127.0.0.1:8002/XYZ") as xyz,
        mux(abc, xyz) as merged,
    ):
        async for ws, message in merged:
            print(ws.request.path, message)


if __name__ == "__main__":
    anyio.run(main)
