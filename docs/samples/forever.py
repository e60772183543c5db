"""A server that runs until Ctrl-C, or until the process is asked to end."""

import os
from signal import SIGINT, SIGTERM

import anyio
from anyio.abc import TaskStatus

from anyio_ws import WebSocket, open_server


async def echo(ws: WebSocket) -> None:
    async for message in ws:
        await ws.send(message)


async def serve(port: int, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
    with anyio.open_signal_receiver(SIGINT, SIGTERM) as signals:
        async with open_server(echo, "127.0.0.1", port):
            print("serving")
            task_status.started()
            async for signal in signals:
                print("ended by", signal.name)
                break


async def main() -> None:
    async with anyio.create_task_group() as tg:
        await tg.start(serve, 0)
        os.kill(os.getpid(), SIGTERM)  # as an init system would
