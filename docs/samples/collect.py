"""A server that reads all its clients in one place: sensors come, send and go."""

from functools import partial

import anyio
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream

from anyio_ws import WebSocket, mux, open_server, open_websocket


async def collect(arrivals: MemoryObjectReceiveStream[WebSocket]) -> None:
    def gone(ws: WebSocket, exc: Exception) -> None:
        print(ws.request.path, "is gone:", ws.close_code)

    async with arrivals, mux(source=arrivals, on_disconnect="drop", on_drop=gone) as merged:
        async for ws, message in merged:
            print(ws.request.path, message)
    print("that was all")


async def join(arriving: MemoryObjectSendStream[WebSocket], ws: WebSocket) -> None:
    await arriving.send(ws)
    await ws.wait_closed()  # the connection ends with its handler


async def main() -> None:
    arriving, arrivals = anyio.create_memory_object_stream[WebSocket]()
    async with anyio.create_task_group() as tg:
        tg.start_soon(collect, arrivals)
        async with arriving, open_server(partial(join, arriving), "127.0.0.1", 0) as server:
            async with open_websocket(f"{server.url}/kitchen") as sensor:
                await sensor.send("21.5")
                await sensor.send("21.6")
            async with open_websocket(f"{server.url}/attic") as sensor:
                await sensor.send("14.0")


if __name__ == "__main__":
    anyio.run(main)
