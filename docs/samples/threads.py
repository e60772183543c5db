"""A program of plain functions and threads: the event loop has a thread, and they call into it."""

import anyio
import anyio.to_thread
from anyio.from_thread import start_blocking_portal

from anyio_ws import WebSocket, open_server, open_websocket


async def echo(ws: WebSocket) -> None:
    async for message in ws:
        await ws.send(message)


async def receive(ws: WebSocket, seconds: float) -> str | bytes:
    """What is to have a time limit is a function of its own."""
    with anyio.fail_after(seconds):
        return await ws.receive()


def program() -> None:
    with start_blocking_portal() as portal:  # backend="trio" for a loop of trio's
        with portal.wrap_async_context_manager(open_server(echo, "127.0.0.1", 0)) as server:
            with portal.wrap_async_context_manager(open_websocket(server.url)) as ws:
                portal.call(ws.send, "hello")
                print(portal.call(receive, ws, 5))
                try:
                    portal.call(receive, ws, 0.1)
                except TimeoutError:
                    print("nothing more")


async def main() -> None:
    await anyio.to_thread.run_sync(program)  # as it is called without an event loop


if __name__ == "__main__":
    program()
