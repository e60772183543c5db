"""A server for production: on sockets of its supervisor's or its own, with a health check and a clean end."""

import os
import socket
from contextlib import AbstractAsyncContextManager
from signal import SIGINT, SIGTERM

import anyio
from anyio.abc import TaskStatus

from anyio_ws import (
    Request,
    Response,
    ServerConfig,
    WebSocket,
    WebSocketServer,
    open_server,
    open_websocket,
)


async def feed(ws: WebSocket) -> None:
    async for message in ws:
        await ws.send(message)


async def health(ws: WebSocket, request: Request) -> Response | None:
    return Response.text(200, "fine\n") if request.path == "/health" else None


CONFIG = ServerConfig(process_request=health, max_connections=20_000)


def inherited(first: int = 3) -> list[socket.socket]:
    """What systemd listens on for us: sockets from descriptor 3 on."""
    pid, count = os.environ.pop("LISTEN_PID", ""), os.environ.pop("LISTEN_FDS", "0")
    if pid != str(os.getpid()):
        return []
    return [socket.socket(fileno=number) for number in range(first, first + int(count))]


def listen(sockets: list[socket.socket]) -> AbstractAsyncContextManager[WebSocketServer]:
    if sockets:
        return open_server(feed, listeners=sockets, config=CONFIG)
    host, port = os.environ.get("HOST", "127.0.0.1"), int(os.environ.get("PORT", "8765"))
    reuse_port = "REUSE_PORT" in os.environ
    return open_server(feed, host, port, config=CONFIG, reuse_port=reuse_port)


async def serve(
    sockets: list[socket.socket], *, task_status: TaskStatus[str] = anyio.TASK_STATUS_IGNORED
) -> None:
    with anyio.open_signal_receiver(SIGINT, SIGTERM) as signals:
        async with listen(sockets) as server:
            print("serving", flush=True)
            task_status.started(server.url)
            async for signal in signals:
                print("ended by", signal.name, flush=True)
                break
            await server.shutdown(stagger=5)


async def main() -> None:
    """Try it, with what systemd does: listen, say so in the environment, and end it with SIGTERM."""
    listener = socket.create_server(("127.0.0.1", 0))
    os.environ |= {"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": "1"}
    sockets = inherited(first=listener.detach())
    async with anyio.create_task_group() as tg:
        async with open_websocket(await tg.start(serve, sockets)) as ws:
            await ws.send("hello")
            print(await ws.receive())
            os.kill(os.getpid(), SIGTERM)
            await ws.wait_closed()
            print("closed with", ws.close_code)


if __name__ == "__main__":
    anyio.run(serve, inherited(), backend=os.environ.get("BACKEND", "asyncio"))
