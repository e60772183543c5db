"""A server that SIGTERM ends in order: handlers finish, and clients come back one after the other."""

import os
from signal import SIGINT, SIGTERM

import anyio
from anyio.abc import TaskStatus

from anyio_ws import WebSocket, open_server, open_websocket


async def ask_to_leave(ws: WebSocket) -> None:
    await ws.shutting_down
    await ws.send("please leave")


async def handle(ws: WebSocket) -> None:
    async with anyio.create_task_group() as tg:
        tg.start_soon(ask_to_leave, ws)
        async for message in ws:
            await ws.send(message)
        tg.cancel_scope.cancel()


async def serve(port: int, *, task_status: TaskStatus[str] = anyio.TASK_STATUS_IGNORED) -> None:
    with anyio.open_signal_receiver(SIGINT, SIGTERM) as signals:
        async with open_server(handle, "127.0.0.1", port) as server:
            task_status.started(server.url)
            async for signal in signals:
                print(f"{signal.name}, {len(server.connections)} connections")
                break
            # Ten seconds to finish; those who are left are closed over the next five.
            await server.shutdown(grace=10, reason="restart", stagger=5)
    print("ended")


async def main() -> None:
    async with anyio.create_task_group() as tg:
        url = await tg.start(serve, 0)
        async with open_websocket(url) as ws:
            await ws.send("hello")
            print(await ws.receive())
            os.kill(os.getpid(), SIGTERM)  # as an init system would
            print(await ws.receive())


if __name__ == "__main__":
    anyio.run(main)
